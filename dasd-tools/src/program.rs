//! Channel programs of the commands here, without addresses: whoever runs one puts it where the channel finds it.
//!
//! All CCWs are chained and suppress length indications: what a record has less than was asked for stays zero.

use core::fmt;

use channel::CommandCode;
use dasd::command::{self, DefineExtent, LocateRecord};
use dasd::{CountField, TrackAddress};
use heapless::Vec;
use zerocopy::{FromBytes, Immutable, IntoBytes};

/// A CCW.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// The command.
    pub command: CommandCode,
    /// Bytes.
    pub count: u16,
    /// Where they are in the program's data.
    pub at: u16,
}

/// More than a program holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full;

impl fmt::Display for Full {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the channel program is too long")
    }
}

impl core::error::Error for Full {}

/// A channel program and its data.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Program {
    steps: Vec<Step, { Self::MOST_STEPS }>,
    data: Vec<u8, { Self::MOST_DATA }>,
}

impl Program {
    /// Most CCWs.
    pub const MOST_STEPS: usize = 256;
    /// Most bytes of data.
    pub const MOST_DATA: usize = 8192;

    /// An empty one.
    pub const fn new() -> Self {
        Self {
            steps: Vec::new(),
            data: Vec::new(),
        }
    }

    /// Begins anew.
    pub fn clear(&mut self) {
        self.steps.clear();
        self.data.clear();
    }

    /// The CCWs.
    pub fn steps(&self) -> &[Step] {
        &self.steps
    }

    /// All data.
    pub fn bytes(&self) -> &[u8] {
        &self.data
    }

    /// All data, for whoever runs it to put there what was read.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.data
    }

    /// The data of a CCW: what is written, or has been read.
    pub fn data(&self, step: usize) -> &[u8] {
        self.steps
            .get(step)
            .and_then(|step| self.data.get(step.place()))
            .unwrap_or_default()
    }

    /// The same, for whoever has read it.
    pub fn data_mut(&mut self, step: usize) -> &mut [u8] {
        match self.steps.get(step) {
            Some(step) => self.data.get_mut(step.place()).unwrap_or_default(),
            None => &mut [],
        }
    }

    /// What has been read by a CCW, as a type. `None` if that is longer.
    pub fn read<T: FromBytes>(&self, step: usize) -> Option<T> {
        T::read_from_prefix(self.data(step)).ok().map(|(it, _)| it)
    }

    /// A command that writes some bytes.
    ///
    /// # Errors
    ///
    /// [`Full`].
    pub fn send(&mut self, command: CommandCode, bytes: &[&[u8]]) -> Result<(), Full> {
        let at = self.data.len();
        for bytes in bytes {
            self.data.extend_from_slice(bytes).map_err(|_| Full)?;
        }
        self.push(command, at)
    }

    /// A command that reads at most so many bytes.
    ///
    /// # Errors
    ///
    /// [`Full`].
    pub fn receive(&mut self, command: CommandCode, count: u16) -> Result<(), Full> {
        let at = self.data.len();
        self.data
            .resize(at + usize::from(count), 0)
            .map_err(|_| Full)?;
        self.push(command, at)
    }

    fn push(&mut self, command: CommandCode, at: usize) -> Result<(), Full> {
        // The data is shorter than 64 KiB.
        let step = Step {
            command,
            count: (self.data.len() - at) as u16,
            at: at as u16,
        };
        self.steps.push(step).map_err(|_| Full)
    }

    /// DEFINE EXTENT over some tracks.
    ///
    /// # Errors
    ///
    /// [`Full`].
    pub fn extent(
        &mut self,
        mask: u8,
        first: TrackAddress,
        last: TrackAddress,
    ) -> Result<(), Full> {
        let attributes = match mask {
            DefineExtent::MASK_FORMAT => DefineExtent::ECKD_BYPASS_CACHE,
            _ => DefineExtent::ECKD,
        };
        self.parameters(
            command::DEFINE_EXTENT,
            &DefineExtent {
                mask,
                attributes,
                first,
                last,
                ..DefineExtent::default()
            },
        )
    }

    /// LOCATE RECORD: the `count` records behind record `behind` of a track; behind 0 they begin with record 1.
    ///
    /// # Errors
    ///
    /// [`Full`].
    pub fn locate(
        &mut self,
        operation: u8,
        track: TrackAddress,
        behind: u8,
        count: u8,
    ) -> Result<(), Full> {
        self.parameters(
            command::LOCATE_RECORD,
            &LocateRecord {
                operation,
                count,
                seek: track,
                search: track,
                record: behind,
                sector: LocateRecord::ANY_SECTOR,
                ..LocateRecord::default()
            },
        )
    }

    fn parameters<T: IntoBytes + Immutable>(
        &mut self,
        command: CommandCode,
        parameters: &T,
    ) -> Result<(), Full> {
        self.send(command, &[parameters.as_bytes()])
    }

    /// WRITE COUNT, KEY AND DATA. The rest of key and data, behind `content`, becomes zero.
    ///
    /// # Errors
    ///
    /// [`Full`].
    pub fn write_record(&mut self, count: &CountField, content: &[u8]) -> Result<(), Full> {
        self.send(command::WRITE_CKD, &[count.as_bytes(), content])
    }
}

impl Step {
    fn place(&self) -> core::ops::Range<usize> {
        let at = usize::from(self.at);
        at..at + usize::from(self.count)
    }
}
