//! What each command does.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use channel::CommandCode;
use zerocopy::{FromBytes, FromZeros, IntoBytes};

use super::records::Records;
use super::sense::{
    Sense, COMMAND_REJECT, FILE_PROTECTED, INVALID_FORMAT, NO_RECORD, WRITE_INHIBITED,
};
use crate::command::{
    DefineExtent, LocateRecord, PathGroup, Prefix, PrepareToRead, VolumeStorage, DEFINE_EXTENT,
    LOCATE_RECORD, PERFORM_SUBSYSTEM_FUNCTION, PREFIX, READ_CHARACTERISTICS, READ_CKD, READ_COUNT,
    READ_DATA, READ_SUBSYSTEM_DATA, SENSE_PATH_GROUP, SET_PATH_GROUP, WRITE_CKD, WRITE_DATA,
};
use crate::{Characteristics, CountField, Place, TrackAddress};

/// READ CONFIGURATION DATA, as SENSE ID names it.
const READ_CONFIGURATION: CommandCode = CommandCode(0xFA);
/// Logical subsystem and unit.
const ADDRESS: [u8; 2] = [0x12, 0x34];

/// What the storage control knows of path groups.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "they are called what they are")]
pub enum Groups {
    Unknown,
    SinglePath,
    Multipath,
}

/// What a program has said so far.
#[derive(Debug, Default)]
struct Running {
    path: u8,
    extent: Option<DefineExtent>,
    domain: Option<LocateRecord>,
    /// The record that the next command of the domain is about, or the one in front of it.
    next: Option<Place>,
    /// A storage query.
    prepared: bool,
}

/// A storage control and its volume.
#[derive(Debug)]
pub struct StorageControl<R> {
    /// The volume's records.
    pub records: R,
    /// What it says of the device.
    pub about: Characteristics,
    /// What it knows of path groups.
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
    /// Whoever runs programs formats volumes: records are made with keys and contents, and may take the place of others.
    pub administered: bool,
    /// Records that were made.
    pub formatted: u32,
    program: Running,
}

/// What a 3390 of so many cylinders says of itself.
pub fn disk_3390(cylinders: u16) -> Characteristics {
    let mut about = Characteristics::new_zeroed();
    about.device = 0x3390.into();
    about.cylinders = cylinders.into();
    about.heads = 15.into();
    about.track_length = [0, 0xE5, 0xA2];
    (about.formula, about.factor_1, about.factor_6) = (2, 34, 6);
    about.factors = [19, 9, 6, 116];
    about
}

impl<R: Records> StorageControl<R> {
    /// A storage control with a disk that has these records.
    pub fn over(about: Characteristics, records: R) -> Self {
        Self {
            records,
            about,
            groups: Groups::Multipath,
            paths: BTreeMap::new(),
            prefix: false,
            thin: false,
            format_hangs_after: None,
            format_inhibited: false,
            administered: false,
            formatted: 0,
            program: Running::default(),
        }
    }

    /// Where the storage control says that it has PREFIX.
    #[must_use]
    pub fn offering_prefix(mut self) -> Self {
        self.about.facilities = Characteristics::PREFIX.into();
        self
    }

    /// A program starts over this path.
    pub fn begin(&mut self, path: u8) {
        assert!(
            !self.is_open(),
            "the program before has ended with half a domain"
        );
        self.program = Running {
            path,
            ..Running::default()
        };
    }

    /// Whether the program has a domain that is not used up.
    pub fn is_open(&self) -> bool {
        self.program.domain.is_some_and(|domain| domain.count > 0)
    }

    /// The program is over before its end.
    pub fn stop(&mut self) {
        self.program.domain = None;
    }

    /// Whether this command does not end before a halt or clear function ends it.
    pub fn hangs(&mut self, code: CommandCode) -> bool {
        let before = self.program.next.map(|at| at.record);
        let hangs = code == WRITE_CKD && before.is_some() && self.format_hangs_after == before;
        if hangs {
            self.format_hangs_after = None;
        }
        hangs
    }

    /// A command with its data. Adds what it sends.
    ///
    /// # Errors
    ///
    /// The sense bytes of its unit check, which ends the program.
    pub fn command(
        &mut self,
        code: CommandCode,
        data: &[u8],
        sent: &mut Vec<u8>,
    ) -> Result<(), Sense> {
        let done = self.execute(code, data, sent);
        if done.is_err() {
            self.stop();
        }
        done
    }

