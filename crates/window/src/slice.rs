//! A checked range of a window, for words that are read and written often: rings and doorbells.
//!
//! An aligned word is loaded and stored atomically. The names say what order is promised:
//! an *acquire* load comes before all later accesses, a *release* store after all earlier ones.
//! What needs more (a store that must be seen before a later load) takes
//! `core::sync::atomic::fence(SeqCst)` of its own.
//!
//! A word whose address is not aligned is moved byte by byte. That is safe but not atomic; whoever
//! builds a ring on a slice checks its alignment once, at set-up.

use core::fmt;
use core::marker::PhantomData;
use core::mem::MaybeUninit;
use core::sync::atomic::{fence, AtomicU16, AtomicU32, Ordering};

use zerocopy::{FromBytes, Immutable, IntoBytes};

use crate::{copy, ClientAddress, OutOfWindow, Window};

/// A range of a [`Window`] that has been checked. All words in it are little-endian.
#[derive(Clone, Copy)]
pub struct WindowSlice<'w> {
    window: &'w Window,
    start: *mut u8,
    address: ClientAddress,
    length: u32,
}

// SAFETY: as `Window`: no reference to the memory is made, each access is volatile or atomic.
unsafe impl Send for WindowSlice<'_> {}
// SAFETY: as above.
unsafe impl Sync for WindowSlice<'_> {}

/// Bytes of a line.
const LINE: u32 = 64;

/// A power of two of lines of eight doublewords each, all of which have been found inside the window.
#[derive(Clone, Copy, Debug)]
pub struct Lines<'w> {
    start: *mut u64,
    mask: u32,
    window: &'w Window,
}

// SAFETY: as for `WindowSlice`.
unsafe impl Send for Lines<'_> {}
// SAFETY: as above.
unsafe impl Sync for Lines<'_> {}

impl Lines<'_> {
    /// Stores the first six doublewords of line `number`, modulo the ring's length, in their order, and then its first word
    /// again with another value, which whoever sees it sees the others too. What this costs is what a trace record costs.
    #[inline(always)]
    pub fn publish(&self, number: u32, line: [u64; 6], first: u32) {
        debug_assert!(!self.window.is_empty());
        let line_start = (number & self.mask) as usize * (LINE / 8) as usize;
        // SAFETY: `WindowSlice::lines` found the line inside the slice.
        let target = unsafe { self.start.add(line_start) };
        macro_rules! store {
            ($($word:literal)*) => {
                // SAFETY: the line has eight words, and they are aligned.
                $( unsafe { target.add($word).write_volatile(line[$word]) }; )*
            };
        }
        // One after the other, not in a loop.
        store!(0 1 2 3 4 5);
        fence(Ordering::Release);
        // SAFETY: as above.
        unsafe { target.cast::<u32>().write_volatile(first) };
    }
}

/// A 32-bit word of a window, big-endian, which has been found inside the window and aligned: loaded and stored whole.
#[derive(Clone, Copy, Debug)]
pub struct WindowWord<'w> {
    place: *mut u32,
    window: PhantomData<&'w Window>,
}

// SAFETY: as for `WindowSlice`.
unsafe impl Send for WindowWord<'_> {}
// SAFETY: as above.
unsafe impl Sync for WindowWord<'_> {}

impl WindowWord<'_> {
    /// Loads the word; all later accesses come after it.
    #[inline(always)]
    pub fn load_acquire(self) -> u32 {
        // SAFETY: the slice that made this has found it inside the window, and aligned; this side never accesses it but by
        // volatile or atomic means.
        let word = unsafe { AtomicU32::from_ptr(self.place) };
        u32::from_be(word.load(Ordering::Acquire))
    }

    /// The address of the word in this program's memory, with its provenance exposed.
    pub fn expose_address(self) -> usize {
        self.place.expose_provenance()
    }

    /// Stores the word; all earlier accesses come before it.
    #[inline(always)]
    pub fn store_release(self, value: u32) {
        crate::stores::about_to_store();
        // SAFETY: as above.
        let word = unsafe { AtomicU32::from_ptr(self.place) };
        word.store(value.to_be(), Ordering::Release);
    }
}

