//! What another daemon has left is gone on with. That all of it works together is shown by tests/contain, where daemons are killed.

use std::io::Read;
use std::os::fd::AsFd;

use rustix::net::{sendmsg, SendAncillaryBuffer, SendAncillaryMessage, SendFlags};
use vhost::vhost_user::message::{VhostUserSingleMemoryRegion, VhostUserVringAddrFlags};
use vhost::vhost_user::VhostUserBackendReqHandlerMut;

use super::super::answers::Answers;
use super::super::intake::{Closer, Intake};
use super::super::state::{set_up, Connection, SessionState, VERSION};
use super::super::Session;
use super::*;
use crate::doorbell::new_eventfd;
use crate::testing::fired;
use crate::windows::Former;

fn send(to: &UnixStream, bytes: &[u8], files: &[&File]) {
    let fds: Vec<_> = files.iter().map(|file| file.as_fd()).collect();
    let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(4))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    assert!(fds.is_empty() || control.push(SendAncillaryMessage::ScmRights(&fds)));
    let text = [std::io::IoSlice::new(bytes)];
    sendmsg(to, &text, &mut control, SendFlags::empty()).unwrap();
}

/// A peer, and its connection as two daemons have it, one after the other.
fn shared() -> (UnixStream, Intake, Intake) {
    let (peer, ours) = UnixStream::pair().unwrap();
    (peer, intake_of(&ours), intake_of(&ours))
}

fn intake_of(stream: &UnixStream) -> Intake {
    Intake::new(stream.try_clone().unwrap(), Answers::new().unwrap())
        .unwrap()
        .0
}

fn next(intake: &Intake) -> Option<Vec<u8>> {
    let taken = intake.take(&mut Closer::default(), |_| ()).unwrap();
    taken.map(|message| message.bytes)
}

#[test]
fn a_message_is_kept_before_it_is_gone_from_the_socket() {
    let (peer, intake, follower) = shared();
    let mut closer = Closer::default();
    let eventfd = File::from(new_eventfd().unwrap());
    // SET_VRING_KICK, with a file; SET_VRING_CALL, which says that it has none.
    let (first, second) = (
        message(12, 1, &[0; 8]),
        message(13, 1, &[0, 1, 0, 0, 0, 0, 0, 0]),
    );
    send(&peer, &first, &[&eventfd, &tempfile::tempfile().unwrap()]);
    send(&peer, &second, &[]);
    let mut kept = Vec::new();
    let taken = intake.take(&mut closer, |message| kept.push(message.bytes.clone()));
    assert_eq!(kept, std::slice::from_ref(&first));
    let taken = taken.unwrap().unwrap();
    assert_eq!(taken.bytes, first);
    let files: Vec<bool> = taken.files.iter().map(Option::is_some).collect();
    assert_eq!(files, [true, false], "what is no eventfd is of no use");
    assert_eq!(next(&follower), Some(second.clone()));
    // One that comes in pieces is taken as a whole, too, with the files of its first.
    for (at, byte) in first.iter().enumerate() {
        let files: &[&File] = if at == 0 { &[&eventfd] } else { &[] };
        send(&peer, &[*byte], files);
    }
    let pieces = follower.take(&mut closer, |_| ()).unwrap().unwrap();
    assert_eq!((pieces.bytes, pieces.files.len()), (first.clone(), 1));
    send(&peer, &first[..first.len() - 1], &[&eventfd]);
    drop(peer);
    assert_eq!(next(&intake), None, "it is cut off");
}

