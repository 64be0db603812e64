//! What is known of the image since it was linked and entered: where its stack and its code are, and when it began.
//!
//! Memory layout: `link.ld`.

use core::ptr::addr_of;
use core::time::Duration;

use s390x::address::AbsoluteAddress;
use s390x::clock::Tod;
use s390x::lowcore::Lowcore;

/// The stack's lowest address: the end of the lowcore.
pub const STACK_BOTTOM: usize = size_of::<Lowcore>();

/// Where the image begins.
const IMAGE_START: u64 = 0x10000;

/// Where the stack ends: at the image.
pub const STACK_TOP: usize = IMAGE_START as usize;

/// What the ABI wants above a function's own frame: its register save area.
pub const CALLER_FRAME: usize = 160;

/// Where in a frame a function that it called saves r11 and r14, the return address.
pub const SAVED_R11: u64 = 88;
pub const SAVED_R14: u64 = 112;

extern "C" {
    static __image_end: u8;
    static __image_start: u8;
    static __text_end: u8;
}

/// The clock at the first instruction. Written before Rust runs, never again.
pub(super) static mut FIRST_INSTRUCTION: u64 = 0;

/// The clock at the first instruction.
pub fn first_instruction() -> Tod {
    // SAFETY: written once, before Rust ran.
    Tod::from_units(unsafe { addr_of!(FIRST_INSTRUCTION).read_volatile() })
}

/// Where the image ends (a page boundary): storage from here on is free at boot.
pub fn image_end() -> AbsoluteAddress {
    AbsoluteAddress::of(addr_of!(__image_end))
}

/// How much storage the image takes, from its first byte to [`image_end`].
pub fn image_size() -> u64 {
    image_end().get() - AbsoluteAddress::of(addr_of!(__image_start)).get()
}

/// The addresses of the image's code.
pub fn code() -> core::ops::Range<u64> {
    AbsoluteAddress::of(addr_of!(__image_start)).get()
        ..AbsoluteAddress::of(addr_of!(__text_end)).get()
}

/// The time since the first instruction.
pub fn uptime() -> Duration {
    Tod::now().since(first_instruction())
}