    fn execute(&mut self, code: CommandCode, data: &[u8], sent: &mut Vec<u8>) -> Result<(), Sense> {
        let program = &self.program;
        let open = self.is_open();
        let free = !open && program.extent.is_none();
        let grouped = self.groups != Groups::Unknown;
        match code {
            CommandCode::SENSE_ID => self.sense_id(sent),
            READ_CONFIGURATION if self.thin => read_configuration(sent),
            PERFORM_SUBSYSTEM_FUNCTION if self.thin => return self.prepare(data),
            READ_SUBSYSTEM_DATA if program.prepared => read_storage(sent),
            READ_CHARACTERISTICS => sent.extend(self.about.as_bytes()),
            SENSE_PATH_GROUP if grouped => self.sense_path_group(sent),
            SET_PATH_GROUP if grouped => return self.set_path_group(data),
            DEFINE_EXTENT if free => return self.define_extent(data),
            PREFIX if free && self.prefix => return self.prefix(data),
            LOCATE_RECORD if !open && program.extent.is_some() => {
                return self.locate(parameters(data)?);
            }
            READ_COUNT | READ_CKD if open => return self.read_count(code == READ_CKD, sent),
            READ_DATA if open => return self.read_data(sent),
            WRITE_DATA if open => return self.write_data(data),
            WRITE_CKD if open => return self.write_count(data),
            _ => return Err(COMMAND_REJECT),
        }
        Ok(())
    }

    fn sense_id(&self, sent: &mut Vec<u8>) {
        sent.extend([0xFF, 0x39, 0x90, 2, 0x33, 0x90, 2]);
        if self.thin {
            sent.extend([0, 0x40, READ_CONFIGURATION.0, 1, 0]);
        }
    }

    fn prepare(&mut self, data: &[u8]) -> Result<(), Sense> {
        let prepare: PrepareToRead = parameters(data)?;
        assert_eq!([prepare.subsystem, prepare.unit], ADDRESS);
        let wanted = (PrepareToRead::ORDER, PrepareToRead::VOLUME_STORAGE);
        assert_eq!((prepare.order, prepare.suborder), wanted);
        self.program.prepared = true;
        Ok(())
    }

    fn sense_path_group(&self, sent: &mut Vec<u8>) {
        let group = self.paths.get(&self.program.path);
        sent.extend(group.copied().unwrap_or_default().as_bytes());
    }

    fn set_path_group(&mut self, data: &[u8]) -> Result<(), Sense> {
        let mut group: PathGroup = parameters(data)?;
        let multipath = group.control == PathGroup::MULTIPATH;
        if multipath && self.groups == Groups::SinglePath {
            return Err(COMMAND_REJECT);
        }
        group.control |= PathGroup::GROUPED;
        self.paths.insert(self.program.path, group);
        Ok(())
    }

    fn define_extent(&mut self, data: &[u8]) -> Result<(), Sense> {
        let extent: DefineExtent = parameters(data)?;
        let formats = extent.mask == DefineExtent::MASK_FORMAT;
        assert!(!formats || self.thin || self.administered);
        let attributes = match formats {
            true => DefineExtent::ECKD_BYPASS_CACHE,
            false => DefineExtent::ECKD,
        };
        assert_eq!(extent.attributes, attributes);
        let heads = self.about.heads.get();
        let tracks = u64::from(self.about.cylinders()) * u64::from(heads);
        if extent.last.number(heads) >= tracks {
            return Err(FILE_PROTECTED);
        }
        self.program.extent = Some(extent);
        Ok(())
    }

    fn prefix(&mut self, data: &[u8]) -> Result<(), Sense> {
        let prefix: Prefix = parameters(data)?;
        assert_eq!(prefix, Prefix::new(prefix.extent, prefix.locate));
        assert_eq!(prefix.extent.attributes, DefineExtent::ECKD);
        self.program.extent = Some(prefix.extent);
        self.locate(prefix.locate)
    }

    fn locate(&mut self, locate: LocateRecord) -> Result<(), Sense> {
        assert!(locate.count > 0);
        assert_eq!(locate.seek, locate.search);
        let at = locate.seek.place(locate.record);
        self.protect(at)?;
        if at.record > 0 && self.records.count(at).is_none() {
            return Err(NO_RECORD);
        }
        self.program.next = Some(at);
        self.program.domain = Some(locate);
        Ok(())
    }

    /// One record less of the domain that is open. Gives the domain and the position.
    fn take(&mut self) -> Result<(LocateRecord, Place), Sense> {
        let domain = self.program.domain.as_mut().ok_or(COMMAND_REJECT)?;
        domain.count = domain.count.checked_sub(1).ok_or(COMMAND_REJECT)?;
        let at = self.program.next.ok_or(COMMAND_REJECT)?;
        Ok((*domain, at))
    }

