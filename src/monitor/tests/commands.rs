//! What each command says of what there is.

use log::LevelFilter;
use vcss::control::{HeldBackBy, Recoveries};

use super::*;
use crate::boot::program::Usage;
use crate::monitor::table::COMMANDS;
use crate::monitor::view::{Driver, Reports};

fn says(line: &str) -> Vec<String> {
    answer(Fake::new(), line)
}

/// What `diag` says of this.
fn finds(spoil: impl FnOnce(&mut Fake)) -> Vec<String> {
    let mut state = Fake::new();
    // In the scene one disk is not there, and a queue stands.
    state.disks.truncate(1);
    state.queues[0][0].in_flight = 0;
    spoil(&mut state);
    let mut found = answer(state, "diag");
    assert_eq!(found.remove(0), "STW0010I looking for a second");
    found
}

#[test]
fn every_command_answers_with_an_identifier_whatever_there_is() {
    for command in COMMANDS {
        let operand = if command.operands == "DEV" {
            "3270"
        } else {
            ""
        };
        let operand = if command.name == "mem" { "0" } else { operand };
        for state in [Fake::empty(), Fake::new()] {
            let lines = answer(state, &std::format!("{} {operand}", command.name));
            assert!(lines[0].starts_with("STW"), "{lines:?}");
            assert!(lines.iter().all(|line| line.len() <= 72), "{lines:?}");
        }
    }
}

#[test]
fn help_has_all_commands_or_one() {
    let mut scene = Scene::lines();
    let all = scene.type_in("help\n") + &scene.type_in("\n");
    for command in COMMANDS {
        assert!(all.contains(command.help), "{}", command.name);
    }
    assert!(all.contains("\ns-tatus "), "{all}");
    assert_eq!(
        says("help sch"),
        ["STW0100I schib DEV: the subchannel-information block of a device"]
    );
    assert_eq!(says("help nothing"), ["STW0008E there is no such command"]);
}

#[test]
fn status_counts_what_is_there() {
    let mut state = Fake::new();
    state.about.turns = 99.into();
    state.about.healed = 2.into();
    state.innards.heap = Usage {
        used: 5 << 10,
        size: 1 << 20,
    };
    let expected = [
        "STW0102I Serving, up 61.234 s",
        "disks    2, of which 1 not served",
        "clients  1, of which 0 not served",
        "devices  2",
        "requests 2 at the disks",
        "loop     99 turns, 0 sleeps",
        "wakes    0 sent, 2 lost",
        "heap     5 of 1024 KiB",
        "configuration 0",
    ];
    assert_eq!(answer(state, "status"), expected);
}

#[test]
fn devices_are_listed_with_whose_they_are() {
    let expected = [
        "STW0103I 2 devices",
        "Device   Subchan.  DevType CU Type PIM PAM POM Use",
        "0.0.0100 0.0.0001  0000/00 3832/02 80  80  ff  disk data",
        "0.0.3270 0.0.0002  0000/00 3270/02 c0  80  ff  client 0 Idle",
    ];
    assert_eq!(says("devs"), expected);
}

#[test]
fn paths_are_those_that_are_installed() {
    let expected = [
        "STW0104I 2 devices",
        "Device   PIM PAM POM CHPIDs",
        "0.0.0100 80  80  ff  00",
        "0.0.3270 c0  80  ff  10 1f",
    ];
    assert_eq!(says("paths"), expected);
    let lines = says("paths 0.0.3270");
    assert_eq!(lines[0], "STW0104I device 0.0.3270, subchannel 0.0.0002");
    assert_eq!(lines[1], "CHPIDs to the device (PIM):     10 1f");
    assert_eq!(lines[2], "Physically available (PAM):      +  -");
    assert_eq!(lines[4], "Online (LPM):                    +  +");
}

#[test]
fn a_schib_is_shown_with_the_names_of_its_bits() {
    let lines = says("schib 3270");
    assert_eq!(lines[0], "STW0105I device 0.0.3270, subchannel 0.0.0002");
    assert_eq!(lines[1], "parameter 00000000 flags 0081 ISC 0 device 3270");
    assert_eq!(lines[2], "LPM c0 PNOM 00 LPUM 00 PIM c0 POM ff PAM 80");
    assert_eq!(lines[4], "SCSW 00004027 00000000 00 00 0000");
    assert_eq!(
        lines[5],
        "function START activity SUSPENDED status PENDING+SECONDARY+PRIMARY"
    );
    let mut state = Fake::new();
    state.schib = None;
    assert_eq!(
        answer(state, "schib 3270"),
        ["STW0008E there is no such subchannel any more"]
    );
}

