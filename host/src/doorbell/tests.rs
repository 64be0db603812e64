mod hostile;

use std::io::{Read, Write};
use std::mem::offset_of;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::Duration;

use vcss::client::Notify;
use vcss::layout::{Doorbell, DoorbellHalf};
use vcss::Area;

use super::*;
use crate::areas::Areas;
use crate::config::Config;
use crate::layout::{AreaNumber, Slot};
use crate::pool::Pool;
use crate::sys::listen;
use crate::testing::{eventually, fired, Fixture};

const QUEUE_0: usize = offset_of!(Notify, queue);
const CONFIG: usize = offset_of!(Notify, config);

fn file(fd: std::os::fd::OwnedFd) -> std::fs::File {
    fd.into()
}

/// Attaches queue 0; its kick and call.
fn attach(fixture: &Fixture) -> (std::fs::File, std::fs::File) {
    let (kick, call) = (file(new_eventfd().unwrap()), file(new_eventfd().unwrap()));
    fixture.bell.request(Request::Attach {
        slot: Slot(0),
        kick: Some(kick.try_clone().unwrap()),
    });
    fixture.bell.request(Request::Call {
        slot: Slot(0),
        call: Some(call.try_clone().unwrap()),
    });
    eventually("attached", || fixture.rung() == 1);
    (kick, call)
}

#[test]
fn a_kick_rings_the_bell_and_sends_no_byte_to_an_appliance_that_is_awake() {
    let fixture = Fixture::new();
    let mut link = fixture.link();
    let (kick, _) = attach(&fixture);
    signal(&kick);
    eventually("rung", || fixture.rung() == 2);
    link.set_read_timeout(Some(Duration::from_millis(20)))
        .unwrap();
    assert!(link.read(&mut [0]).is_err());
}

#[test]
fn a_kick_wakes_an_appliance_that_sleeps() {
    let fixture = Fixture::new();
    let mut link = fixture.link();
    let (kick, _) = attach(&fixture);
    fixture
        .appliance_word(offset_of!(DoorbellHalf, asleep))
        .store(1);
    signal(&kick);
    link.set_read_timeout(Some(Duration::from_secs(10)))
        .unwrap();
    assert_eq!(link.read(&mut [0; 8]).unwrap(), 1);
    eventually("counted", || {
        fixture.bell.totals().wakes.load(Ordering::Relaxed) == 1
    });
}

#[test]
fn the_link_survives_a_new_appliance() {
    let fixture = Fixture::new();
    let (kick, _) = attach(&fixture);
    fixture
        .appliance_word(offset_of!(DoorbellHalf, asleep))
        .store(1);
    for _ in 0..3 {
        let (mut link, ours) = UnixStream::pair().unwrap();
        fixture.bell.request(Request::Link { link: ours });
        link.set_read_timeout(Some(Duration::from_millis(50)))
            .unwrap();
        eventually("woken", || {
            signal(&kick);
            link.read(&mut [0; 8]).is_ok()
        });
    }
}

#[test]
fn a_notification_reaches_the_guest_once() {
    let fixture = Fixture::new();
    let (_, call) = attach(&fixture);
    assert!(!fired(&call));
    fixture.notify(QUEUE_0);
    eventually("notified", || fired(&call));
    fixture.ring();
    std::thread::sleep(Duration::from_millis(10));
    assert!(!fired(&call), "a bell alone is no notification");
}

#[test]
fn a_notification_waits_for_somebody_to_tell() {
    let fixture = Fixture::new();
    let slot = Slot(0);
    fixture.bell.request(Request::Attach { slot, kick: None });
    fixture.notify(QUEUE_0);
    let call = file(new_eventfd().unwrap());
    let given = Some(call.try_clone().unwrap());
    fixture.bell.request(Request::Call { slot, call: given });
    eventually("notified", || fired(&call));
}

