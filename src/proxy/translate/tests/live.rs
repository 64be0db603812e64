//! Programs that change while they run.

use channel::{OrbFlags, SubchannelStatus};

use super::fixture::*;
use super::interpreter::Act;

#[test]
fn an_endless_program_ends_when_the_client_takes_its_loop_away() {
    for change in [
        store(10, 0x1008, ccw(NOP, SLI, 1, 0)),
        store(10, 0x1000, ccw(NOP, SLI, 1, 0)),
        store(10, 0x1008, tic(0x2000)),
        store(10, 0x1008, ccw(WRITE, CC | SLI, 4, 0x8000)),
    ] {
        let mut client = Client::new(0x10000, LOW);
        client.program(
            0x1000,
            &[ccw(NOP, CC | SLI, 1, 0), tic(0x1000), ccw(NOP, SLI, 1, 0)],
        );
        client.program(0x2000, &[ccw(WRITE, SLI, 4, 0x8000)]);
        client.stores.push(change);
        let run = same(&mut client, &orb_live(0x1000), &[Act::moves(1)]);
        assert!(run.commands.len() <= 14, "{change:x?}");
        assert_eq!(run.ending.unwrap().subchannel, SubchannelStatus::empty());
    }
}

#[test]
fn read_ipl_runs_what_it_has_just_read() {
    // Format 0, at address 0: 24 bytes over itself, a PSW and two CCWs, of which the second is a
    // transfer in channel to a program that is there already.
    let mut client = Client::new(0x10000, LOW);
    client.program_0(0, &[ccw(READ, CC | SLI, 24, 0)]);
    client.program_0(0x2000, &[ccw(WRITE, SLI, 4, 0x8000)]);
    let mut record = Client::new(24, 0);
    record.program_0(8, &[ccw(NOP, CC | SLI, 1, 0), tic(0x2000)]);
    let mut orb = orb_0(0, OrbFlags::empty());
    orb.set_flags(orb.flags() - OrbFlags::PREFETCH);
    client.record = Some(record.bytes);
    let run = same(
        &mut client,
        &orb,
        &[Act::moves(24), Act::moves(1), Act::moves(4)],
    );
    assert_eq!(run.commands, [READ, NOP, WRITE]);
    assert_eq!(run.ending.unwrap().program, 0x2008);
}

#[test]
fn a_suspended_program_is_looked_at_before_it_is_resumed() {
    let suspend = channel::CcwFlags::SUSPEND;
    let mut client = Client::new(0x10000, LOW);
    client.program(
        0x1000,
        &[
            ccw(NOP, CC | SLI, 1, 0),
            ccw(NOP, CC | SLI | suspend, 1, 0),
            ccw(NOP, SLI, 1, 0),
        ],
    );
    let orb = orb(0x1000, OrbFlags::SUSPEND_CONTROL);
    let run = same(&mut client, &orb, &[Act::moves(1)]);
    let ending = run.ending.unwrap();
    assert!(ending.suspended);
    assert_eq!(ending.program, 0x1010);

    let mut translator = translator();
    let hardware = translator.translate(&orb, &client.window()).expect("good");
    client.program(0x1008, &[ccw(READ, SLI, 4, 0x8000)]);
    assert_eq!(translator.refresh(&client.window()), 1);
    assert_eq!(translator.refresh(&client.window()), 0);
    let mut resumed = [0; 8];
    translator
        .fetch(hardware.program.get() + 8, &mut resumed)
        .unwrap();
    assert_eq!(resumed, [READ, 0x20, 0, 4, 0x10, 0, 0x80, 0]);
}

#[test]
fn a_changed_address_word_is_stored_where_it_is() {
    let mut client = Client::new(0x10000, HIGH);
    client.idaws_2(0x2000, &[0x8000, 0x9000]);
    client.program(0x1000, &[ccw(WRITE, IDA | SLI, 0x1010, 0x2000)]);
    let mut orb = orb_live(0x1000);
    orb.set_flags(orb.flags() | OrbFlags::FORMAT_2_IDAW);
    let mut translator = translator();
    let hardware = translator.translate(&orb, &client.window()).expect("good");
    let word = |translator: &super::translate::Translator, at: u32| {
        let mut bytes = [0; 8];
        translator.fetch(at, &mut bytes).unwrap();
        u64::from_be_bytes(bytes)
    };
    let list = word(&translator, hardware.program.get()) as u32;
    client.idaws_2(0x2008, &[0xB000]);
    assert_eq!(translator.refresh(&client.window()), 0);
    assert_eq!(word(&translator, hardware.program.get()) as u32, list);
    assert_eq!(word(&translator, list + 8), HIGH + 0xB000);
}

