//! Loops, where the machine runs programs within START SUBCHANNEL.

use channel::{Ccw1, CcwFlags, Orb, OrbFlags};

use super::fixture::*;
use super::translate::Translator;

/// What becomes of a program whose device never says anything but that it is done.
#[derive(Debug, PartialEq, Eq)]
enum Way {
    /// It ends.
    Ends,
    /// It stops at an invalid CCW: the CCW address, in the client's terms.
    Stops(u32),
    /// A suspend flag.
    Suspends,
    /// It goes round for ever.
    Round,
}

/// Follows the translated program; how many commands there are, and what becomes of it.
fn follow(translator: &Translator, orb: &Orb) -> (usize, Way) {
    let mut at = orb.program.get();
    let mut commands = 0;
    for _ in 0..20_000 {
        let mut bytes = [0; 8];
        translator.fetch(at, &mut bytes).unwrap();
        let ccw: Ccw1 = zerocopy::transmute!(bytes);
        if ccw.command == 0x08 {
            if ccw.flags != 0 {
                return (commands, Way::Stops(back(at + 8, translator)));
            }
            at = ccw.address.get();
            continue;
        }
        if ccw.flags().contains(CcwFlags::SUSPEND) {
            return (commands, Way::Suspends);
        }
        commands += 1;
        if !ccw.flags().contains(CcwFlags::CC) {
            return (commands, Way::Ends);
        }
        at += 8;
    }
    (commands, Way::Round)
}

fn within_start(mut translator: Translator) -> Translator {
    translator.set_within_start(true);
    translator
}

fn way(mut translator: Translator, segments: &[(u32, &[Ccw1])], flags: OrbFlags) -> (usize, Way) {
    let mut client = Client::new(0x20000, LOW);
    for (at, ccws) in segments {
        client.program(*at, ccws);
    }
    let orb = orb(segments[0].0, flags);
    let hardware = translator.translate(&orb, &client.window()).expect("taken");
    follow(&translator, &hardware)
}

fn nop() -> Ccw1 {
    ccw(NOP, CC | SLI, 1, 0)
}

const NONE: OrbFlags = OrbFlags::empty();

#[test]
fn a_loop_that_nothing_ends_stops_where_it_closes() {
    let once: &[(u32, &[Ccw1])] = &[(0x1000, &[nop(), tic(0x1000)])];
    assert_eq!(
        way(within_start(translator()), once, NONE),
        (1, Way::Stops(0x1010))
    );
    assert_eq!(way(translator(), once, NONE).1, Way::Round, "HALT ends it");
    // In parts, entered in the middle, and from a long way off.
    let parts: &[(u32, &[Ccw1])] = &[
        (0x1000, &[nop(), nop(), tic(0x3000)]),
        (0x3000, &[nop(), nop(), tic(0x2000)]),
        (0x2000, &[nop(), tic(0x3008)]),
    ];
    assert_eq!(
        way(within_start(translator()), parts, NONE),
        (5, Way::Stops(0x2010))
    );
    let read: &[(u32, &[Ccw1])] = &[(0x1000, &[ccw(READ, CC | SLI, 8, 0x4000), tic(0x1000)])];
    assert_eq!(
        way(within_start(translator()), read, NONE),
        (1, Way::Stops(0x1010))
    );
}

#[test]
fn of_a_disk_too_but_for_searches() {
    let disk = || within_start(disk_translator());
    let search = ccw(SEARCH, CC | SLI, 5, 0x4000);
    let found: &[(u32, &[Ccw1])] = &[(0x1000, &[search, tic(0x1000), ccw(NOP, SLI, 1, 0)])];
    assert_eq!(way(disk(), found, NONE).1, Way::Round, "it ends itself");
    // A device that is no disk has no searches.
    assert_eq!(
        way(within_start(translator()), found, NONE),
        (1, Way::Stops(0x1010))
    );
    // What only a status modifier leads to.
    let mut client = Client::new(0x20000, LOW);
    let behind = [search, tic(0x1000), nop(), tic(0x1010)];
    client.program(0x1000, &behind);
    let mut translator = disk();
    let orb = orb(0x1000, NONE);
    let mut hardware = translator.translate(&orb, &client.window()).expect("taken");
    hardware.program = (hardware.program.get() + 16).into();
    assert_eq!(follow(&translator, &hardware), (1, Way::Stops(0x1020)));
}