/// The messages are all the same: nothing but the socket says which of them is which.
#[test]
fn a_message_is_taken_once_at_whatever_instant_the_daemon_dies() {
    let eventfd = File::from(new_eventfd().unwrap());
    let same = message(12, 1, &[0; 8]);
    let length = same.len();
    let left = |peer: UnixStream, follower: &Intake| {
        drop(peer);
        std::iter::from_fn(|| next(follower)).count()
    };
    let send_three = |peer: &UnixStream| (0..3).for_each(|_| send(peer, &same, &[&eventfd]));

    // It has looked at the message, and not kept it.
    let (peer, intake, follower) = shared();
    send_three(&peer);
    let taken = intake.take(&mut Closer::default(), |_| {
        follower.leave().unwrap();
        assert_eq!(left(peer, &follower), 3);
    });
    assert!(
        taken.is_err(),
        "who is dead takes nothing: there is nothing any more"
    );

    // It has kept it, and taken so many bytes of it.
    for bytes in 0..=length {
        let (peer, mut ours) = UnixStream::pair().unwrap();
        let follower = intake_of(&ours);
        send_three(&peer);
        let mut rest = None;
        let _ = intake_of(&ours).take(&mut Closer::default(), |_| {
            ours.read_exact(&mut vec![0; bytes]).unwrap();
            follower.take_rest(&mut Closer::default()).unwrap();
            rest = Some(left(peer, &follower));
        });
        assert_eq!(rest, Some(2), "killed after {bytes} bytes");
    }

    // It has taken it, and the answer may have been sent as well.
    let (peer, intake, follower) = shared();
    send_three(&peer);
    assert_eq!(next(&intake), Some(same.clone()));
    follower.take_rest(&mut Closer::default()).unwrap();
    assert_eq!(left(peer, &follower), 2);
}

/// A session with memory and queue 0 being served; its call eventfd.
fn served(fixture: &Fixture) -> (Session, File) {
    let mut session = fixture.session();
    session.begin().unwrap();
    let features = session.features().unwrap();
    session.set_protocol_features(0).unwrap();
    session.set_features(features).unwrap();
    let window = fixture.pool.layout().windows[0];
    let region = VhostUserSingleMemoryRegion::new(0, window.length, USER, 0);
    session.add_mem_region(&region, fixture.memory()).unwrap();
    let call = File::from(new_eventfd().unwrap());
    let flags = VhostUserVringAddrFlags::empty();
    session.set_vring_num(0, 128).unwrap();
    session
        .set_vring_addr(0, flags, USER, USER + 0x1000, USER + 0x2000, 0)
        .unwrap();
    session
        .set_vring_call(0, Some(call.try_clone().unwrap()))
        .unwrap();
    session
        .set_vring_kick(0, Some(new_eventfd().unwrap().into()))
        .unwrap();
    session.set_vring_enable(0, true).unwrap();
    (session, call)
}

/// What follows a session that was left like this.
fn follower(fixture: &Fixture, left: &SessionState) -> Session {
    let mut session = fixture.session();
    session.restore(left);
    fixture.log();
    session.settle().unwrap();
    session
}

#[test]
fn a_ring_goes_on_and_is_stopped_where_it_is() {
    let fixture = Fixture::new();
    let (before, call) = served(&fixture);
    let left = before.state();
    std::mem::forget(before);
    let mut session = follower(&fixture, &left);
    assert!(session.is_served());
    assert_eq!(session.memory.client_address(USER + 8), Some(8));
    fixture.notify(std::mem::offset_of!(vcss::client::Notify, queue));
    eventually("notified", || fired(&call));
    assert_eq!({ session.get_vring_base(0).unwrap().num }, 5);
    assert_eq!(fixture.log(), ["release 0"]);
    session.end();
    assert_eq!(session.memory.client_address(USER + 8), None);
}

#[test]
fn a_ring_that_was_just_being_started_is_served_once() {
    let fixture = Fixture::new();
    let (before, _call) = served(&fixture);
    let mut left = before.state();
    std::mem::forget(before);
    // As it was before the last message was handled: neither negotiated nor started.
    left.negotiated = None;
    left.live = false;
    left.rings[0].active = false;
    left.rings[0].enabled = false;
    let mut session = follower(&fixture, &left);
    assert!(!session.is_served());
    assert_eq!(fixture.log(), ["release 0"]);
    // The message is handled again.
    session.set_vring_enable(0, true).unwrap();
    assert!(session.is_served());
    let log = fixture.log();
    assert!(
        log[0] == "reset" && log.iter().any(|line| line.ends_with("from 5")),
        "{log:?}"
    );
    assert_eq!(session.state().negotiated, Some(FEATURES));
}

