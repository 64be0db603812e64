//! The condition code of each instruction in each state that a client can see, measured.

use channel::PmcwFlags;

use super::fixture::Fixture;
use super::steps::Step;
use crate::proxy::subchannel::Request;

/// The instructions, in the table's order.
pub const INSTRUCTIONS: [&str; 7] = [
    "START", "HALT", "CLEAR", "CANCEL", "RESUME", "MODIFY", "TEST",
];

/// What the client's subchannel is like, and the codes. How to get there is told by [`fixture`].
pub const CODES: [(&str, [u32; 7]); 14] = [
    ("not enabled", [3, 3, 3, 3, 3, 0, 3]),
    ("device gone", [3, 3, 3, 3, 3, 0, 3]),
    ("idle", [0, 0, 0, 2, 2, 0, 1]),
    ("start pending", [2, 0, 0, 0, 2, 2, 1]),
    ("active", [2, 0, 0, 2, 2, 2, 1]),
    ("active, intermediate status pending", [1, 0, 0, 1, 1, 1, 0]),
    ("suspended, status pending", [1, 0, 0, 1, 1, 1, 0]),
    ("suspended", [2, 0, 0, 0, 0, 2, 1]),
    ("halt pending", [2, 2, 0, 2, 2, 2, 1]),
    ("clear pending", [2, 2, 0, 2, 2, 2, 1]),
    ("final status pending", [1, 1, 0, 1, 1, 1, 0]),
    ("unsolicited status pending", [1, 1, 0, 1, 1, 1, 0]),
    ("program refused, its status pending", [1, 1, 0, 1, 1, 1, 0]),
    ("after a reset, quiescing", [3, 3, 3, 3, 3, 2, 3]),
];

/// A subchannel that is like the row of [`CODES`].
fn fixture(row: usize) -> Fixture {
    let mut fixture = match row {
        0 => return Fixture::new(),
        1..=3 | 11 | 12 => Fixture::enabled(),
        6 | 7 => Fixture::running_with(Fixture::suspending()),
        _ => Fixture::running(),
    };
    match row {
        1 => assert!(fixture.happens(Step::Unplug)),
        3 => assert_eq!(fixture.start(), 0),
        5 => fixture.step(Step::Pci),
        6 => fixture.step(Step::Suspend),
        7 => {
            fixture.step(Step::Suspend);
            assert_eq!(fixture.test().0, 0);
        }
        8 => assert_eq!(fixture.halt(), 0),
        9 => assert_eq!(fixture.clear(), 0),
        10 => fixture.step(Step::End),
        11 => fixture.step(Step::Attention),
        12 => {
            let mut orb = Fixture::orb();
            orb.program = 0x7FFF_0000.into();
            assert_eq!(fixture.ask(Request::Start(orb)), 0);
        }
        13 => fixture.reset(),
        _ => {}
    }
    fixture
}

#[test]
fn each_instruction_has_its_condition_code_in_each_state() {
    for (row, (name, codes)) in CODES.iter().enumerate() {
        let orb = Fixture::orb();
        let mut schib = Fixture::new().hardware();
        schib.pmcw.set_flag(PmcwFlags::ENABLED, true);
        let requests = [
            Request::Start(orb),
            Request::Halt,
            Request::Clear,
            Request::Cancel,
            Request::Resume,
            Request::Modify(schib),
            Request::Test,
        ];
        for (column, request) in requests.into_iter().enumerate() {
            let instruction = INSTRUCTIONS[column];
            let answer = fixture(row).ask(request);
            assert_eq!(answer, codes[column], "{instruction} when {name}");
            // It makes no difference whether the interruption has been taken.
            let mut looked = fixture(row);
            looked.look();
            assert_eq!(
                looked.ask(request),
                codes[column],
                "{instruction} when {name}"
            );
        }
    }
}
