//! Channel programs of the crate [`dasd`]'s commands, without addresses: whoever runs one puts it where the channel finds it.
//!
//! All CCWs are chained and suppress length indications: what a record has less than was asked for stays zero.

use alloc::vec::Vec;

use channel::CommandCode;
use dasd::command::{self, DefineExtent, LocateRecord};
use dasd::{CountField, TrackAddress};
use zerocopy::{FromBytes, IntoBytes};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    pub command: CommandCode,
    /// Bytes.
    pub count: u16,
    /// Where they are in the program's data.
    pub at: usize,
}

impl Step {
    fn place(&self) -> core::ops::Range<usize> {
        self.at..self.at + usize::from(self.count)
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Program {
    steps: Vec<Step>,
    data: Vec<u8>,
}

impl Program {
    /// Most CCWs of the programs that are made here; they have less than 8 KiB of data.
    pub const MOST_STEPS: u32 = 256;

    pub fn steps(&self) -> &[Step] {
        &self.steps
    }

    pub fn bytes(&self) -> &[u8] {
        &self.data
    }

    /// All data, for whoever runs it to put there what was read.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.data
    }

    /// The data of a CCW: what is written, or has been read.
    pub fn data(&self, step: usize) -> &[u8] {
        let step = self.steps.get(step);
        step.and_then(|step| self.data.get(step.place()))
            .unwrap_or_default()
    }

    /// Puts at the front of a CCW's data what it has read.
    pub fn give(&mut self, step: usize, read: &[u8]) {
        let place = self.steps.get(step).map(Step::place);
        let data = place.and_then(|place| self.data.get_mut(place));
        for (to, from) in data.unwrap_or_default().iter_mut().zip(read) {
            *to = *from;
        }
    }

    /// What has been read by a CCW, as a type. `None` if that is longer.
    pub fn read<T: FromBytes>(&self, step: usize) -> Option<T> {
        T::read_from_prefix(self.data(step)).ok().map(|(it, _)| it)
    }

    /// A command that writes some bytes, 65,535 at most.
    pub fn send(&mut self, command: CommandCode, bytes: &[u8]) {
        let at = self.data.len();
        self.data.extend_from_slice(bytes);
        self.steps.push(Step {
            command,
            count: bytes.len() as u16,
            at,
        });
    }

    /// A command that reads at most so many bytes.
    pub fn receive(&mut self, command: CommandCode, count: usize) {
        self.send(command, &alloc::vec![0; count]);
    }

    /// DEFINE EXTENT over some tracks.
    pub fn extent(&mut self, mask: u8, first: TrackAddress, last: TrackAddress) {
        let attributes = match mask {
            DefineExtent::MASK_FORMAT => DefineExtent::ECKD_BYPASS_CACHE,
            _ => DefineExtent::ECKD,
        };
        let parameters = DefineExtent {
            mask,
            attributes,
            first,
            last,
            ..DefineExtent::default()
        };
        self.send(command::DEFINE_EXTENT, parameters.as_bytes());
    }

    /// LOCATE RECORD: the `count` records behind record `behind` of a track; behind 0 they begin with record 1.
    pub fn locate(&mut self, operation: u8, track: TrackAddress, behind: u8, count: u8) {
        let parameters = LocateRecord {
            operation,
            count,
            seek: track,
            search: track,
            record: behind,
            sector: LocateRecord::ANY_SECTOR,
            ..LocateRecord::default()
        };
        self.send(command::LOCATE_RECORD, parameters.as_bytes());
    }

    /// WRITE COUNT, KEY AND DATA. The rest of key and data, behind `content`, becomes zero.
    pub fn write_record(&mut self, count: &CountField, content: &[u8]) {
        self.send(command::WRITE_CKD, &[count.as_bytes(), content].concat());
    }
}
