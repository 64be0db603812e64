//! A volume in memory that runs the programs of this crate, strictly, and fails when a test says so.
//!
//! What it refuses: commands outside of an extent or a domain, domains that are not used up, writes that the mask does not
//! permit, and count fields that do not belong to their track.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use dasd::command::{self, DefineExtent, LocateRecord};
use dasd::{Characteristics, CountField};
use zerocopy::{FromBytes, FromZeros, IntoBytes};

use crate::format::{Format, Record};
use crate::program::Program;
use crate::runner::{Fault, Runner, SENSE};

/// Who has reserved it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    /// Whoever runs programs here.
    Us,
    /// Another system.
    Other,
}

/// Count field of each record of a track, and its key and data without the zeros at their end.
pub type Track = Vec<(CountField, Vec<u8>)>;

#[derive(Clone, Debug)]
pub struct Volume {
    /// The device.
    pub about: Characteristics,
    /// The tracks that have records.
    pub tracks: BTreeMap<u32, Track>,
    /// Who has reserved it.
    pub reserved: Option<Owner>,
    /// Programs that were run.
    pub programs: u32,
    /// This one, and all behind it, end with an equipment check.
    pub fails_from: Option<u32>,
    /// For so many programs the device is busy.
    pub busy: u32,
    /// It cannot be written to.
    pub read_only: bool,
}

/// Why a program stops: sense bytes 0 and 1.
struct Stop(u8, u8);

const COMMAND_REJECT: Stop = Stop(0x80, 0);
const EQUIPMENT_CHECK: Stop = Stop(0x10, 0);
const NO_RECORD_FOUND: Stop = Stop(0, 0x08);
const FILE_PROTECTED: Stop = Stop(0, 0x04);
const WRITE_INHIBITED: Stop = Stop(0, 0x02);

struct Domain {
    operation: u8,
    left: u8,
    track: u32,
    /// Index of the next record of the track.
    next: usize,
}

impl Volume {
    /// A 3390 of some cylinders without records.
    pub fn new(cylinders: u32) -> Self {
        let mut about = Characteristics::new_zeroed();
        about.control = 0x3990.into();
        about.control_model = 0xEC;
        about.device = 0x3390.into();
        about.device_model = 0x0A;
        let short = u16::try_from(cylinders)
            .ok()
            .filter(|short| *short < 0xFFFE);
        about.cylinders = short.unwrap_or(0xFFFE).into();
        about.long_cylinders = cylinders.into();
        about.heads = 15.into();
        about.track_length = [0, 0xE5, 0xA2];
        (about.formula, about.factor_1, about.factor_6) = (2, 34, 6);
        about.factors = [19, 9, 6, 116];
        Self {
            about,
            tracks: BTreeMap::new(),
            reserved: None,
            programs: 0,
            fails_from: None,
            busy: 0,
            read_only: false,
        }
    }

    /// The records that a format wants.
    pub fn of(format: &Format) -> BTreeMap<u32, Track> {
        let whole = |record: Record| (record.count, trimmed(&record.content));
        let tracks = 0..format.tracks();
        tracks
            .map(|track| (track, format.track(track).map(whole).collect()))
            .collect()
    }