macro_rules! words {
    ($word:ident, $atomic:ident, $load:ident, $load_acquire:ident, $store:ident, $store_release:ident) => {
        #[doc = concat!("Loads the little-endian `", stringify!($word), "` number `index` of the slice.")]
        #[inline(always)]
        pub fn $load(&self, index: u32) -> Result<$word, OutOfWindow> {
            let source = self.word(index, size_of::<$word>() as u32)?;
            if !source.addr().is_multiple_of(align_of::<$atomic>()) {
                let address = self.address_of(index, size_of::<$word>());
                return read_slowly(self.window, address).map($word::from_le_bytes);
            }
            // SAFETY: `word` found it inside the slice, and it is aligned; this side never
            // accesses it but by volatile or atomic means.
            let word = unsafe { $atomic::from_ptr(source.cast()) };
            Ok($word::from_le(word.load(Ordering::Relaxed)))
        }

        #[doc = concat!("As [`", stringify!($load), "`](Self::", stringify!($load), "), and all later accesses come after it.")]
        #[inline(always)]
        pub fn $load_acquire(&self, index: u32) -> Result<$word, OutOfWindow> {
            let word = self.$load(index)?;
            fence(Ordering::Acquire);
            Ok(word)
        }

        #[doc = concat!("Stores the little-endian `", stringify!($word), "` number `index` of the slice.")]
        #[inline(always)]
        pub fn $store(&self, index: u32, value: $word) -> Result<(), OutOfWindow> {
            let target = self.word(index, size_of::<$word>() as u32)?;
            if !target.addr().is_multiple_of(align_of::<$atomic>()) {
                let address = self.address_of(index, size_of::<$word>());
                return write_slowly(self.window, address, &value.to_le_bytes());
            }
            crate::stores::about_to_store();
            // SAFETY: `word` found it inside the slice, and it is aligned; this side never
            // accesses it but by volatile or atomic means.
            let word = unsafe { $atomic::from_ptr(target.cast()) };
            word.store(value.to_le(), Ordering::Relaxed);
            Ok(())
        }

        #[doc = concat!("As [`", stringify!($store), "`](Self::", stringify!($store), "), and all earlier accesses come before it.")]
        #[inline(always)]
        pub fn $store_release(&self, index: u32, value: $word) -> Result<(), OutOfWindow> {
            fence(Ordering::Release);
            self.$store(index, value)
        }
    };
}

impl<'w> WindowSlice<'w> {
    /// # Safety
    ///
    /// The `length` bytes at `start` are those at `address` of `window`, and all lie in it.
    #[inline(always)]
    pub(crate) unsafe fn new(
        window: &'w Window,
        start: *mut u8,
        address: ClientAddress,
        length: u32,
    ) -> Self {
        Self {
            window,
            start,
            address,
            length,
        }
    }

    /// Length in bytes.
    #[inline]
    pub const fn len(&self) -> u32 {
        self.length
    }

    /// Whether the slice has no bytes at all.
    #[inline]
    pub const fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// The address of the first byte, in the other side's numbering.
    #[inline]
    pub const fn address(&self) -> ClientAddress {
        self.address
    }

    words!(
        u16,
        AtomicU16,
        load_u16,
        load_u16_acquire,
        store_u16,
        store_u16_release
    );
    words!(
        u32,
        AtomicU32,
        load_u32,
        load_u32_acquire,
        store_u32,
        store_u32_release
    );

    /// Copies element number `index` of an array of `T` that starts with the slice. Every byte is
    /// fetched exactly once; a value of more than one word may be seen half changed.
    #[inline(always)]
    pub fn element<T: FromBytes>(&self, index: u32) -> Result<T, OutOfWindow> {
        let source = self.element_at::<T>(index)?;
        let mut value = MaybeUninit::<T>::uninit();
        // SAFETY: `element_at` found the source inside the slice, the target is a whole `T`.
        unsafe { copy::from_window(source, value.as_mut_ptr().cast(), size_of::<T>()) };
        // SAFETY: all bytes of `value` were written, and any bytes are a valid `T: FromBytes`.
        Ok(unsafe { value.assume_init() })
    }

    /// Gives `each` the elements of an array of words that starts with the slice, one after the other, until it says `false` or
    /// there are no more, and says how many it took.
    ///
    /// Range and alignment are checked once, so an element costs little. A word is of 32 or 64 bits, and fetched whole, at most
    /// once, when its turn comes. An array that is not aligned in this side's memory has no elements.
    #[inline(always)]
    pub fn each<T: FromBytes>(&self, mut each: impl FnMut(T) -> bool) -> usize {
        for taken in 0..self.words::<T>() {
            let place = self.start.wrapping_add(taken * size_of::<T>());
            // SAFETY: so many whole `T` are in the slice, and it is aligned.
            if !each(unsafe { copy::word_from_window(place) }) {
                return taken;
            }
        }
        self.words::<T>()
    }

