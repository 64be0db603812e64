//! `stellwerk dasdview`: what a disk is, and what its label and VTOC say, in the style of s390-tools' dasdview.

mod fields;

use std::fmt::Write;

use dasd::vtoc::DSCB;
use dasd::{Dscb, Label, RecordAddress, TrackAddress};
use s390x::ebcdic::Text;
use serde::{Deserialize, Serialize};
use zerocopy::IntoBytes;

use crate::admin;
use crate::runner::{Failure, Runner};
use fields::Fields;

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct View {
    pub disk: String,
    pub device: String,
    /// Control-unit type and model, device type and model; hexadecimal.
    pub control_unit: (String, String),
    /// Device type and model, hexadecimal.
    pub device_type: (String, String),
    pub cylinders: u32,
    /// Tracks of a cylinder.
    pub heads: u16,
    /// Blocks of a track; zero if it is not formatted.
    pub blocks_per_track: u32,
    /// Bytes of a block; zero if it is not formatted.
    pub block_size: u16,
    /// How it is formatted, in words.
    pub format: String,
    /// Volume serial; empty if there is no label.
    pub serial: String,
    /// READ DEVICE CHARACTERISTICS, hexadecimal.
    pub characteristics: String,
    pub label: Fields,
    pub vtoc: Vec<Entry>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Where it is: cylinder, track, record.
    pub place: (u32, u16, u8),
    /// `f1`, `f3`, `f4`, `f5`, `f7`, `f8` or `f9`; something else as two hexadecimal digits.
    pub format: String,
    pub fields: Fields,
    /// The data set, of `f1` and `f8`.
    pub data_set: Option<DataSet>,
}

/// A data set; of Linux, a partition.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DataSet {
    pub name: String,
    pub serial: String,
    /// The system that made it.
    pub system: String,
    /// When: year, and day of the year.
    pub created: (u32, u16),
    /// Its first extent: first and last track.
    pub tracks: Option<(u64, u64)>,
}

/// Looks at a disk.
///
/// # Errors
///
/// It cannot be read. That it is not formatted is no error.
pub fn look(disk: &mut dyn Runner, name: &str, device: &str) -> Result<View, Failure> {
    let about = admin::characteristics(disk)?;
    let (label, mark) = admin::label(disk)?;
    let heads = about.heads.get();
    // The first track that has blocks only.
    let first = if matches!(label, Label::Cdl(_)) { 2 } else { 1 };
    let place = TrackAddress::of_number(first, heads).place(1);
    let count = admin::count(disk, place)?.filter(|count| count.key == 0);
    let block = count.map_or(0, |count| count.data.get());
    let dscbs = match &label {
        Label::Cdl(label) => admin::vtoc(disk, label, heads)?,
        _ => Vec::new(),
    };
    let format = match (&label, mark) {
        (_, Some(mark)) => format!("being formatted, up to track {}", mark.next),
        (Label::Cdl(_), _) if block > 0 => "CDL formatted".into(),
        (Label::Ldl(_), _) => "LDL formatted".into(),
        (Label::Cms(_), _) => "CMS formatted".into(),
        _ => "NOT formatted".into(),
    };
    let pair = |kind: u16, model: u8| (format!("{kind:04x}"), format!("{model:02x}"));
    Ok(View {
        disk: name.into(),
        device: device.into(),
        control_unit: pair(about.control.get(), about.control_model),
        device_type: pair(about.device.get(), about.device_model),
        cylinders: about.cylinders(),
        heads,
        characteristics: hex::encode(about.as_bytes()),
        label: fields::label(&label),
        serial: match label {
            Label::None => String::new(),
            _ => Text(&label.serial()).to_string(),
        },
        format,
        vtoc: dscbs
            .iter()
            .map(|(at, dscb)| entry(*at, dscb, heads))
            .collect(),
        block_size: block,
        blocks_per_track: match block {
            0 => 0,
            block => about.records_of(block.into()).unwrap_or(0),
        },
    })
}

fn entry(at: RecordAddress, dscb: &[u8; DSCB], heads: u16) -> Entry {
    let (format, fields) = fields::dscb(dscb);
    let data_set = match Dscb::parse(dscb) {
        Dscb::Format1(it) | Dscb::Format8(it) => Some(DataSet {
            name: Text(&it.name).to_string(),
            serial: Text(&it.serial).to_string(),
            system: Text(&it.system).to_string(),
            created: (1900 + u32::from(it.created.year), it.created.day.get()),
            tracks: it.extent[0].tracks(heads),
        }),
        _ => None,
    };
    Entry {
        place: (at.track.cylinder(), at.track.head(), at.record),
        format,
        fields,
        data_set,
    }
}

/// What of a [`View`] is shown.
#[derive(Clone, Copy, Debug, Default)]
pub struct Parts<'a> {
    /// General information and geometry.
    pub general: bool,
    pub extended: bool,
    pub label: bool,
    /// The VTOC: `info`, `all`, or a format.
    pub vtoc: Option<&'a str>,
}

impl View {
    pub fn text(&self, parts: Parts<'_>) -> String {
        let mut text = String::new();
        // Writing to a string does not fail.
        let _ = self.write(&mut text, parts);
        text
    }

