//! What administrators do, on a volume in memory.

use std::io;
use std::time::Duration;

use crate::admin::Reservation;
use crate::model::{Owner, Volume};

use crate::dasdfmt::{format, DasdfmtError, FormatLine, FormatOrder, Progress, Style, Use};
use crate::dasdview::{look, Parts};
use crate::format::Layout;
use crate::program::Program;
use crate::reserve::{Holder, Reservations};
use crate::runner::{Fault, Runner};

const UNUSED: Use = Use {
    sectors: None,
    exported: 0,
};

fn order(layout: Layout, block: u16) -> FormatOrder {
    FormatOrder {
        layout,
        block,
        serial: Some("linux1".into()),
    }
}

/// What is said while a disk is formatted, and how that ends.
fn formatted(disk: &mut Volume, order: &FormatOrder, used: Use) -> (Vec<FormatLine>, String) {
    let mut lines = Vec::new();
    let say = |line| {
        lines.push(line);
        Ok(())
    };
    let ended = format(disk, "0.0.0100", order, used, say);
    let ended = ended.map_or_else(|error| error.to_string(), |()| String::new());
    (lines, ended)
}

#[test]
fn formatting_says_what_it_does() {
    let mut disk = Volume::new(3);
    let (lines, ended) = formatted(&mut disk, &order(Layout::Cdl, 4096), UNUSED);
    assert_eq!(ended, "");
    let begins = FormatLine::Begins {
        device: "3390/0a".into(),
        serial: "LINUX1".into(),
        tracks: 45,
        records: 12,
        resumed: None,
    };
    let (blocks, anew) = (43 * 12, false);
    let rest = [FormatLine::Done(45), FormatLine::Complete { blocks, anew }];
    assert_eq!(lines.first(), Some(&begins));
    assert!(lines.ends_with(&rest), "{lines:?}");
}

#[test]
fn formatting_that_nobody_follows_is_broken_off_and_gone_on_with() {
    let mut disk = Volume::new(45);
    let mut told = 0;
    let ended = format(
        &mut disk,
        "0.0.0100",
        &order(Layout::Ldl, 4096),
        UNUSED,
        |_| {
            told += 1;
            match told {
                1 => Ok(()),
                _ => Err(io::ErrorKind::BrokenPipe.into()),
            }
        },
    );
    // It takes less time than there is between two lines.
    let Err(DasdfmtError::Unheard(error)) = ended else {
        panic!("{ended:?}");
    };
    assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
    disk.tracks.clear();
    disk.fails_from = Some(60);
    disk.programs = 0;
    let (_, ended) = formatted(&mut disk, &order(Layout::Ldl, 4096), UNUSED);
    assert!(ended.contains("sense 1000"), "{ended}");
    assert!(ended.contains("goes on from there"), "{ended}");
    disk.fails_from = None;
    let (lines, ended) = formatted(&mut disk, &order(Layout::Ldl, 4096), UNUSED);
    assert_eq!(ended, "");
    let Some(FormatLine::Begins { resumed, .. }) = &lines.first() else {
        panic!("{lines:?}");
    };
    assert!(resumed.is_some_and(|track| track >= 300), "{resumed:?}");
}

#[test]
fn what_cannot_be_formatted_is_refused_before_anything_is_written() {
    let mut disk = Volume::new(3);
    let mut refused = |order: &FormatOrder, used, why: &str| {
        let (lines, ended) = formatted(&mut disk, order, used);
        assert!(ended.contains(why), "{ended}");
        assert!(lines.is_empty() && disk.tracks.is_empty());
    };
    let cms = r#"{"layout":"cms","block":4096,"serial":null}"#;
    let error = serde_json::from_str::<FormatOrder>(cms).unwrap_err();
    assert!(error.to_string().contains("expected `cdl` or `ldl`"));
    refused(&order(Layout::Cdl, 1000), UNUSED, "512, 1024, 2048 or 4096");
    let long = FormatOrder {
        serial: Some("SEVENTH".into()),
        ..order(Layout::Cdl, 4096)
    };
    refused(&long, UNUSED, "no volume serial");
    let exported = Use {
        sectors: Some(5000),
        exported: 5000,
    };
    refused(
        &order(Layout::Cdl, 4096),
        exported,
        "would have 4128 sectors, and clients are given 5000",
    );
}

