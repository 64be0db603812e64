//! Channel programs of the crate [`dasd`]'s commands, without addresses: whoever runs one puts it where the channel finds it.
//!
//! All CCWs are chained and suppress length indications: what a record has less than was asked for stays zero.

use alloc::vec::Vec;

use channel::CommandCode;
use dasd::command::{self, DefineExtent, LocateRecord};
use dasd::{CountField, TrackAddress};
use zerocopy::{FromBytes, IntoBytes};

/// A CCW with its data, 65,535 bytes at most.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    pub command: CommandCode,
    /// What is written, or has been read.
    pub data: Vec<u8>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Program {
    pub steps: Vec<Step>,
}

impl Program {
    /// Most CCWs of the programs that are made here; they have less than 8 KiB of data.
    pub const MOST_STEPS: u32 = 256;

    pub fn data(&self, step: usize) -> &[u8] {
        self.steps.get(step).map_or(&[], |step| &step.data)
    }

    /// Puts at the front of a CCW's data what it has read.
    pub fn give(&mut self, step: usize, read: &[u8]) {
        if let Some(step) = self.steps.get_mut(step) {
            step.data
                .iter_mut()
                .zip(read)
                .for_each(|(to, from)| *to = *from);
        }
    }

    /// What has been read by a CCW, as a type. `None` if that is longer.
    pub fn read<T: FromBytes>(&self, step: usize) -> Option<T> {
        T::read_from_prefix(self.data(step)).ok().map(|(it, _)| it)
    }

    /// A command that writes some bytes.
    pub fn send(&mut self, command: CommandCode, bytes: &[u8]) {
        let data = bytes.to_vec();
        self.steps.push(Step { command, data });
    }

    /// A command that reads at most so many bytes.
    pub fn receive(&mut self, command: CommandCode, count: usize) {
        let data = alloc::vec![0; count];
        self.steps.push(Step { command, data });
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
