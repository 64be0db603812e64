//! The monitor against a QEMU of the tests' own.

use super::devices::AT_A_TIME;
use super::*;
use serde_json::json;
use std::io::{BufRead, BufReader};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

/// A QEMU whose answers are made by the test. It writes down what it was told.
struct Peer {
    told: Arc<Mutex<Vec<String>>>,
    thread: JoinHandle<()>,
}

/// What it does with a command.
enum Reaction {
    Good,
    /// Does it, and some time later says that the device with this id has gone.
    GoodAndGone(&'static str),
    Bad(&'static str),
    /// Returns text.
    Text(&'static str),
    /// Says nothing, for ever.
    Silence,
    /// Answers after so long.
    Late(Duration),
    /// Ends.
    Death,
}

type Judge = fn(&str, &Value) -> Reaction;

const GREETING: &str = "{\"QMP\": {\"version\": {}, \"capabilities\": [\"oob\"]}}\n";
/// One that the crate knows, and one that it cannot know.
const EVENTS: &str = "{\"timestamp\": {\"seconds\": 1, \"microseconds\": 2}, \"event\": \"STOP\"}\n\
    {\"timestamp\": {\"seconds\": 1, \"microseconds\": 2}, \"event\": \"OF_A_LATER_AGE\", \"data\": {}}\n";

impl Peer {
    fn run(stream: UnixStream, judge: Judge) -> Self {
        let told = Arc::new(Mutex::new(Vec::new()));
        let written_down = Arc::clone(&told);
        let thread = std::thread::spawn(move || {
            let mut answers = stream.try_clone().unwrap();
            let _ = answers.write_all(GREETING.as_bytes());
            for line in BufReader::new(stream).lines() {
                let Ok(line) = line else { return };
                let command: Value = serde_json::from_str(&line).unwrap();
                let name = command["execute"].as_str().unwrap();
                let arguments = &command["arguments"];
                written_down.lock().unwrap().push(name.to_owned());
                let id = &command["id"];
                let reaction = judge(name, arguments);
                let answer = match reaction {
                    Reaction::Good | Reaction::GoodAndGone(_) => json!({ "return": {}, "id": id }),
                    Reaction::Bad(desc) => {
                        json!({ "error": { "class": "GenericError", "desc": desc }, "id": id })
                    }
                    Reaction::Text(text) => json!({ "return": text, "id": id }),
                    Reaction::Silence => continue,
                    Reaction::Late(pause) => {
                        std::thread::sleep(pause);
                        json!({ "return": {}, "id": id })
                    }
                    Reaction::Death => return,
                };
                if write!(answers, "{EVENTS}{answer}\r\n").is_err() {
                    return;
                }
                if let Reaction::GoodAndGone(id) = reaction {
                    std::thread::sleep(Duration::from_millis(50));
                    let _ = answers.write_all(deleted(id).as_bytes());
                }
            }
        });
        Self { told, thread }
    }

    /// What it was told since the last time.
    fn told(&self) -> Vec<String> {
        std::mem::take(&mut *self.told.lock().unwrap())
    }
}

/// A monitor, the one at its other end, and where a signal would come from.
fn fixture(judge: Judge) -> (Monitor, Peer, UnixStream) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let (signals, signal) = UnixStream::pair().unwrap();
    let peer = Peer::run(theirs, judge);
    let monitor = Monitor::connect(ours, signals).unwrap();
    assert_eq!(peer.told(), ["qmp_capabilities"]);
    (monitor, peer, signal)
}

fn disk(number: usize) -> Plug {
    let device = json!({ "driver": "virtio-blk-ccw", "drive": format!("disk{number}") });
    Plug {
        id: format!("id{number}"),
        thread: Some(json!({ "qom-type": "iothread", "id": format!("io{number}") })),
        node: Some(Node {
            arguments: json!({ "driver": "raw", "node-name": format!("disk{number}") }),
            opens_beside: number.is_multiple_of(2),
        }),
        device: device.as_object().unwrap().clone(),
    }
}

#[test]
fn all_devices_are_plugged_in_and_the_one_that_fails_leaves_nothing() {
    let (mut monitor, peer, _signal) = fixture(|name, arguments| {
        let of_the_second = ["node-name", "drive"]
            .iter()
            .any(|key| arguments[*key] == "disk1");
        match name {
            "blockdev-add" if of_the_second => Reaction::Bad("Failed to get \"write\" lock"),
            "device_add" if of_the_second => Reaction::Bad("Cannot find device='disk1'"),
            _ => Reaction::Good,
        }
    });
    // More than are sent at a time.
    let plugs: Vec<Plug> = (0..AT_A_TIME + 3).map(disk).collect();
    let outcomes = monitor.plug_in(&plugs).unwrap();
    assert_eq!(outcomes.len(), plugs.len());
    for (number, outcome) in outcomes.iter().enumerate() {
        let expected = match number {
            1 => Outcome::Refused("Failed to get \"write\" lock".to_owned()),
            _ => Outcome::There,
        };
        assert_eq!(*outcome, expected, "disk {number}");
    }
    let told = peer.told();
    let count = |name: &str| told.iter().filter(|it| *it == name).count();
    assert_eq!(count("device_add"), plugs.len());
    assert_eq!((count("blockdev-del"), count("object-del")), (1, 1));
}

#[test]
fn what_another_qemu_has_is_opened_beforehand_if_that_does_nothing_to_it() {
    let (mut monitor, peer, _signal) = fixture(|_, _| Reaction::Good);
    let plugs = [disk(0), disk(1)];
    let there = [Outcome::There, Outcome::There];
    assert_eq!(monitor.plug_in_beforehand(&plugs).unwrap(), there);
    assert_eq!(peer.told(), ["blockdev-add", "object-add", "object-add"]);
    assert_eq!(monitor.plug_in_the_rest(&plugs).unwrap(), there);
    assert_eq!(peer.told(), ["device_add", "blockdev-add", "device_add"]);
}

#[test]
fn all_nodes_are_closed_or_it_is_an_error() {
    let (mut monitor, peer, _signal) = fixture(|_, arguments| match &arguments["node-name"] {
        name if name == "disk2" => Reaction::Bad("Node has active parent node"),
        _ => Reaction::Good,
    });
    monitor.close(["disk0", "disk1"].into_iter()).unwrap();
    assert_eq!(peer.told(), ["blockdev-set-active"; 2]);
    let error = monitor.close(["disk0", "disk2"].into_iter()).unwrap_err();
    assert_eq!(error.to_string(), "Node has active parent node");
}

#[test]
fn events_are_heard_between_answers_and_unknown_ones_passed_over() {
    let (mut monitor, _peer, _signal) = fixture(|_, _| Reaction::Good);
    monitor.go_on().unwrap();
    // One with each answer.
    assert!(monitor.has_news(), "without another word of QEMU's");
    assert_eq!(
        monitor.news().unwrap(),
        [MonitorEvent::Stopped, MonitorEvent::Stopped]
    );
    assert_eq!(monitor.news().unwrap(), []);
    assert!(!monitor.has_news());
}

#[test]
fn the_device_that_qemu_is_held_up_by_is_named_and_those_behind_it_are_not_tried() {
    let (mut monitor, peer, _signal) = fixture(|name, arguments| match name {
        "blockdev-add" if arguments["node-name"] == "disk2" => {
            Reaction::Late(Duration::from_millis(900))
        }
        "blockdev-add" if arguments["node-name"] == "disk0" => Reaction::Bad("gone"),
        _ => Reaction::Good,
    });
    monitor.patience = Duration::from_millis(200);
    let plugs: Vec<Plug> = (0..AT_A_TIME + 3).map(disk).collect();
    let outcomes = monitor.plug_in(&plugs).unwrap();
    let expected = [
        Outcome::Refused("gone".into()),
        Outcome::There,
        Outcome::Underway,
    ];
    assert_eq!(outcomes, expected);
    let mut told = peer.told();
    assert_eq!(told.pop().as_deref(), Some("blockdev-add"));
    // Its answers, and those to what was sent with it, come to nobody who asks for something else.
    monitor.patience = PATIENCE;
    monitor.go_on().unwrap();
    assert_eq!(peer.told().last().map(String::as_str), Some("cont"));
}

/// What QEMU says when a device has gone; that it comes after the answer is usual.
fn deleted(id: &str) -> String {
    let event = json!({ "event": "DEVICE_DELETED", "timestamp": { "seconds": 1, "microseconds": 2 },
        "data": { "device": id, "path": "/machine/peripheral/x" } });
    format!("{event}\n")
}

#[test]
fn what_is_unplugged_on_purpose_is_waited_for_and_no_news() {
    let (mut monitor, peer, _signal) = fixture(|name, _| match name {
        "device_del" => Reaction::GoodAndGone("id0"),
        _ => Reaction::Good,
    });
    monitor.unread.extend(deleted("id1").bytes());
    monitor.unplug(&disk(0)).unwrap();
    assert_eq!(peer.told(), ["device_del", "blockdev-del", "object-del"]);
    let news = monitor.news().unwrap();
    let unplugged: Vec<_> = news
        .iter()
        .filter(|it| **it != MonitorEvent::Stopped)
        .collect();
    assert_eq!(unplugged, [&MonitorEvent::Unplugged("id1".into())]);
}

#[test]
fn a_device_that_does_not_go_is_not_waited_for_for_ever() {
    let (mut monitor, peer, _signal) = fixture(|_, _| Reaction::Good);
    monitor.patience = Duration::from_millis(200);
    let outcome = monitor.unplug(&disk(0));
    assert!(matches!(outcome, Err(MonitorError::Silent)), "{outcome:?}");
    assert_eq!(peer.told(), ["device_del"]);
}

#[test]
fn whether_a_device_is_there_is_asked() {
    let (mut monitor, _peer, _signal) = fixture(|_, arguments| {
        match arguments["path"]
            .as_str()
            .unwrap_or_default()
            .ends_with("/id1")
        {
            true => Reaction::Bad("Device 'id1' not found"),
            false => Reaction::Good,
        }
    });
    assert!(monitor.has("id0").unwrap());
    assert!(!monitor.has("id1").unwrap());
}

#[test]
fn a_node_is_made_as_long_as_is_said_or_qemu_says_why_not() {
    let (mut monitor, peer, _signal) = fixture(|name, arguments| {
        let asked = (arguments["node-name"].as_str(), arguments["size"].as_u64());
        match name {
            "block_resize" if asked != (Some("disk0"), Some(8192)) => Reaction::Bad("no room"),
            _ => Reaction::Good,
        }
    });
    monitor.resize("disk0", 8192).unwrap();
    let refused = monitor.resize("disk0", 4096).unwrap_err();
    assert_eq!(refused.to_string(), "no room");
    assert_eq!(peer.told(), ["block_resize", "block_resize"]);
}

#[test]
fn a_qemu_that_is_silent_is_waited_for_in_vain_and_its_late_answers_are_known_as_such() {
    let (mut monitor, peer, _signal) = fixture(|name, _| match name {
        "cont" => Reaction::Late(Duration::from_millis(600)),
        "qom-get" => Reaction::Bad("no such device"),
        _ => Reaction::Good,
    });
    monitor.patience = Duration::from_millis(100);
    assert!(matches!(monitor.go_on(), Err(MonitorError::Silent)));
    // Nothing is sent on top of what has no answer yet.
    assert!(matches!(monitor.go_on(), Err(MonitorError::Silent)));
    assert_eq!(peer.told(), ["cont"]);
    monitor.patience = PATIENCE;
    assert!(!monitor.has("id0").unwrap(), "it got its own answer");
    assert_eq!(peer.told(), ["qom-get"]);
}

#[test]
fn a_ping_is_not_waited_for_and_an_answer_is_owed_until_it_has_come() {
    let (mut monitor, peer, _signal) = fixture(|name, _| match name {
        "query-status" => Reaction::Late(Duration::from_millis(100)),
        _ => Reaction::Good,
    });
    assert!(!monitor.is_owed_answer());
    monitor.ping().unwrap();
    monitor.ping().unwrap();
    assert!(monitor.is_owed_answer());
    while monitor.is_owed_answer() {
        monitor.news().unwrap();
    }
    monitor.go_on().unwrap();
    assert_eq!(peer.told(), ["query-status", "cont"], "asked once");
}

#[test]
fn registers_are_asked_for_in_brief_and_the_guest_is_interrupted() {
    let (mut monitor, peer, _signal) = fixture(|name, _| match name {
        "human-monitor-command" => Reaction::Text("PSW=mask 1\r\n"),
        _ => Reaction::Good,
    });
    assert_eq!(monitor.registers().unwrap(), "PSW=mask 1\r\n");
    monitor.interrupt_guest().unwrap();
    assert_eq!(peer.told(), ["human-monitor-command", "inject-nmi"]);
    assert_eq!(monitor.patience, PATIENCE, "as before");

    let (mut monitor, _peer, _signal) = fixture(|name, _| match name {
        "human-monitor-command" => Reaction::Silence,
        _ => Reaction::Good,
    });
    let silent = monitor.registers();
    assert!(matches!(silent, Err(MonitorError::Silent)), "{silent:?}");
}

#[test]
fn a_signal_ends_the_waiting() {
    let (mut monitor, _peer, mut signal) = fixture(|name, _| match name {
        "blockdev-add" => Reaction::Silence,
        _ => Reaction::Good,
    });
    signal.write_all(&[0]).unwrap();
    let outcome = monitor.plug_in(&[disk(0)]);
    assert!(matches!(outcome, Err(MonitorError::Told)), "{outcome:?}");
    // What has been said already is heard all the same.
    assert!(monitor.news().is_ok());
}

#[test]
fn a_qemu_that_dies_or_talks_nonsense_is_an_error_in_words() {
    let (mut monitor, peer, _signal) = fixture(|name, _| match name {
        "device_add" => Reaction::Death,
        _ => Reaction::Good,
    });
    let error = monitor.plug_in(&[disk(0)]).unwrap_err();
    assert!(matches!(error, MonitorError::Ended(_)), "{error:?}");
    assert!(error.to_string().contains("QEMU's monitor"), "{error}");
    peer.thread.join().unwrap();

    let (ours, mut theirs) = UnixStream::pair().unwrap();
    let (signals, _signal) = UnixStream::pair().unwrap();
    let babble = std::thread::spawn(move || while theirs.write_all(&[b'x'; 4096]).is_ok() {});
    let refused = Monitor::connect(ours, signals);
    assert!(
        matches!(refused, Err(MonitorError::Ended(_))),
        "{refused:?}"
    );
    babble.join().unwrap();
}

#[test]
fn one_that_sends_events_without_end_runs_out_of_time() {
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    let (signals, _signal) = UnixStream::pair().unwrap();
    let flood = std::thread::spawn(move || while theirs.write_all(EVENTS.as_bytes()).is_ok() {});
    let mut monitor = Monitor::new(ours, signals, Duration::from_millis(50)).unwrap();
    assert!(matches!(monitor.go_on(), Err(MonitorError::Silent)));
    assert!(!monitor.news().unwrap().is_empty(), "and comes to an end");
    drop(monitor);
    flood.join().unwrap();
}

/// Told to go on, a QEMU that is about to end does not do so in order.
#[test]
fn a_vm_that_stops_because_it_ends_is_not_a_paused_one() {
    let (mut monitor, _peer, _signal) = fixture(|_, _| Reaction::Good);
    let guest =
        "\"event\": \"SHUTDOWN\", \"data\": { \"guest\": true, \"reason\": \"guest-panic\" }";
    let ends = format!("{{ \"timestamp\": {{ \"seconds\": 1, \"microseconds\": 2 }}, {guest} }}\n");
    let _ = monitor.news();
    monitor.unread.extend(ends.bytes());
    monitor.go_on().unwrap();
    assert_eq!(monitor.news().unwrap(), []);
}