#[test]
fn a_disk_of_another_size_is_served_anew() {
    for (before, anew) in [(4128, false), (4096, true)] {
        let used = Use {
            sectors: Some(before),
            exported: 100,
        };
        let (lines, _) = formatted(&mut Volume::new(3), &order(Layout::Cdl, 4096), used);
        let blocks = 43 * 12;
        assert_eq!(lines.last(), Some(&FormatLine::Complete { blocks, anew }));
    }
}

#[test]
fn the_bar_goes_to_its_end() {
    let mut bar = Progress::new(Style::Bar);
    let mut lines = Progress::new(Style::Lines);
    let begins = FormatLine::Begins {
        device: "3390/0a".into(),
        serial: "LINUX1".into(),
        tracks: 200,
        records: 12,
        resumed: Some(101),
    };
    assert_eq!(
        bar.text(&begins),
        "3390/0a, 200 tracks of 12 blocks, volume serial LINUX1, going on with track 101 where it was broken off\n"
    );
    lines.text(&begins);
    let half = bar.text(&FormatLine::Done(100));
    assert!(
        half.starts_with(&format!("\r[{:<40}]  50 %", "#".repeat(20))),
        "{half}"
    );
    assert_eq!(
        lines.text(&FormatLine::Done(100)),
        "track 100 of 200, 50 %\n"
    );
    assert_eq!(lines.text(&FormatLine::Done(101)), "");
    let all = bar.text(&FormatLine::Done(200));
    assert!(
        all.contains(&"#".repeat(40)) && all.ends_with('\n'),
        "{all}"
    );
}

#[test]
fn a_reservation_held_elsewhere_is_waited_for_and_then_reported() {
    let book = Reservations::default();
    let limit = Duration::from_millis(1);
    let mut disk = Volume::new(3);
    disk.reserved = Some(Owner::Other);
    let refused = book
        .apply(&mut disk, "data", Reservation::Reserve, limit)
        .unwrap_err();
    assert!(
        refused.to_string().contains("reserved by another system"),
        "{refused}"
    );
    assert_eq!(book.entries()["data"], Holder::Other);
    // It is released while it is waited for.
    disk.reserved = None;
    disk.busy = 3;
    let limit = Duration::from_secs(10);
    book.apply(&mut disk, "data", Reservation::Reserve, limit)
        .unwrap();
    assert_eq!(book.entries()["data"], Holder::Us);
    book.apply(&mut disk, "data", Reservation::Release, limit)
        .unwrap();
    assert!(book.entries().is_empty());
    disk.reserved = Some(Owner::Other);
    book.apply(&mut disk, "data", Reservation::Steal, limit)
        .unwrap();
    assert_eq!(disk.reserved, Some(Owner::Us));
}

#[test]
fn a_formatted_disk_is_shown_as_dasdview_shows_it() {
    let mut disk = Volume::new(3);
    formatted(&mut disk, &order(Layout::Cdl, 4096), UNUSED);
    let view = look(&mut disk, "data", "0.0.0100").unwrap();
    assert_eq!(
        (view.serial.as_str(), view.format.as_str()),
        ("LINUX1", "CDL formatted")
    );
    let text = view.text(Parts {
        general: true,
        extended: true,
        label: true,
        vtoc: Some("all"),
    });
    for line in [
        "--- general DASD information --------------------------------------------------",
        "busid                  : 0.0.0100",
        "device type            : hex 3390  \tdec 13200",
        "number of cylinders    : hex 3  \tdec 3",
        "tracks per cylinder    : hex f  \tdec 15",
        "blocks per track       : hex c  \tdec 12",
        "blocksize              : hex 1000  \tdec 4096",
        "format                 : CDL formatted",
        "--- volume label --------------------------------------------------------------",
        "volume identifier       : 'LINUX1' hex d3c9d5e4e7f1",
        "VTOC pointer            : 0000000101 (cyl 0, trk 1, blk 1)",
        "  1 format 4 label(s)",
        "  1 format 5 label(s)",
        "  0 format 7 label(s)",
        "There are no partitions defined.",
        "--- VTOC format 4 label -------------------------------------------------------",
        "DS4DSREC    : dec 10, hex 000a",
        "DS4VTOCE    : type 01, number 0, from 00000001 (cyl 0, trk 1) to 00000001 (cyl 0, trk 1)",
        "DS5AVEXT    : 000200020d (start trk: 2, length: 2 cyl, 13 trk)",
    ] {
        assert!(text.lines().any(|it| it == line), "{line}\n{text}");
    }
    let one = view.text(Parts {
        vtoc: Some("f1"),
        ..Parts::default()
    });
    assert!(
        one.contains("This VTOC doesn't contain a format 1 label."),
        "{one}"
    );
}

