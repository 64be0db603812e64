//! To the device, a chain that was cut goes on as one.

use channel::{DeviceStatus, SubchannelStatus};

use super::fixture::*;
use super::interpreter::{Act, Ending, Run};
use super::translate::Split;

const BASES: [u64; 2] = [LOW, HIGH];
/// Where a record is read over the CCW that follows.
const OVER: u32 = 0x1FF8;

/// A client with a disk.
fn disk(base: u64) -> Client {
    let mut client = Client::new(0x10000, base);
    client.disk = true;
    client
}

/// A client whose first read gives these CCWs.
fn client_with(base: u64, record: &[channel::Ccw1]) -> Client {
    let mut client = disk(base);
    let mut bytes = Client::new(8 * record.len(), 0);
    bytes.program(0, record);
    client.record = Some(bytes.bytes);
    client
}

/// Seeks, searches three times, and reads over what follows, where the CPU stores a write before it is fetched. How that ran.
fn search(base: u64, change: impl FnOnce(&mut Client)) -> Run {
    let mut client = disk(base);
    client.program(
        OVER - 0x18,
        &[
            ccw(SEEK, CC, 6, 0x3000),
            ccw(SEARCH, CC, 5, 0x3008),
            tic(OVER - 0x10),
            ccw(READ, CC, 40, 0x2000),
        ],
    );
    client.stores = vec![store(5, 0x2000, ccw(WRITE, NONE, 4, 0x4000))];
    change(&mut client);
    let acts = [
        Act::moves(6),
        Act::moves(5),
        Act::moves(5),
        Act::moves(5).skips(),
        Act::moves(40),
        Act::moves(4),
    ];
    let run = same(&mut client, &orb_live(OVER - 0x18), &acts);
    assert_eq!(run.commands[1..4], [SEARCH; 3]);
    assert_eq!(run.commands[5..], [WRITE]);
    run
}

/// The device has heard nothing again.
#[track_caller]
fn begins_anew(run: &Run) {
    assert_eq!((run.begun, run.repeated), (5, 0));
}

#[test]
fn positioning_and_searching_are_said_again_with_what_was_said() {
    for base in BASES {
        let run = search(base, |_| ());
        assert_eq!((run.begun, run.repeated), (0, 5));
    }
}

#[test]
fn arguments_come_through_address_words_too() {
    for base in BASES {
        let run = search(base, |client| {
            client.program(OVER - 0x18, &[ccw(SEEK, CC | IDA, 6, 0x3100)]);
            client.idaws_1(0x3100, &[0x37FD, 0x3800]);
        });
        assert_eq!((run.begun, run.repeated), (0, 5));
    }
}

#[test]
fn a_command_that_cannot_be_said_again_ends_the_chain() {
    begins_anew(&search(LOW, |client| {
        client.program(OVER - 0x18, &[ccw(WRITE, CC, 6, 0x3000)]);
    }));
}

#[test]
fn an_argument_that_the_program_has_read_is_not_what_it_was() {
    begins_anew(&search(LOW, |client| {
        client.program(OVER - 0x18, &[ccw(SEEK, CC, 6, 0x2010)]);
    }));
}

#[test]
fn an_argument_that_the_cpu_has_changed_is_not_said_instead() {
    begins_anew(&search(LOW, |client| {
        client.stores.push(store(3, 0x3000, ccw(NOP, NONE, 0, 0)));
    }));
}

#[test]
fn a_long_argument_is_not_kept() {
    begins_anew(&search(LOW, |client| {
        client.program(OVER - 0x18, &[ccw(SEEK, CC | SLI, 65, 0x3000)]);
    }));
}

#[test]
fn a_program_that_the_cpu_has_changed_is_not_said_again() {
    begins_anew(&search(LOW, |client| {
        client
            .stores
            .push(store(2, OVER - 0x18, ccw(SEEK, CC, 6, 0x3010)));
    }));
}

#[test]
fn a_search_that_leads_to_anything_but_itself_is_not_said_again() {
    // It goes on with what follows, or with what follows that: nobody knows which without its status.
    for modifier in [false, true] {
        let mut client = disk(LOW);
        let program = [
            ccw(SEARCH, CC, 5, 0x3008),
            ccw(NOP, CC, 0, 0),
            ccw(READ, CC, 40, OVER),
        ];
        client.program(OVER - 0x18, &program);
        let cut_before = if modifier { 2 } else { 3 };
        client.stores = vec![store(cut_before, OVER, ccw(WRITE, NONE, 4, 0x4000))];
        let search = Act {
            modifier,
            ..Act::moves(5)
        };
        let acts = if modifier {
            vec![search, Act::moves(40), Act::moves(4)]
        } else {
            vec![search, Act::moves(0), Act::moves(40), Act::moves(4)]
        };
        let run = same(&mut client, &orb_live(OVER - 0x18), &acts);
        assert_eq!(run.commands.last(), Some(&WRITE));
        assert_eq!((run.begun, run.repeated), (cut_before, 0));
    }
}

