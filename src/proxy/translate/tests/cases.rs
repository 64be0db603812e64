//! The defects of others that concern translation, by their number: this does not have them.

use channel::{CcwFlags, DeviceStatus, Irb, Midaw, MidawFlags, OrbFlags, SubchannelStatus};
use zerocopy::big_endian::U32;

use super::fixture::*;
use super::interpreter::{Act, Kind};
use super::translate::{Translator, ARENA_BYTES, MAX_CCWS, MAX_DETOUR, MAX_SEGMENTS};

const CHECK: SubchannelStatus = SubchannelStatus::PROGRAM_CHECK;

/// A chain of no-operations with so many CCWs.
fn chain(length: usize) -> Vec<channel::Ccw1> {
    (1..=length)
        .map(|number| ccw(NOP, if number < length { CC | SLI } else { SLI }, 1, 0))
        .collect()
}

#[test]
fn case_01_a_chain_of_any_length_up_to_the_limit_is_taken_whole() {
    for length in [1, 2, 255, 256, 257, 511, 512, 513, MAX_CCWS] {
        let mut client = Client::new(0x20000, LOW);
        client.program(0x1000, &chain(length));
        let mut translator = translator();
        let orb = orb(0x1000, OrbFlags::empty());
        let hardware = translator.translate(&orb, &client.window()).expect("taken");
        let end = hardware.program.get() + 8 * length as u32;
        assert_eq!(back(end, &translator), 0x1000 + 8 * length as u32);
    }
    let mut client = Client::new(0x20000, LOW);
    client.program(0x1000, &chain(257));
    let acts = [Act::moves(1)];
    assert_eq!(
        same(&mut client, &orb(0x1000, OrbFlags::empty()), &acts)
            .commands
            .len(),
        257
    );
}

#[test]
fn case_01_one_ccw_more_than_the_limit_is_found_before_the_start() {
    let mut client = Client::new(0x20000, LOW);
    client.program(0x1000, &chain(MAX_CCWS + 1));
    let refused = translator().translate(&orb(0x1000, OrbFlags::empty()), &client.window());
    let scsw = refused.expect_err("too long").scsw;
    assert_eq!(scsw.subchannel(), CHECK);
    assert_eq!(scsw.program.get(), 0x1000 + 8 * (MAX_CCWS as u32 + 1));
}

/// So many segments, one CCW and a transfer in channel each, scattered.
fn hops(client: &mut Client, number: u32) {
    for hop in 0..number {
        let at = 0x1000 + 0x40 * (number - hop);
        let next = if hop + 1 < number {
            tic(at - 0x40)
        } else {
            ccw(NOP, SLI, 1, 0)
        };
        client.program(at, &[ccw(NOP, CC | SLI, 1, 0), next]);
    }
}

#[test]
fn case_02_many_segments_need_neither_recursion_nor_unlimited_storage() {
    let orb = |number: u32| orb(0x1000 + 0x40 * number, OrbFlags::empty());
    for number in [1, 16, 64, MAX_SEGMENTS as u32] {
        let mut client = Client::new(0x20000, LOW);
        hops(&mut client, number);
        let run = same(&mut client, &orb(number), &[Act::moves(1)]);
        assert!(run.commands.len() >= number as usize);
    }
    for number in [MAX_SEGMENTS as u32 + 1, 1000] {
        let mut client = Client::new(0x20000, LOW);
        hops(&mut client, number);
        let refused = translator().translate(&orb(number), &client.window());
        let scsw = refused.expect_err("too many segments").scsw;
        // The transfer in channel that would lead to one segment too many.
        let last = 0x1000 + 0x40 * (number - MAX_SEGMENTS as u32 + 1) + 8;
        assert_eq!((scsw.subchannel(), scsw.program.get()), (CHECK, last + 8));
    }
}

