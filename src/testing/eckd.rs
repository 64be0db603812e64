//! A storage control with one count-key-data volume: what each command does.

use std::collections::BTreeMap;
use std::vec::Vec;

use channel::CommandCode;
use s390x::ebcdic::CP037;
use zerocopy::{FromBytes, FromZeros, IntoBytes};

use super::unit::Unit;
use crate::driver::dasd::eckd::format::{
    self, Characteristics, CountField, DefineExtent, LocateRecord, PathGroup, Prefix, PrepareToRead,
};

const COMMAND_REJECT: u8 = 0x80;
const READ_CONFIGURATION: CommandCode = CommandCode(0xFA);
/// Logical subsystem and unit.
const ADDRESS: [u8; 2] = [0x12, 0x34];
/// Bytes 0 and 1.
const NO_RECORD: [u8; 2] = [0, 0x08];
const FILE_PROTECTED: [u8; 2] = [0, 0x04];
const WRITE_INHIBITED: [u8; 2] = [0x10, 0x02];
const INVALID_FORMAT: [u8; 2] = [0, 0x40];

/// What the storage control knows of path groups.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Groups {
    Unknown,
    SinglePath,
    Multipath,
}

/// A record: key and data.
#[derive(Clone, Debug, Default)]
pub struct Record {
    pub key: Vec<u8>,
    pub data: Vec<u8>,
}

type Address = (u16, u16, u8);

/// What a program has said so far.
#[derive(Debug, Default)]
struct Running {
    path: u8,
    extent: Option<DefineExtent>,
    domain: Option<LocateRecord>,
    next: Option<Address>,
    /// A storage query.
    prepared: bool,
}

/// A storage control and its volume.
#[derive(Debug)]
pub struct StorageControl {
    pub records: BTreeMap<Address, Record>,
    pub about: Characteristics,
    pub groups: Groups,
    /// What each path was told of its group.
    pub paths: BTreeMap<u8, PathGroup>,
    /// It takes PREFIX.
    pub prefix: bool,
    /// The volume is thin-provisioned, and the storage control says so.
    pub thin: bool,
    /// A format write hangs after so many records.
    pub format_hangs_after: Option<u8>,
    /// Format writes are inhibited.
    pub format_inhibited: bool,
    /// Records that were made.
    pub formatted: u32,
    program: Running,
}

impl StorageControl {
    /// A 3390 of some cylinders without records.
    pub fn new(cylinders: u16) -> Self {
        let mut about = Characteristics::new_zeroed();
        about.device = 0x3390.into();
        about.cylinders = cylinders.into();
        about.heads = 15.into();
        about.track_length = [0, 0xE5, 0xA2];
        (about.formula, about.factor_1, about.factor_6) = (2, 34, 6);
        about.factors = [19, 9, 6, 116];
        Self {
            records: BTreeMap::new(),
            about,
            groups: Groups::Multipath,
            paths: BTreeMap::new(),
            prefix: false,
            thin: false,
            format_hangs_after: None,
            format_inhibited: false,
            formatted: 0,
            program: Running::default(),
        }
    }

    /// Where the storage control says that it has PREFIX.
    pub fn offering_prefix(mut self) -> Self {
        self.about.facilities = 0x0200_0000.into();
        self
    }

    /// Thin-provisioned, with only these tracks formatted.
    pub fn thin(mut self, formatted: &[u16]) -> Self {
        self.thin = true;
        self.about.control = 0x2107.into();
        self.records
            .retain(|at, _| formatted.contains(&(at.0 * 15 + at.1)));
        self
    }

    /// Formats all tracks from number `first` on.
    pub fn format(mut self, first: u16, block: usize, records: u8) -> Self {
        for track in first..self.about.cylinders.get() * 15 {
            for record in 1..=records {
                let data = vec![0; block];
                let key = Vec::new();
                let address = (track / 15, track % 15, record);
                self.records.insert(address, Record { key, data });
            }
        }
        self
    }

    /// Puts a text into the data of a record, with a key.
    pub fn label(mut self, key: &str, text: &str) -> Self {
        // The IPL records are in front of it.
        for record in 1..3 {
            self.records.entry((0, 0, record)).or_default();
        }
        let record = self.records.entry((0, 0, 3)).or_default();
        let code = |text: &str| text.chars().map(|c| CP037.encode_char(c)).collect();
        record.key = code(key);
        let text: Vec<u8> = code(text);
        record.data.resize(record.data.len().max(80), 0);
        record.data[..text.len()].copy_from_slice(&text);
        self
    }