#[test]
fn a_loop_with_a_suspend_flag_goes_on_if_the_orb_admits_it() {
    let suspended = ccw(NOP, CC | SLI | CcwFlags::SUSPEND, 1, 0);
    let program: &[(u32, &[Ccw1])] = &[(0x1000, &[nop(), suspended, tic(0x1000)])];
    let control = OrbFlags::SUSPEND_CONTROL;
    let (commands, ending) = way(within_start(translator()), program, control);
    assert_eq!((commands, ending), (1, Way::Suspends));
    let mut client = Client::new(0x20000, LOW);
    client.program(0x1000, program[0].1);
    let mut translator = within_start(translator());
    let orb = orb(0x1000, control);
    let hardware = translator.translate(&orb, &client.window()).expect("taken");
    let closes = hardware.program.get() + 16;
    let mut bytes = [0; 8];
    translator.fetch(closes, &mut bytes).unwrap();
    assert_eq!(bytes[1], 0, "the transfer in channel is valid");
    // The client takes the flag away, and resumes.
    client.program(0x1008, &[nop()]);
    translator.refresh(&client.window());
    translator.end_cycles();
    assert_eq!(follow(&translator, &hardware), (2, Way::Stops(0x1018)));
}

#[test]
fn the_longest_loop_is_found() {
    let mut ccws = vec![nop(); super::translate::MAX_CCWS - 1];
    ccws.push(tic(0x1000));
    let long: &[(u32, &[Ccw1])] = &[(0x1000, &ccws)];
    let end = 0x1000 + 8 * super::translate::MAX_CCWS as u32;
    let (commands, ending) = way(within_start(translator()), long, NONE);
    assert_eq!((commands, ending), (ccws.len() - 1, Way::Stops(end)));
}

#[test]
fn each_search_may_lead_into_a_loop_of_its_own() {
    // From each search a way goes on that nothing else reaches, and all of them are long.
    let search = ccw(SEARCH, CC | SLI, 5, 0x4000);
    let mut ccws = vec![search; super::translate::MAX_CCWS - 2];
    ccws.extend([tic(0x1000), ccw(NOP, SLI, 1, 0)]);
    let all: &[(u32, &[Ccw1])] = &[(0x1000, &ccws)];
    let disk = within_start(disk_translator());
    assert_eq!(way(disk, all, NONE).1, Way::Round, "searches end it");
    // Two ways into one loop that nothing ends.
    let mut client = Client::new(0x20000, LOW);
    let program = [search, tic(0x1018), nop(), nop(), nop(), tic(0x1010)];
    client.program(0x1000, &program);
    let mut translator = within_start(disk_translator());
    let orb = orb(0x1000, NONE);
    let mut hardware = translator.translate(&orb, &client.window()).expect("taken");
    assert_eq!(follow(&translator, &hardware), (4, Way::Stops(0x1020)));
    hardware.program = (hardware.program.get() + 16).into();
    assert_eq!(follow(&translator, &hardware), (1, Way::Stops(0x1020)));
}

#[test]
fn programs_without_a_loop_are_as_they_were() {
    let forward: &[(u32, &[Ccw1])] = &[
        (0x1000, &[nop(), tic(0x3000)]),
        (0x3000, &[nop(), tic(0x2000)]),
        (0x2000, &[nop(), ccw(NOP, SLI, 1, 0)]),
    ];
    assert_eq!(
        way(within_start(translator()), forward, NONE),
        (4, Way::Ends)
    );
}
