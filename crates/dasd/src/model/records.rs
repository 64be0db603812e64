//! Where the records of a volume are.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use crate::{CountField, Place};

/// The records of a volume.
pub trait Records {
    /// The count field of a record that is there.
    fn count(&self, at: Place) -> Option<CountField>;
    /// The number of the next record of the track behind this place.
    fn behind(&self, at: Place) -> Option<u8>;
    /// Adds the key of a record to what is sent.
    fn key(&self, at: Place, sent: &mut Vec<u8>);
    /// Adds the data of a record to what is sent.
    fn data(&self, at: Place, sent: &mut Vec<u8>);
    /// Puts data into a record.
    fn update(&mut self, at: Place, data: &[u8]);
    /// Makes the record of a count field, and ends its track with it. Behind `content` key and data are zeroes.
    fn make(&mut self, count: &CountField, content: &[u8]);
}

/// A record: key and data.
#[derive(Clone, Debug, Default)]
#[allow(missing_docs, reason = "they are called what they are")]
pub struct Record {
    pub key: Vec<u8>,
    pub data: Vec<u8>,
}

/// Records in memory.
pub type Stored = BTreeMap<Place, Record>;

impl Records for Stored {
    fn count(&self, at: Place) -> Option<CountField> {
        let record = self.get(&at)?;
        Some(CountField {
            track: at.track(),
            record: at.record,
            key: record.key.len() as u8,
            data: (record.data.len() as u16).into(),
        })
    }

    fn behind(&self, at: Place) -> Option<u8> {
        let first = at.record.checked_add(1)?;
        let on = |record| at.track().place(record);
        let mut behind = self.range(on(first)..=on(u8::MAX));
        behind.next().map(|(at, _)| at.record)
    }

    fn key(&self, at: Place, sent: &mut Vec<u8>) {
        sent.extend(&self[&at].key);
    }

    fn data(&self, at: Place, sent: &mut Vec<u8>) {
        sent.extend(&self[&at].data);
    }

    fn update(&mut self, at: Place, data: &[u8]) {
        if let Some(record) = self.get_mut(&at) {
            record.data.copy_from_slice(data);
        }
    }

    fn make(&mut self, count: &CountField, content: &[u8]) {
        let at = count.track.place(count.record);
        while let Some(behind) = self.behind(at) {
            self.remove(&at.track().place(behind));
        }
        let length = usize::from(count.key) + usize::from(count.data.get());
        let mut key = content.to_vec();
        key.resize(length, 0);
        let data = key.split_off(count.key.into());
        self.insert(at, Record { key, data });
    }
}