    fn execute(&mut self, code: CommandCode, data: &[u8]) -> Result<Vec<u8>, Vec<u8>> {
        let reject = || vec![COMMAND_REJECT];
        let Running {
            path,
            extent,
            domain,
            next,
            prepared,
        } = &mut self.program;
        let open = domain.is_some_and(|domain| domain.count > 0);
        match code {
            CommandCode::SENSE_ID => {
                let mut id = vec![0xFF, 0x39, 0x90, 2, 0x33, 0x90, 2];
                if self.thin {
                    id.extend([0, 0x40, READ_CONFIGURATION.0, 1, 0]);
                }
                Ok(id)
            }
            READ_CONFIGURATION if self.thin => {
                let mut data = vec![0; 256];
                data[..2].copy_from_slice(&[0xC0, 0x01]);
                data[30..32].copy_from_slice(&ADDRESS);
                Ok(data)
            }
            format::PERFORM_SUBSYSTEM_FUNCTION if self.thin => {
                let prepare = PrepareToRead::read_from_bytes(data).map_err(|_| reject())?;
                assert_eq!([prepare.subsystem, prepare.unit], ADDRESS);
                assert_eq!((prepare.order, prepare.suborder), (0x18, 0x52));
                *prepared = true;
                Ok(Vec::new())
            }
            format::READ_SUBSYSTEM_DATA if *prepared => {
                let mut storage = vec![0; 28];
                storage[0] = 0x20;
                Ok(storage)
            }
            format::READ_CHARACTERISTICS => Ok(self.about.as_bytes().to_vec()),
            format::DEFINE_EXTENT if !open => {
                let parameters = DefineExtent::read_from_bytes(data).map_err(|_| reject())?;
                let formats = parameters.mask == DefineExtent::MASK_FORMAT;
                assert!(!formats || self.thin);
                let attributes = match formats {
                    true => DefineExtent::ECKD_BYPASS_CACHE,
                    false => DefineExtent::ECKD,
                };
                assert_eq!(parameters.attributes, attributes);
                *extent = Some(parameters);
                Ok(Vec::new())
            }
            format::PREFIX if !open && self.prefix => {
                let prefix = Prefix::read_from_bytes(data).map_err(|_| reject())?;
                assert_eq!(prefix, Prefix::new(prefix.extent, prefix.locate));
                assert_eq!(prefix.extent.attributes, DefineExtent::ECKD);
                *extent = Some(prefix.extent);
                self.locate(prefix.locate)
            }
            format::LOCATE_RECORD if !open && extent.is_some() => {
                let locate = LocateRecord::read_from_bytes(data).map_err(|_| reject())?;
                self.locate(locate)
            }
            format::SENSE_PATH_GROUP if self.groups != Groups::Unknown => {
                let group = self.paths.get(path).copied().unwrap_or_default();
                Ok(group.as_bytes().to_vec())
            }
            format::SET_PATH_GROUP if self.groups != Groups::Unknown => {
                let mut group = PathGroup::read_from_bytes(data).map_err(|_| reject())?;
                let multipath = group.control == PathGroup::MULTIPATH;
                if multipath && self.groups == Groups::SinglePath {
                    return Err(reject());
                }
                group.control |= PathGroup::GROUPED;
                self.paths.insert(*path, group);
                Ok(Vec::new())
            }
            format::READ_COUNT | format::READ_CKD if open => {
                domain.as_mut().ok_or_else(reject)?.count -= 1;
                let (cylinder, head, record) = next.ok_or_else(reject)?;
                let mut behind = self.records.range((cylinder, head, record + 1)..);
                let found = behind
                    .next()
                    .filter(|(at, _)| (at.0, at.1) == (cylinder, head));
                let (at, found) = found.ok_or(NO_RECORD.to_vec())?;
                let count = CountField {
                    track: format::TrackAddress::new(at.0.into(), at.1),
                    record: at.2,
                    key: found.key.len() as u8,
                    data: (found.data.len() as u16).into(),
                };
                let mut answer = count.as_bytes().to_vec();
                if code == format::READ_CKD {
                    answer.extend(&found.key);
                    answer.extend(&found.data);
                }
                Ok(answer)
            }
            format::WRITE_CKD if open => {
                let locate = domain.as_mut().ok_or_else(reject)?;
                assert_eq!(locate.operation, LocateRecord::FORMAT_WRITE);
                if extent.is_none_or(|extent| extent.mask != DefineExtent::MASK_FORMAT) {
                    return Err(FILE_PROTECTED.to_vec());
                }
                if self.format_inhibited {
                    return Err(WRITE_INHIBITED.to_vec());
                }
                let (cylinder, head, before) = next.ok_or_else(reject)?;
                let count = CountField::read_from_bytes(data).map_err(|_| reject())?;
                let at = (cylinder, head, before + 1);
                assert_eq!(
                    (count.track.cylinder.get(), count.track.head.get()),
                    (cylinder, head)
                );
                assert_eq!((count.record, count.key), (before + 1, 0));
                // It ends the track behind it.
                let on = |record| (cylinder, head, record);
                let behind: Vec<_> = self.records.range(at..=on(255)).map(|it| *it.0).collect();
                assert_eq!(behind, [], "records are destroyed");
                let data = vec![0; count.data.get().into()];
                let key = Vec::new();
                self.records.insert(at, Record { key, data });
                self.formatted += 1;
                locate.count -= 1;
                *next = Some(at);
                Ok(Vec::new())
            }
            format::READ_DATA | format::WRITE_DATA if open => {
                let locate = domain.as_mut().ok_or_else(reject)?;
                let writes = code == format::WRITE_DATA;
                let operation = if writes {
                    LocateRecord::WRITE_DATA
                } else {
                    LocateRecord::READ_DATA
                };
                assert_eq!(locate.operation, operation);
                let place = next.ok_or_else(reject)?;
                protect(extent, place)?;
                let length = usize::from(locate.transfer_length.get());
                let record = self.records.get_mut(&place);
                let record = record.ok_or(NO_RECORD.to_vec())?;
                locate.count -= 1;
                let answer = if writes {
                    if extent.is_none_or(|extent| extent.mask != DefineExtent::MASK_UPDATE) {
                        return Err(FILE_PROTECTED.to_vec());
                    }
                    if record.data.len() != length {
                        return Err(INVALID_FORMAT.to_vec());
                    }
                    record.data.copy_from_slice(data);
                    Vec::new()
                } else {
                    record.data.clone()
                };
                // What comes next on the track, whatever its number, or the first of the next track.
                let track = place.0 * 15 + place.1 + 1;
                let other = (track / 15, track % 15, 1);
                let mut behind = self.records.range((place.0, place.1, place.2 + 1)..);
                let found = behind.next().map_or(other, |(at, _)| *at);
                let same = (found.0, found.1) == (place.0, place.1);
                *next = Some(if same { found } else { other });
                Ok(answer)
            }
            _ => Err(reject()),
        }
    }