    /// The same with a place of the caller's for each element; it ends with the places, too.
    #[inline(always)]
    pub fn each_with<T: FromBytes, P>(
        &self,
        places: &[P],
        mut each: impl FnMut(T, &P) -> bool,
    ) -> usize {
        let most = places.len().min(self.words::<T>());
        let mut source = self.start;
        let places = places.get(..most).unwrap_or_default();
        for (taken, place) in places.iter().enumerate() {
            // SAFETY: so many whole `T` are in the slice, and it is aligned.
            if !each(unsafe { copy::word_from_window(source) }, place) {
                return taken;
            }
            source = source.wrapping_add(size_of::<T>());
        }
        most
    }

    /// The first word of an array of words, and the array of the others.
    #[inline(always)]
    pub fn split_first<T: FromBytes>(&self) -> Option<(T, Self)> {
        if self.words::<T>() == 0 {
            return None;
        }
        // SAFETY: at least one whole `T` is in the slice, and it is aligned.
        let first = unsafe { copy::word_from_window(self.start) };
        let rest = Self {
            start: self.start.wrapping_add(size_of::<T>()),
            address: ClientAddress::new(self.address.value().wrapping_add(size_of::<T>() as u64)),
            length: self.length - size_of::<T>() as u32,
            ..*self
        };
        Some((first, rest))
    }

    /// Words of the slice, if it is aligned for them.
    #[inline(always)]
    fn words<T>(&self) -> usize {
        const { assert!(size_of::<T>() == 4 || size_of::<T>() == 8) }
        if self.start.addr().is_multiple_of(size_of::<T>()) {
            self.length as usize / size_of::<T>()
        } else {
            0
        }
    }

    /// Stores element number `index` of an array of `T` that starts with the slice.
    #[inline(always)]
    pub fn set_element<T: IntoBytes + Immutable>(
        &self,
        index: u32,
        value: &T,
    ) -> Result<(), OutOfWindow> {
        let target = self.element_at::<T>(index)?;
        // SAFETY: `element_at` found the target inside the slice; `value` is this side's own.
        unsafe { copy::to_window(value.as_bytes().as_ptr(), target, size_of::<T>()) };
        Ok(())
    }

    /// The slice as one word. `None` if it has not the length of one, or is not aligned in this side's memory.
    pub fn as_word(&self) -> Option<WindowWord<'w>> {
        let place = self.start.cast::<u32>();
        let fits = self.length == 4 && place.is_aligned();
        fits.then_some(WindowWord {
            place,
            window: PhantomData,
        })
    }

    /// The slice as a ring of lines. `None` if it does not lie on a doubleword boundary, or its length is not that of a power
    /// of two of lines.
    pub fn lines(&self) -> Option<Lines<'w>> {
        let start = self.start.cast::<u64>();
        let count = self.length / LINE;
        let fits = start.is_aligned() && count.is_power_of_two() && self.length == count * LINE;
        fits.then(|| Lines {
            start,
            mask: count - 1,
            window: self.window,
        })
    }

    /// Where word number `index` is, if it lies in the slice.
    #[inline(always)]
    fn word(&self, index: u32, size: u32) -> Result<*mut u8, OutOfWindow> {
        if index >= self.length / size {
            return Err(self.refuse(index, size as usize));
        }
        Ok(self.start.wrapping_add(index as usize * size as usize))
    }

    /// Where element number `index` is, if it lies in the slice.
    #[inline(always)]
    fn element_at<T>(&self, index: u32) -> Result<*mut u8, OutOfWindow> {
        let offset = u64::from(index) * size_of::<T>() as u64;
        if offset + size_of::<T>() as u64 > u64::from(self.length) {
            return Err(self.refuse(index, size_of::<T>()));
        }
        Ok(self.start.wrapping_add(offset as usize))
    }

    #[inline(always)]
    fn refuse(&self, index: u32, size: usize) -> OutOfWindow {
        self.window
            .refuse(self.address_of(index, size), size as u64)
    }

    /// The client's address of element number `index`, wherever that is.
    #[inline(always)]
    fn address_of(&self, index: u32, size: usize) -> ClientAddress {
        let offset = u64::from(index).saturating_mul(size as u64);
        ClientAddress::new(self.address.value().saturating_add(offset))
    }
}

// What follows is out of the way of the loads and stores, and takes no slice, so that theirs can
// stay in registers.

#[cold]
#[inline(never)]
fn read_slowly<const N: usize>(
    window: &Window,
    address: ClientAddress,
) -> Result<[u8; N], OutOfWindow> {
    window.read(address)
}

#[cold]
#[inline(never)]
fn write_slowly(window: &Window, address: ClientAddress, bytes: &[u8]) -> Result<(), OutOfWindow> {
    window.write_bytes(address, bytes)
}

impl fmt::Debug for WindowSlice<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WindowSlice")
            .field("address", &self.address)
            .field("length", &self.length)
            .finish()
    }
}
