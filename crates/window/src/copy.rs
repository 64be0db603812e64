//! Copies across the border: volatile, each byte once.
//!
//! The compiler may not repeat, drop or invent a volatile access. So a value that was checked is
//! the value that is used, however fast the other side changes its memory. Where the window's
//! pointer is aligned, as all that is used often is, eight bytes go at a time; otherwise one.

use core::mem::transmute_copy;

use zerocopy::FromBytes;

use crate::stores::about_to_store;

const WORD: usize = size_of::<u64>();

/// Whether `address` can be reached with 64-bit accesses.
#[inline(always)]
fn aligned(address: *const u8) -> bool {
    address.addr().is_multiple_of(align_of::<u64>())
}

/// Copies `length` bytes from window memory to memory of this side.
///
/// # Safety
///
/// `source` is valid for volatile reads and `target` for writes of `length` bytes. `target` is
/// not in any window.
#[inline(always)]
pub(crate) unsafe fn from_window(source: *const u8, target: *mut u8, length: usize) {
    let mut done = 0;
    if aligned(source) {
        if length == WORD {
            // SAFETY: one aligned word, valid on both sides.
            unsafe {
                let word = source.cast::<u64>().read_volatile();
                target.cast::<u64>().write_unaligned(word);
            }
            return;
        }
        if length == 2 * WORD {
            // A descriptor. Spelled out, because a loop that is optimised for size stays one.
            // SAFETY: two aligned words, valid on both sides.
            unsafe {
                let words = source.cast::<u64>();
                let (first, second) = (words.read_volatile(), words.add(1).read_volatile());
                target.cast::<u64>().write_unaligned(first);
                target.cast::<u64>().add(1).write_unaligned(second);
            }
            return;
        }
        while length - done >= WORD {
            // SAFETY: `done + WORD <= length`, so both sides are valid; the source is aligned,
            // because its start is and `done` is a multiple of the word.
            unsafe {
                let word = source.add(done).cast::<u64>().read_volatile();
                target.add(done).cast::<u64>().write_unaligned(word);
            }
            done += WORD;
        }
    }
    if length == 1 {
        // SAFETY: one byte, valid on both sides.
        unsafe { target.write(source.read_volatile()) };
    } else if done < length {
        // SAFETY: what is left starts at `done`, inside both ranges.
        unsafe { bytes_from_window(source.add(done), target.add(done), length - done) };
    }
}

/// Copies one word of 32 or 64 bits from window memory.
///
/// # Safety
///
/// `source` is valid for a volatile read of a `T`, and a multiple of its size, which is 4 or 8.
#[inline(always)]
pub(crate) unsafe fn word_from_window<T: FromBytes>(source: *const u8) -> T {
    // SAFETY: valid and aligned, as the caller promises; any bytes are a valid `T`, and no more are copied than were read.
    unsafe {
        if size_of::<T>() == size_of::<u32>() {
            transmute_copy(&source.cast::<u32>().read_volatile())
        } else {
            transmute_copy(&source.cast::<u64>().read_volatile())
        }
    }
}

/// As [`from_window`], byte by byte.
///
/// # Safety
///
/// As [`from_window`].
#[inline(never)]
unsafe fn bytes_from_window(source: *const u8, target: *mut u8, length: usize) {
    for place in 0..length {
        // SAFETY: `place < length`, so both sides are valid.
        unsafe { target.add(place).write(source.add(place).read_volatile()) };
    }
}

/// Copies `length` bytes from memory of this side to window memory.
///
/// # Safety
///
/// `source` is valid for reads and `target` for volatile writes of `length` bytes. `source` is
/// not in any window.
#[inline(always)]
pub(crate) unsafe fn to_window(source: *const u8, target: *mut u8, length: usize) {
    let mut done = 0;
    if aligned(target) {
        if length == 2 * WORD && !cfg!(feature = "stores") {
            // As above.
            // SAFETY: two aligned words, valid on both sides.
            unsafe {
                let words = source.cast::<u64>();
                let (first, second) = (words.read_unaligned(), words.add(1).read_unaligned());
                target.cast::<u64>().write_volatile(first);
                target.cast::<u64>().add(1).write_volatile(second);
            }
            return;
        }
        while length - done >= WORD {
            about_to_store();
            // SAFETY: `done + WORD <= length`, so both sides are valid; the target is aligned,
            // because its start is and `done` is a multiple of the word.
            unsafe {
                let word = source.add(done).cast::<u64>().read_unaligned();
                target.add(done).cast::<u64>().write_volatile(word);
            }
            done += WORD;
        }
    }
    if length == 1 {
        about_to_store();
        // SAFETY: one byte, valid on both sides.
        unsafe { target.write_volatile(source.read()) };
    } else if done < length {
        // SAFETY: what is left starts at `done`, inside both ranges.
        unsafe { bytes_to_window(source.add(done), target.add(done), length - done) };
    }
}

/// As [`to_window`], byte by byte.
///
/// # Safety
///
/// As [`to_window`].
#[inline(never)]
unsafe fn bytes_to_window(source: *const u8, target: *mut u8, length: usize) {
    for place in 0..length {
        about_to_store();
        // SAFETY: `place < length`, so both sides are valid.
        unsafe { target.add(place).write_volatile(source.add(place).read()) };
    }
}

/// Stores `byte` into `length` bytes of window memory.
///
/// # Safety
///
/// `target` is valid for volatile writes of `length` bytes.
pub(crate) unsafe fn fill(target: *mut u8, length: usize, byte: u8) {
    let word = u64::from_ne_bytes([byte; WORD]);
    let mut done = 0;
    if aligned(target) {
        while length - done >= WORD {
            about_to_store();
            // SAFETY: `done + WORD <= length`; aligned as in `to_window`.
            unsafe { target.add(done).cast::<u64>().write_volatile(word) };
            done += WORD;
        }
    }
    while done < length {
        about_to_store();
        // SAFETY: `done < length`.
        unsafe { target.add(done).write_volatile(byte) };
        done += 1;
    }
}
