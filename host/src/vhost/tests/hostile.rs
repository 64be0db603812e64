//! Peers that are slow, curious, or hostile: none of them may stop, spin or flood the daemon.

use std::fs::File;
use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::time::Duration;

use rustix::net::{sendmsg, SendAncillaryBuffer, SendAncillaryMessage, SendFlags};

use super::{close, fixture, Guest};
use crate::vhost::Peer;
use vcss::client::DeviceState;
use vhost::VhostBackend;
use virtio::Status;

use crate::testing::{eventually, logged, message};

const GET_FEATURES: u32 = 1;
const SET_MEM_TABLE: u32 = 5;
const SET_VRING_KICK: u32 = 12;
const SET_VRING_ERR: u32 = 14;

fn send(stream: &UnixStream, bytes: &[u8], fds: &[BorrowedFd<'_>]) {
    let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(64))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    assert!(fds.is_empty() || control.push(SendAncillaryMessage::ScmRights(fds)));
    let bytes = [std::io::IoSlice::new(bytes)];
    let _ = sendmsg(stream, &bytes, &mut control, SendFlags::NOSIGNAL);
}

/// The daemon still serves a VM that behaves.
fn serves(fixture: &crate::testing::Fixture, path: &std::path::Path, server: &super::Server) {
    eventually("free", || server.peer() != Peer::Connected);
    let mut guest = Guest::connect(path);
    guest.share_window(fixture);
    guest.set_up(0, 7).unwrap();
    guest.enable(0, true);
}

#[test]
fn a_second_vm_is_sent_away_at_once_and_the_first_one_does_not_notice() {
    let (fixture, server, path) = fixture();
    let mut guest = Guest::connect(&path);
    guest.share_window(&fixture);
    for _ in 0..20 {
        let mut second = UnixStream::connect(&path).unwrap();
        second
            .set_read_timeout(Some(Duration::from_secs(20)))
            .unwrap();
        assert_eq!(second.read(&mut [0]).unwrap(), 0, "it is closed");
    }
    assert_eq!(server.peer(), Peer::Connected);
    guest.set_up(0, 7).unwrap();
    guest.enable(0, true);
    drop(guest);
    serves(&fixture, &path, &server);
    close(server);
}

#[test]
fn a_vm_that_is_refused_is_not_connected_and_the_reason_is_known() {
    let (fixture, server, path) = fixture();
    let mut guest = Guest::connect(&path);
    let other = tempfile::tempfile().unwrap();
    other.set_len(1 << 20).unwrap();
    assert!(guest.share(&other, 0, 1 << 20).is_err());
    // It is written down after the answer.
    eventually(
        "refused",
        || matches!(server.peer(), Peer::Refused(why) if why.contains("cannot shrink")),
    );
    // Its connection ends, and the socket is free for the same VM once it is in order.
    assert!(guest.frontend.get_features().is_err(), "it is closed");
    drop(guest);
    let mut guest = Guest::connect(&path);
    guest.share_window(&fixture);
    guest.set_up(0, 7).unwrap();
    guest.enable(0, true);
    eventually("served", || server.peer() == Peer::Connected);
    // Nonsense of a VM that is served is no refusal of it.
    assert!(guest.share(&other, 0, 1 << 20).is_err());
    guest.enable(0, true);
    assert_eq!(server.peer(), Peer::Connected);
    close(server);
}

#[test]
fn a_peer_that_never_reads_does_not_keep_the_server_from_stopping() {
    let (fixture, server, path) = fixture();
    let mut stream = UnixStream::connect(&path).unwrap();
    stream
        .set_write_timeout(Some(Duration::from_millis(300)))
        .unwrap();
    let asking = message(GET_FEATURES, 1, &[]).repeat(1000);
    while stream.write_all(&asking).is_ok() {}
    close(server);
    drop(fixture);
}