#[test]
fn two_transfers_in_a_row_stay_a_check_where_the_device_has_written_the_second() {
    for modifier in [false, true] {
        let mut client = Client::new(0x10000, LOW);
        client.program(
            0x1000,
            &[
                ccw(NOP, CC | SLI, 1, 0),
                ccw(READ, CC | SLI, 0x1000, 0x3000),
                ccw(NOP, CC | SLI, 1, 0),
                tic(0x3800),
            ],
        );
        client.program(0x3800, &[tic(0x1000)]);
        let read = Act {
            modifier,
            ..Act::moves(4)
        };
        let run = same(
            &mut client,
            &orb_live(0x1000),
            &[Act::moves(1), read, Act::moves(1)],
        );
        assert_eq!(run.ending.unwrap().program, 0x3808);
    }
}

#[test]
fn a_transfer_that_the_cpu_makes_to_another_is_a_check_where_the_device_may_have_written_that() {
    for before in 1..=3 {
        let mut client = Client::new(0x10000, LOW);
        client.program(
            0x1000,
            &[
                ccw(NOP, CC | SLI, 1, 0),
                ccw(READ, CC | SLI, 0x1000, 0x3000),
                ccw(NOP, CC | SLI, 1, 0),
                ccw(NOP, SLI, 1, 0),
            ],
        );
        client.program(0x3800, &[tic(0x1000)]);
        client.stores.push(store(before, 0x1018, tic(0x3800)));
        let acts = [Act::moves(1), Act::moves(4), Act::moves(1)];
        let run = same(&mut client, &orb_live(0x1000), &acts);
        assert_eq!(run.ending.unwrap().program, 0x3808);
    }
}

#[test]
fn a_ccw_that_reads_over_itself_is_the_one_that_the_cpu_stored_before_it_was_fetched() {
    for before in 1..=2 {
        let mut client = Client::new(0x10000, LOW);
        client.program(
            0x1000,
            &[
                ccw(NOP, CC | SLI, 1, 0),
                ccw(READ, CC | SLI, 0x1000, 0x1000),
                ccw(NOP, SLI, 1, 0),
            ],
        );
        let stored = ccw(WRITE, SLI, 4, 0x8000);
        client.stores.push(store(before, 0x1008, stored));
        let acts = [Act::moves(1), Act::moves(0x1000), Act::moves(1)];
        let run = same(&mut client, &orb_live(0x1000), &acts);
        let second = if before == 1 { WRITE } else { READ };
        assert_eq!(run.commands.get(1), Some(&second));
    }
}

#[test]
fn a_status_modifier_comes_to_a_place_otherwise_than_a_transfer_in_channel_does() {
    // What a read writes over is a transfer to a transfer; a search skips to it, and a transfer in channel leads there.
    let mut client = Client::new(0x10000, LOW);
    client.program(
        0x1000,
        &[ccw(SEARCH, CC, 5, 0x3000), tic(0x2000), tic(0x1008)],
    );
    client.program(0x2000, &[ccw(READ, CC, 0x13, 0x1008), tic(0x2800)]);
    client.program(0x2800, &[tic(0x1010)]);
    let run = same(&mut client, &orb_live(0x1000), &[Act::moves(5).skips()]);
    assert_eq!(run.ending.unwrap().program, 0x1010);
}

#[test]
fn a_status_modifier_does_not_lead_back_to_what_the_device_has_written() {
    let mut client = Client::new(0x10000, LOW);
    // Reads over its second CCW, and a search elsewhere skips back to the first one.
    client.program(
        0x1000,
        &[
            ccw(NOP, CC, 1, 0),
            ccw(NOP, CC, 1, 0),
            ccw(READ, CC, 8, 0x1008),
            tic(0x0FF0),
        ],
    );
    client.program(0x0FF0, &[ccw(SEARCH, CC, 5, 0x3000), tic(0x2000)]);
    client.program(0x2000, &[ccw(NOP, NONE, 1, 0)]);
    let acts = [1, 1, 8, 5].map(Act::moves);
    let acts = [acts[0], acts[1], acts[2], acts[3].skips(), acts[0]];
    let run = same(&mut client, &orb_live(0x1000), &acts);
    assert_eq!(run.commands[..5], [NOP, NOP, READ, SEARCH, NOP]);
}
