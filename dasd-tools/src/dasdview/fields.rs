//! Labels and entries of a VTOC, field by field, with the names that dasdview of s390-tools gives them.

use dasd::label::{CmsLabel, VolumeLabel};
use dasd::vtoc::{Date, Dscb, Extent, Free5, Free7, DSCB};
use dasd::{Label, RecordAddress, TrackAddress};
use s390x::ebcdic::Text;
use zerocopy::{FromBytes, IntoBytes};

use Kind::{Both, Bytes, Day, Each, Free, LargeFree, Number, Record, Skip, Track, Tracks, Words};

/// Names and values.
pub type Fields = Vec<(String, String)>;

/// What a field is, and of how many bytes where that is not always the same.
#[derive(Clone, Copy)]
enum Kind {
    /// Hexadecimal digits.
    Bytes(usize),
    /// EBCDIC.
    Words(usize),
    /// EBCDIC, and hexadecimal digits.
    Both(usize),
    /// A number, with at least so many hexadecimal digits.
    Number(usize, usize),
    Day,
    Track,
    Record,
    Tracks,
    Free,
    LargeFree,
    /// Several fields of a kind: the number of the first, and how many.
    Each(usize, usize, &'static Kind),
    /// Not shown.
    Skip(usize),
}

type Layout = &'static [(&'static str, Kind)];

const BYTE: Kind = Number(1, 2);
const HALF: Kind = Number(2, 4);
const WORD: Kind = Number(4, 8);