#[test]
fn disks_are_listed_with_why_one_is_not_served() {
    let expected = [
        "STW0107I 2 disks",
        "No Device    Size/MiB Block At disk State          Name",
        " 0 0.0.0100         32   512       2 good           data",
        " 2 0.0.0101          0   512       0 not served     gone",
        "   there is no device 0.0.0101",
    ];
    assert_eq!(says("disks"), expected);
}

#[test]
fn clients_are_listed_with_what_they_are_given() {
    let expected = [
        "STW0106I 1 client",
        " 0 linux: served, 256 MiB",
        "    0 0000 disk data: ready",
        "    1 3270 subchannel",
    ];
    assert_eq!(says("clients"), expected);
}

#[test]
fn queues_requests_and_counters_are_as_they_are() {
    let expected = [
        "STW0108I 1 queue",
        "Client Subch. Queue Size Next  In flight News Disk's queue",
        "     0      0     0  128    12         2 no   1",
    ];
    assert_eq!(says("queues"), expected);
    let expected = [
        "STW0109I 2 requests",
        "Client Subch. Queue Operation    Bytes Sector of the disk",
        "     0      0     0 read          4096 2048",
        "     0      0     0 flush         4096",
    ];
    assert_eq!(says("inflight"), expected);
    let lines = says("counters");
    assert_eq!(
        lines[1],
        "client 0 subchannel 0: 7 reads, 5 writes, 0 flushes"
    );
    assert_eq!(lines[2], "   28672 bytes read, 0 written");
    assert!(lines[4].starts_with("disk 0: 0 retries"));
}

#[test]
fn the_trace_is_of_all_or_of_one_device_the_newest_first() {
    let all = says("trace");
    assert!(all[2].contains("0.0.0002 interruption -> Busy"), "{all:?}");
    assert!(all[4].contains("0.0.0001 own SSCH -> Busy"), "{all:?}");
    let one = says("trace 100");
    assert_eq!(one.len(), 4);
    assert!(one[2].contains("0.0.0001 own SSCH"));
    assert!(one[3].ends_with("00010002 00000000 00000000"));
}

#[test]
fn storage_is_shown_as_far_as_it_is_the_appliances() {
    let expected = [
        "STW0113I 0x20 bytes at 0x1fe8",
        "00001fe0 e0e1e2e3 e4e5e6e7 e8e9eaeb ecedeeef ................",
        "00001ff0 f0f1f2f3 f4f5f6f7 f8f9fafb fcfdfeff ................",
        "00002000 is not the appliance's own",
    ];
    assert_eq!(says("mem 0x1fe8,20"), expected);
    assert_eq!(
        says("mem 40,10")[1],
        "00000040 40414243 44454647 48494a4b 4c4d4e4f @ABCDEFGHIJKLMNO"
    );
    for wrong in [
        "mem",
        "mem 0,0",
        "mem 0,1001",
        "mem ffffffffffffffff,2",
        "mem 12345678901234567",
    ] {
        assert_eq!(says(wrong), ["STW0004E usage: mem ADDR[,LEN]"], "{wrong}");
    }
}

#[test]
fn reports_are_counted_for_each_client_and_found_in_the_log() {
    let lines = says("crw");
    assert_eq!(lines[1], "client 0: 3 made, 1 not taken, 0 lost");
    assert_eq!(lines[2], "[    0.2] WARN  x: channel report: y");
    assert_eq!(lines.len(), 3);
}

#[test]
fn interruptions_and_stack_are_shown() {
    let mut state = Fake::new();
    state.innards.controls = [0x12, 0x1000_0000, 0];
    let lines = answer(state, "irq");
    assert_eq!(lines[0], "STW0114I I/O subclasses 00010000 (0 to 7)");
    assert_eq!(lines[4], "1 clients wait to be rung");
    let mut state = Fake::new();
    state.innards.stack = Usage {
        used: 100,
        size: 0xE000,
    };
    (state.innards.stack_top, state.innards.stack_now) = (0x10000, 0x10000 - 96);
    let expected = [
        "STW0116I 100 of 57344 bytes were used at most",
        "96 now, from 0x2000 to 0x10000",
    ];
    assert_eq!(answer(state, "stack"), expected);
}

// ---- what looks wrong ---------------------------------------------------------------------------------------------

#[test]
fn nothing_is_found_where_nothing_is_wrong() {
    let found = finds(|_| {});
    assert_eq!(found.len(), 1);
    assert!(
        found[0].starts_with("STW0200I nothing looks wrong (watched for 1."),
        "{found:?}"
    );
}

