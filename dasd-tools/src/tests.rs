//! Formats against facts that stand in the manuals or were seen on volumes that other programs made.

mod admin;
#[cfg(feature = "std")]
mod disks;

use dasd::label::{Label, VolumeLabel};
use dasd::vtoc::{Dscb, DSCB};
use dasd::Characteristics;
use proptest::prelude::*;
use s390x::ebcdic::Text;
use zerocopy::{FromBytes, IntoBytes};

use crate::format::{serial, Format, FormatError, Layout, Mark, Record, BLOCK_SIZES};
use crate::model::Volume;

/// A 3390.
fn about(cylinders: u32) -> Characteristics {
    Volume::new(cylinders).about
}

fn format(cylinders: u32, layout: Layout, block: u16) -> Format {
    Format::new(about(cylinders), layout, block, serial("linux1").unwrap()).unwrap()
}

/// What the count fields of a track say: key and data.
fn counts(format: &Format, track: u32) -> Vec<(u8, u16)> {
    let address = format.address(track);
    let records = format.track(track).zip(1..);
    let check = |(record, number): (Record, u8)| {
        assert_eq!((record.count.track, record.count.record), (address, number));
        let bytes = usize::from(record.count.key) + usize::from(record.count.data.get());
        assert!(record.content.len() <= bytes);
        (record.count.key, record.count.data.get())
    };
    records.map(check).collect()
}

#[test]
fn a_3390_track_holds_what_the_manual_says() {
    let records = BLOCK_SIZES.map(|block| about(1).records_of(block.into()));
    assert_eq!(records, [Some(49), Some(33), Some(21), Some(12)]);
}

#[test]
fn a_cdl_volume_has_ipl_records_label_and_vtoc() {
    let cdl = format(3, Layout::Cdl, 4096);
    let mut first = std::vec![(4, 24), (4, 144), (4, 80)];
    first.resize(12, (0, 4096));
    assert_eq!(counts(&cdl, 0), first);
    assert_eq!(counts(&cdl, 1), [(44, 96); 12]);
    assert_eq!(counts(&cdl, 2), [(0, 4096); 12]);
    assert_eq!((cdl.tracks(), cdl.blocks()), (45, 43 * 12));
}

#[test]
fn an_ldl_volume_is_blocks_only() {
    let ldl = format(3, Layout::Ldl, 512);
    for track in 0..ldl.tracks() {
        assert_eq!(counts(&ldl, track), [(0, 512); 49]);
    }
    assert_eq!(ldl.blocks(), 45 * 49 - 3);
    let label = ldl.track(0).nth(2).unwrap();
    let Label::Ldl(label) = Label::parse(&label.content) else {
        panic!("{label:?}");
    };
    assert_eq!(label.formatted_blocks.get(), 45 * 49);
    assert_eq!(Text(&label.serial).to_string(), "LINUX1");
}

#[test]
fn the_label_of_a_cdl_volume_names_the_vtoc() {
    let record = format(3, Layout::Cdl, 4096).track(0).nth(2).unwrap();
    assert_eq!(record.content.len(), 4 + VolumeLabel::CDL);
    assert_eq!(record.content[..4], dasd::label::VOL1);
    let Label::Cdl(label) = Label::parse(&record.content[4..]) else {
        panic!("{record:?}");
    };
    assert_eq!(label.vtoc.as_bytes(), [0, 0, 0, 1, 1]);
    assert_eq!(Text(&label.serial).to_string(), "LINUX1");
}

/// The DSCBs of a volume.
fn dscbs(cylinders: u32) -> Vec<Dscb> {
    let format = format(cylinders, Layout::Cdl, 4096);
    let records = format.track(1).map(|record| {
        let mut bytes = [0; DSCB];
        bytes[..record.content.len()].copy_from_slice(&record.content);
        Dscb::parse(&bytes)
    });
    records.collect()
}