#[test]
fn case_03_a_program_that_fails_half_way_leaves_nothing_behind() {
    let mut client = Client::new(0x20000, LOW);
    hops(&mut client, 1000);
    client.program(0x1000, &[ccw(READ, SLI, 8, 0x8000)]);
    let mut translator = translator();
    for _ in 0..1000 {
        let too_long = orb(0x1000 + 0x40 * 1000, OrbFlags::empty());
        assert!(translator.translate(&too_long, &client.window()).is_err());
        assert!(!translator.is_live());
    }
    let good = orb(0x1000, OrbFlags::empty());
    assert!(translator.translate(&good, &client.window()).is_ok());
}

#[test]
fn case_04_the_first_address_word_is_fetched_once_and_decides_the_length() {
    // The number of words comes from the same copy of the first word as the list.
    for (first, words) in [(0x8FFF_u64, 3), (0x8000, 2)] {
        let mut client = Client::new(0x20000, HIGH);
        client.idaws_2(0x2000, &[first, 0x9000, 0xA000]);
        client.program(0x1000, &[ccw(READ, IDA, 4098, 0x2000)]);
        let orb = orb(0x1000, OrbFlags::FORMAT_2_IDAW);
        let mut translator = translator();
        let hardware = translator.translate(&orb, &client.window()).expect("good");
        // Changed afterwards: the hardware's list is what was checked.
        client.idaws_2(0x2000, &[0x8FF0, 1, 1]);
        let list = read(&translator, hardware.program.get() + 4, 4) as u32;
        assert_eq!(read(&translator, list, 8), HIGH + first);
        for number in 1..words {
            assert_eq!(
                read(&translator, list + 8 * number, 8),
                HIGH + 0x8000 + 0x1000 * u64::from(number)
            );
        }
    }
}

/// Big-endian, out of the arena.
fn read(translator: &Translator, at: u32, length: usize) -> u64 {
    let mut bytes = [0; 8];
    translator
        .fetch(at, &mut bytes[8 - length..])
        .expect("in the arena");
    u64::from_be_bytes(bytes)
}

#[test]
fn case_05_format_1_address_words_are_four_bytes_long() {
    for base in [LOW, HIGH] {
        let mut client = Client::new(0x10000, base);
        // The list ends with the window: one byte more could not be fetched.
        client.idaws_1(0xFFF4, &[0x8400, 0x9000, 0xA000]);
        client.program(0x1000, &[ccw(READ, IDA, 0x1200, 0xFFF4)]);
        let run = same(
            &mut client,
            &orb(0x1000, OrbFlags::empty()),
            &[Act::moves(0x1200)],
        );
        let lengths: Vec<_> = run.touched.iter().map(|touch| touch.length).collect();
        assert_eq!(lengths, [0x400, 0x800, 0x600]);
        assert_eq!(run.ending.unwrap().subchannel, SubchannelStatus::empty());
    }
}

#[test]
fn case_17_a_full_arena_refuses_one_program_and_not_the_next() {
    // Data above 2 GiB needs address words; here there is room for a few.
    let mut client = Client::new(0x20000, HIGH);
    let long: Vec<_> = (0..100)
        .map(|_| ccw(READ, CC | SLI, 0xFFFF, 0x8000))
        .collect();
    client.program(0x1000, &long);
    client.program(0x4000, &[ccw(READ, SLI, 0xFFFF, 0x8000)]);
    let mut translator = Translator::at(4096, ARENA);
    let refused = translator.translate(&orb(0x1000, OrbFlags::empty()), &client.window());
    let scsw = refused.expect_err("arena full").scsw;
    assert_eq!(scsw.subchannel(), CHECK);
    assert!(scsw.program.get() > 0x1008 && scsw.program.get().is_multiple_of(8));
    assert!(translator
        .translate(&orb(0x4000, OrbFlags::empty()), &client.window())
        .is_ok());
}

