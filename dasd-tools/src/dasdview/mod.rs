//! `stellwerk dasdview`: what a disk is, and what its label and VTOC say, in the style of s390-tools' dasdview.

mod dscb;

use std::collections::BTreeMap;

use anyhow::{anyhow, Result};
use dasd::label::{CmsLabel, VolumeLabel};
use dasd::{Characteristics, Dscb, Label, Place, RecordAddress};
use s390x::ebcdic::Text;
use serde::{Deserialize, Serialize};
use zerocopy::IntoBytes;

use crate::admin::{self, Failure, Runner};
use crate::Program;
use dscb::Fields;

/// Entries of a VTOC that are shown, at most.
const MAX_DSCBS: usize = 4096;

/// A disk.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct View {
    /// What it is called.
    pub disk: String,
    /// Device number.
    pub device: String,
    /// Control-unit type and model, device type and model; hexadecimal.
    pub control_unit: (String, String),
    /// Device type and model, hexadecimal.
    pub device_type: (String, String),
    /// Cylinders.
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
    /// The fields of the label.
    pub label: Fields,
    /// The VTOC.
    pub vtoc: Vec<Entry>,
}

/// An entry of the VTOC.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Where it is: cylinder, track, record.
    pub place: (u32, u16, u8),
    /// `f1`, `f3`, `f4`, `f5`, `f7`, `f8` or `f9`; something else as two hexadecimal digits.
    pub format: String,
    /// Its fields.
    pub fields: Fields,
    /// The data set, of `f1` and `f8`.
    pub data_set: Option<DataSet>,
}

/// A data set; of Linux, a partition.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DataSet {
    /// Its name.
    pub name: String,
    /// Volume serial.
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
pub fn look<R: Runner>(disk: &mut R, name: &str, device: &str) -> Result<View>
where
    R::Error: std::fmt::Display,
{
    let plain = |failure: Failure<R::Error>| anyhow!("{failure}");
    let mut program = Box::new(Program::new());
    let about = admin::characteristics(disk, &mut program).map_err(plain)?;
    let (label, mark) = admin::label(disk, &mut program).map_err(plain)?;
    let heads = about.heads.get();
    // The first track that has blocks only.
    let first = if matches!(label, Label::Cdl(_)) { 2 } else { 1 };
    let place = Place {
        cylinder: first / u32::from(heads),
        head: (first % u32::from(heads)) as u16,
        record: 1,
    };
    let count = admin::count(disk, &mut program, place).map_err(plain)?;
    let block = count.filter(|count| count.key == 0);
    let block = block.map_or(0, |count| count.data.get());
    let mut vtoc = Vec::new();
    if let Label::Cdl(label) = &label {
        let taken = |at: RecordAddress, dscb: &Dscb| {
            if vtoc.len() < MAX_DSCBS {
                vtoc.push(entry(at, dscb, heads));
            }
        };
        admin::vtoc(disk, &mut program, label, heads, taken).map_err(plain)?;
    }
    let format = match (&label, mark) {
        (_, Some(mark)) => format!("being formatted, up to track {}", mark.next),
        (Label::Cdl(_), _) if block > 0 => "CDL formatted".into(),
        (Label::Ldl(_), _) => "LDL formatted".into(),
        (Label::Cms(_), _) => "CMS formatted".into(),
        _ => "NOT formatted".into(),
    };
    Ok(View {
        disk: name.into(),
        device: device.into(),
        label: label_fields(&label),
        serial: match label {
            Label::None => String::new(),
            _ => Text(&label.serial()).to_string(),
        },
        format,
        vtoc,
        block_size: block,
        blocks_per_track: match block {
            0 => 0,
            block => about.records_of(block.into()).unwrap_or(0),
        },
        ..device_view(&about)
    })
}

fn device_view(about: &Characteristics) -> View {
    let pair = |kind: u16, model: u8| (format!("{kind:04x}"), format!("{model:02x}"));
    View {
        control_unit: pair(about.control.get(), about.control_model),
        device_type: pair(about.device.get(), about.device_model),
        cylinders: about.cylinders(),
        heads: about.heads.get(),
        characteristics: hex(about.as_bytes()),
        ..View::default()
    }
}