#[test]
fn a_ring_that_was_just_being_released_stands_where_the_device_has_left_it() {
    let fixture = Fixture::new();
    let (mut before, _call) = served(&fixture);
    let left = before.state();
    assert_eq!({ before.get_vring_base(0).unwrap().num }, 5);
    std::mem::forget(before);
    let mut session = follower(&fixture, &left);
    assert!(!session.is_served());
    assert_eq!({ session.get_vring_base(0).unwrap().num }, 5);
    assert!(fixture.log().is_empty(), "it is released once");
}

#[test]
fn whoever_handles_messages_sees_first_what_was_agreed_on() {
    let agreed = SessionState {
        offered: Some(7),
        chosen: 5,
        protocol: Some(9),
        ..SessionState::default()
    };
    let requests: Vec<u8> = set_up(&agreed).iter().map(|message| message[0]).collect();
    assert_eq!(requests, [1, 2, 15, 16]);
    assert!(set_up(&SessionState::default()).is_empty());
    assert_eq!(set_up(&agreed)[1], message(2, 1, &5u64.to_ne_bytes()));
}

/// A daemon that follows one which has died with this answer, sent already or not, and its peer.
fn after_an_answer(fixture: &Fixture, is_sent: bool, ends: bool) -> (Server, UnixStream) {
    let store = &fixture.store;
    let (peer, ours) = UnixStream::pair().unwrap();
    let answers = Answers::new().unwrap();
    answers.put(b"answer").unwrap();
    if is_sent {
        answers.send(&ours).unwrap();
    }
    let connection = Connection {
        version: VERSION,
        stream: Some(store.keep(&ours).unwrap()),
        answers: Some(store.keep(&answers).unwrap()),
        begun: true,
        ends,
        ..Connection::default()
    };
    (fixture.server_after(Some(connection)).0, peer)
}

#[test]
fn an_answer_comes_once_at_whatever_instant_the_daemon_dies() {
    let fixture = Fixture::new();
    for is_sent in [false, true] {
        let (server, mut peer) = after_an_answer(&fixture, is_sent, false);
        let mut answer = [0; 6];
        peer.read_exact(&mut answer).unwrap();
        assert_eq!(&answer, b"answer");
        // GET_FEATURES: what comes next is the answer to that.
        send(&peer, &message(1, 1, &[]), &[]);
        let mut head = [0; 12];
        peer.read_exact(&mut head).unwrap();
        assert_eq!(head[0], 1);
        close(server);
        // It was about to end.
        let (server, mut peer) = after_an_answer(&fixture, is_sent, true);
        let mut all = Vec::new();
        peer.read_to_end(&mut all).unwrap();
        assert_eq!(all, b"answer");
        close(server);
    }
}

#[test]
fn memory_of_a_disk_that_is_not_released_counts_as_clean_when_that_disk_is_reset() {
    let fixture = Fixture::new();
    let is_clean = |identity| {
        let run_dir = &fixture.config.appliance.run_dir;
        !Former::open(run_dir, None).unwrap().has(identity)
    };
    let (mut session, _call) = served(&fixture);
    let memory = session.memory.state()[0].identity;
    fixture.heard.stuck.store(true, Ordering::Relaxed);
    session.end();
    assert!(!is_clean(memory));
    let mut follower = fixture.session();
    assert!(follower.begin().is_err());
    assert!(!is_clean(memory));
    fixture.heard.stuck.store(false, Ordering::Relaxed);
    follower.begin().unwrap();
    assert!(is_clean(memory));
}