#[test]
fn the_last_notification_comes_before_a_queue_is_forgotten() {
    let fixture = Fixture::new();
    let (_, call) = attach(&fixture);
    let counter = fixture.areas.clients[0]
        .area
        .word::<Notify>(0, QUEUE_0)
        .unwrap();
    counter.store(1);
    fixture.bell.request(Request::Detach { slot: Slot(0) });
    eventually("notified", || fired(&call));
    fixture.notify(QUEUE_0);
    std::thread::sleep(Duration::from_millis(10));
    assert!(!fired(&call), "the queue is forgotten");
}

#[test]
fn a_change_of_the_configuration_calls_for_attention() {
    let fixture = Fixture::new();
    fixture.notify(CONFIG);
    eventually("attention", || fired(&fixture.attention));
}

#[test]
fn a_lost_wake_up_is_found_and_counted() {
    let fixture = Fixture::new();
    let (_, call) = attach(&fixture);
    eventually("asleep", || {
        fixture.bell.totals().sleeps.load(Ordering::Relaxed) > 2
    });
    std::thread::sleep(Duration::from_millis(20));
    // Counter and bell change, and no byte comes.
    let counter = fixture.areas.clients[0]
        .area
        .word::<Notify>(0, QUEUE_0)
        .unwrap();
    counter.store(1);
    let bell = fixture.appliance_word(offset_of!(DoorbellHalf, bell));
    bell.store(bell.load().wrapping_add(1));
    eventually("healed", || fired(&call));
    assert!(fixture.bell.totals().healed.load(Ordering::Relaxed) > 0);
}

/// A client that rings by itself: the appliance's link, the client's, and the client's area.
struct Bare {
    link: UnixStream,
    socket: PathBuf,
    area: Area<'static>,
    bell: BellHandle,
    thread: Option<JoinHandle<()>>,
    _pool: Pool,
    _dir: tempfile::TempDir,
}

const NUMBER: usize = 1;

impl Bare {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("c.toml");
        let run = dir.path().display();
        let text = format!(
            "[appliance]\nimage = \"i\"\nrun_dir = \"{run}\"\n\
             [[subchannel]]\nname = \"t\"\ndevice = \"0.0.3270\"\nqemu = \"x\"\n\
             [[client]]\nname = \"bare\"\nmemory = \"4M\"\n[[client.subchannel]]\nsubchannel = \"t\"\n"
        );
        std::fs::write(&file, text).unwrap();
        let config = Config::load(&file).unwrap();
        let pool = Pool::create(&config).unwrap();
        let areas = Areas::lay_out(&config, &pool).unwrap();
        let bell = BellHandle::new(areas.numbered().count()).unwrap();
        let socket = config.link_socket(&config.clients[0]);
        let ringers = [
            Ringer::Daemon,
            Ringer::Client {
                name: "bare".into(),
                link: ClientLink {
                    listener: listen(&socket).unwrap(),
                    link: None,
                },
            },
            Ringer::Daemon,
        ];
        let setup = Setup {
            areas: areas.numbered().cloned().zip(ringers).collect(),
            exports: Vec::new(),
            is_taken_over: false,
            links: mpsc::channel().0,
            poll: Duration::ZERO,
        };
        let thread = Thread::new(bell.clone(), setup).unwrap();
        let (link, ours) = UnixStream::pair().unwrap();
        bell.request(Request::Link { link: ours });
        link.set_read_timeout(Some(Duration::from_secs(10)))
            .unwrap();
        Self {
            link,
            socket,
            area: areas.clients[0].area.clone(),
            bell,
            thread: Some(std::thread::spawn(|| thread.run())),
            _pool: pool,
            _dir: dir,
        }
    }

    fn connect(&self) -> UnixStream {
        let client = UnixStream::connect(&self.socket).unwrap();
        client
            .set_read_timeout(Some(Duration::from_millis(500)))
            .unwrap();
        eventually("connected", || self.link() != Link::Nobody);
        client
    }

    fn generation(&self) -> vcss::Word<'static> {
        self.word(
            offset_of!(Doorbell, client),
            offset_of!(DoorbellHalf, generation),
        )
    }

    fn link(&self) -> Link {
        self.bell.link(AreaNumber(NUMBER), self.generation().load())
    }

    fn word(&self, half: usize, at: usize) -> vcss::Word<'static> {
        self.area.word::<Doorbell>(0, half + at).unwrap()
    }

    /// As the appliance: rings the client, and sends its byte.
    fn ring(&self) {
        let bell = self.word(
            offset_of!(Doorbell, appliance),
            offset_of!(DoorbellHalf, bell),
        );
        bell.store(bell.load() + 1);
        (&self.link).write_all(&[1]).unwrap();
    }

    fn asleep(&self) -> vcss::Word<'static> {
        self.word(
            offset_of!(Doorbell, client),
            offset_of!(DoorbellHalf, asleep),
        )
    }
}

