mod growing;
mod hostile;
mod patience;
mod successors;

use std::fs::File;
use std::io::Write;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use vhost::vhost_user::message::{VhostUserConfigFlags, VhostUserHeaderFlag};
use vhost::vhost_user::{
    Frontend, VhostUserFrontend, VhostUserProtocolFeatures, VhostUserVirtioFeatures,
};
use vhost::{VhostBackend, VhostUserMemoryRegionInfo, VringConfigData};
use vmm_sys_util::eventfd::{EventFd, EFD_NONBLOCK};

use super::{Peer, Server};
use crate::testing::{eventually, message, Fixture, FEATURES};

/// Where the guest's memory lies in its QEMU.
const USER: u64 = 0x7F00_0000_0000;

/// A VM's QEMU.
pub struct Guest {
    pub frontend: Frontend,
    kicks: Vec<EventFd>,
    calls: Vec<EventFd>,
}

impl Guest {
    /// Connects and agrees on features.
    pub fn connect(path: &Path) -> Self {
        let mut frontend = Frontend::connect(path, 2).unwrap();
        let offered = frontend.get_features().unwrap();
        assert_eq!(
            offered,
            FEATURES | VhostUserVirtioFeatures::PROTOCOL_FEATURES.bits()
        );
        let protocol = frontend.get_protocol_features().unwrap();
        assert!(protocol.contains(VhostUserProtocolFeatures::CONFIGURE_MEM_SLOTS));
        frontend.set_protocol_features(protocol).unwrap();
        frontend.set_hdr_flags(VhostUserHeaderFlag::NEED_REPLY);
        frontend.set_owner().unwrap();
        frontend.set_features(offered).unwrap();
        let eventfds = || {
            (0..2)
                .map(|_| EventFd::new(EFD_NONBLOCK).unwrap())
                .collect()
        };
        Self {
            frontend,
            kicks: eventfds(),
            calls: eventfds(),
        }
    }

    pub fn share(&mut self, file: &File, offset: u64, size: u64) -> vhost::Result<()> {
        self.frontend.add_mem_region(&VhostUserMemoryRegionInfo {
            guest_phys_addr: 0,
            memory_size: size,
            userspace_addr: USER,
            mmap_offset: offset,
            mmap_handle: file.as_raw_fd(),
        })
    }

    pub fn share_window(&mut self, fixture: &Fixture) {
        let window = fixture.pool.layout().windows[0];
        self.share(&fixture.memory(), 0, window.length).unwrap();
    }

    pub fn set_up(&mut self, queue: usize, base: u16) -> vhost::Result<()> {
        self.frontend.set_vring_num(queue, 128)?;
        self.frontend.set_vring_base(queue, base)?;
        self.place(queue, USER + 0x1000)?;
        self.frontend.set_vring_kick(queue, &self.kicks[queue])?;
        self.frontend.set_vring_call(queue, &self.calls[queue])
    }

    fn place(&mut self, queue: usize, user: u64) -> vhost::Result<()> {
        let config = VringConfigData {
            queue_max_size: 128,
            queue_size: 128,
            flags: 0,
            desc_table_addr: user,
            avail_ring_addr: user + 0x1000,
            used_ring_addr: user + 0x2000,
            log_addr: None,
        };
        self.frontend.set_vring_addr(queue, &config)
    }

    pub fn enable(&mut self, queue: usize, enable: bool) {
        self.frontend.set_vring_enable(queue, enable).unwrap();
    }
}

pub fn fixture() -> (Fixture, Server, std::path::PathBuf) {
    let fixture = Fixture::new();
    let (server, path) = fixture.server();
    (fixture, server, path)
}

pub fn close(mut server: Server) {
    server.stop();
    server.remove_socket();
    let deadline = Instant::now() + Duration::from_secs(20);
    assert!(server.join_until(deadline));
}

const STARTED: &str = "queue 0 size 128 at 0x1000 0x2000 0x3000 from 7";