#[test]
fn case_18_format_0_is_converted_ccw_by_ccw() {
    for length in [1, 2, 40] {
        let mut client = Client::new(0x20000, LOW);
        let mut program: Vec<_> = (1..length)
            .map(|at| ccw(WRITE, CC | SLI, 4, 0x9000 + 4 * at))
            .collect();
        program.push(ccw(READ, SLI, 4, 0x8000));
        client.program_0(0x1000, &program);
        let run = same(
            &mut client,
            &orb_0(0x1000, OrbFlags::empty()),
            &[Act::moves(4)],
        );
        assert_eq!(run.commands.len(), length as usize);
    }
    // A count of zero is a format-0 check; a transfer in channel there has no count, and flags do not matter.
    let mut client = Client::new(0x20000, LOW);
    client.program_0(
        0x1000,
        &[
            ccw(NOP, CC | SLI, 1, 0),
            ccw(0xF8, CcwFlags::all(), 77, 0x2000),
        ],
    );
    client.program_0(0x2000, &[ccw(NOP, CC | SLI, 1, 0), ccw(NOP, SLI, 0, 0)]);
    let run = same(
        &mut client,
        &orb_0(0x1000, OrbFlags::empty()),
        &[Act::moves(1)],
    );
    let ending = run.ending.unwrap();
    assert_eq!((ending.subchannel, ending.program), (CHECK, 0x2010));
}

#[test]
fn case_18_an_immediate_operation_of_format_0_shows_no_incorrect_length() {
    let mut client = Client::new(0x20000, LOW);
    client.program_0(0x1000, &[ccw(0x07, NONE, 6, 0x8000)]);
    let immediate = Act {
        immediate: true,
        ..Act::moves(0)
    };
    let run = same(&mut client, &orb_0(0x1000, OrbFlags::empty()), &[immediate]);
    assert_eq!(run.ending.unwrap().subchannel, SubchannelStatus::empty());
}

#[test]
fn case_19_a_transfer_back_into_the_segment_goes_on_behind_it() {
    let mut client = Client::new(0x20000, LOW);
    client.program(
        0x1000,
        &[
            ccw(NOP, CC | SLI, 1, 0),
            ccw(SEARCH, CC | SLI, 4, 0x8000),
            tic(0x1008),
            ccw(READ, CC, 16, 0x9000),
            ccw(SEARCH, CC | SLI, 4, 0x8000),
            tic(0x1020),
            ccw(WRITE, NONE, 16, 0x9000),
        ],
    );
    let (no, yes) = (Act::moves(4), Act::moves(4).skips());
    let acts = [no, no, yes, Act::moves(16), no, no, yes, Act::moves(16)];
    let run = same(&mut client, &orb(0x1000, OrbFlags::empty()), &acts);
    assert_eq!(
        run.commands,
        [NOP, SEARCH, SEARCH, READ, SEARCH, SEARCH, SEARCH, WRITE]
    );
    assert_eq!(run.ending.unwrap().program, 0x1038);
}

#[test]
fn case_19_a_transfer_to_itself_or_to_another_is_a_check() {
    for (target, reported) in [(0x1008, 0x1010), (0x2000, 0x2008)] {
        let mut client = Client::new(0x20000, LOW);
        client.program(0x1000, &[ccw(NOP, CC | SLI, 1, 0), tic(target)]);
        client.program(0x2000, &[tic(0x1000)]);
        let run = same(
            &mut client,
            &orb(0x1000, OrbFlags::empty()),
            &[Act::moves(1)],
        );
        let ending = run.ending.unwrap();
        assert_eq!((ending.subchannel, ending.program), (CHECK, reported));
    }
    // As the first CCW.
    let mut client = Client::new(0x20000, LOW);
    client.program(0x1000, &[tic(0x1000)]);
    let run = same(
        &mut client,
        &orb(0x1000, OrbFlags::empty()),
        &[Act::moves(1)],
    );
    assert_eq!(run.ending.unwrap().program, 0x1008);
}

