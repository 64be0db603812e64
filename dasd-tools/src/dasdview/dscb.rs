//! Entries of a VTOC, field by field, with the names that dasdview of s390-tools gives them.

use dasd::vtoc::{Date, Format1, Format3, Format4, Format5, Format7, Format9, Free5, Free7};
use dasd::{Dscb, Extent, RecordAddress, TrackAddress};
use s390x::ebcdic::Text;
use zerocopy::IntoBytes;

use super::hex;

/// Names and values.
pub type Fields = Vec<(String, String)>;

/// Which format it is, `f4` for example, and its fields.
pub fn fields(dscb: &Dscb) -> (String, Fields) {
    let mut to = List(Vec::new());
    let format = match dscb {
        Dscb::Free => "f0",
        Dscb::Format1(it) => to.format_1(it, "f1"),
        Dscb::Format3(it) => to.format_3(it),
        Dscb::Format4(it) => to.format_4(it),
        Dscb::Format5(it) => to.format_5(it),
        Dscb::Format7(it) => to.format_7(it),
        Dscb::Format8(it) => to.format_1(it, "f8"),
        Dscb::Format9(it) => to.format_9(it),
        Dscb::Other(id) => return (format!("{id:02x}"), to.0),
    };
    (format.into(), to.0)
}

/// `hex …  (cyl …, trk …)`.
pub fn track(at: TrackAddress) -> String {
    let digits = hex(at.as_bytes());
    format!("{digits} (cyl {}, trk {})", at.cylinder(), at.head())
}

/// `hex … (cyl …, trk …, blk …)`.
pub fn record(at: RecordAddress) -> String {
    let (cylinder, head) = (at.track.cylinder(), at.track.head());
    let digits = hex(at.as_bytes());
    format!("{digits} (cyl {cylinder}, trk {head}, blk {})", at.record)
}

struct List(Fields);

impl List {
    fn put(&mut self, name: &str, value: String) {
        self.0.push((name.into(), value));
    }

    fn bytes(&mut self, name: &str, bytes: &[u8]) {
        self.put(name, hex(bytes));
    }

    fn text(&mut self, name: &str, text: &[u8]) {
        self.put(name, format!("'{}'", Text(text)));
    }

    /// With as many hexadecimal digits as the field has.
    fn number(&mut self, name: &str, number: impl Into<u32>, digits: usize) {
        let number = number.into();
        self.put(name, format!("dec {number}, hex {number:0digits$x}"));
    }

    fn date(&mut self, name: &str, date: &Date) {
        let year = u32::from(date.year) + 1900;
        let digits = hex(date.as_bytes());
        self.put(name, format!("{digits} (year {year}, day {})", date.day));
    }

    fn extent(&mut self, name: &str, extent: &Extent) {
        let (lower, upper) = (track(extent.lower), track(extent.upper));
        let (kind, number) = (extent.kind, extent.sequence);
        self.put(
            name,
            format!("type {kind:02x}, number {number}, from {lower} to {upper}"),
        );
    }

    fn free_5(&mut self, name: &str, free: &Free5) {
        let (first, cylinders, tracks) = (free.first, free.cylinders, free.tracks);
        let digits = hex(free.as_bytes());
        self.put(
            name,
            format!("{digits} (start trk: {first}, length: {cylinders} cyl, {tracks} trk)"),
        );
    }

    fn free_7(&mut self, name: &str, free: &Free7) {
        let (first, end) = (free.first, free.end);
        let digits = hex(free.as_bytes());
        self.put(name, format!("{digits} (start trk {first}, end trk {end})"));
    }

    fn format_1(&mut self, it: &Format1, format: &'static str) -> &'static str {
        self.text("DS1DSNAM", &it.name);
        self.number("DS1FMTID", it.id, 2);
        self.text("DS1DSSN", &it.serial);
        self.number("DS1VOLSQ", it.volume_sequence, 4);
        self.date("DS1CREDT", &it.created);
        self.date("DS1EXPDT", &it.expires);
        self.number("DS1NOEPV", it.extents, 2);
        self.number("DS1NOBDB", it.directory_bytes, 2);
        self.number("DS1FLAG1", it.flags_1, 2);
        self.text("DS1SYSCD", &it.system);
        self.date("DS1REFD", &it.referenced);
        self.number("DS1SMSFG", it.managed, 2);
        self.number("DS1SCXTF", it.extension_flags, 2);
        self.number("DS1SCXTV", it.extension, 4);
        self.number("DS1DSRG", it.organisation, 4);
        self.number("DS1RECFM", it.record_format, 2);
        self.number("DS1OPTCD", it.options, 2);
        self.number("DS1BLKL", it.block, 4);
        self.number("DS1LRECL", it.record, 4);
        self.number("DS1KEYL", it.key, 2);
        self.number("DS1RKP", it.key_position, 4);
        self.number("DS1DSIND", it.indicators, 2);
        self.number("DS1SCAL1", it.allocation_flags, 2);
        self.bytes("DS1SCAL3", &it.allocation);
        self.bytes("DS1LSTAR", &it.last);
        self.number("DS1TRBAL", it.balance, 4);
        self.number("reserved", it.reserved, 4);
        for (number, extent) in it.extent.iter().enumerate() {
            self.extent(&format!("DS1EXT{}", number + 1), extent);
        }
        self.put("DS1PTRDS", record(it.next));
        format
    }

    fn format_3(&mut self, it: &Format3) -> &'static str {
        self.bytes("DS3KEYID", &it.key_id);
        for (number, extent) in it.extent.iter().enumerate() {
            self.extent(&format!("DS3EXTNT[{number}]"), extent);
        }
        self.number("DS3FMTID", it.id, 2);
        for (number, extent) in it.more.iter().enumerate() {
            self.extent(&format!("DS3ADEXT[{number}]"), extent);
        }
        self.put("DS3PTRDS", record(it.next));
        "f3"
    }