#[test]
fn a_guest_brings_its_disk_up_and_down() {
    let (fixture, server, path) = fixture();
    let mut guest = Guest::connect(&path);
    assert_eq!(guest.frontend.get_queue_num().unwrap(), 2);
    guest.share_window(&fixture);
    fixture.log();
    guest.set_up(0, 7).unwrap();
    assert_eq!(
        fixture.log(),
        [""; 0],
        "a ring that is not enabled is not served"
    );
    guest.enable(0, true);
    let features = format!("features {FEATURES:#x}");
    let expected = [
        "reset".to_owned(),
        "status 0x3 features 0x0".to_owned(),
        format!("status 0xb {features}"),
        STARTED.to_owned(),
        format!("status 0xf {features}"),
    ];
    assert_eq!(fixture.log(), expected);

    let before = fixture.rung();
    guest.kicks[0].write(1).unwrap();
    eventually("rung", || fixture.rung() > before);
    fixture.notify(0);
    eventually("notified", || guest.calls[0].read().is_ok());

    assert_eq!(guest.frontend.get_vring_base(0).unwrap(), 12);
    assert_eq!(fixture.log(), ["release 0"]);
    // The same guest again, after a restart of its own.
    guest.set_up(0, 0).unwrap();
    assert_eq!(
        fixture.log(),
        ["queue 0 size 128 at 0x1000 0x2000 0x3000 from 0"]
    );
    close(server);
    assert_eq!(
        fixture.log(),
        ["release 0", "reset"],
        "told to stop, it releases everything"
    );
    assert!(!path.exists());
}

#[test]
fn a_queue_can_be_paused() {
    let (fixture, server, path) = fixture();
    let mut guest = Guest::connect(&path);
    guest.share_window(&fixture);
    guest.set_up(0, 7).unwrap();
    guest.enable(0, true);
    fixture.log();
    guest.enable(0, false);
    guest.enable(0, true);
    let expected = [
        "release 0",
        "queue 0 size 128 at 0x1000 0x2000 0x3000 from 12",
    ];
    assert_eq!(fixture.log(), expected);
    close(server);
}

#[test]
fn a_disconnect_at_any_time_releases_the_queues() {
    let (fixture, server, path) = fixture();
    for enabled in [true, false] {
        let mut guest = Guest::connect(&path);
        guest.share_window(&fixture);
        for queue in 0..2 {
            guest.set_up(queue, 7).unwrap();
            guest.enable(queue, enabled);
        }
        assert!(server.peer() == Peer::Connected);
        fixture.log();
        drop(guest);
        eventually("released", || server.peer() == Peer::Nobody);
        let log = fixture.log();
        let released: &[&str] = if enabled {
            &["release 0", "release 1"]
        } else {
            &[]
        };
        assert_eq!(log[..log.len() - 1], *released);
        assert_eq!(log.last().map(String::as_str), Some("reset"));
    }
    close(server);
}

#[test]
fn memory_that_cannot_be_laid_over_the_window_is_refused() {
    let (fixture, server, path) = fixture();
    let window = fixture.pool.layout().windows[0];
    let other = tempfile::tempfile().unwrap();
    other.set_len(window.length).unwrap();
    let good = fixture.memory();
    let refused = [
        ("it can shrink", &other, 0, window.length),
        ("too long", &good, 0, window.length + 4096),
        ("beside pages", &good, 0, window.length - 1),
        ("beside pages", &good, 1, 4096),
    ];
    for (what, file, offset, length) in refused {
        let mut guest = Guest::connect(&path);
        assert!(guest.share(file, offset, length).is_err(), "{what}");
        assert!(guest.frontend.get_features().is_err(), "it is sent away");
    }
    let mut guest = Guest::connect(&path);
    fixture.log();
    assert!(guest.set_up(0, 0).is_err(), "a ring in no shared memory");
    assert_eq!(fixture.log(), [""; 0]);
    // The connection is still good.
    guest.share_window(&fixture);
    guest.set_up(0, 7).unwrap();
    guest.enable(0, true);
    assert!(fixture.log().contains(&STARTED.to_owned()));
    close(server);
}

#[test]
fn nonsense_is_refused_and_the_connection_goes_on() {
    let (fixture, server, path) = fixture();
    let mut guest = Guest::connect(&path);
    guest.share_window(&fixture);
    assert!(guest.frontend.set_vring_num(0, 0).is_err());
    assert!(
        guest.frontend.set_vring_num(0, 100).is_err(),
        "no power of 2"
    );
    assert!(guest.frontend.set_vring_num(0, 2048).is_err(), "too large");
    assert!(guest.place(0, USER - 0x1000).is_err());
    let file = tempfile::tempfile().unwrap();
    let no_eventfd = std::mem::ManuallyDrop::new(
        // SAFETY: the descriptor is the file's, which outlives this; it is never closed by the other name.
        unsafe { std::os::fd::FromRawFd::from_raw_fd(file.as_raw_fd()) },
    );
    assert!(guest.frontend.set_vring_kick(0, &no_eventfd).is_err());
    assert!(guest.frontend.set_vring_call(0, &no_eventfd).is_err());
    guest.set_up(1, 0).unwrap();
    guest.enable(1, true);
    assert!(
        guest.frontend.set_vring_num(1, 64).is_err(),
        "it is being served"
    );
    assert!(guest.place(1, USER + 0x8000).is_err(), "it is being served");
    assert!(guest.frontend.set_features(1 << 5).is_err(), "not offered");
    close(server);
    drop(fixture);
}

