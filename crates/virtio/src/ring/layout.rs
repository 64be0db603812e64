//! Where a ring is, and the accessors that know what lies where in it.
//!
//! The three areas, in words of the size they are accessed with:
//!
//! ```text
//! descriptors  16 bytes each, `size` of them                                   aligned to 16
//! driver       u16: [0] flags  [1] idx  [2..2+size] heads  [2+size] used_event         to 2
//! device       u16: [0] flags  [1] idx
//!              8 bytes each from 4 on: used elements; then u16 avail_event             to 4
//! ```

use core::marker::PhantomData;

use bitflags::Flags;
use thiserror::Error;
use window::{ClientAddress, OutOfWindow, Place, Window, WindowSlice};
use zerocopy::little_endian::U32;

use super::{AvailFlags, Descriptor, UsedElement, UsedFlags};
use crate::Features;

/// Most entries a queue may have here. The standard allows 32768; nobody's block device uses more
/// than 1024, and the bound keeps everything that is sized by it small.
pub const MAX_SIZE: u16 = 1024;

const DESCRIPTOR_BYTES: u32 = size_of::<Descriptor>() as u32;
const USED_BYTES: u32 = size_of::<UsedElement>() as u32;
/// Flags and index, which open both rings.
const RING_HEAD: u32 = 4;
/// The event word, which closes both rings.
const EVENT: u32 = 2;

/// Which of the ring's options were negotiated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Options {
    /// [`Features::RING_EVENT_IDX`].
    pub event_idx: bool,
    /// [`Features::RING_INDIRECT_DESC`].
    pub indirect: bool,
}

impl From<Features> for Options {
    fn from(features: Features) -> Self {
        Self {
            event_idx: features.contains(Features::RING_EVENT_IDX),
            indirect: features.contains(Features::RING_INDIRECT_DESC),
        }
    }
}

/// Where the three areas of a queue are, as the driver has said.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct QueueLayout {
    /// Number of entries.
    pub size: u16,
    /// The descriptor table.
    pub descriptors: ClientAddress,
    /// The driver area (available ring).
    pub driver: ClientAddress,
    /// The device area (used ring).
    pub device: ClientAddress,
}

/// Why a queue cannot be used as its driver has set it up. The blame is the driver's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[allow(missing_docs)] // the message says what the fields are
pub enum LayoutError {
    /// The number of entries is zero, no power of two, or too large.
    #[error("driver error: a queue of {0} entries (has to be a power of two up to {MAX_SIZE})")]
    Size(u16),
    /// An area's address is not a multiple of what it has to be.
    #[error("driver error: a queue area at {address} is not aligned to {alignment}")]
    Misaligned {
        address: ClientAddress,
        alignment: u8,
    },
    /// An area is not all in the driver's memory.
    #[error("queue area: {0}")]
    OutOfWindow(#[from] OutOfWindow),
    /// A restored position has more requests in flight than the queue has entries.
    #[error("{in_flight} requests in flight in a queue of {size} entries")]
    Position { in_flight: u16, size: u16 },
}

impl QueueLayout {
    /// All three areas in one block from address 0 on, each as soon as its alignment allows.
    pub const fn contiguous(size: u16) -> Self {
        let driver = size as u64 * DESCRIPTOR_BYTES as u64;
        let device = (driver + driver_bytes(size) as u64).next_multiple_of(4);
        Self {
            size,
            descriptors: ClientAddress::new(0),
            driver: ClientAddress::new(driver),
            device: ClientAddress::new(device),
        }
    }

    /// Length in bytes of the block of [`QueueLayout::contiguous`] for `size` entries.
    pub const fn contiguous_bytes(size: u16) -> u32 {
        Self::contiguous(size).device.value() as u32 + device_bytes(size)
    }

    /// Checks size, alignment, and that all areas lie in `window`.
    pub fn validate(&self, window: &Window) -> Result<(), LayoutError> {
        self.check(window).map(|_| ())
    }

