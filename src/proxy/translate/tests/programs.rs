//! Programs of every shape do what they do on the client's own storage.

use channel::OrbFlags;

use super::fixture::*;
use super::interpreter::Act;

const BASES: [u64; 4] = [0, LOW, 0x7FFF_0000, HIGH];

#[test]
fn one_ccw_moves_its_data() {
    for base in BASES {
        let mut client = Client::new(0x10000, base);
        client.program(0x1000, &[ccw(READ, NONE, 300, 0x2FF0)]);
        let run = same(
            &mut client,
            &orb(0x1000, OrbFlags::empty()),
            &[Act::moves(300)],
        );
        assert_eq!(run.ending.unwrap().program, 0x1008);
        assert_eq!(run.touched[0].length, 300);
    }
}

#[test]
fn a_search_loop_is_left_by_its_status_modifier() {
    for base in BASES {
        let mut client = Client::new(0x10000, base);
        client.program(
            0x1000,
            &[
                ccw(SEARCH, CC | SLI, 5, 0x2000),
                tic(0x1000),
                ccw(READ, CC, 100, 0x3000),
                ccw(WRITE, NONE, 50, 0x4000),
            ],
        );
        let acts = [
            Act::moves(5),
            Act::moves(5),
            Act::moves(5).skips(),
            Act::moves(100),
            Act::moves(50),
        ];
        let run = same(&mut client, &orb(0x1000, OrbFlags::empty()), &acts);
        assert_eq!(run.commands, [SEARCH, SEARCH, SEARCH, READ, WRITE]);
    }
}

#[test]
fn a_status_modifier_skips_out_of_every_segment() {
    let programs = [
        vec![
            ccw(NOP, CC | SLI, 1, 0),
            ccw(NOP, SLI, 1, 0),
            ccw(READ, NONE, 8, 0x3000),
        ],
        vec![
            ccw(NOP, CC | SLI, 1, 0),
            tic(0x5000),
            ccw(READ, NONE, 8, 0x3000),
        ],
        vec![ccw(NOP, CC | SLI, 1, 0), tic(0x5000), tic(0x5008)],
        vec![
            ccw(NOP, CC | SLI, 1, 0),
            tic(0x1018),
            ccw(READ, CC, 8, 0x3000),
            ccw(READ, NONE, 8, 0x3100),
        ],
    ];
    for program in programs {
        for skips in [false, true] {
            let mut client = Client::new(0x10000, LOW);
            client.program(0x1000, &program);
            client.program(
                0x5000,
                &[ccw(WRITE, CC, 8, 0x3000), ccw(WRITE, NONE, 8, 0x3000)],
            );
            let first = Act {
                modifier: skips,
                ..Act::moves(1)
            };
            let acts = [first, Act::moves(8), Act::moves(8)];
            same(&mut client, &orb(0x1000, OrbFlags::empty()), &acts);
        }
    }
}

#[test]
fn a_segment_that_runs_into_known_ground_joins_it() {
    // The second segment begins below the first and runs into it, with every kind of first CCW there.
    for first in [ccw(NOP, CC | SLI, 1, 0), tic(0x1010)] {
        for modifier in [false, true] {
            let mut client = Client::new(0x10000, LOW);
            client.program(
                0x0FF0,
                &[
                    ccw(WRITE, CC, 4, 0x2000),
                    ccw(READ, CC, 4, 0x2000),
                    ccw(NOP, CC | SLI, 1, 0),
                    first,
                    ccw(NOP, CC | SLI, 1, 0),
                    tic(0x0FF0),
                ],
            );
            let acts = [
                Act::moves(1),
                Act::moves(1),
                Act::moves(4),
                Act {
                    modifier,
                    ..Act::moves(4)
                },
                Act {
                    unit_check: true,
                    ..Act::moves(1)
                },
            ];
            same(&mut client, &orb(0x1000, OrbFlags::empty()), &acts);
        }
    }
}