    fn locate(&mut self, locate: LocateRecord) -> Result<Vec<u8>, Vec<u8>> {
        assert!(locate.count > 0);
        let place = (
            locate.seek.cylinder.get(),
            locate.seek.head.get(),
            locate.record,
        );
        protect(&self.program.extent, place)?;
        if locate.record > 0 && !self.records.contains_key(&place) {
            return Err(NO_RECORD.to_vec());
        }
        self.program.next = Some(place);
        self.program.domain = Some(locate);
        Ok(Vec::new())
    }
}

fn protect(extent: &Option<DefineExtent>, place: Address) -> Result<(), Vec<u8>> {
    let track = |at: format::TrackAddress| (at.cylinder.get(), at.head.get());
    let inside = extent.is_some_and(|extent| {
        (track(extent.first)..=track(extent.last)).contains(&(place.0, place.1))
    });
    if inside {
        Ok(())
    } else {
        Err(FILE_PROTECTED.to_vec())
    }
}

impl Unit for StorageControl {
    fn begin(&mut self, path: u8) {
        let half = self.program.domain.is_some_and(|domain| domain.count > 0);
        assert!(!half, "the program before has ended with half a domain");
        self.program = Running {
            path,
            ..Running::default()
        };
    }

    fn command(&mut self, code: CommandCode, data: &[u8]) -> Result<Vec<u8>, Vec<u8>> {
        let answer = self.execute(code, data);
        if answer.is_err() {
            self.program.domain = None;
        }
        answer
    }

    fn hangs(&mut self, code: CommandCode) -> bool {
        let before = self.program.next.map(|(_, _, record)| record);
        let hangs = code == format::WRITE_CKD
            && before.is_some_and(|before| self.format_hangs_after == Some(before));
        if hangs {
            self.format_hangs_after = None;
        }
        hangs
    }

    fn stop(&mut self) {
        self.program.domain = None;
    }
}
