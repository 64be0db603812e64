//! What the CPU stores in the course of a transfer never leads the channel out of the window, whatever it has fetched before.

use channel::{Midaw, MidawFlags, OrbFlags};
use zerocopy::IntoBytes;

use super::contained::Fixture;
use super::fixture::*;
use super::interpreter::{Act, Run};

/// Runs a program again and again, so that the channel finds old and new words in many combinations.
fn in_every_way(client: &Client, arena: u32, orb: &channel::Orb, acts: &[Act]) -> Vec<Run> {
    let runs = (0..200).map(|seed| {
        let mut client = client.clone();
        let stores = std::mem::take(&mut client.stores);
        let run = Fixture::new(&mut client, arena, &stores, seed).run(orb, acts);
        run.expect("a good program")
    });
    runs.collect()
}

fn word(before: usize, address: u32, value: u64) -> CpuStore {
    let value = value.to_be_bytes();
    CpuStore {
        before,
        address,
        value,
    }
}

/// An arena with room for everything, which does not end with a page: there no list of MIDAWs goes on.
const WHOLE: u32 = 0x8800;

#[test]
fn a_command_that_is_turned_around_keeps_its_data_in_the_window() {
    // In the course of the first CCW; what it chains is right for the new way, and leads out of the window on the old one.
    for (old, new, chained) in [(READ, BACKWARD, 0xFFFF), (BACKWARD, READ, 0)] {
        for base in [LOW, HIGH] {
            for step in 0..4 {
                let mut client = Client::new(0x10000, base);
                client.program(
                    0x1000,
                    &[ccw(old, CD, 8, 0x8000), ccw(READ, SLI, 0x1000, 0x4000)],
                );
                client.stores = vec![
                    store(step, 0x1008, ccw(READ, SLI, 0x1000, chained)),
                    store(step, 0x1000, ccw(new, CD, 8, 0x8000)),
                ];
                in_every_way(&client, WHOLE, &orb_live(0x1000), &[Act::moves(0x1008)]);
            }
        }
    }
}

#[test]
fn what_is_resumed_is_turned_around_with_prefetch_too() {
    let mut client = Client::new(0x10000, LOW);
    client.program(
        0x1000,
        &[ccw(READ, CD, 8, 0x8000), ccw(READ, SLI, 0x1000, 0x4000)],
    );
    client.stores = vec![
        store(2, 0x1008, ccw(READ, SLI, 0x1000, 0xFFFF)),
        store(2, 0x1000, ccw(BACKWARD, CD, 8, 0x8000)),
    ];
    let orb = orb(0x1000, OrbFlags::SUSPEND_CONTROL);
    in_every_way(&client, WHOLE, &orb, &[Act::moves(0x1008)]);
}

#[test]
fn a_ccw_that_is_chained_to_from_now_on_keeps_its_data_in_the_window() {
    // A command of its own becomes part of one that reads backward.
    for step in 0..3 {
        let mut client = Client::new(0x10000, LOW);
        client.program(
            0x1000,
            &[
                ccw(BACKWARD, CC | SLI, 8, 0x8000),
                ccw(READ, SLI, 0x1000, 0),
            ],
        );
        client.stores = vec![store(step, 0x1000, ccw(BACKWARD, CD, 8, 0x8000))];
        in_every_way(&client, WHOLE, &orb_live(0x1000), &[Act::moves(0x1008)]);
    }
}

#[test]
fn a_list_is_never_overwritten_for_another_ccw() {
    // MIDAWs, and below them the IDAWs of a CCW that changes. The arena is so full that there is no room for another list.
    let mut full = 0;
    for (words, step) in (12..32).flat_map(|words| (1..6).map(move |step| (words, step))) {
        let mut client = Client::new(0x10000, LOW);
        let last = Midaw::new(MidawFlags::LAST, 0x1000, 0x9000);
        client.put(0x2FF0, &last);
        client.idaws_2(0x3000, &[0x8000, 0x8800]);
        client.idaws_2(0x3100, &[0x8400, 0x8800]);
        client.program(
            0x1000,
            &[
                ccw(WRITE, CC | MIDA | SLI, 0x1000, 0x2FF0),
                ccw(WRITE, IDA | SLI, 0x1000, 0x3000),
            ],
        );
        client.stores = vec![store(step, 0x1008, ccw(WRITE, IDA | SLI, 0xC00, 0x3100))];
        let mut orb = orb_live(0x1000);
        orb.set_flags(orb.flags() | OrbFlags::MIDAW | OrbFlags::FORMAT_2_IDAW | OrbFlags::IDAW_2K);
        let acts = [Act::moves(0x1000); 2];
        let mut alone = client.clone();
        let stores = std::mem::take(&mut alone.stores);
        if Fixture::new(&mut alone, 8 * words, &stores, 0)
            .run(&orb, &acts)
            .is_some()
        {
            let runs = in_every_way(&client, 8 * words, &orb, &acts);
            let checked = |run: &Run| !run.ending.unwrap().subchannel.is_empty();
            full += u32::from(runs.iter().any(checked));
        }
    }
    assert!(full > 0);
}

#[test]
fn a_list_of_midaws_that_grows_is_another_list() {
    for step in 0..6 {
        let mut client = Client::new(0x10000, LOW);
        let more = |flags| Midaw::new(flags, 8, 0x9000);
        client.put(0x2000, &more(MidawFlags::empty()));
        client.put(0x2010, &more(MidawFlags::LAST));
        client.program(0x1000, &[ccw(WRITE, MIDA | SLI, 0x20, 0x2000)]);
        let half = |midaw: Midaw| u64::from_be_bytes(midaw.as_bytes()[..8].try_into().unwrap());
        client.stores = vec![
            word(step, 0x2020, half(more(MidawFlags::LAST))),
            word(step, 0x2010, half(more(MidawFlags::empty()))),
        ];
        let mut orb = orb_live(0x1000);
        orb.set_flags(orb.flags() | OrbFlags::MIDAW);
        in_every_way(&client, WHOLE, &orb, &[Act::moves(0x20)]);
    }
}

#[test]
fn a_list_that_becomes_longer_where_it_led_nowhere_has_no_old_words_behind() {
    // The third of four words leads nowhere; the fourth is not stored. Then the CPU mends the third, and breaks the fourth.
    for step in 0..6 {
        let mut client = Client::new(0x10000, LOW);
        client.idaws_2(0x2000, &[0x8000, 0x8800, 0x1_0000_0000, 0x9800]);
        client.program(0x1000, &[ccw(WRITE, IDA | SLI, 0x2000, 0x2000)]);
        client.stores = vec![word(step, 0x2010, 0x9000)];
        let mut orb = orb_live(0x1000);
        orb.set_flags(orb.flags() | OrbFlags::FORMAT_2_IDAW | OrbFlags::IDAW_2K);
        let runs = in_every_way(&client, WHOLE, &orb, &[Act::moves(0x2000)]);
        assert!(runs.iter().all(|run| run.ending.is_some()));
    }
}
