//! The entries of the VTOC of an empty volume, as Linux writes them.

use alloc::vec::Vec;

use dasd::vtoc::{Extent, Format4, Format5, Format7, Free5, Free7, BIG};
use dasd::{RecordAddress, TrackAddress};
use zerocopy::big_endian::{U16, U32};
use zerocopy::{FromZeros, IntoBytes};

use super::Format;

/// The track behind label and VTOC.
const FIRST_FREE: u32 = 2;

impl Format {
    /// A record of the VTOC's only track, cylinder 0 head 1.
    pub(super) fn dscb(&self, record: u8) -> Vec<u8> {
        let is_big = self.tracks() > BIG;
        match record {
            1 => self.format_4(is_big).as_bytes().to_vec(),
            2 => self.format_5(is_big).as_bytes().to_vec(),
            3 if is_big => self.format_7().as_bytes().to_vec(),
            _ => Vec::new(),
        }
    }

    fn format_4(&self, is_big: bool) -> Format4 {
        let (about, records) = (self.about(), self.records());
        let vtoc = TrackAddress::new(0, 1);
        let mut dscb = Format4::new_zeroed();
        dscb.key = [4; 44];
        dscb.id = 0xF4;
        // This one and the format-5 one are not free. Linux counts the format-7 one as free.
        dscb.free = U16::new(u16::from(records).saturating_sub(2));
        dscb.extents = 1;
        dscb.cylinders = about.cylinders;
        dscb.heads = about.heads;
        dscb.track_length = U16::new(match about.device.get() {
            0x3380 => 0xBB60,
            0x3390 => 0xE5A2,
            0x9345 => 0xBC98,
            _ => u16::from(records).saturating_mul(self.block()),
        });
        dscb.flags = 0x30;
        dscb.records = records;
        dscb.extent = Extent {
            kind: Extent::DATA,
            sequence: 0,
            lower: vtoc,
            upper: vtoc,
        };
        if is_big {
            dscb.indicators = Format4::INDICATORS_BIG;
            dscb.free_space_level = 7;
            dscb.free_space = RecordAddress::new(0, 1, 3);
        }
        dscb.long_cylinders = U32::new(about.cylinders());
        dscb.device_flags = 0x40;
        dscb
    }

    /// Free space; that of a large volume says nothing.
    fn format_5(&self, is_big: bool) -> Format5 {
        let mut dscb = Format5::new_zeroed();
        (dscb.key_id, dscb.id) = ([5; 4], 0xF5);
        let heads = u32::from(self.about().heads.get());
        if !is_big {
            let free = self.tracks().saturating_sub(FIRST_FREE);
            dscb.free[0] = Free5 {
                first: U16::new(FIRST_FREE as u16),
                // At most 65,536 tracks.
                cylinders: U16::new((free / heads) as u16),
                tracks: (free % heads) as u8,
            };
        }
        dscb
    }

    fn format_7(&self) -> Format7 {
        let mut dscb = Format7::new_zeroed();
        (dscb.key_id, dscb.id) = ([7; 4], 0xF7);
        dscb.free[0] = Free7 {
            first: U32::new(FIRST_FREE),
            end: U32::new(self.tracks()),
        };
        dscb
    }
}
