//! A volume in memory, as tests want it.

use alloc::vec;
use alloc::vec::Vec;

use s390x::ebcdic::CP037;

use super::control::{disk_3390, StorageControl};
use super::records::{Record, Stored};
use crate::command::THIN_CONTROL;
use crate::label;
use crate::TrackAddress;

impl StorageControl<Stored> {
    /// A 3390 of some cylinders without records.
    pub fn new(cylinders: u16) -> Self {
        Self::over(disk_3390(cylinders), Stored::new())
    }

    /// Thin-provisioned, with only these tracks formatted.
    #[must_use]
    pub fn thin(mut self, formatted: &[u16]) -> Self {
        let heads = self.about.heads.get();
        self.thin = true;
        self.about.control = THIN_CONTROL.into();
        self.records.retain(|at, _| {
            let track = at.track().number(heads);
            formatted.iter().any(|one| u64::from(*one) == track)
        });
        self
    }

    /// Formats all tracks from number `first` on.
    #[must_use]
    pub fn format(mut self, first: u16, block: u16, records: u8) -> Self {
        let heads = self.about.heads.get();
        for track in first.into()..self.about.cylinders() * u32::from(heads) {
            for record in 1..=records {
                let at = TrackAddress::of_number(track, heads).place(record);
                let (key, data) = (Vec::new(), vec![0; block.into()]);
                self.records.insert(at, Record { key, data });
            }
        }
        self
    }

    /// Puts a text into the data of the label's record, with a key.
    #[must_use]
    pub fn label(mut self, key: &str, text: &str) -> Self {
        let on = |record| TrackAddress::new(0, 0).place(record);
        // The IPL records are in front of it.
        for record in 1..label::RECORD {
            self.records.entry(on(record)).or_default();
        }
        let record = self.records.entry(on(label::RECORD)).or_default();
        let code = |text: &str| text.chars().map(|c| CP037.encode_char(c)).collect();
        record.key = code(key);
        let text: Vec<u8> = code(text);
        record.data.resize(record.data.len().max(80), 0);
        record.data[..text.len()].copy_from_slice(&text);
        self
    }
}