    fn write(&self, to: &mut String, parts: Parts<'_>) -> std::fmt::Result {
        if parts.general {
            rule(to, "general DASD information")?;
            line(to, "disk", &self.disk)?;
            line(to, "busid", &self.device)?;
            line(to, "type", "ECKD")?;
            digits(to, "device type", &self.device_type.0)?;
            rule(to, "DASD geometry")?;
            number(to, "number of cylinders", self.cylinders)?;
            number(to, "tracks per cylinder", self.heads.into())?;
            number(to, "blocks per track", self.blocks_per_track)?;
            number(to, "blocksize", self.block_size.into())?;
        }
        if parts.extended {
            self.extended(to)?;
        }
        if parts.label {
            rule(to, "volume label")?;
            for (name, value) in &self.label {
                writeln!(to, "{name:<24}: {value}")?;
            }
            if self.label.is_empty() {
                writeln!(to, "This volume has no label.")?;
            }
        }
        match parts.vtoc {
            Some(which) => self.vtoc(to, which),
            None => Ok(()),
        }
    }

    fn extended(&self, to: &mut String) -> std::fmt::Result {
        rule(to, "extended DASD information")?;
        digits(to, "CU type", &self.control_unit.0)?;
        digits(to, "CU model", &self.control_unit.1)?;
        digits(to, "device type", &self.device_type.0)?;
        digits(to, "device model", &self.device_type.1)?;
        line(to, "format", &self.format)?;
        let mut name = "characteristics        :";
        for row in self.characteristics.as_bytes().chunks(32) {
            let words: Vec<_> = row.chunks(8).map(String::from_utf8_lossy).collect();
            writeln!(to, "{name:<24} {}", words.join(" "))?;
            name = "";
        }
        Ok(())
    }

    fn vtoc(&self, to: &mut String, which: &str) -> std::fmt::Result {
        let all = which == "all";
        if all || which == "info" {
            self.vtoc_info(to)?;
        }
        let entries = self.vtoc.iter();
        let mut entries = entries.filter(|it| all || which == it.format).peekable();
        if let (None, Some(format)) = (entries.peek(), which.strip_prefix('f')) {
            rule(to, &format!("VTOC format {format} label"))?;
            writeln!(to, "This VTOC doesn't contain a format {format} label.")?;
        }
        for entry in entries {
            match entry.format.strip_prefix('f') {
                Some(format) => rule(to, &format!("VTOC format {format} label"))?,
                None => rule(to, &format!("DSCB with identifier {}", entry.format))?,
            }
            let (cylinder, track, block) = entry.place;
            writeln!(to, "(cyl {cylinder}, trk {track}, blk {block})")?;
            for (name, value) in &entry.fields {
                writeln!(to, "{name:<12}: {value}")?;
            }
        }
        Ok(())
    }

    fn vtoc_info(&self, to: &mut String) -> std::fmt::Result {
        rule(to, "VTOC info")?;
        writeln!(to, "The VTOC contains:")?;
        for format in ["f1", "f3", "f4", "f5", "f7", "f8", "f9"] {
            let count = self.vtoc.iter().filter(|it| it.format == format).count();
            writeln!(to, "  {count} format {} label(s)", &format[1..])?;
        }
        let sets = self.vtoc.iter().filter_map(|it| it.data_set.as_ref());
        let mut sets = sets.peekable();
        if sets.peek().is_none() {
            return writeln!(to, "There are no partitions defined.");
        }
        let edge = format!(" +{0:-<46}+{0:-<14}+{0:-<14}+", "");
        writeln!(to, "{edge}")?;
        let mut row = |first: &str, from: &str, end: &str| {
            writeln!(to, " | {first:<44} | {from:>12} | {end:>12} |")
        };
        row("data set", "start", "end")?;
        let heads = u64::from(self.heads.max(1));
        for set in sets {
            let ends = |show: &dyn Fn(u64) -> String| match set.tracks {
                Some((first, last)) => [show(first), show(last)],
                None => ["-".into(), "-".into()],
            };
            let tracks = ends(&|track| track.to_string());
            let places = ends(&|track| format!("{}/{}", track / heads, track % heads));
            let (serial, system, (year, day)) = (&set.serial, &set.system, set.created);
            row(&set.name, "trk", "trk")?;
            let serial = format!("data set serial number : '{serial}'");
            let system = format!("system code            : '{system}'");
            let created = format!("creation date          : year {year}, day {day}");
            row(&serial, &tracks[0], &tracks[1])?;
            row(&system, "cyl/trk", "cyl/trk")?;
            row(&created, &places[0], &places[1])?;
        }
        writeln!(to, "{edge}")
    }
}

/// `--- TITLE ---…`, of 80 columns.
fn rule(to: &mut String, title: &str) -> std::fmt::Result {
    write!(to, "\n{:-<79}\n", format!("--- {title} "))
}

fn line(to: &mut String, name: &str, value: &str) -> std::fmt::Result {
    writeln!(to, "{name:<23}: {value}")
}

fn number(to: &mut String, name: &str, number: u32) -> std::fmt::Result {
    line(to, name, &format!("hex {number:x}  \tdec {number}"))
}

/// A number that is there in hexadecimal digits.
fn digits(to: &mut String, name: &str, digits: &str) -> std::fmt::Result {
    number(to, name, u32::from_str_radix(digits, 16).unwrap_or(0))
}
