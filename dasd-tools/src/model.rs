//! A volume in memory that runs the programs of this crate, and fails when a test says so.
//!
//! What commands do is what the [storage control of software](dasd::model) says; here are the tracks, whose volume it is, and what
//! goes wrong.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use dasd::command::{RELEASE, RESERVE, UNCONDITIONAL_RESERVE};
use dasd::model::sense::{Sense, COMMAND_REJECT};
use dasd::model::{disk_3390, Records, StorageControl};
use dasd::{Characteristics, CountField, Place};

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

/// Equipment check.
const EQUIPMENT_CHECK: Sense = &[0x10];
/// The one path.
const PATH: u8 = 0x80;

impl Volume {
    /// A 3390 of some cylinders without records.
    pub fn new(cylinders: u32) -> Self {
        let short = u16::try_from(cylinders)
            .ok()
            .filter(|short| *short < 0xFFFE);
        let mut about = disk_3390(short.unwrap_or(0xFFFE));
        about.control = 0x3990.into();
        about.control_model = 0xEC;
        about.device_model = 0x0A;
        about.long_cylinders = cylinders.into();
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

    fn interpret(&mut self, program: &mut Program) -> Result<(), Sense> {
        let records = OnTracks {
            heads: self.about.heads.get(),
            tracks: &mut self.tracks,
        };
        let mut control = StorageControl::over(self.about, records);
        control.administered = true;
        control.format_inhibited = self.read_only;
        control.begin(PATH);
        let mut sent = Vec::new();
        for number in 0..program.steps.len() {
            let command = program.steps[number].command;
            match command {
                RESERVE | UNCONDITIONAL_RESERVE if !control.is_open() => {
                    self.reserved = Some(Owner::Us);
                }
                RELEASE if !control.is_open() => self.reserved = None,
                _ => {
                    sent.clear();
                    control.command(command, program.data(number), &mut sent)?;
                    program.give(number, &sent);
                }
            }
        }
        match control.is_open() {
            true => Err(COMMAND_REJECT),
            false => Ok(()),
        }
    }
}

/// The records of the tracks of a volume.
#[derive(Debug)]
struct OnTracks<'a> {
    heads: u16,
    tracks: &'a mut BTreeMap<u32, Track>,
}

impl OnTracks<'_> {
    const fn number(&self, at: Place) -> u32 {
        at.track().number(self.heads) as u32
    }

    fn find(&self, at: Place) -> Option<&(CountField, Vec<u8>)> {
        let mut track = self.tracks.get(&self.number(at))?.iter();
        track.find(|(count, _)| count.record == at.record)
    }
}

impl Records for OnTracks<'_> {
    fn count(&self, at: Place) -> Option<CountField> {
        self.find(at).map(|(count, _)| *count)
    }

    fn behind(&self, at: Place) -> Option<u8> {
        let mut track = self.tracks.get(&self.number(at))?.iter();
        // R0 is in front of the others.
        if at.record > 0 {
            track.find(|(count, _)| count.record == at.record)?;
        }
        track.next().map(|(count, _)| count.record)
    }

    /// It is with the data.
    fn key(&self, _: Place, _: &mut Vec<u8>) {}

    fn data(&self, at: Place, sent: &mut Vec<u8>) {
        sent.extend(self.find(at).map_or([].as_slice(), |(_, bytes)| bytes));
    }

    fn update(&mut self, _: Place, _: &[u8]) {
        unreachable!("no program of this crate writes data alone");
    }

    fn make(&mut self, count: &CountField, content: &[u8]) {
        let number = self.number(count.track.place(count.record));
        let track = self.tracks.entry(number).or_default();
        track.retain(|(before, _)| before.record < count.record);
        track.push((*count, trimmed(content)));
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
        let steals = first == Some(UNCONDITIONAL_RESERVE);
        if self.busy > 0 || self.reserved == Some(Owner::Other) && !steals {
            self.busy = self.busy.saturating_sub(1);
            return Err(Fault::Busy);
        }
        let outcome = match self.fails_from {
            Some(from) if number >= from => Err(EQUIPMENT_CHECK),
            _ => self.interpret(program),
        };
        outcome.map_err(|bytes| {
            let mut sense = [0; SENSE];
            sense[..bytes.len()].copy_from_slice(bytes);
            Fault::UnitCheck(sense)
        })
    }
}