#[test]
fn each_cut_adds_to_what_is_said_again() {
    // The first record leads to a read of the second; that leads to a write.
    let record = [ccw(0, NONE, 0, 0), ccw(READ, CC, 8, 0x2000), tic(0x2000)];
    let mut client = client_with(HIGH, &record);
    client.program(0, &[ccw(READ, CC | SLI, 24, 0)]);
    let read_on = store(2, 0x2000, ccw(READ, CC, 8, 0x2008));
    client.stores = vec![read_on, store(3, 0x2008, ccw(WRITE, NONE, 4, 0x4000))];
    let acts = [24, 8, 8, 4].map(Act::moves);
    let run = same(&mut client, &orb_live(0), &acts);
    assert_eq!(run.commands, [READ, READ, READ, WRITE]);
    assert_eq!((run.begun, run.repeated), (0, 1 + 2 + 3));
}

#[test]
fn an_ending_in_what_is_said_again_has_the_clients_ccw_address() {
    let mut client = client_with(LOW, &[]);
    client.program(0x1000, &[ccw(NOP, CC, 0, 0), ccw(READ, CC, 40, 0x1010)]);
    let mut translator = disk_translator();
    let orb = orb_live(0x1000);
    let hardware = translator.translate(&orb, &client.window()).unwrap();
    client.program(0x1010, &[ccw(NOP, NONE, 0, 0)]);
    let ending = Ending {
        program: hardware.program.get() + 16,
        count: Some(0),
        device: DeviceStatus::CHANNEL_END | DeviceStatus::DEVICE_END,
        subchannel: SubchannelStatus::empty(),
        suspended: false,
    };
    let split = translator.split(&irb(&ending, &hardware), &client.window());
    let Split::Start { orb: again, .. } = split else {
        panic!("{split:?}");
    };
    let first = again.program.get();
    let mut bytes = [0; 8];
    translator.fetch(first + 8, &mut bytes).unwrap();
    let [.., a, b, c, d] = bytes;
    assert_eq!(
        u64::from(u32::from_be_bytes([a, b, c, d])),
        LOW,
        "what is skipped"
    );
    assert_eq!(back(first + 8, &translator), 0x1008);
    assert_eq!(back(first + 16, &translator), 0x1010);
    // What leads on from there is nothing of the client's.
    assert_eq!(back(first + 24, &translator), 0);
    translator.release();
    assert_eq!(back(first + 8, &translator), 0);
}

#[test]
fn a_loop_in_data_chaining_that_is_cut_goes_on() {
    let mut client = disk(LOW);
    let begin = [
        ccw(READ, CD, 15, 0xA847),
        ccw(READ, CD, 7, 0xCF6F),
        tic(0x1008),
    ];
    let around = [
        ccw(READ, CD, 20, 0x2008),
        ccw(READ, CD, 14, 0xA964),
        tic(0x1000),
    ];
    client.program(0x2008, &begin);
    client.program(0x1000, &around);
    let run = same(&mut client, &orb_live(0x2008), &[Act::moves(160)]);
    assert_eq!((run.commands.len(), run.repeated), (1, 1));
}

#[test]
fn data_chaining_into_what_the_same_command_has_read_is_fetched_then() {
    for base in BASES {
        let next = ccw(READ, NONE, 12, 0x3000);
        let mut client = client_with(base, &[ccw(0, NONE, 0, 0), next]);
        client.program(0x1000, &[ccw(READ, CD, 16, 0x1000)]);
        let run = same(&mut client, &orb_live(0x1000), &[Act::moves(28)]);
        assert_eq!((run.commands, run.repeated), (vec![READ], 1));
        assert_eq!(run.touched.last().unwrap().address, 0x3000);
        // A device that gives its data once: a program check at the CCW.
        client.disk = false;
        client.program(
            0x1000,
            &[ccw(READ, CD, 16, 0x1000), ccw(READ, NONE, 12, 0x3000)],
        );
        let run = translated(&mut client, &orb_live(0x1000), &[Act::moves(28)]);
        let ending = run.ending.unwrap();
        assert_eq!(ending.program, 0x1010);
        assert_eq!(ending.subchannel, SubchannelStatus::PROGRAM_CHECK);
    }
}

/// What becomes of a unit check of the CCW behind which the chain is cut, after a first CCW.
fn unit_check_after(first: channel::Ccw1) -> Split {
    let mut client = disk(LOW);
    client.program(0x1000, &[first, ccw(READ, CC, 40, 0x1010)]);
    let mut translator = disk_translator();
    let orb = orb_live(0x1000);
    let hardware = translator.translate(&orb, &client.window()).unwrap();
    let ending = Ending {
        program: hardware.program.get() + 16,
        count: Some(0),
        device: DeviceStatus::CHANNEL_END | DeviceStatus::DEVICE_END | DeviceStatus::UNIT_CHECK,
        subchannel: SubchannelStatus::empty(),
        suspended: false,
    };
    translator.split(&irb(&ending, &hardware), &client.window())
}

#[test]
fn a_unit_check_at_a_cut_is_the_end_of_a_domain_if_the_device_can_say_it_again() {
    let split = unit_check_after(ccw(SEEK, CC, 6, 0x3000));
    assert!(matches!(split, Split::Start { .. }), "{split:?}");
    let split = unit_check_after(ccw(WRITE, CC, 6, 0x3000));
    assert!(matches!(split, Split::No), "{split:?}");
}