impl Drop for Bare {
    fn drop(&mut self) {
        self.bell.stop();
        self.thread.take().unwrap().join().unwrap();
    }
}

#[test]
fn a_clients_byte_wakes_the_appliance() {
    let mut bare = Bare::new();
    let mut client = bare.connect();
    client.write_all(&[1]).unwrap();
    assert_eq!(bare.link.read(&mut [0; 8]).unwrap(), 1);
}

#[test]
fn a_client_that_sleeps_is_woken_and_one_that_is_awake_is_not() {
    let bare = Bare::new();
    let mut client = bare.connect();
    bare.asleep().store(1);
    bare.ring();
    assert_eq!(client.read(&mut [0; 8]).unwrap(), 1);
    bare.asleep().store(0);
    bare.ring();
    assert!(client.read(&mut [0; 8]).is_err());
}

#[test]
fn for_a_client_that_has_gone_the_daemon_says_that_it_begins_anew() {
    let bare = Bare::new();
    let client = bare.connect();
    let half = offset_of!(Doorbell, client);
    let generation = bare.word(half, offset_of!(DoorbellHalf, generation));
    let bell = bare.word(half, offset_of!(DoorbellHalf, bell));
    assert_eq!(generation.load(), 0, "coming is not going");
    drop(client);
    eventually("buried", || generation.load() == 1 && bell.load() == 1);
    eventually("known", || bare.link() == Link::Nobody);
    let _again = bare.connect();
    assert_eq!(generation.load(), 1);
}

#[test]
fn a_second_vm_on_a_link_is_sent_away_and_the_first_one_stays() {
    let mut bare = Bare::new();
    let mut client = bare.connect();
    bare.generation().store(1);
    for _ in 0..40 {
        let mut second = UnixStream::connect(&bare.socket).unwrap();
        second
            .set_read_timeout(Some(Duration::from_secs(20)))
            .unwrap();
        assert_eq!(second.read(&mut [0]).unwrap(), 0, "it is closed");
    }
    assert_eq!(bare.generation().load(), 1, "nobody has gone");
    client.write_all(&[1]).unwrap();
    assert_eq!(bare.link.read(&mut [0; 8]).unwrap(), 1);
    assert_eq!(bare.link(), Link::Connected);
}

#[test]
fn a_vm_is_connected_when_it_has_begun_to_use_its_area() {
    let bare = Bare::new();
    let client = bare.connect();
    assert_eq!(bare.link(), Link::Silent);
    bare.generation().store(bare.generation().load() + 1);
    assert_eq!(bare.link(), Link::Connected);
    drop(client);
    eventually("gone", || bare.link() == Link::Nobody);
    // The next one has to begin by itself.
    let mut client = bare.connect();
    assert_eq!(bare.link(), Link::Silent);
    client.write_all(&[1]).unwrap();
    eventually("it rings somewhere else", || bare.link() == Link::Elsewhere);
    bare.generation().store(bare.generation().load() + 1);
    assert_eq!(bare.link(), Link::Connected);
}