#[test]
fn free_space_of_a_small_volume_is_in_format_5() {
    let dscbs = dscbs(3);
    let [Dscb::Format4(all), Dscb::Format5(free), rest @ ..] = &dscbs[..] else {
        panic!("{dscbs:?}");
    };
    assert_eq!(
        (all.cylinders.get(), all.heads.get(), all.records),
        (3, 15, 12)
    );
    assert_eq!((all.free.get(), all.track_length.get()), (10, 0xE5A2));
    assert_eq!(all.extent.tracks(15), Some((1, 1)));
    assert_eq!(free.free[0].as_bytes(), [0, 2, 0, 2, 13]);
    assert!(rest.iter().all(|dscb| *dscb == Dscb::Free));
}

#[test]
fn free_space_of_a_large_volume_is_in_format_7() {
    let dscbs = dscbs(70_000);
    let [Dscb::Format4(all), Dscb::Format5(none), Dscb::Format7(free), ..] = &dscbs[..] else {
        panic!("{dscbs:?}");
    };
    assert_eq!(
        (all.cylinders.get(), all.long_cylinders.get()),
        (0xFFFE, 70_000)
    );
    assert_eq!((all.indicators, all.free_space_level), (0xA0, 7));
    assert_eq!(none.free[0].as_bytes(), [0; 5]);
    assert_eq!(
        (free.free[0].first.get(), free.free[0].end.get()),
        (2, 1_050_000)
    );
}

#[test]
fn what_cannot_be_formatted_is_refused() {
    let serial = serial("X").unwrap();
    let refused = |about, block| Format::new(about, Layout::Cdl, block, serial);
    assert_eq!(refused(about(3), 4095), Err(FormatError::BlockSize(4095)));
    assert_eq!(refused(about(0), 4096), Err(FormatError::Characteristics));
    assert_eq!(
        refused(about(1 << 28), 4096),
        Err(FormatError::Characteristics)
    );
    let mut short = about(1);
    short.heads = 2.into();
    assert_eq!(refused(short, 4096), Err(FormatError::TooSmall));
}

#[test]
fn a_serial_is_one_to_six_letters_or_digits() {
    assert_eq!(serial("ab1"), Some([0xC1, 0xC2, 0xF1, 0x40, 0x40, 0x40]));
    for wrong in ["", "sevenxx", "a b", "ä", "a/b"] {
        assert_eq!(serial(wrong), None, "{wrong}");
    }
}

#[test]
fn formatting_is_resumed_only_in_the_same_format() {
    let cdl = format(3, Layout::Cdl, 4096);
    let mark = Mark::new(&cdl, 17);
    assert_eq!(Mark::parse(mark.as_bytes()), Some(mark));
    assert_eq!(mark.resumes(&cdl), Some(17));
    assert_eq!(mark.resumes(&format(3, Layout::Ldl, 4096)), None);
    assert_eq!(mark.resumes(&format(3, Layout::Cdl, 2048)), None);
    assert_eq!(mark.resumes(&format(1, Layout::Cdl, 4096)), None);
    assert_eq!(Mark::new(&cdl, 0).resumes(&cdl), None);
    assert_eq!(Label::parse(mark.as_bytes()), Label::None);
}

proptest! {
    #[test]
    fn any_bytes_are_some_mark(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
        let _ = Mark::parse(&bytes);
    }

    /// Any characteristics give a format or none; the tracks of that are whole.
    #[test]
    fn any_device_has_some_format(bytes in any::<[u8; 64]>(), block in 0..4_usize, track in any::<u32>()) {
        let mut about = Characteristics::read_from_bytes(&bytes).unwrap();
        about.formula &= 3;
        for layout in [Layout::Cdl, Layout::Ldl] {
            let Ok(format) = Format::new(about, layout, BLOCK_SIZES[block], [0; 6]) else { continue };
            for track in [0, 1, 2, track % format.tracks(), format.tracks() - 1] {
                prop_assert_eq!(counts(&format, track).len(), usize::from(format.records()));
            }
            let _ = format.blocks();
        }
    }
}
