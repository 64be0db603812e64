//! Another VM's memory as untrusted bytes: bounds-checked, copied once, never borrowed.
//!
//! # Purpose
//!
//! A [`Window`] is the memory of a client VM as the appliance sees it: a base pointer, a length,
//! and the address at which a device owned by this side reaches the same bytes. The client's own
//! addresses are [`ClientAddress`]es; they mean nothing until a window has checked them.
//!
//! # Scope
//!
//! * copies in both directions: [`Window::read`], [`Window::write`], [`Window::read_bytes`],
//!   [`Window::write_bytes`], [`Window::fill`];
//! * translation for DMA: [`Window::translate`] gives a [`Segment`] of absolute addresses;
//! * rings and doorbells: [`Window::slice`] gives a [`WindowSlice`], whose 16- and 32-bit
//!   little-endian loads and stores are atomic and cost one compare each.
//!
//! # Limits
//!
//! A window is one contiguous piece: client absolute address + base = this side's address. It may
//! become longer and shorter, up to the length that it was made with. It
//! holds no lock and gives no atomicity beyond one aligned 16- or 32-bit word; the other side may
//! write at any instant, so two reads of one address may give two values.
//!
//! # The rule
//!
//! *Copied once, checked, then used.* No reference to the other side's memory is ever made, every
//! byte is fetched exactly once per call, and every function is total: whatever the other side
//! asks for, the answer is a value or an [`OutOfWindow`]: some byte of what was asked for lies outside, and
//! nothing has been read or written.
//!
//! ```
//! use window::{ClientAddress, Window};
//!
//! let mut memory = [0; 64];
//! let window = Window::borrowed(&mut memory, 0x10_0000);
//! window.write(ClientAddress::new(8), &[1u8, 2, 3, 4])?;
//! assert_eq!(window.read::<[u8; 2]>(ClientAddress::new(10))?, [3, 4]);
//! assert_eq!(window.translate(ClientAddress::new(8), 4)?.absolute, 0x10_0008);
//! assert!(window.read::<[u8; 2]>(ClientAddress::new(63)).is_err());
//! # Ok::<(), window::OutOfWindow>(())
//! ```
#![no_std]
#![warn(missing_docs)]

mod address;
mod copy;
mod error;
mod slice;
#[cfg(not(feature = "stores"))]
mod stores;
#[cfg(feature = "stores")]
pub mod stores;

#[cfg(feature = "stores")]
extern crate std;

use core::fmt;
use core::marker::PhantomData;
use core::mem::MaybeUninit;
use core::ops::Deref;
use core::sync::atomic::{AtomicPtr, AtomicU64, Ordering};

pub use address::{ClientAddress, Segment};
pub use error::OutOfWindow;
pub use slice::{Lines, WindowSlice, WindowWord};
use zerocopy::{FromBytes, Immutable, IntoBytes};

/// The memory of another VM, as this side sees it.
///
/// Not `Clone`: the one who made the window decides how long it lives; everybody else borrows it.
pub struct Window {
    base: AtomicPtr<u8>,
    /// At most `room`.
    length: AtomicU64,
    room: AtomicU64,
    absolute_base: AtomicU64,
}

impl Window {
    /// Makes a window of `length` bytes at `base`.
    ///
    /// `absolute_base` is the address of the window's first byte as a device owned by this side
    /// has to be given it for DMA. In the appliance, which runs without address translation, it
    /// equals the pointer.
    ///
    /// # Safety
    ///
    /// From now until the window is dropped:
    ///
    /// * `base` is not null and valid for reads and writes of `length` bytes, and those bytes do
    ///   not wrap around the end of the address space;
    /// * `length` is at most `isize::MAX`;
    /// * this program has no reference (`&` or `&mut`) to any of the bytes and keeps nothing of
    ///   its own there: code, stack, heap and page tables are elsewhere. The other side, its
    ///   devices and further windows may change the bytes at any time.
    pub const unsafe fn new(base: *mut u8, length: u64, absolute_base: u64) -> Self {
        Self {
            base: AtomicPtr::new(base),
            length: AtomicU64::new(length),
            room: AtomicU64::new(length),
            absolute_base: AtomicU64::new(absolute_base),
        }
    }