    /// READ COUNT, or READ COUNT, KEY AND DATA: of the next record of the track.
    fn read_count(&mut self, whole: bool, sent: &mut Vec<u8>) -> Result<(), Sense> {
        let (domain, before) = self.take()?;
        assert_eq!(domain.operation, LocateRecord::READ);
        let record = self.records.behind(before).ok_or(NO_RECORD)?;
        let at = before.track().place(record);
        let count = self.records.count(at).ok_or(NO_RECORD)?;
        sent.extend(count.as_bytes());
        if whole {
            self.records.key(at, sent);
            self.records.data(at, sent);
        }
        self.program.next = Some(at);
        Ok(())
    }

    fn read_data(&mut self, sent: &mut Vec<u8>) -> Result<(), Sense> {
        let (domain, at) = self.take()?;
        assert_eq!(domain.operation, LocateRecord::READ_DATA);
        self.protect(at)?;
        self.records.count(at).ok_or(NO_RECORD)?;
        self.records.data(at, sent);
        self.go_on(at);
        Ok(())
    }

    fn write_data(&mut self, data: &[u8]) -> Result<(), Sense> {
        let (domain, at) = self.take()?;
        assert_eq!(domain.operation, LocateRecord::WRITE_DATA);
        self.protect(at)?;
        let count = self.records.count(at).ok_or(NO_RECORD)?;
        self.permit(DefineExtent::MASK_UPDATE)?;
        if count.data != domain.transfer_length {
            return Err(INVALID_FORMAT);
        }
        self.records.update(at, data);
        self.go_on(at);
        Ok(())
    }

    /// WRITE COUNT, KEY AND DATA: makes the next record of the track, which ends with it.
    fn write_count(&mut self, data: &[u8]) -> Result<(), Sense> {
        let (domain, before) = self.take()?;
        assert_eq!(domain.operation, LocateRecord::FORMAT_WRITE);
        self.permit(DefineExtent::MASK_FORMAT)?;
        if self.format_inhibited {
            return Err(WRITE_INHIBITED);
        }
        let (count, content) = CountField::read_from_prefix(data).map_err(|_| COMMAND_REJECT)?;
        assert_eq!(count.track, before.track());
        assert_eq!(count.record, before.record + 1);
        if !self.administered {
            assert_eq!((count.key, content), (0, [].as_slice()));
            let behind = self.records.behind(before);
            assert_eq!(behind, None, "records are destroyed");
        }
        let at = before.track().place(count.record);
        self.records.make(&count, content);
        self.formatted += 1;
        self.program.next = Some(at);
        Ok(())
    }

    /// What comes next on the track, whatever its number, or the first of the next track.
    fn go_on(&mut self, at: Place) {
        let heads = self.about.heads.get();
        let next = match self.records.behind(at) {
            Some(record) => at.track().place(record),
            None => TrackAddress::of_number(at.track().number(heads) as u32 + 1, heads).place(1),
        };
        self.program.next = Some(next);
    }

    /// Whether the place is in the extent.
    fn protect(&self, at: Place) -> Result<(), Sense> {
        let heads = self.about.heads.get();
        let extent = self.program.extent.ok_or(FILE_PROTECTED)?;
        let tracks = extent.first.number(heads)..=extent.last.number(heads);
        match tracks.contains(&at.track().number(heads)) {
            true => Ok(()),
            false => Err(FILE_PROTECTED),
        }
    }

    /// Whether the file mask is this one.
    fn permit(&self, mask: u8) -> Result<(), Sense> {
        match self.program.extent {
            Some(extent) if extent.mask == mask => Ok(()),
            Some(_) | None => Err(FILE_PROTECTED),
        }
    }
}

/// The configuration data: the device's node-element descriptor.
fn read_configuration(sent: &mut Vec<u8>) {
    let mut data = [0; 256];
    data[..2].copy_from_slice(&[0xC0, 0x01]);
    data[30..32].copy_from_slice(&ADDRESS);
    sent.extend(data);
}

/// What was prepared: the volume is thin-provisioned.
fn read_storage(sent: &mut Vec<u8>) {
    let mut storage = VolumeStorage::new_zeroed();
    storage.flags = VolumeStorage::EXTENT_SPACE_EFFICIENT;
    sent.extend(storage.as_bytes());
}

fn parameters<T: FromBytes>(data: &[u8]) -> Result<T, Sense> {
    T::read_from_bytes(data).map_err(|_| COMMAND_REJECT)
}