#[test]
fn the_configuration_passes_through() {
    let (fixture, server, path) = fixture();
    let mut guest = Guest::connect(&path);
    let flags = VhostUserConfigFlags::WRITABLE;
    let (_, bytes) = guest.frontend.get_config(8, 4, flags, &[0; 4]).unwrap();
    assert_eq!(bytes, [8, 9, 10, 11]);
    fixture.log();
    guest.frontend.set_config(32, flags, &[77]).unwrap();
    assert_eq!(fixture.log(), ["config Some(77)"]);
    close(server);
}

#[test]
fn a_program_that_a_dying_appliance_lost_is_repeated() {
    let (fixture, server, path) = fixture();
    let mut guest = Guest::connect(&path);
    guest.share_window(&fixture);
    guest.set_up(0, 7).unwrap();
    fixture.heard.lose.store(1, Ordering::Relaxed);
    guest.enable(0, true);
    assert!(fixture.log().contains(&STARTED.to_owned()));
    fixture.heard.lose.store(1, Ordering::Relaxed);
    assert_eq!(guest.frontend.get_vring_base(0).unwrap(), 12);
    close(server);
}

#[test]
fn a_device_that_refuses_is_an_error_to_the_guest_only() {
    let (fixture, server, path) = fixture();
    let mut guest = Guest::connect(&path);
    guest.share_window(&fixture);
    guest.set_up(0, 7).unwrap();
    fixture.heard.broken.store(true, Ordering::Relaxed);
    assert!(guest.frontend.set_vring_enable(0, true).is_err());
    fixture.heard.broken.store(false, Ordering::Relaxed);
    guest.enable(0, true);
    close(server);
}

#[test]
fn a_disk_that_is_not_there_ends_new_connections_until_it_is() {
    let (fixture, server, path) = fixture();
    fixture.heard.absent.store(true, Ordering::Relaxed);
    for _ in 0..3 {
        let frontend = Frontend::connect(&path, 2).unwrap();
        assert!(frontend.get_features().is_err(), "no answer, but an end");
    }
    fixture.heard.absent.store(false, Ordering::Relaxed);
    let mut guest = Guest::connect(&path);
    guest.share_window(&fixture);
    guest.set_up(0, 0).unwrap();
    // A connection that is there stays when the disk goes.
    fixture.heard.absent.store(true, Ordering::Relaxed);
    guest.enable(0, true);
    eventually("served", || {
        fixture.log().iter().any(|line| line.starts_with("queue 0"))
    });
    assert!(guest.frontend.get_features().is_ok());
    close(server);
}

#[test]
fn no_bytes_harm_the_server() {
    let (fixture, server, path) = fixture();
    let mut runner = proptest::test_runner::TestRunner::new(proptest::test_runner::Config {
        cases: 64,
        ..Default::default()
    });
    let messages =
        proptest::collection::vec((0u32..48, proptest::collection::vec(0u8.., 0..64)), 1..8);
    runner
        .run(&messages, |messages| {
            let mut stream = UnixStream::connect(&path).unwrap();
            for (code, payload) in messages {
                if stream.write_all(&message(code, 1, &payload)).is_err() {
                    break;
                }
            }
            Ok(())
        })
        .unwrap();
    let mut guest = Guest::connect(&path);
    guest.share_window(&fixture);
    guest.set_up(0, 7).unwrap();
    guest.enable(0, true);
    close(server);
}

#[test]
fn half_a_message_does_not_keep_the_server_from_stopping() {
    let (fixture, server, path) = fixture();
    let mut stream = UnixStream::connect(&path).unwrap();
    stream.write_all(&[1, 0, 0]).unwrap();
    eventually("connected", || server.peer() == Peer::Connected);
    std::thread::sleep(std::time::Duration::from_millis(20));
    close(server);
    drop(fixture);
}

#[test]
fn a_socket_replaces_a_socket_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("socket");
    drop(crate::sys::listen(&path).unwrap());
    drop(crate::sys::listen(&path).unwrap());
    std::fs::remove_file(&path).unwrap();
    std::fs::write(&path, "precious").unwrap();
    assert!(crate::sys::listen(&path).is_err());
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "precious");
}