    /// Makes a window over bytes of this program, for as long as they are lent: what a test or a
    /// bounce buffer needs.
    pub fn borrowed(bytes: &mut [u8], absolute_base: u64) -> BorrowedWindow<'_> {
        // SAFETY: the exclusive borrow makes the bytes valid and free of other references while
        // the `BorrowedWindow` lives; slices are at most `isize::MAX` long and never wrap. The
        // window cannot leave it, because only `&Window` is handed out and `Window` is not `Clone`.
        let window = unsafe { Self::new(bytes.as_mut_ptr(), bytes.len() as u64, absolute_base) };
        BorrowedWindow {
            window,
            bytes: PhantomData,
        }
    }

    /// Makes a window over bytes that this program has given away for good.
    pub fn leaked(bytes: &'static mut [u8], absolute_base: u64) -> Self {
        // SAFETY: the borrow is exclusive and never ends, so the bytes stay valid and free of
        // other references; slices are at most `isize::MAX` long and never wrap.
        unsafe { Self::new(bytes.as_mut_ptr(), bytes.len() as u64, absolute_base) }
    }

    /// Makes two windows of this one: the first over its first `length` bytes, the second over
    /// the rest. `None` if it is shorter than that.
    pub fn split(self, length: u64) -> Option<(Self, Self)> {
        let (base, absolute_base) = (self.base(), self.absolute_base());
        let rest = self.room().checked_sub(length)?;
        let absolute = absolute_base + length;
        // SAFETY: both lie within this window, which is there no longer, so whoever made it keeps
        // his promise to them: the bytes are valid, and nobody has a reference to them.
        unsafe {
            let second = base.add(length as usize);
            Some((
                Self::new(base, length, absolute_base),
                Self::new(second, rest, absolute),
            ))
        }
    }

    /// The window's length in bytes. Valid client addresses are below it.
    #[inline(always)]
    pub fn len(&self) -> u64 {
        self.length.load(Ordering::Relaxed)
    }

    /// The other VM has so much memory from now on; what is beyond the length that the window was made with is not taken.
    ///
    /// What has been checked before, as a [`WindowSlice`], goes on reaching what it reached.
    pub fn set_len(&self, length: u64) {
        self.length
            .store(length.min(self.room()), Ordering::Relaxed);
    }

    /// Makes it a window of `length` bytes at `base`, as if it had been made so: for one that is there for good, when what it was for is
    /// over.
    ///
    /// What has been checked before, as a [`WindowSlice`], goes on reaching what it reached.
    ///
    /// # Safety
    ///
    /// As for [`Window::new`], also for the bytes that it was made for; and nobody uses the window meanwhile.
    pub unsafe fn remake(&self, base: *mut u8, length: u64, absolute_base: u64) {
        self.base.store(base, Ordering::Relaxed);
        self.length.store(length, Ordering::Relaxed);
        self.room.store(length, Ordering::Relaxed);
        self.absolute_base.store(absolute_base, Ordering::Relaxed);
    }

    #[inline(always)]
    fn base(&self) -> *mut u8 {
        self.base.load(Ordering::Relaxed)
    }

    /// How long the window can become at most.
    pub fn room(&self) -> u64 {
        self.room.load(Ordering::Relaxed)
    }

    /// Whether the window has no bytes at all.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The address of the window's first byte for DMA by a device of this side.
    #[inline]
    pub fn absolute_base(&self) -> u64 {
        self.absolute_base.load(Ordering::Relaxed)
    }

    /// Whether the `length` bytes at `address` lie in the window. An empty range does if its
    /// address is at most the window's length.
    #[inline]
    pub fn contains(&self, address: ClientAddress, length: u64) -> bool {
        match address.value().checked_add(length) {
            Some(end) => end <= self.len(),
            None => false,
        }
    }

    /// Copies one value out of the window. Every byte is fetched exactly once.
    ///
    /// The address need not be aligned. Aligned words of a value are fetched whole, but a value
    /// of more than one word may be seen half changed.
    #[inline]
    pub fn read<T: FromBytes>(&self, address: ClientAddress) -> Result<T, OutOfWindow> {
        let source = self.checked(address, size_of::<T>() as u64)?;
        let mut value = MaybeUninit::<T>::uninit();
        // SAFETY: `checked` found the source inside the window, the target is a whole `T`.
        unsafe { copy::from_window(source, value.as_mut_ptr().cast(), size_of::<T>()) };
        // SAFETY: all bytes of `value` were written, and any bytes are a valid `T: FromBytes`.
        Ok(unsafe { value.assume_init() })
    }

    /// Copies one value into the window. Every byte is stored exactly once.
    #[inline]
    pub fn write<T: IntoBytes + Immutable + ?Sized>(
        &self,
        address: ClientAddress,
        value: &T,
    ) -> Result<(), OutOfWindow> {
        self.write_bytes(address, value.as_bytes())
    }

    /// Fills `target` from the window.
    #[inline]
    pub fn read_bytes(&self, address: ClientAddress, target: &mut [u8]) -> Result<(), OutOfWindow> {
        let source = self.checked(address, target.len() as u64)?;
        // SAFETY: `checked` found the source inside the window; `target` is this side's own.
        unsafe { copy::from_window(source, target.as_mut_ptr(), target.len()) };
        Ok(())
    }

    /// Copies `bytes` into the window.
    #[inline]
    pub fn write_bytes(&self, address: ClientAddress, bytes: &[u8]) -> Result<(), OutOfWindow> {
        let target = self.checked(address, bytes.len() as u64)?;
        // SAFETY: `checked` found the target inside the window; `bytes` is this side's own.
        unsafe { copy::to_window(bytes.as_ptr(), target, bytes.len()) };
        Ok(())
    }

    /// Stores `byte` in each of the `length` bytes at `address`.
    pub fn fill(&self, address: ClientAddress, length: u64, byte: u8) -> Result<(), OutOfWindow> {
        let target = self.checked(address, length)?;
        // SAFETY: `checked` found the target inside the window, so `length` fits a `usize`.
        unsafe { copy::fill(target, length as usize, byte) };
        Ok(())
    }

    /// Gives the absolute addresses of a range, for DMA by a device of this side. They do not wrap around.
    #[inline]
    pub fn translate(&self, address: ClientAddress, len: u32) -> Result<Segment, OutOfWindow> {
        if !self.contains(address, u64::from(len)) {
            return Err(self.refuse(address, u64::from(len)));
        }
        match self.absolute_base().checked_add(address.value()) {
            Some(absolute) if absolute.checked_add(u64::from(len)).is_some() => {
                Ok(Segment { absolute, len })
            }
            _ => Err(self.refuse(address, u64::from(len))),
        }
    }

    /// Checks a range once, so that the words in it can then be reached with one compare each.
    #[inline]
    pub fn slice(
        &self,
        address: ClientAddress,
        length: u32,
    ) -> Result<WindowSlice<'_>, OutOfWindow> {
        let start = self.checked(address, u64::from(length))?;
        // SAFETY: `checked` found all `length` bytes from `start` inside the window, which
        // outlives the slice.
        Ok(unsafe { WindowSlice::new(self, start, address, length) })
    }

    /// Checks a range once and for all: see [`Place`].
    pub fn place(&self, address: ClientAddress, length: u32) -> Result<Place, OutOfWindow> {
        self.checked(address, u64::from(length))?;
        Ok(Place {
            address,
            length,
            end: address.value() + u64::from(length),
        })
    }

    /// The range that was checked by [`Window::place`].
    ///
    /// # Errors
    ///
    /// [`OutOfWindow`] if it is not in this window, or not any more.
    #[inline(always)]
    pub fn open(&self, place: &Place) -> Result<WindowSlice<'_>, OutOfWindow> {
        if place.end > self.len() {
            return Err(self.refuse(place.address, u64::from(place.length)));
        }
        let start = self.base().wrapping_add(place.address.value() as usize);
        // SAFETY: the range ends within the window.
        Ok(unsafe { WindowSlice::new(self, start, place.address, place.length) })
    }

    /// The pointer to a range that lies in the window.
    #[inline(always)]
    fn checked(&self, address: ClientAddress, length: u64) -> Result<*mut u8, OutOfWindow> {
        if self.contains(address, length) {
            Ok(self.base().wrapping_add(address.value() as usize))
        } else {
            Err(self.refuse(address, length))
        }
    }

    #[cold]
    #[inline(never)]
    pub(crate) fn refuse(&self, address: ClientAddress, length: u64) -> OutOfWindow {
        OutOfWindow {
            address,
            length,
            window_length: self.len(),
        }
    }
}

/// A range that was checked for a window, kept without it, to be [opened](Window::open) often.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    address: ClientAddress,
    length: u32,
    /// The first address behind it.
    end: u64,
}

impl fmt::Debug for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Window")
            .field("base", &self.base())
            .field("length", &format_args!("{:#x}", self.len()))
            .field(
                "absolute_base",
                &format_args!("{:#x}", self.absolute_base()),
            )
            .finish()
    }
}

/// A [`Window`] over bytes that are lent to it: see [`Window::borrowed`].
#[derive(Debug)]
pub struct BorrowedWindow<'a> {
    window: Window,
    bytes: PhantomData<&'a mut [u8]>,
}

impl Deref for BorrowedWindow<'_> {
    type Target = Window;

    fn deref(&self) -> &Window {
        &self.window
    }
}