#[test]
fn case_20_ccw_addresses_stay_31_bits_wide_in_both_directions() {
    for base in [LOW, 0x7FFF_0000, HIGH] {
        let mut client = Client::new(0x10000, base);
        client.program(0x1000, &[ccw(NOP, CC | SLI, 1, 0), tic(0xFFF0)]);
        // The last CCW of the window: 8 beyond it is the window's end.
        client.program(
            0xFFF0,
            &[ccw(NOP, CC | SLI, 1, 0), ccw(READ, SLI, 8, 0x8000)],
        );
        let orb = orb(0x1000, OrbFlags::empty());
        let run = same(&mut client, &orb, &[Act::moves(1)]);
        assert_eq!(run.ending.unwrap().program, 0x1_0000);
        let mut translator = translator();
        let hardware = translator.translate(&orb, &client.window()).expect("good");
        let target = read(&translator, hardware.program.get() + 12, 4);
        assert_eq!(target >> 31, 0);
        assert!(target >= u64::from(ARENA) && target < u64::from(ARENA) + ARENA_BYTES as u64);
    }
}

#[test]
fn case_20_an_address_of_another_program_is_not_shown() {
    let mut client = Client::new(0x10000, LOW);
    client.program(0x1000, &[ccw(NOP, SLI, 1, 0)]);
    let mut translator = translator();
    let hardware = translator
        .translate(&orb(0x1000, OrbFlags::empty()), &client.window())
        .expect("good");
    for foreign in [
        0,
        8,
        0x7000_0000,
        hardware.program.get() + 0x8000,
        0x7FFF_FFF8,
    ] {
        assert_eq!(back(foreign, &translator), 0);
    }
}

#[test]
fn case_21_a_range_of_which_only_the_start_lies_in_the_window_is_never_given_out() {
    // Nothing is mapped or unmapped: a window is one piece and stays. What is compared with it is the
    // whole range, and the part outside becomes an address that does not exist.
    for base in [LOW, HIGH] {
        for (command, address, good) in [
            (READ, 0xFF00, 0x100),
            (WRITE, 0xF800, 0x800),
            (BACKWARD, 0x0FF, 0x100),
        ] {
            let mut client = Client::new(0x10000, base);
            client.program(0x1000, &[ccw(command, SLI, 0x2000, address)]);
            let orb = orb(0x1000, OrbFlags::empty());
            let run = same(&mut client, &orb, &[Act::moves(0x2000)]);
            let ending = run.ending.unwrap();
            assert_eq!((ending.subchannel, ending.program), (CHECK, 0x1008));
            assert_eq!(ending.count, Some(0x2000 - good));
            // A device that wants no more than what is there does not notice.
            let run = same(&mut client, &orb, &[Act::moves(u32::from(good))]);
            assert_eq!(run.ending.unwrap().subchannel, SubchannelStatus::empty());
        }
    }
}

#[test]
fn case_37_what_is_skipped_is_not_stored() {
    for base in [LOW, HIGH] {
        let mut client = Client::new(0x10000, base);
        client.program(
            0x1000,
            &[
                ccw(READ, CD | SKIP, 100, 0x8000),
                ccw(0, CD, 50, 0x9000),
                // Skipped, and nothing is there.
                ccw(0, CD | SKIP, 100, 0x7000_0000),
                ccw(0, NONE, 50, 0x9100),
            ],
        );
        let run = same(
            &mut client,
            &orb(0x1000, OrbFlags::empty()),
            &[Act::moves(300)],
        );
        let touched: Vec<_> = run
            .touched
            .iter()
            .map(|touch| (touch.address, touch.length, touch.kind))
            .collect();
        assert_eq!(
            touched,
            [(0x9000, 50, Kind::Stored), (0x9100, 50, Kind::Stored)]
        );
    }
}

#[test]
fn case_37_a_midaw_can_skip_too() {
    for base in [LOW, HIGH] {
        let mut client = Client::new(0x10000, base);
        let words = [
            (MidawFlags::empty(), 0x8000),
            (MidawFlags::SKIP, u64::MAX),
            (MidawFlags::LAST, 0x8100),
        ];
        for (number, (flags, address)) in (0..).zip(words) {
            client.put(0x2000 + 16 * number, &Midaw::new(flags, 32, address));
        }
        client.program(0x1000, &[ccw(READ, MIDA, 96, 0x2000)]);
        let run = same(
            &mut client,
            &orb(0x1000, OrbFlags::MIDAW),
            &[Act::moves(96)],
        );
        assert_eq!(run.touched.len(), 2);
        assert_eq!(
            run.ending.unwrap().device,
            DeviceStatus::CHANNEL_END | DeviceStatus::DEVICE_END
        );
    }
}