#[test]
fn a_partition_is_shown_with_its_tracks() {
    let mut disk = Volume::new(3);
    formatted(&mut disk, &order(Layout::Cdl, 4096), UNUSED);
    // Tracks 2 to 44, as fdasd makes it.
    let ebcdic = |text: &'static str| text.chars().map(|c| s390x::ebcdic::CP037.encode_char(c));
    let mut dscb: Vec<u8> = ebcdic("LINUX.VLINUX1.PART0001.NATIVE").collect();
    dscb.resize(44, 0x40);
    dscb.push(0xF1);
    dscb.extend(ebcdic("LINUX1"));
    dscb.extend([0, 1, 126, 0, 200]);
    dscb.resize(62, 0);
    dscb.extend(ebcdic("IBM LINUX    "));
    dscb.resize(105, 0);
    dscb.extend([1, 0, 0, 0, 0, 2, 0, 2, 0, 14]);
    disk.tracks.get_mut(&1).unwrap()[2].1 = dscb;
    let view = look(&mut disk, "data", "0.0.0100").unwrap();
    let set = view.vtoc.iter().find_map(|entry| entry.data_set.clone());
    assert_eq!(set.unwrap().tracks, Some((2, 44)));
    let text = view.text(Parts {
        vtoc: Some("info"),
        ..Parts::default()
    });
    for line in [
        " +----------------------------------------------+--------------+--------------+",
        " | LINUX.VLINUX1.PART0001.NATIVE                |          trk |          trk |",
        " | data set serial number : 'LINUX1'            |            2 |           44 |",
        " | system code            : 'IBM LINUX'         |      cyl/trk |      cyl/trk |",
        " | creation date          : year 2026, day 200  |          0/2 |         2/14 |",
    ] {
        assert!(text.lines().any(|it| it == line), "{line}\n{text}");
    }
}

#[test]
fn an_unformatted_disk_and_one_that_is_being_formatted_are_shown() {
    let mut disk = Volume::new(45);
    let view = look(&mut disk, "data", "0.0.0100").unwrap();
    assert_eq!(view.format, "NOT formatted");
    assert_eq!((view.block_size, view.serial.as_str()), (0, ""));
    disk.fails_from = Some(60);
    formatted(&mut disk, &order(Layout::Cdl, 4096), UNUSED);
    disk.fails_from = None;
    let view = look(&mut disk, "data", "0.0.0100").unwrap();
    assert!(
        view.format.starts_with("being formatted, up to track 3"),
        "{}",
        view.format
    );
    let text = view.text(Parts {
        label: true,
        ..Parts::default()
    });
    assert!(text.contains("This volume has no label."), "{text}");
}

/// Whatever stands on a disk, it is shown, or is an error.
#[test]
fn no_label_and_no_vtoc_is_too_strange() {
    let mut disk = Volume::new(3);
    formatted(&mut disk, &order(Layout::Cdl, 4096), UNUSED);
    let whole = disk.clone();
    for (track, record, length) in [(0, 2, 84), (1, 0, 140), (1, 1, 140), (1, 2, 140)] {
        for seed in 0..200_u32 {
            let mut disk = whole.clone();
            let bytes = &mut disk.tracks.get_mut(&track).unwrap()[record].1;
            bytes.resize(length, 0);
            let mut state = seed.wrapping_mul(2_654_435_761) | 1;
            for byte in bytes.iter_mut() {
                state ^= state << 13;
                state ^= state >> 17;
                state ^= state << 5;
                if seed % 3 == 0 || state & 7 == 0 {
                    *byte = state as u8;
                }
            }
            if track == 1 {
                bytes[44] = [0xF1, 0xF3, 0xF4, 0xF5, 0xF7, 0xF8, 0xF9, 0xAA][seed as usize % 8];
            }
            if let Ok(view) = look(&mut disk, "data", "0.0.0100") {
                view.text(Parts {
                    general: true,
                    extended: true,
                    label: true,
                    vtoc: Some("all"),
                });
            }
        }
    }
}

/// A disk that is no disk.
#[test]
fn what_has_no_characteristics_is_no_disk() {
    struct Other;
    impl Runner for Other {
        fn run(&mut self, _: &mut Program) -> Result<(), Fault> {
            Ok(())
        }
    }
    let wrong = look(&mut Other, "data", "0.0.0100").unwrap_err();
    assert!(
        wrong.to_string().contains("no disk that is known"),
        "{wrong}"
    );
}
