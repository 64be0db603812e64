//! Administration on a volume in memory.

use std::string::ToString;

use super::format;
use crate::admin::{self, Reservation};
use crate::format::{Format, Layout, Mark, BLOCK_SIZES};
use crate::formatter::Formatter;
use crate::model::{Owner, Volume};
use crate::program::Program;
use crate::runner::{Failure, Fault, Runner};
use dasd::{Dscb, Label};

type Outcome = Result<(), Failure>;

/// Formats up to the end, or the first failure.
fn run(volume: &mut Volume, format: Format) -> Outcome {
    let mut formatter = Formatter::begin(volume, format)?;
    let mut done = formatter.tracks_done();
    while formatter.step(volume)? {
        assert!(formatter.tracks_done() > done, "it goes on");
        done = formatter.tracks_done();
    }
    assert_eq!(formatter.tracks_done(), format.tracks());
    Ok(())
}

#[test]
fn a_volume_gets_the_records_of_its_format_and_no_others() {
    for layout in [Layout::Cdl, Layout::Ldl] {
        for block in BLOCK_SIZES {
            let format = format(3, layout, block);
            // What is there before does not matter.
            let mut volume = Volume::new(3);
            volume.tracks = Volume::of(&super::format(3, Layout::Ldl, 512));
            run(&mut volume, format).unwrap();
            assert!(volume.tracks == Volume::of(&format), "{layout:?} {block}");
        }
    }
}

#[test]
fn label_and_vtoc_are_read_as_they_were_written() {
    let mut volume = Volume::new(3);
    let format = format(3, Layout::Cdl, 4096);
    let about = admin::characteristics(&mut volume).unwrap();
    assert_eq!(about, *format.about());
    assert_eq!(admin::label(&mut volume).unwrap(), (Label::None, None));
    run(&mut volume, format).unwrap();
    let (label, mark) = admin::label(&mut volume).unwrap();
    let (Label::Cdl(label), None) = (label, mark) else {
        panic!("{label:?} {mark:?}");
    };
    let found = admin::vtoc(&mut volume, &label, 15).unwrap();
    let records: Vec<u8> = found.iter().map(|(at, _)| at.record).collect();
    let found: Vec<Dscb> = found.iter().map(|(_, dscb)| Dscb::parse(dscb)).collect();
    assert_eq!(records, [1, 2]);
    assert!(matches!(found[..], [Dscb::Format4(_), Dscb::Format5(_)]));
}

/// Broken off at each program, and gone on with: the volume is complete in the end, and none before.
#[test]
fn formatting_can_be_broken_off_anywhere() {
    let format = format(45, Layout::Cdl, 4096);
    let mut whole = Volume::new(45);
    run(&mut whole, format).unwrap();
    let mut resumed = 0;
    for failing in 0..whole.programs {
        let mut volume = Volume::new(45);
        volume.fails_from = Some(failing);
        run(&mut volume, format).unwrap_err();
        volume.fails_from = None;
        let (label, mark) = admin::label(&mut volume).unwrap();
        resumed += u32::from(
            mark.and_then(|mark| mark.resumes(&format))
                .is_some_and(|at| at > 1),
        );
        // The label is what was written last, and it remained to be read back.
        let complete = volume.tracks == whole.tracks;
        assert_eq!(
            label != Label::None,
            complete,
            "{failing} of {}",
            whole.programs
        );
        run(&mut volume, format).unwrap();
        assert!(volume.tracks == whole.tracks, "{failing}");
    }
    assert!(
        resumed > whole.programs / 3,
        "{resumed} of {}",
        whole.programs
    );
}

#[test]
fn a_mark_says_no_more_than_what_was_read_back() {
    let format = format(45, Layout::Ldl, 4096);
    let mut volume = Volume::new(45);
    let mut formatter = Formatter::begin(&mut volume, format).unwrap();
    while formatter.step(&mut volume).unwrap() {
        let (_, mark) = admin::label(&mut volume).unwrap();
        let next = mark.unwrap().next.get();
        assert!(next <= formatter.tracks_done() + 1);
        let all = Volume::of(&format);
        assert!((1..next).all(|track| volume.tracks.get(&track) == all.get(&track)));
    }
}

#[test]
fn a_record_that_is_not_as_it_was_written_is_named() {
    /// A volume that loses a count field.
    struct Damaged(Volume);
    impl Runner for Damaged {
        fn run(&mut self, program: &mut Program) -> Result<(), Fault> {
            self.0.run(program)?;
            if let Some(track) = self.0.tracks.get_mut(&17) {
                track[4].0.data = 4095.into();
            }
            Ok(())
        }
    }
    let mut volume = Damaged(Volume::new(3));
    let format = format(3, Layout::Cdl, 4096);
    let mut formatter = Formatter::begin(&mut volume, format).unwrap();
    let failure = loop {
        match formatter.step(&mut volume) {
            Ok(more) => assert!(more),
            Err(failure) => break failure.to_string(),
        }
    };
    assert_eq!(
        failure,
        "verify: cylinder 1 head 2 record 5, key 0, data 4095 was read, and cylinder 1 head 2 record 5, key 0, data 4096 written"
    );
    let (label, mark) = admin::label(&mut volume).unwrap();
    assert!(label == Label::None && mark.is_some());
}

#[test]
fn what_cannot_be_written_keeps_its_label() {
    let format = format(3, Layout::Cdl, 4096);
    let mut volume = Volume::new(3);
    run(&mut volume, format).unwrap();
    volume.read_only = true;
    let other = super::format(3, Layout::Ldl, 4096);
    let failure = run(&mut volume, other).unwrap_err();
    assert!(failure.to_string().contains("write inhibited"), "{failure}");
    assert!(volume.tracks == Volume::of(&format));
}

#[test]
fn a_reservation_held_elsewhere_is_busy_until_it_is_stolen() {
    let mut volume = Volume::new(3);
    let reserve = |volume: &mut Volume, how| admin::reserve(volume, how);
    reserve(&mut volume, Reservation::Reserve).unwrap();
    assert_eq!(volume.reserved, Some(Owner::Us));
    reserve(&mut volume, Reservation::Release).unwrap();
    assert_eq!(volume.reserved, None);
    volume.reserved = Some(Owner::Other);
    for how in [Reservation::Reserve, Reservation::Release] {
        let refused = reserve(&mut volume, how);
        assert!(matches!(refused, Err(Failure::Fault(_, Fault::Busy))));
    }
    reserve(&mut volume, Reservation::Steal).unwrap();
    assert_eq!(volume.reserved, Some(Owner::Us));
}

#[test]
fn a_vtoc_that_lies_about_itself_ends() {
    let mut volume = Volume::new(3);
    run(&mut volume, format(3, Layout::Cdl, 4096)).unwrap();
    let (Label::Cdl(label), _) = admin::label(&mut volume).unwrap() else {
        panic!("no label");
    };
    // It says that it is everywhere, with more DSCBs on a track than there can be.
    let (_, four) = &mut volume.tracks.get_mut(&1).unwrap()[0];
    four.resize(140, 0);
    four[44 + 61 + 6..44 + 61 + 10].fill(0xFF);
    four[44 + 30] = 0xFF;
    assert!(admin::vtoc(&mut volume, &label, 15).unwrap().is_empty());
    assert!(Mark::parse(&[]).is_none());
}