fn entry(at: RecordAddress, dscb: &Dscb, heads: u16) -> Entry {
    let (format, fields) = dscb::fields(dscb);
    let data_set = match dscb {
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

fn label_fields(label: &Label) -> Fields {
    let text = |bytes: &[u8]| format!("'{}' hex {}", Text(bytes), hex(bytes));
    let field = |name: &str, value: String| (name.to_owned(), value);
    let both = |label: &VolumeLabel| {
        let mut fields = vec![
            field("volume label identifier", text(&label.name)),
            field("volume identifier", text(&label.serial)),
            field("security byte", hex(&[label.security])),
            field("VTOC pointer", dscb::record(label.vtoc)),
            field("reserved", text(&label.reserved)),
            field("CI size for FBA", text(&label.ci_size)),
            field("blocks per CI (FBA)", text(&label.blocks_per_ci)),
            field("labels per CI (FBA)", text(&label.labels_per_ci)),
            field("reserved", text(&label.reserved_2)),
            field("owner code for VTOC", text(&label.owner)),
            field("reserved", text(&label.reserved_3)),
        ];
        if label.name == dasd::label::LNX1 {
            fields[3].1 = text(label.vtoc.as_bytes());
            fields.push(field("ldl_version", text(&[label.version])));
            let blocks = label.formatted_blocks;
            fields.push(field(
                "formatted_blocks",
                format!("dec {blocks}, hex {:016x}", blocks.get()),
            ));
        }
        fields
    };
    let cms = |label: &CmsLabel| {
        let number =
            |name: &str, number: u32| field(name, format!("dec {number}, hex {number:08x}"));
        vec![
            field("volume label identifier", text(&label.name)),
            field("volume identifier", text(&label.serial)),
            number("version", label.version.get().into()),
            number("block size", label.block_size.get()),
            number("directory block", label.origin.get()),
            number("usable", label.usable.get()),
            number("formatted", label.formatted.get()),
            number("blocks", label.blocks.get()),
            number("blocks in use", label.used.get()),
            number("reserved file from", label.disk_offset.get()),
        ]
    };
    match label {
        Label::Cdl(label) | Label::Ldl(label) => both(label),
        Label::Cms(label) => cms(label),
        Label::None => Vec::new(),
    }
}

/// What of a [`View`] is shown.
#[derive(Clone, Copy, Debug, Default)]
pub struct Parts<'a> {
    /// General information and geometry.
    pub general: bool,
    /// Extended information.
    pub extended: bool,
    /// The volume label.
    pub label: bool,
    /// The VTOC: `info`, `all`, or a format.
    pub vtoc: Option<&'a str>,
}

impl View {
    /// For people.
    pub fn text(&self, parts: Parts<'_>) -> String {
        let mut text = String::new();
        if parts.general {
            text.push_str(&self.general());
        }
        if parts.extended {
            text.push_str(&self.extended());
        }
        if parts.label {
            text.push_str(&rule("volume label"));
            for (name, value) in &self.label {
                text.push_str(&format!("{name:<24}: {value}\n"));
            }
            if self.label.is_empty() {
                text.push_str("This volume has no label.\n");
            }
        }
        if let Some(which) = parts.vtoc {
            text.push_str(&self.vtoc(which));
        }
        text
    }

    fn general(&self) -> String {
        let mut text = rule("general DASD information");
        text.push_str(&line("disk", &self.disk));
        text.push_str(&line("busid", &self.device));
        text.push_str(&line("type", "ECKD"));
        text.push_str(&hexadecimal("device type", &self.device_type.0));
        text.push_str(&rule("DASD geometry"));
        text.push_str(&number("number of cylinders", self.cylinders));
        text.push_str(&number("tracks per cylinder", self.heads.into()));
        text.push_str(&number("blocks per track", self.blocks_per_track));
        text.push_str(&number("blocksize", self.block_size.into()));
        text
    }

    fn extended(&self) -> String {
        let mut text = rule("extended DASD information");
        text.push_str(&hexadecimal("CU type", &self.control_unit.0));
        text.push_str(&hexadecimal("CU model", &self.control_unit.1));
        text.push_str(&hexadecimal("device type", &self.device_type.0));
        text.push_str(&hexadecimal("device model", &self.device_type.1));
        text.push_str(&line("format", &self.format));
        for (number, row) in self.characteristics.as_bytes().chunks(32).enumerate() {
            let name = if number == 0 { "characteristics" } else { "" };
            let words: Vec<_> = row.chunks(8).map(String::from_utf8_lossy).collect();
            let colon = if number == 0 { ':' } else { ' ' };
            text.push_str(&format!("{name:<23}{colon} {}\n", words.join(" ")));
        }
        text
    }

    fn vtoc(&self, which: &str) -> String {
        let mut text = String::new();
        if which == "info" || which == "all" {
            text.push_str(&self.vtoc_info());
        }
        let mut shown = 0;
        for entry in &self.vtoc {
            if which != "all" && which != entry.format {
                continue;
            }
            shown += 1;
            text.push_str(&match entry.format.strip_prefix('f') {
                Some(format) => rule(&format!("VTOC format {format} label")),
                None => rule(&format!("DSCB with identifier {}", entry.format)),
            });
            let (cylinder, track, block) = entry.place;
            text.push_str(&format!("(cyl {cylinder}, trk {track}, blk {block})\n"));
            for (name, value) in &entry.fields {
                text.push_str(&format!("{name:<12}: {value}\n"));
            }
        }
        if shown == 0 && which != "info" && which != "all" {
            let format = which.trim_start_matches('f');
            text.push_str(&rule(&format!("VTOC format {format} label")));
            text.push_str(&format!(
                "This VTOC doesn't contain a format {format} label.\n"
            ));
        }
        text
    }

    fn vtoc_info(&self) -> String {
        let mut text = rule("VTOC info");
        text.push_str("The VTOC contains:\n");
        let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
        for entry in &self.vtoc {
            *counts.entry(&entry.format).or_default() += 1;
        }
        for format in ["f1", "f3", "f4", "f5", "f7", "f8", "f9"] {
            let count = counts.get(format).copied().unwrap_or(0);
            text.push_str(&format!("  {count} format {} label(s)\n", &format[1..]));
        }
        let sets: Vec<&DataSet> = self
            .vtoc
            .iter()
            .filter_map(|it| it.data_set.as_ref())
            .collect();
        if sets.is_empty() {
            text.push_str("There are no partitions defined.\n");
            return text;
        }
        let line = format!(" +{0:-<46}+{0:-<14}+{0:-<14}+\n", "");
        let mut row = |first: String, from: String, to: String| {
            text.push_str(&format!(" | {first:<44} | {from:>12} | {to:>12} |\n"));
        };
        row("data set".into(), "start".into(), "end".into());
        for set in sets {
            row(set.name.clone(), "trk".into(), "trk".into());
            let end = |track: fn((u64, u64)) -> u64| {
                set.tracks.map_or("-".into(), |it| track(it).to_string())
            };
            row(
                format!("data set serial number : '{}'", set.serial),
                end(|it| it.0),
                end(|it| it.1),
            );
            let heads = u64::from(self.heads.max(1));
            let place = |track: fn((u64, u64)) -> u64| {
                let place = |track: u64| format!("{}/{}", track / heads, track % heads);
                set.tracks.map_or("-".into(), |it| place(track(it)))
            };
            row(
                format!("system code            : '{}'", set.system),
                "cyl/trk".into(),
                "cyl/trk".into(),
            );
            let (year, day) = set.created;
            row(
                format!("creation date          : year {year}, day {day}"),
                place(|it| it.0),
                place(|it| it.1),
            );
        }
        let at = text.find(" | data set ").unwrap_or(0);
        text.insert_str(at, &line);
        text.push_str(&line);
        text
    }
}

/// `--- TITLE ---…`, of 80 columns.
fn rule(title: &str) -> String {
    format!("\n{:-<79}\n", format!("--- {title} "))
}

fn line(name: &str, value: &str) -> String {
    format!("{name:<23}: {value}\n")
}

fn number(name: &str, number: u32) -> String {
    line(name, &format!("hex {number:x}  \tdec {number}"))
}

/// A number that is there in hexadecimal digits.
fn hexadecimal(name: &str, digits: &str) -> String {
    let value = u32::from_str_radix(digits, 16).unwrap_or(0);
    line(name, &format!("hex {value:x}  \tdec {value}"))
}

/// Bytes as hexadecimal digits.
fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