    fn interpret(&mut self, program: &mut Program) -> Result<(), Stop> {
        let heads = self.about.heads.get();
        let (mut extent, mut domain) = (None::<DefineExtent>, None::<Domain>);
        for number in 0..program.steps.len() {
            let command = program.steps[number].command;
            let open = domain.as_mut().filter(|domain| domain.left > 0);
            match (command, open) {
                (command::READ_CHARACTERISTICS, None) => {
                    program.give(number, self.about.as_bytes());
                }
                (command::RESERVE | command::UNCONDITIONAL_RESERVE, None) => {
                    self.reserved = Some(Owner::Us);
                }
                (command::RELEASE, None) => self.reserved = None,
                (command::DEFINE_EXTENT, None) if extent.is_none() => {
                    let wanted = DefineExtent::read_from_bytes(program.data(number));
                    extent = Some(wanted.map_err(|_| COMMAND_REJECT)?);
                }
                (command::LOCATE_RECORD, None) => {
                    let locate = LocateRecord::read_from_bytes(program.data(number));
                    let locate = locate.map_err(|_| COMMAND_REJECT)?;
                    let extent = extent.ok_or(COMMAND_REJECT)?;
                    domain = Some(self.locate(&extent, &locate, heads)?);
                }
                (command::WRITE_CKD, Some(domain))
                    if domain.operation == LocateRecord::FORMAT_WRITE =>
                {
                    domain.left -= 1;
                    let data = program.data(number);
                    let (count, content) =
                        CountField::read_from_prefix(data).map_err(|_| COMMAND_REJECT)?;
                    if count.track.number(heads) != u64::from(domain.track) {
                        return Err(COMMAND_REJECT);
                    }
                    let bytes = trimmed(content);
                    let track = self.tracks.entry(domain.track).or_default();
                    // It ends the track.
                    track.truncate(domain.next);
                    track.push((count, bytes));
                    domain.next += 1;
                }
                (command::READ_CKD | command::READ_COUNT, Some(domain))
                    if domain.operation == LocateRecord::READ =>
                {
                    domain.left -= 1;
                    let track = self.tracks.get(&domain.track);
                    let record = track.and_then(|track| track.get(domain.next));
                    let (count, bytes) = record.ok_or(NO_RECORD_FOUND)?;
                    let mut all = count.as_bytes().to_vec();
                    if command == command::READ_CKD {
                        all.extend(bytes);
                    }
                    program.give(number, &all);
                    domain.next += 1;
                }
                _ => return Err(COMMAND_REJECT),
            }
        }
        match domain {
            Some(domain) if domain.left > 0 => Err(COMMAND_REJECT),
            _ => Ok(()),
        }
    }

    fn locate(
        &self,
        extent: &DefineExtent,
        locate: &LocateRecord,
        heads: u16,
    ) -> Result<Domain, Stop> {
        let track = locate.seek.number(heads);
        let (first, last) = (extent.first.number(heads), extent.last.number(heads));
        let tracks = u64::from(self.about.cylinders()) * u64::from(heads);
        let writes = locate.operation == LocateRecord::FORMAT_WRITE;
        if !(first..=last).contains(&track) || last >= tracks || locate.seek != locate.search {
            return Err(FILE_PROTECTED);
        }
        if writes && extent.mask != DefineExtent::MASK_FORMAT {
            return Err(FILE_PROTECTED);
        }
        if writes && self.read_only {
            return Err(WRITE_INHIBITED);
        }
        let track = track as u32;
        let next = match locate.record {
            0 => 0,
            record => {
                let track = self.tracks.get(&track).ok_or(NO_RECORD_FOUND)?;
                let at = track.iter().position(|(count, _)| count.record == record);
                at.ok_or(NO_RECORD_FOUND)? + 1
            }
        };
        Ok(Domain {
            operation: locate.operation,
            left: locate.count,
            track,
            next,
        })
    }
}

/// Without the zeros at the end.
fn trimmed(bytes: &[u8]) -> Vec<u8> {
    let end = bytes.iter().rposition(|byte| *byte != 0);
    bytes[..end.map_or(0, |last| last + 1)].to_vec()
}

impl Runner for Volume {
    fn run(&mut self, program: &mut Program) -> Result<(), Fault> {
        let number = self.programs;
        self.programs += 1;
        let first = program.steps.first().map(|step| step.command);
        let steals = first == Some(command::UNCONDITIONAL_RESERVE);
        if self.busy > 0 || self.reserved == Some(Owner::Other) && !steals {
            self.busy = self.busy.saturating_sub(1);
            return Err(Fault::Busy);
        }
        let outcome = match self.fails_from {
            Some(from) if number >= from => Err(EQUIPMENT_CHECK),
            _ => self.interpret(program),
        };
        outcome.map_err(|Stop(zero, one)| {
            let mut sense = [0; SENSE];
            (sense[0], sense[1]) = (zero, one);
            Fault::UnitCheck(sense)
        })
    }
}
