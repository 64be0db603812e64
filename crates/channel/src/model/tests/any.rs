//! Programs of any kind: the interpretation ends, stays within its storage, and is the same however
//! it is run.

use proptest::prelude::*;

use alloc::vec;
use alloc::vec::Vec;

use super::fixture::{ccw, tic, Fixture, LIST, NOP, PROGRAM, READ, SIZE};
use super::programs::Bench;
use crate::model::Outcome;
use crate::{Ccw1, CcwFlags, OrbFlags, StatusControl};

/// CCWs that mostly make sense; their data lies from `data` on.
fn plausible(data: u32) -> impl Strategy<Value = Vec<Ccw1>> {
    let codes = vec![1u8, 2, 3, 4, 8, 0x0C, 0x31, NOP, READ];
    let flags = vec![
        0, 0x40, 0x40, 0x60, 0x60, 0x20, 0x80, 0x70, 0x68, 0x44, 0x64, 0x62, 0x41,
    ];
    let one = (
        prop::sample::select(codes),
        prop::sample::select(flags),
        0..20u16,
        0..0x40u32,
    );
    let ccw_of = move |(code, flags, count, at): (u8, u8, u16, u32)| {
        if code == 8 {
            tic(PROGRAM + 8 * (at % 12))
        } else {
            // Address lists lie where nothing is read to; all their addresses are 0.
            let flags = CcwFlags::from_bits_retain(flags);
            let list = flags.intersects(CcwFlags::IDA | CcwFlags::MIDA);
            let area = if list { LIST } else { data };
            ccw(code, flags, count, area + 4 * at)
        }
    };
    proptest::collection::vec(one.prop_map(ccw_of), 1..12)
}

proptest! {
    #[test]
    fn a_program_of_any_bytes_ends_within_the_limits(
        bytes in proptest::collection::vec(any::<u8>(), 8..256),
        control: u32,
    ) {
        let mut bench = Bench::new(&[], OrbFlags::empty());
        bench.orb.control = (control & 0x0FFB_00C0).into();
        bench.limits.resume = true;
        bench.storage.put(PROGRAM.into(), &bytes);
        let run = bench.run();
        prop_assert!(run.outcome != Outcome::Suspended);
        for area in run.trace.reads.iter().chain(&run.trace.writes) {
            prop_assert!(area.address + area.length <= SIZE as u64);
        }
    }

    #[test]
    fn a_plausible_program_ends_within_the_limits(
        ccws in plausible(PROGRAM),
        control: u32,
    ) {
        let mut bench = Bench::new(&ccws, OrbFlags::empty());
        bench.orb.control = ((control & 0x0F7B_00C0) | 0x0080_8000).into();
        bench.limits.resume = true;
        let run = bench.run();
        prop_assert!(run.outcome != Outcome::Suspended);
        if run.outcome == Outcome::Ended {
            prop_assert!(run.scsw.ended());
        }
    }

    #[test]
    fn prefetch_means_nothing_to_a_program_that_does_not_change(
        ccws in plausible(0x4000),
        control: u32,
    ) {
        let run = |prefetch: OrbFlags| {
            let mut bench = Bench::new(&ccws, OrbFlags::empty());
            bench.orb.control = ((control & 0x0F3B_00C0) | 0x0080_8000 | prefetch.bits()).into();
            bench.limits.resume = true;
            let run = bench.run();
            (run.outcome, run.scsw.program, run.scsw.count, run.scsw.subchannel_status,
             run.trace.ccws, run.trace.reads, run.trace.writes, bench.device.log)
        };
        prop_assert_eq!(run(OrbFlags::empty()), run(OrbFlags::PREFETCH));
    }

    #[test]
    fn the_model_ends_a_program_as_the_interpretation_does(
        ccws in plausible(0x4000),
        control: u32,
    ) {
        let flags = OrbFlags::from_bits_truncate(control & 0x077B_00C0);
        let alone = Bench::new(&ccws, flags).run();
        let mut fixture = Fixture::started(&ccws, flags);
        let mut last = None;
        for _ in 0..20_000 {
            if !fixture.css.step(fixture.id) && !fixture.css.step(fixture.id) {
                break;
            }
            let pending = fixture.scsw();
            if pending.status() == StatusControl::INTERMEDIATE | StatusControl::PENDING {
                fixture.test();
            } else if pending.ended() {
                last = Some(fixture.test().scsw);
                break;
            }
        }
        if alone.outcome == Outcome::Ended {
            let last = last.unwrap();
            prop_assert_eq!(last.program, alone.scsw.program);
            prop_assert_eq!(last.count, alone.scsw.count);
            prop_assert_eq!(last.device_status, alone.scsw.device_status);
            prop_assert_eq!(last.subchannel_status, alone.scsw.subchannel_status);
            prop_assert_eq!(last.status(), alone.scsw.status());
        }
    }
}