    /// As [`QueueLayout::validate`]; gives the areas.
    pub(super) fn check(&self, window: &Window) -> Result<Areas, LayoutError> {
        if !self.size.is_power_of_two() || self.size > MAX_SIZE {
            return Err(LayoutError::Size(self.size));
        }
        for (address, alignment) in [(self.descriptors, 16), (self.driver, 2), (self.device, 4)] {
            if !address.is_aligned(u64::from(alignment)) {
                return Err(LayoutError::Misaligned { address, alignment });
            }
        }
        Ok(self.areas(window)?)
    }

    /// The index of the available ring as it is in memory now.
    pub fn avail_idx(&self, window: &Window) -> Result<u16, OutOfWindow> {
        self.areas(window)?.driver_area(window)?.idx()
    }

    /// The index of the used ring as it is in memory now: where a device that was not told
    /// otherwise goes on.
    pub fn used_idx(&self, window: &Window) -> Result<u16, OutOfWindow> {
        self.areas(window)?.device_area(window)?.idx()
    }

    fn areas(&self, window: &Window) -> Result<Areas, OutOfWindow> {
        let descriptor_bytes = u32::from(self.size) * DESCRIPTOR_BYTES;
        Ok(Areas {
            size: self.size,
            descriptors: window.place(self.descriptors, descriptor_bytes)?,
            driver: window.place(self.driver, driver_bytes(self.size))?,
            device: window.place(self.device, device_bytes(self.size))?,
        })
    }
}

/// The three areas, checked.
#[derive(Clone, Copy, Debug)]
pub(super) struct Areas {
    size: u16,
    descriptors: Place,
    driver: Place,
    device: Place,
}

impl Areas {
    #[inline(always)]
    pub(super) fn descriptor_table<'w>(
        &self,
        window: &'w Window,
    ) -> Result<Table<'w>, OutOfWindow> {
        Ok(Table(window.open(&self.descriptors)?))
    }

    #[inline(always)]
    pub(super) fn driver_area<'w>(
        &self,
        window: &'w Window,
    ) -> Result<DriverArea<'w>, OutOfWindow> {
        DriverArea::open(window, &self.driver, self.size)
    }

    /// Whether all of it is in the window still.
    pub(super) fn check(&self, window: &Window) -> Result<(), OutOfWindow> {
        self.descriptor_table(window)?;
        self.driver_area(window)?;
        self.device_area(window).map(drop)
    }

    #[inline(always)]
    pub(super) fn device_area<'w>(
        &self,
        window: &'w Window,
    ) -> Result<DeviceArea<'w>, OutOfWindow> {
        DeviceArea::open(window, &self.device, self.size)
    }
}

const fn driver_bytes(size: u16) -> u32 {
    RING_HEAD + size as u32 * 2 + EVENT
}

const fn device_bytes(size: u16) -> u32 {
    RING_HEAD + size as u32 * USED_BYTES + EVENT
}

/// A table of descriptors: the queue's own, or an indirect one.
#[derive(Clone, Copy)]
pub(super) struct Table<'w>(WindowSlice<'w>);

impl<'w> Table<'w> {
    /// The indirect table of `bytes` bytes at `address`.
    #[inline(always)]
    pub(super) fn indirect(
        window: &'w Window,
        address: ClientAddress,
        bytes: u32,
    ) -> Result<Self, OutOfWindow> {
        Ok(Self(window.slice(address, bytes)?))
    }

    /// Number of descriptors.
    #[inline(always)]
    pub(super) fn count(&self) -> u32 {
        self.0.len() / DESCRIPTOR_BYTES
    }

    #[inline(always)]
    pub(super) fn descriptor(&self, index: u16) -> Result<Descriptor, OutOfWindow> {
        self.0.element(u32::from(index))
    }

