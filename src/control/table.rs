//! The daemon's entries: clients, disks, and who is given what of them.
//!
//! # Rule
//!
//! The entries are copied once, at bring-up and when the daemon says that they have changed. Entries that are vacant are not here. What
//! is wrong with one is the trouble of whoever it is for.

use liballoc::string::{String, ToString};
use liballoc::vec::Vec;

use channel::DeviceNumber;
use vcss::control::{self, ExportKind};
use vcss::layout::Entry;
use vcss::Area;
use zerocopy::IntoBytes;

use super::{ControlError, Exported, Slot};

/// What the appliance serves by, or is to serve by.
#[derive(Debug, Default)]
pub struct Table {
    /// By their numbers, up to the last one that is not vacant.
    clients: Vec<Option<control::Client>>,
    /// In the same way.
    disks: Vec<Option<DiskEntry>>,
    /// Those that are not vacant, in their order.
    exports: Vec<Exported>,
}

/// A disk that is to be driven.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DiskEntry {
    pub name: String,
    pub number: DeviceNumber,
}

impl Table {
    pub(super) fn read(area: &Area<'_>) -> Result<Self, ControlError> {
        let mut this = Self::default();
        for index in 0..area.count::<control::Client>() {
            let entry: control::Client = read(area, "client", index)?;
            let is_vacant = entry.area.length.get() == 0 && entry.name.as_str().is_empty();
            this.set_client(index as u16, (!is_vacant).then_some(entry));
        }
        for index in 0..area.count::<control::Disk>() {
            let entry: control::Disk = read(area, "disk", index)?;
            let name = entry.name.as_str();
            let number = DeviceNumber {
                set: entry.set,
                number: entry.device.get(),
            };
            let disk = (!name.is_empty()).then(|| DiskEntry {
                name: name.to_string(),
                number,
            });
            this.set_disk(index as usize, disk);
        }
        let mut counts = Vec::new();
        for index in 0..area.count::<control::Export>() {
            let entry: control::Export = read(area, "export", index)?;
            if entry.kind.get() == ExportKind::Vacant as u32 {
                continue;
            }
            let client = entry.client.get();
            let place = usize::from(client);
            if counts.len() <= place && place < this.clients.len() {
                counts.resize(place + 1, 0);
            }
            let index_there = counts.get_mut(place).map_or(0, |count| {
                *count += 1;
                *count - 1
            });
            let slot = Slot {
                client,
                index: index_there,
            };
            this.exports.push(Exported {
                index: index as usize,
                // A daemon that knows no quotas limits nobody.
                quota: area.read(index).unwrap_or_default(),
                ..Exported::new(slot, entry)
            });
        }
        Ok(this)
    }

    pub fn client(&self, number: u16) -> Option<&control::Client> {
        self.clients.get(usize::from(number))?.as_ref()
    }

    /// The numbers of the clients.
    pub fn clients(&self) -> impl Iterator<Item = u16> + '_ {
        let all = (0..).zip(&self.clients);
        all.filter_map(|(number, entry)| entry.as_ref().map(|_| number))
    }

    pub fn set_client(&mut self, number: u16, entry: Option<control::Client>) {
        set(&mut self.clients, number.into(), entry);
    }

    pub fn disk(&self, index: usize) -> Option<&DiskEntry> {
        self.disks.get(index)?.as_ref()
    }

    /// How many disks there are up to the last one.
    pub fn disk_count(&self) -> usize {
        self.disks.len()
    }

    /// The disks, with their indices.
    pub fn disks(&self) -> impl Iterator<Item = (usize, &DiskEntry)> {
        let all = self.disks.iter().enumerate();
        all.filter_map(|(index, disk)| Some((index, disk.as_ref()?)))
    }

    pub fn set_disk(&mut self, index: usize, disk: Option<DiskEntry>) {
        set(&mut self.disks, index, disk);
    }

    pub fn exports(&self) -> &[Exported] {
        &self.exports
    }

    pub fn export(&self, index: usize) -> Option<&Exported> {
        let place = self.exports.binary_search_by_key(&index, |it| it.index);
        self.exports.get(place.ok()?)
    }

    /// What a client is given. Its virtual subchannels are in this order.
    pub fn exports_of(&self, client: u16) -> impl Iterator<Item = &Exported> {
        let all = self.exports.iter();
        all.filter(move |export| export.slot.client == client)
    }

    /// A client is given nothing any more.
    pub fn remove_exports_of(&mut self, client: u16) {
        self.exports.retain(|export| export.slot.client != client);
    }

    pub fn add_export(&mut self, export: Exported) {
        let place = self
            .exports
            .partition_point(|other| other.index < export.index);
        self.exports.insert(place, export);
    }

    /// Whether a client is the same here and there: what it shares, and what it is given.
    pub fn has_same_client(&self, other: &Self, number: u16) -> bool {
        let (own, others) = (self.client(number), other.client(number));
        // What it is told of does not make it another one.
        let bytes = |entry: Option<&control::Client>| {
            let entry = entry.map(|it| control::Client {
                flags: 0.into(),
                ..*it
            });
            entry.map(|it| it.as_bytes().to_vec())
        };
        bytes(own) == bytes(others)
            && self.exports_of(number).count() == other.exports_of(number).count()
            && (self.exports_of(number))
                .zip(other.exports_of(number))
                .all(|(own, others)| own.is(others))
    }

    /// Whether a client of this number has the same name here and there.
    pub fn has_client_of_the_name(&self, other: &Self, number: u16) -> bool {
        let name = |table: &Self| table.client(number).map(|it| it.name.as_str().to_string());
        name(self).is_some() && name(self) == name(other)
    }

    /// What an export is to its client, as a number that another one does not have; the same in every version. A slice that grows, may
    /// be written from now on, or has another serial number because its client has one more of the disk, is the same.
    pub fn identity(&self, export: &Exported) -> u32 {
        let disk = self.disk(export.disk());
        let disk = disk.filter(|_| matches!(export.kind, ExportKind::Block | ExportKind::Lent));
        let name = disk.map_or("", |disk| &disk.name);
        let number = disk.map_or([0; 3], |disk| {
            let [left, right] = disk.number.number.to_be_bytes();
            [disk.number.set, left, right]
        });
        let entry = &export.entry;
        let parts: [&[u8]; 8] = [
            entry.kind.as_bytes(),
            entry.device.as_bytes(),
            entry.start.as_bytes(),
            entry.owned_device.as_bytes(),
            &[entry.owned_set, entry.partition],
            &number,
            name.as_bytes(),
            &[0],
        ];
        // FNV-1a.
        let hash = parts
            .into_iter()
            .flatten()
            .fold(0x811C_9DC5, |hash, &byte| {
                (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)
            });
        hash.max(1)
    }
}

/// Sets an entry of a list that is as long as its last one says.
fn set<T>(list: &mut Vec<Option<T>>, index: usize, entry: Option<T>) {
    if list.len() <= index && entry.is_some() {
        list.resize_with(index + 1, || None);
    }
    if let Some(place) = list.get_mut(index) {
        *place = entry;
    }
    while list.last().is_some_and(Option::is_none) {
        list.pop();
    }
}

fn read<T: Entry>(area: &Area<'_>, of: &str, index: u32) -> Result<T, ControlError> {
    area.read(index).map_err(|error| ControlError::Area {
        of: of.to_string(),
        error,
    })
}