#[rustfmt::skip]
const VOL1: Layout = &[
    ("volume label identifier", Both(4)), ("volume identifier", Both(6)), ("security byte", Bytes(1)), ("VTOC pointer", Record),
    ("reserved", Both(5)), ("CI size for FBA", Both(4)), ("blocks per CI (FBA)", Both(4)), ("labels per CI (FBA)", Both(4)),
    ("reserved", Both(4)), ("owner code for VTOC", Both(14)), ("reserved", Both(28)),
];
#[rustfmt::skip]
const LNX1: Layout = &[
    ("volume label identifier", Both(4)), ("volume identifier", Both(6)), ("security byte", Bytes(1)), ("VTOC pointer", Both(5)),
    ("reserved", Both(5)), ("CI size for FBA", Both(4)), ("blocks per CI (FBA)", Both(4)), ("labels per CI (FBA)", Both(4)),
    ("reserved", Both(4)), ("owner code for VTOC", Both(14)), ("reserved", Both(28)), ("ldl_version", Both(1)),
    ("formatted_blocks", Number(8, 16)),
];
#[rustfmt::skip]
const CMS1: Layout = &[
    ("volume label identifier", Both(4)), ("volume identifier", Both(6)), ("version", Number(2, 8)), ("block size", WORD),
    ("directory block", WORD), ("usable", WORD), ("formatted", WORD), ("blocks", WORD), ("blocks in use", WORD),
    ("", Skip(16)), ("reserved file from", WORD),
];
#[rustfmt::skip]
const FORMAT_1: Layout = &[
    ("DS1DSNAM", Words(44)), ("DS1FMTID", BYTE), ("DS1DSSN", Words(6)), ("DS1VOLSQ", HALF), ("DS1CREDT", Day), ("DS1EXPDT", Day),
    ("DS1NOEPV", BYTE), ("DS1NOBDB", BYTE), ("DS1FLAG1", BYTE), ("DS1SYSCD", Words(13)), ("DS1REFD", Day), ("DS1SMSFG", BYTE),
    ("DS1SCXTF", BYTE), ("DS1SCXTV", HALF), ("DS1DSRG", HALF), ("DS1RECFM", BYTE), ("DS1OPTCD", BYTE), ("DS1BLKL", HALF),
    ("DS1LRECL", HALF), ("DS1KEYL", BYTE), ("DS1RKP", HALF), ("DS1DSIND", BYTE), ("DS1SCAL1", BYTE), ("DS1SCAL3", Bytes(3)),
    ("DS1LSTAR", Bytes(3)), ("DS1TRBAL", HALF), ("reserved", HALF), ("DS1EXT1", Tracks), ("DS1EXT2", Tracks),
    ("DS1EXT3", Tracks), ("DS1PTRDS", Record),
];
#[rustfmt::skip]
const FORMAT_3: Layout = &[
    ("DS3KEYID", Bytes(4)), ("DS3EXTNT", Each(0, 4, &Tracks)), ("DS3FMTID", BYTE), ("DS3ADEXT", Each(0, 9, &Tracks)),
    ("DS3PTRDS", Record),
];
#[rustfmt::skip]
const FORMAT_4: Layout = &[
    ("DS4KEYCD", Bytes(44)), ("DS4IDFMT", BYTE), ("DS4HPCHR", Record), ("DS4DSREC", HALF), ("DS4HCCHH", Track), ("DS4NOATK", HALF),
    ("DS4VTOCI", BYTE), ("DS4NOEXT", BYTE), ("DS4SMSFG", BYTE), ("DS4DEVAC", BYTE), ("DS4DSCYL", HALF), ("DS4DSTRK", HALF),
    ("DS4DEVTK", HALF), ("DS4DEVI", BYTE), ("DS4DEVL", BYTE), ("DS4DEVK", BYTE), ("DS4DEVFG", BYTE), ("DS4DEVTL", HALF),
    ("DS4DEVDT", BYTE), ("DS4DEVDB", BYTE), ("DS4AMTIM", Bytes(8)), ("DS4AMCAT", Bytes(3)), ("DS4R2TIM", Bytes(8)),
    ("res1", Bytes(5)), ("DS4F6PTR", Bytes(5)), ("DS4VTOCE", Tracks), ("res2", Bytes(10)), ("DS4EFLVL", BYTE),
    ("DS4EFPTR", Record), ("res3", BYTE), ("DS4DCYL", WORD), ("res4", Bytes(2)), ("DS4DEVF2", BYTE), ("res5", BYTE),
];
#[rustfmt::skip]
const FORMAT_5: Layout = &[
    ("DS5KEYID", Bytes(4)), ("DS5AVEXT", Free), ("DS5EXTAV", Each(2, 7, &Free)), ("DS5FMTID", BYTE),
    ("DS5MAVET", Each(9, 18, &Free)), ("DS5PTRDS", Record),
];
#[rustfmt::skip]
const FORMAT_7: Layout = &[
    ("DS7KEYID", Bytes(4)), ("DS7EXTNT", Each(1, 5, &LargeFree)), ("DS7FMTID", BYTE), ("DS7ADEXT", Each(6, 11, &LargeFree)),
    ("res1", Bytes(2)), ("DS7PTRDS", Record),
];
#[rustfmt::skip]
const FORMAT_9: Layout = &[
    ("DS9KEYID", BYTE), ("DS9SUBTY", BYTE), ("DS9NUMF9", BYTE), ("res1", Bytes(41)), ("DS9FMTID", BYTE), ("res2", Bytes(90)),
    ("DS9PTRDS", Record),
];

const _: () = {
    // The version is of LDL labels only.
    assert!(bytes(VOL1) + 1 == VolumeLabel::CDL && bytes(LNX1) == VolumeLabel::LDL);
    assert!(bytes(CMS1) <= size_of::<CmsLabel>());
    assert!(bytes(FORMAT_1) == DSCB && bytes(FORMAT_3) == DSCB && bytes(FORMAT_4) == DSCB);
    assert!(bytes(FORMAT_5) == DSCB && bytes(FORMAT_7) == DSCB && bytes(FORMAT_9) == DSCB);
};

/// Bytes of all fields.
const fn bytes(layout: Layout) -> usize {
    let (mut all, mut number) = (0, 0);
    while number < layout.len() {
        all += layout[number].1.bytes();
        number += 1;
    }
    all
}

impl Kind {
    const fn bytes(self) -> usize {
        match self {
            Bytes(count) | Words(count) | Both(count) | Number(count, _) | Skip(count) => count,
            Day => size_of::<Date>(),
            Track => size_of::<TrackAddress>(),
            Record => size_of::<RecordAddress>(),
            Tracks => size_of::<Extent>(),
            Free => size_of::<Free5>(),
            LargeFree => size_of::<Free7>(),
            Each(_, count, kind) => count * kind.bytes(),
        }
    }