    #[inline(always)]
    pub(super) fn set_descriptor(&self, index: u16, value: &Descriptor) -> Result<(), OutOfWindow> {
        self.0.set_element(u32::from(index), value)
    }
}

/// A ring: the area of its writer, with the flags that this one has.
#[derive(Clone, Copy)]
pub(super) struct Ring<'w, F> {
    words: WindowSlice<'w>,
    size: u16,
    flags: PhantomData<F>,
}

/// The available ring.
pub(super) type DriverArea<'w> = Ring<'w, AvailFlags>;
/// The used ring.
pub(super) type DeviceArea<'w> = Ring<'w, UsedFlags>;

impl<'w, F: Flags<Bits = u16>> Ring<'w, F> {
    #[inline(always)]
    fn open(window: &'w Window, place: &Place, size: u16) -> Result<Self, OutOfWindow> {
        Ok(Self {
            words: window.open(place)?,
            size,
            flags: PhantomData,
        })
    }

    #[inline(always)]
    pub(super) fn flags(&self) -> Result<F, OutOfWindow> {
        Ok(F::from_bits_truncate(self.words.load_u16(0)?))
    }

    #[inline(always)]
    pub(super) fn set_flags(&self, flags: F) -> Result<(), OutOfWindow> {
        self.words.store_u16(0, flags.bits())
    }

    /// The index; what it announces is read after it.
    #[inline(always)]
    pub(super) fn idx(&self) -> Result<u16, OutOfWindow> {
        self.words.load_u16_acquire(1)
    }

    /// Makes everything written so far visible, then the index.
    #[inline(always)]
    pub(super) fn set_idx(&self, idx: u16) -> Result<(), OutOfWindow> {
        self.words.store_u16_release(1, idx)
    }

    /// Number of the entry for `idx`.
    #[inline(always)]
    fn slot(&self, idx: u16) -> u32 {
        u32::from(idx & self.size.wrapping_sub(1))
    }
}

impl DriverArea<'_> {
    #[inline(always)]
    pub(super) fn head(&self, idx: u16) -> Result<u16, OutOfWindow> {
        self.words.load_u16(2 + self.slot(idx))
    }

    #[inline(always)]
    pub(super) fn set_head(&self, idx: u16, head: u16) -> Result<(), OutOfWindow> {
        self.words.store_u16(2 + self.slot(idx), head)
    }

    #[inline(always)]
    pub(super) fn used_event(&self) -> Result<u16, OutOfWindow> {
        self.words.load_u16(2 + u32::from(self.size))
    }

    #[inline(always)]
    pub(super) fn set_used_event(&self, idx: u16) -> Result<(), OutOfWindow> {
        self.words.store_u16(2 + u32::from(self.size), idx)
    }
}

impl DeviceArea<'_> {
    #[inline(always)]
    pub(super) fn element(&self, idx: u16) -> Result<UsedElement, OutOfWindow> {
        let word = 1 + 2 * self.slot(idx);
        Ok(UsedElement {
            id: U32::new(self.words.load_u32(word)?),
            len: U32::new(self.words.load_u32(word + 1)?),
        })
    }

    #[inline(always)]
    pub(super) fn set_element(&self, idx: u16, id: u32, len: u32) -> Result<(), OutOfWindow> {
        let word = 1 + 2 * self.slot(idx);
        self.words.store_u32(word, id)?;
        self.words.store_u32(word + 1, len)
    }

    #[inline(always)]
    pub(super) fn avail_event(&self) -> Result<u16, OutOfWindow> {
        self.words.load_u16(self.event())
    }

    #[inline(always)]
    pub(super) fn set_avail_event(&self, idx: u16) -> Result<(), OutOfWindow> {
        self.words.store_u16(self.event(), idx)
    }

    /// Number of the 16-bit word that holds the event index.
    #[inline(always)]
    fn event(&self) -> u32 {
        2 + 4 * u32::from(self.size)
    }
}
