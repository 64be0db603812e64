//! The condition code of each instruction in each state that a client can see, measured.

use channel::PmcwFlags;

use super::fake::Step;
use super::scene::Scene;
use crate::proxy::subchannel::passthrough::Request;

/// The instructions, in the table's order.
pub const INSTRUCTIONS: [&str; 7] = [
    "START", "HALT", "CLEAR", "CANCEL", "RESUME", "MODIFY", "TEST",
];

/// What the client's subchannel is like, and the codes. How to get there is told by [`scene`].
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
fn scene(row: usize) -> Scene {
    let mut scene = match row {
        0 => return Scene::new(),
        1..=3 | 11 | 12 => Scene::enabled(),
        _ => Scene::running(),
    };
    match row {
        1 => assert!(scene.fake.step(Step::Unplug)),
        3 => assert_eq!(scene.start(), 0),
        5 => scene.step(Step::Pci),
        6 => scene.step(Step::Suspend),
        7 => {
            scene.step(Step::Suspend);
            assert_eq!(scene.test().0, 0);
        }
        8 => assert_eq!(scene.halt(), 0),
        9 => assert_eq!(scene.clear(), 0),
        10 => scene.step(Step::End),
        11 => scene.step(Step::Attention),
        12 => {
            let mut orb = Scene::orb();
            orb.program = 0x7FFF_0000.into();
            assert_eq!(scene.ask(Request::Start(&orb)), 0);
        }
        13 => scene.reset(),
        _ => {}
    }
    scene
}

#[test]
fn each_instruction_has_its_condition_code_in_each_state() {
    for (row, (name, codes)) in CODES.iter().enumerate() {
        let orb = Scene::orb();
        let mut schib = Scene::new().fake.schib;
        schib.pmcw.set_flag(PmcwFlags::ENABLED, true);
        let requests = [
            Request::Start(&orb),
            Request::Halt,
            Request::Clear,
            Request::Cancel,
            Request::Resume,
            Request::Modify(&schib),
            Request::Test,
        ];
        for (column, request) in requests.into_iter().enumerate() {
            let instruction = INSTRUCTIONS[column];
            let answer = scene(row).ask(request);
            assert_eq!(answer, codes[column], "{instruction} when {name}");
            // It makes no difference whether the interruption has been taken.
            let mut looked = scene(row);
            looked.look();
            assert_eq!(
                looked.ask(request),
                codes[column],
                "{instruction} when {name}"
            );
        }
    }
}