    fn text(self, bytes: &[u8]) -> Option<String> {
        let digits = hex::encode(bytes);
        Some(match self {
            Bytes(_) => digits,
            Words(_) => format!("'{}'", Text(bytes)),
            Both(_) => format!("'{}' hex {digits}", Text(bytes)),
            Number(_, width) => {
                let number = bytes
                    .iter()
                    .fold(0, |all, byte| all << 8 | u64::from(*byte));
                format!("dec {number}, hex {number:0width$x}")
            }
            Day => {
                let date = Date::read_from_bytes(bytes).ok()?;
                format!(
                    "{digits} (year {}, day {})",
                    1900 + u32::from(date.year),
                    date.day
                )
            }
            Track => track(TrackAddress::read_from_bytes(bytes).ok()?),
            Record => {
                let at = RecordAddress::read_from_bytes(bytes).ok()?;
                let (cylinder, head) = (at.track.cylinder(), at.track.head());
                format!("{digits} (cyl {cylinder}, trk {head}, blk {})", at.record)
            }
            Tracks => {
                let extent = Extent::read_from_bytes(bytes).ok()?;
                let (lower, upper) = (track(extent.lower), track(extent.upper));
                let (kind, number) = (extent.kind, extent.sequence);
                format!("type {kind:02x}, number {number}, from {lower} to {upper}")
            }
            Free => {
                let free = Free5::read_from_bytes(bytes).ok()?;
                let (first, cylinders, tracks) = (free.first, free.cylinders, free.tracks);
                format!("{digits} (start trk: {first}, length: {cylinders} cyl, {tracks} trk)")
            }
            LargeFree => {
                let free = Free7::read_from_bytes(bytes).ok()?;
                format!("{digits} (start trk {}, end trk {})", free.first, free.end)
            }
            Each(..) | Skip(_) => return None,
        })
    }
}

fn track(at: TrackAddress) -> String {
    let digits = hex::encode(at.as_bytes());
    format!("{digits} (cyl {}, trk {})", at.cylinder(), at.head())
}

fn show(layout: Layout, mut bytes: &[u8]) -> Fields {
    let mut fields = Fields::new();
    let mut put = |name: String, kind: Kind| {
        if let Some((field, rest)) = bytes.split_at_checked(kind.bytes()) {
            bytes = rest;
            fields.extend(kind.text(field).map(|text| (name, text)));
        }
    };
    for &(name, kind) in layout {
        match kind {
            Each(first, count, kind) => {
                (first..first + count).for_each(|number| put(format!("{name}[{number}]"), *kind));
            }
            kind => put(name.into(), kind),
        }
    }
    fields
}

/// Which format a DSCB has, `f4` for example, and its fields.
pub fn dscb(bytes: &[u8; DSCB]) -> (String, Fields) {
    let (format, layout) = match Dscb::parse(bytes) {
        Dscb::Free => ("f0", [].as_slice()),
        Dscb::Format1(_) => ("f1", FORMAT_1),
        Dscb::Format3(_) => ("f3", FORMAT_3),
        Dscb::Format4(_) => ("f4", FORMAT_4),
        Dscb::Format5(_) => ("f5", FORMAT_5),
        Dscb::Format7(_) => ("f7", FORMAT_7),
        Dscb::Format8(_) => ("f8", FORMAT_1),
        Dscb::Format9 => ("f9", FORMAT_9),
        Dscb::Other(id) => return (format!("{id:02x}"), Fields::new()),
    };
    (format.into(), show(layout, bytes))
}

pub fn label(label: &Label) -> Fields {
    match label {
        Label::Cdl(label) => show(VOL1, label.as_bytes()),
        Label::Ldl(label) => show(LNX1, label.as_bytes()),
        Label::Cms(label) => show(CMS1, label.as_bytes()),
        Label::None => Fields::new(),
    }
}