#[test]
fn case_40_the_reserved_bits_of_a_transfer_in_channel_are_checked() {
    let target = 0x2000;
    for bad in [
        ccw(0x18, NONE, 0, target),
        ccw(0xF8, NONE, 0, target),
        ccw(0x08, CC, 0, target),
        ccw(0x08, SLI, 0, target),
        ccw(0x08, NONE, 1, target),
        ccw(0x08, NONE, 0, target + 4),
        ccw(0x08, NONE, 0, target | 0x8000_0000),
        ccw(0x08, NONE, 0, 0x7FFF_FFF8),
    ] {
        let mut client = Client::new(0x10000, LOW);
        client.program(0x1000, &[ccw(NOP, CC | SLI, 1, 0), bad]);
        client.program(target, &[ccw(NOP, SLI, 1, 0)]);
        let run = same(
            &mut client,
            &orb(0x1000, OrbFlags::empty()),
            &[Act::moves(1)],
        );
        let ending = run.ending.unwrap();
        assert_eq!(
            (ending.subchannel, ending.program),
            (CHECK, 0x1010),
            "{bad:?}"
        );
    }
}

#[test]
fn case_42_a_bad_address_is_a_program_check_where_it_is_used() {
    let both = CcwFlags::IDA | CcwFlags::MIDA;
    for bad in [
        ccw(READ, NONE, 8, 0x7000_0000),
        ccw(READ, NONE, 8, 0x8000_0000),
        ccw(READ, NONE, 8, 0x10000),
        ccw(READ, IDA, 8, 0x2001),
        ccw(READ, IDA, 8, 0x7000_0000),
        ccw(READ, IDA, 8, 0x2000),
        ccw(READ, MIDA, 8, 0x2000),
        ccw(READ, both, 8, 0x2000),
        ccw(0x10, NONE, 8, 0x8000),
    ] {
        for base in [LOW, HIGH] {
            let mut client = Client::new(0x10000, base);
            client.idaws_1(0x2000, &[0x8000_1000]);
            client.program(0x1000, &[ccw(WRITE, CC, 8, 0x9000), bad]);
            let run = same(
                &mut client,
                &orb(0x1000, OrbFlags::empty()),
                &[Act::moves(8)],
            );
            let ending = run.ending.unwrap();
            // The command before it has been carried out.
            assert_eq!(run.commands[0], WRITE);
            assert_eq!(
                (ending.subchannel, ending.program),
                (CHECK, 0x1010),
                "{bad:?}"
            );
        }
    }
}

#[test]
fn case_01_ground_that_only_a_status_modifier_reaches_is_bounded_and_refuses_nothing() {
    let mut client = Client::new(0x20000, LOW);
    // Behind the end of the program there is another one, longer than any.
    client.program(0x1000, &[ccw(NOP, CC | SLI, 1, 0), ccw(NOP, SLI, 1, 0)]);
    client.program(0x1010, &chain(MAX_DETOUR + 1));
    let run = same(
        &mut client,
        &orb(0x1000, OrbFlags::empty()),
        &[Act::moves(1)],
    );
    assert_eq!(run.commands.len(), 2);
}

#[test]
fn status_that_has_no_logout_keeps_its_extended_status() {
    let mut client = Client::new(0x10000, LOW);
    client.program(0x1000, &[ccw(NOP, SLI, 1, 0)]);
    let mut translator = translator();
    translator
        .translate(&orb(0x1000, OrbFlags::empty()), &client.window())
        .expect("good");
    let mut irb = Irb::default();
    irb.esw.failing_storage = [U32::new(1), U32::new(2)];
    let before = irb.esw;
    translator.back(&mut irb);
    assert_eq!(irb.esw, before);
}
