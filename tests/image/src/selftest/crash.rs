//! Crashes on purpose: each kind of report, proved in a guest (`selftest=` on the command line).
//!
//! What follows on the console must be the report of that kind, and the disabled wait its code. A test
//! that comes back has failed, and panics with other words.

use core::arch::asm;
use core::hint::black_box;
use core::mem::offset_of;
use s390x::clock::Tod;
use s390x::diagnose::{watchdog, WatchdogFunction, LEAST_WATCHDOG_SECONDS};
use s390x::lowcore::{self, Lowcore};
use s390x::psw::Psw;

/// Each crash by its name on the command line. It comes back when there was nothing to crash.
pub const CRASHES: &[(&str, fn())] = &[
    ("panic", panic_with_console),
    ("nested", || panic!("{}", Bomb)),
    // SAFETY: an operation exception, whose handler does not return.
    ("pgm", || unsafe { asm!(".short 0", options(nostack)) }),
    ("stack", || {
        black_box(recurse_small(black_box(1)));
    }),
    ("stack-large", || {
        black_box(recurse_large(black_box(1)));
    }),
    ("mcck", machine_check),
    ("damage", damage),
    ("wild", store_near_null),
    ("jump", jump_wild),
    ("oom", out_of_memory),
    ("hang", hang),
];

/// A panic while the console and its lock are held.
fn panic_with_console() {
    sclp::CONSOLE.with(|_| panic!("selftest: a panic with the console in use"));
}

/// Cannot be shown.
struct Bomb;

impl core::fmt::Display for Bomb {
    fn fmt(&self, _: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        panic!("selftest: a panic in a report")
    }
}

#[inline(never)]
#[allow(unconditional_recursion, reason = "the test")]
fn recurse_small(depth: u64) -> u64 {
    // The frame is used after the call, so the call stays one.
    recurse_small(black_box(depth + 1)) + black_box(depth)
}

#[inline(never)]
#[allow(unconditional_recursion, reason = "the test")]
fn recurse_large(depth: u64) -> u64 {
    let frame = black_box([depth; 1500]);
    recurse_large(black_box(depth + 1)) + black_box(frame)[depth as usize % 1500]
}

/// As if a machine check had come while an instruction was being executed.
fn machine_check() {
    // SAFETY: reads the PSW that such a machine check ends up with, and goes there.
    unsafe {
        lowcore::write(
            offset_of!(Lowcore, machine_check_code),
            0x4000_0F1D_4033_0000_u64,
        );
        lowcore::read::<Psw>(offset_of!(Lowcore, unexpected_machine_check)).load()
    }
}

/// As if the idle wait had ended with a machine check after which nothing can be trusted.
fn damage() {
    // SAFETY: offset and type belong together; nothing else looks at it.
    unsafe {
        lowcore::write(
            offset_of!(Lowcore, machine_check_code),
            0x8000_0F1D_4033_0000_u64,
        )
    };
    appliance::boot::report::fatal_machine_check()
}

/// A store to the location of a new PSW.
fn store_near_null() {
    let near_null = black_box(offset_of!(Lowcore, program_new));
    // SAFETY: refused by low-address protection.
    unsafe { core::ptr::with_exposed_provenance_mut::<u64>(near_null).write_volatile(0) };
}

/// A call of a function at an odd address.
fn jump_wild() {
    // SAFETY: the call ends in a specification exception.
    let nowhere: extern "C" fn() = unsafe { core::mem::transmute(black_box(0x1235_usize)) };
    nowhere();
    // So that the call is not the last thing that is done.
    black_box(0);
}

/// The event loop has come round for the last time, and the watchdog has its least time to go.
fn hang() {
    appliance::boot::hang::came_round(Tod::now());
    // SAFETY: the program-interruption handler is the appliance's.
    let begun = unsafe { watchdog(WatchdogFunction::Initialize, LEAST_WATCHDOG_SECONDS) };
    if begun.is_ok() {
        // SAFETY: a branch to itself.
        unsafe { asm!("j .", options(nostack)) };
    }
}

/// More than there is.
fn out_of_memory() {
    let (_, size) = appliance::alloc::usage();
    black_box(alloc::vec![0u8; size + 1]);
}