#[test]
fn neither_does_one_that_has_closed_one_half() {
    let (fixture, server, path) = fixture();
    let mut stream = UnixStream::connect(&path).unwrap();
    stream
        .set_write_timeout(Some(Duration::from_millis(300)))
        .unwrap();
    let asking = message(GET_FEATURES, 1, &[]).repeat(1000);
    while stream.write_all(&asking).is_ok() {}
    stream.shutdown(Shutdown::Write).unwrap();
    close(server);
    drop(fixture);
}

#[test]
fn a_message_may_come_byte_by_byte() {
    let (fixture, server, path) = fixture();
    let mut stream = UnixStream::connect(&path).unwrap();
    for byte in message(GET_FEATURES, 1, &[]) {
        stream.write_all(&[byte]).unwrap();
        std::thread::sleep(Duration::from_millis(1));
    }
    let mut answer = [0; 20];
    stream.read_exact(&mut answer).unwrap();
    assert_eq!(answer[..4], GET_FEATURES.to_le_bytes());
    close(server);
    drop(fixture);
}

#[test]
fn a_megabyte_of_garbage_ends_the_connection_and_nothing_else() {
    let (fixture, server, path) = fixture();
    for fill in [0u8, 0xFF, 0x5A] {
        let mut stream = UnixStream::connect(&path).unwrap();
        let _ = stream.write_all(&vec![fill; 1 << 20]);
        drop(stream);
    }
    serves(&fixture, &path, &server);
    close(server);
}

#[test]
fn wrong_sizes_and_descriptors_of_other_kinds_harm_nobody() {
    let (fixture, server, path) = fixture();
    let file = tempfile::tempfile().unwrap();
    let zero = File::open("/dev/zero").unwrap();
    let (socket, _other) = UnixStream::pair().unwrap();
    let listener = UnixListener::bind(path.with_extension("other")).unwrap();
    let this = rustix::process::getpid();
    let process = rustix::process::pidfd_open(this, rustix::process::PidfdFlags::empty()).unwrap();
    let (pipe, _end) = rustix::pipe::pipe().unwrap();
    let folder = File::open("/").unwrap();
    let kinds = [
        file.as_fd(),
        zero.as_fd(),
        socket.as_fd(),
        listener.as_fd(),
        process.as_fd(),
        pipe.as_fd(),
        folder.as_fd(),
    ];
    let region = [0u64, 1 << 20, 0x7F00_0000_0000, 0].map(u64::to_le_bytes);
    let table = [[1u32.to_le_bytes(), [0; 4]].concat(), region.concat()].concat();
    for code in SET_VRING_KICK..=SET_VRING_ERR {
        for kind in kinds {
            let stream = UnixStream::connect(&path).unwrap();
            send(&stream, &message(code, 1, &[0; 8]), &[kind]);
            // Its size is wrong, or there are too many of them, or it ends in the middle.
            send(&stream, &message(code, 1, &[0; 24]), &[kind]);
            drop(stream);
            let stream = UnixStream::connect(&path).unwrap();
            send(&stream, &message(SET_MEM_TABLE, 1, &table), &[kind]);
            send(&stream, &message(code, 1, &[0; 8]), &[kind; 40]);
            send(&stream, &message(code, 1, &[0; 8])[..15], &[kind]);
        }
    }
    serves(&fixture, &path, &server);
    close(server);
}

#[test]
fn a_thousand_connections_at_once_leave_nothing_behind() {
    let (fixture, server, path) = fixture();
    let mut open = Vec::new();
    for _ in 0..1000 {
        open.push(UnixStream::connect(&path).unwrap());
    }
    drop(open);
    serves(&fixture, &path, &server);
    close(server);
}

#[test]
fn a_guest_that_breaks_its_ring_again_and_again_does_not_flood_the_log() {
    let fixture = crate::testing::Fixture::new();
    let mut session = fixture.session();
    let area = &fixture.areas.clients[0].area;
    let mut state = area.read::<DeviceState>(0).unwrap();
    state.status |= Status::DEVICE_NEEDS_RESET.bits();
    area.write(0, &state).unwrap();
    let log = logged(|| (0..10_000).for_each(|_| session.attention()));
    assert!(log.contains("the guest's ring is damaged"), "{log}");
    assert!(log.lines().count() < 50, "{} lines", log.lines().count());
}