#[test]
fn a_disk_a_client_or_an_export_that_is_not_served_is_found_with_the_reason() {
    let found = finds(|state| {
        let mut gone = state.disks[0].unwrap();
        gone.reason = Some("there is no device 0.0.0100");
        state.disks.push(Some(gone));
        gone.reason = None;
        gone.is_broken = true;
        state.disks.push(Some(gone));
        state.clients[0].reason = Some("its area is none");
        state.exports[0].reason = Some("it does not fit");
    });
    let expected = [
        "STW0201W disk data (0.0.0100) is not served: there is no device 0.0.0100",
        "STW0201W the driver of disk data (0.0.0100) has given it up",
        "STW0202W client linux is not served: its area is none",
        "STW0203W client 0, subchannel 0 is not served: it does not fit",
    ];
    assert_eq!(found, expected);
}

#[test]
fn a_queue_that_does_not_move_is_found_and_one_that_moves_is_not() {
    let found = finds(|state| state.queues[0][0].in_flight = 2);
    assert!(
        found[0].starts_with("STW0205W client 0, subchannel 0, queue 0 does not move: 2"),
        "{found:?}"
    );
    let mut scene = Scene::lines();
    scene.state.disks.truncate(1);
    scene.typist.typed.extend(b"diag\n");
    for _ in 0..2 {
        scene.turn();
    }
    // As much is in flight as before, and something has ended meanwhile.
    scene.state.queues[0][0].next_avail += 1;
    assert!(scene.type_in("").contains("STW0200I"));
}

#[test]
fn requests_that_nobody_takes_are_found() {
    let found = finds(|state| state.queues[0][0].has_news = true);
    assert!(
        found[0].starts_with("STW0206W client 0, subchannel 0, queue 0 has requests"),
        "{found:?}"
    );
    let found = finds(|state| {
        state.queues[0][0].has_news = true;
        state.exports[0].driver = Driver::NeedsReset;
    });
    assert!(
        found[0].starts_with("STW0210W client 0, subchannel 0 waits"),
        "{found:?}"
    );
    assert_eq!(
        found.iter().filter(|line| line.starts_with("STW")).count(),
        1
    );
}

#[test]
fn what_does_not_answer_is_found() {
    use vcss::trace::DriverState;
    for (state, text) in [
        (
            DriverState::Disconnected,
            "STW0204W device 0.0.3270 was given up",
        ),
        (
            DriverState::Quiescing,
            "STW0204W device 0.0.3270 has not ended",
        ),
    ] {
        let found = finds(|fake| fake.devices[1].state = state as u8);
        assert!(found[0].starts_with(text), "{found:?}");
    }
    let found = finds(|fake| fake.devices[1].cu_type = 0.into());
    assert!(
        found[0].starts_with("STW0204W device 0.0.3270 has not said"),
        "{found:?}"
    );
}

#[test]
fn the_rest_is_found_as_well() {
    let first = |spoil: fn(&mut Fake)| finds(spoil).remove(0);
    let lost = |state: &mut Fake| state.about.healed = 3.into();
    assert!(first(lost).starts_with("STW0207W 3 wake-ups were lost since the start, 0 just now"));
    let heap = |state: &mut Fake| {
        state.innards.heap = Usage {
            used: 950,
            size: 1000,
        }
    };
    assert!(first(heap).starts_with("STW0208W memory is nearly used up"));
    let stack = |state: &mut Fake| {
        state.innards.stack = Usage {
            used: 901,
            size: 1000,
        }
    };
    assert!(first(stack).starts_with("STW0209W the stack"));
    let reports = |state: &mut Fake| {
        state.clients[0].reports = Reports {
            made: 9,
            lost: 4,
            left: 8,
        }
    };
    assert!(first(reports).starts_with("STW0211W client linux has lost 4"));
    let held =
        |state: &mut Fake| state.exports[0].held_back.by = (HeldBackBy::Limits as u32).into();
    assert!(first(held).starts_with("STW0212I client 0, subchannel 0 is held back: it has"));
    let retries = |state: &mut Fake| {
        let retries = Recoveries {
            retries: 2.into(),
            ..Recoveries::default()
        };
        state.disks[0].as_mut().unwrap().recoveries = retries;
    };
    assert!(first(retries).starts_with("STW0213W disk data (0.0.0100): 2 retries"));
}

#[test]
fn levels_are_those_of_the_log() {
    for (name, level) in [("off", LevelFilter::Off), ("TRACE", LevelFilter::Trace)] {
        let mut scene = Scene::new(Mode::Change, false);
        scene.type_in(&std::format!("log {name}\n"));
        assert_eq!(scene.state.level, Some(level));
    }
}

#[test]
fn no_keys_do_harm() {
    for keys in [
        &b"help\n\n\n\n"[..],
        b"\x1b[A\x1b[B\r\r\n",
        b"mem 0,1000\n\n\n\n\n\n\n\n\n\n",
        b"diag\ndiag\ndiag\n",
    ] {
        crate::monitor::fake::check(keys);
    }
}

proptest::proptest! {
    #[test]
    fn nor_do_any_others(keys in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..300)) {
        crate::monitor::fake::check(&keys);
    }
}