    fn format_4(&mut self, it: &Format4) -> &'static str {
        self.bytes("DS4KEYCD", &it.key);
        self.number("DS4IDFMT", it.id, 2);
        self.put("DS4HPCHR", record(it.highest));
        self.number("DS4DSREC", it.free, 4);
        self.put("DS4HCCHH", track(it.alternate));
        self.number("DS4NOATK", it.alternates, 4);
        self.number("DS4VTOCI", it.indicators, 2);
        self.number("DS4NOEXT", it.extents, 2);
        self.number("DS4SMSFG", it.managed, 2);
        self.number("DS4DEVAC", it.alternate_cylinders, 2);
        self.number("DS4DSCYL", it.cylinders, 4);
        self.number("DS4DSTRK", it.heads, 4);
        self.number("DS4DEVTK", it.track_length, 4);
        self.number("DS4DEVI", it.overhead, 2);
        self.number("DS4DEVL", it.last_overhead, 2);
        self.number("DS4DEVK", it.key_overhead, 2);
        self.number("DS4DEVFG", it.flags, 2);
        self.number("DS4DEVTL", it.tolerance, 4);
        self.number("DS4DEVDT", it.records, 2);
        self.number("DS4DEVDB", it.directory_blocks, 2);
        self.bytes("DS4AMTIM", &it.vsam[..8]);
        self.bytes("DS4AMCAT", &it.vsam[8..11]);
        self.bytes("DS4R2TIM", &it.vsam[11..]);
        self.bytes("res1", &it.reserved);
        self.bytes("DS4F6PTR", &it.format_6);
        self.extent("DS4VTOCE", &it.extent);
        self.bytes("res2", &it.reserved_2);
        self.number("DS4EFLVL", it.free_space_level, 2);
        self.put("DS4EFPTR", record(it.free_space));
        self.number("res3", it.reserved_3, 2);
        self.number("DS4DCYL", it.long_cylinders, 8);
        self.bytes("res4", &it.reserved_4);
        self.number("DS4DEVF2", it.device_flags, 2);
        self.number("res5", it.reserved_5, 2);
        "f4"
    }

    fn format_5(&mut self, it: &Format5) -> &'static str {
        self.bytes("DS5KEYID", &it.key_id);
        self.free_5("DS5AVEXT", &it.free[0]);
        for (number, free) in it.free.iter().enumerate().skip(1) {
            self.free_5(&format!("DS5EXTAV[{}]", number + 1), free);
        }
        self.number("DS5FMTID", it.id, 2);
        for (number, free) in it.more.iter().enumerate() {
            self.free_5(&format!("DS5MAVET[{}]", number + 9), free);
        }
        self.put("DS5PTRDS", record(it.next));
        "f5"
    }

    fn format_7(&mut self, it: &Format7) -> &'static str {
        self.bytes("DS7KEYID", &it.key_id);
        for (number, free) in it.free.iter().enumerate() {
            self.free_7(&format!("DS7EXTNT[{}]", number + 1), free);
        }
        self.number("DS7FMTID", it.id, 2);
        for (number, free) in it.more.iter().enumerate() {
            self.free_7(&format!("DS7ADEXT[{}]", number + 6), free);
        }
        self.bytes("res1", &it.reserved);
        self.put("DS7PTRDS", record(it.next));
        "f7"
    }

    fn format_9(&mut self, it: &Format9) -> &'static str {
        self.number("DS9KEYID", it.key_id, 2);
        self.number("DS9SUBTY", it.subtype, 2);
        self.number("DS9NUMF9", it.count, 2);
        self.bytes("res1", &it.reserved);
        self.number("DS9FMTID", it.id, 2);
        self.bytes("res2", &it.reserved_2);
        self.put("DS9PTRDS", record(it.next));
        "f9"
    }
}
