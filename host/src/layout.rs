//! How things are numbered, and runs of bytes in the pool: what the configuration, the pool and everybody behind them agree on.

use channel::DeviceNumber;
use serde::{Deserialize, Serialize};
use vcss::layout::Extent;

/// The device number of the link between daemon and appliance.
pub const LINK_DEVICE: u16 = 0x0002;
/// The device number of the first disk; the others follow.
pub const FIRST_DEVICE: u16 = 0x0100;
/// Virtual subchannels of the client that is the daemon itself, for what nobody else was given. Behind them is one for each disk.
pub const HOST_SUBCHANNELS: u32 = 16;
/// Bytes of program window that each of them has.
pub const HOST_PROGRAM_BYTES: u32 = 128 * 1024;

/// The device number that a disk has on the appliance's channel subsystem.
pub const fn disk_device(disk: usize) -> DeviceNumber {
    DeviceNumber {
        set: 0,
        number: FIRST_DEVICE + disk as u16,
    }
}

/// A device number as it is written: `0.0.3270`.
pub fn parse_device(text: &str) -> Option<DeviceNumber> {
    let (set, number) = text.strip_prefix("0.")?.split_once('.')?;
    let set = set.parse::<u8>().ok().filter(|set| *set <= 3)?;
    let good = number.len() == 4 && number.chars().all(|c| c.is_ascii_hexdigit());
    let number = u16::from_str_radix(number, 16).ok().filter(|_| good)?;
    Some(DeviceNumber { set, number })
}

/// An area, by its number towards the wake-up thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AreaNumber(pub usize);

impl AreaNumber {
    pub const CONTROL: Self = Self(0);

    /// The area of the client with this index; behind the last one is the daemon's own.
    pub const fn of_client(index: usize) -> Self {
        Self(index + 1)
    }

    /// The client whose area it is.
    pub const fn client(self) -> usize {
        self.0.saturating_sub(1)
    }
}

/// A queue, counted over all exports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slot(pub usize);

impl Slot {
    /// The queue of this number, for the export whose first one this is.
    pub const fn queue(self, number: usize) -> Self {
        Self(self.0 + number)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Span {
    /// From the pool's first byte.
    pub offset: u64,
    pub length: u64,
}

impl Span {
    /// Nothing.
    pub const NONE: Self = Self {
        offset: 0,
        length: 0,
    };

    pub const fn end(self) -> u64 {
        self.offset + self.length
    }

    /// The last so many bytes of it, at most all.
    pub const fn last(self, length: u64) -> Self {
        Self {
            offset: self.end().saturating_sub(length),
            length,
        }
    }

    /// Whether they have a byte in common.
    pub const fn meets(self, other: Self) -> bool {
        self.offset < other.end() && other.offset < self.end()
    }

    /// As it is written in an area.
    pub const fn extent(self) -> Extent {
        Extent::new(self.offset, self.length)
    }
}
