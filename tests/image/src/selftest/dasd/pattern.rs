//! What is in the blocks: each says which one it is and how often it was written, and the rest of it follows from that.
//! `tests/guest/dasd.py` makes the same.

use super::super::{Outcome, Why};
use alloc::format;
use window::{ClientAddress, Window};

/// "DASDtest".
const MAGIC: u64 = 0x4441_5344_7465_7374;

/// What the host checks its own count against: FNV-1a over how often each block was written.
#[inline(never)]
pub(super) fn hash(written: &[u32]) -> u64 {
    let mut hash = 0xCBF2_9CE4_8422_2325_u64;
    for byte in written.iter().flat_map(|written| written.to_be_bytes()) {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01B3);
    }
    hash
}

/// Bytes of a block that are made or compared at a time.
const PART: usize = 512;

/// Makes a block, named by its number and how often it was written.
#[inline(never)]
pub(super) fn fill(memory: &Window, start: u64, length: u64, block: (u64, u32)) -> Outcome {
    let mut state = seed(block.0, block.1);
    for offset in (0..length).step_by(PART) {
        let mut part = [0; PART];
        for (at, bytes) in (offset..).step_by(8).zip(part.chunks_exact_mut(8)) {
            bytes.copy_from_slice(&word(at, block, &mut state).to_be_bytes());
        }
        memory.write_bytes(ClientAddress::new(start + offset), &part)?;
    }
    Ok(())
}

/// The storage is that block, or zero if it was never written.
#[inline(never)]
pub(super) fn compare(memory: &Window, start: u64, length: u64, block: (u64, u32)) -> Outcome {
    let mut state = seed(block.0, block.1);
    for offset in (0..length).step_by(PART) {
        let mut part = [0; PART];
        memory.read_bytes(ClientAddress::new(start + offset), &mut part)?;
        for (at, bytes) in (offset..).step_by(8).zip(part.chunks_exact(8)) {
            let found = bytes.try_into().map_or(0, u64::from_be_bytes);
            let wanted = match block.1 {
                0 => 0,
                _ => word(at, block, &mut state),
            };
            if found != wanted {
                return Err(differs(block, at, found, wanted));
            }
        }
    }
    Ok(())
}

#[cold]
fn differs((number, written): (u64, u32), at: u64, found: u64, wanted: u64) -> Why {
    let text =
        format!("block {number}, written {written} times: {found:016x} at {at}, not {wanted:016x}");
    text.into()
}

/// The word of a block at an offset.
fn word(offset: u64, block: (u64, u32), state: &mut u64) -> u64 {
    match offset {
        0 => MAGIC,
        8 => block.0,
        16 => block.1.into(),
        _ => {
            *state = state.wrapping_add(STEP);
            *state
        }
    }
}

/// From one word of a block to the next, and far from there to the next block.
const STEP: u64 = 0x9E37_79B9_7F4A_7C15;

/// Where the words of a block begin.
fn seed(block: u64, written: u32) -> u64 {
    (block << 32 | u64::from(written)).wrapping_mul(STEP)
}

/// Marsaglia's xorshift.
pub(super) fn step(state: &mut u64) -> u64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    *state
}
