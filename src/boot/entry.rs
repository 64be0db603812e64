//! The first instructions, and what the CPU is set to before anything else runs.
//!
//! One sequence serves every way in. QEMU and KVM with `-kernel` begin at 0x10000 in z/Architecture
//! mode; list-directed IPL (LPAR, Hercules `ipl file.ins`) begins there in ESA/390 mode with 31-bit
//! addressing. So: read the clock; set the architecture by SIGP, whatever it was; 64-bit
//! addressing; clear the registers' high halves, which have arbitrary contents after the switch; new
//! PSWs; bss; stack; Rust.
//!
//! Memory layout: `link.ld`. The parameter area at 0x10400 is the loader's: nothing is trusted there
//! but a command line that looks like one.
//!
//! **Stack guard.** The stack lies directly above the lowcore and grows down. With low-address
//! protection on, an overflow ends in a protection exception before it can touch a new PSW: a
//! store to 4096-4607 or 0-511. A frame that jumps over both wraps around to the end of the
//! address space: an addressing exception. The handler runs on a stack of its own and tells both
//! from other exceptions by r15.

use super::image::{self, CALLER_FRAME, STACK_TOP};
use super::report::set_vectors;
use core::arch::global_asm;
use core::mem::offset_of;
use s390x::control::Cr0;
use s390x::lowcore::Lowcore;
use s390x::psw::PswMask;

/// Where the loader puts the command line, and how much room there is for it.
const COMMAND_LINE: usize = 0x10480;
const COMMAND_LINE_SIZE: usize = 0x11000 - COMMAND_LINE;

global_asm!(
    r#"
    .pushsection .head, "ax", @progbits
    .globl _start
    .type _start, @function
_start:                                     # 0x10000, in whatever mode
    j       2f
    .org    8
    .ascii  "S390EP"                        # QEMU's and zipl's mark of an entry at 0x10000
    .balign 8
2:  basr    %r13,0
3:  stck    1f-3b(%r13)
    slr     %r0,%r0                         # CPU address: not looked at
    lhi     %r1,1                           # z/Architecture, for all CPUs
    sigp    %r1,%r0,{set_architecture}      # the condition code depends on where we came from
    sam64
    larl    %r13,3b                         # without the addressing-mode bit of BASR
    lmh     %r0,%r15,6f-3b(%r13)            # high halves to zero; addresses are below 2 GiB
    mvc     {restart_new}(6*16),5f-3b(%r13)

    larl    %r1,1f
    lg      %r0,0(%r1)                      # keep the clock past the clearing of bss
    larl    %r2,__bss_start
    larl    %r3,__bss_end
    sgr     %r3,%r2
    lghi    %r4,0
    lghi    %r5,0
4:  mvcle   %r2,%r4,0
    jo      4b
    larl    %r1,{first_instruction}
    stg     %r0,0(%r1)

    llill   %r15,{stack}
    brasl   %r14,{entry}
    j       .

    .balign 16
5:  .quad   {disabled}, __boot_restart      # restart
    .quad   {disabled}, __boot_external     # external, until the idle wait takes over
    .quad   {disabled}, __boot_svc
    .quad   {disabled}, __boot_program
    .quad   {disabled}, __boot_machine_check
    .quad   {disabled}, __boot_io
6:  .fill   16,4,0
1:  .quad   0                               # the clock at the first instruction
    .org    0x400                           # the parameter area; an error if we are past it
    .org    0x430                           # the size of its command line, for the loader
    .quad   {command_line_size}
    .popsection
    "#,
    set_architecture = const s390x::cpu::SET_ARCHITECTURE,
    restart_new = const offset_of!(Lowcore, restart_new),
    disabled = const PswMask::DISABLED.bits(),
    first_instruction = sym image::FIRST_INSTRUCTION,
    stack = const STACK_TOP - CALLER_FRAME,
    command_line_size = const COMMAND_LINE_SIZE,
    entry = sym enter,
);

extern "Rust" {
    /// What the image does once the CPU is set up.
    fn kmain() -> !;
}

/// The first of Rust.
extern "C" fn enter() -> ! {
    set_vectors();
    // SAFETY: from here on nobody writes to the protected locations but `s390x::lowcore`.
    unsafe { Cr0::update(|cr0| cr0 | Cr0::LOW_ADDRESS_PROTECTION) };
    // SAFETY: the image defines it, once and with this type.
    unsafe { kmain() }
}

/// The command line, if the loader left one: printable text that ends with a zero byte. Without a
/// loader that knows of it (a bare list-directed load) the area is empty, and so is the line.
#[must_use]
pub fn loader_command_line() -> &'static str {
    // SAFETY: the area is within the image, and nobody writes to it any more.
    let area = unsafe {
        core::slice::from_raw_parts(
            core::ptr::with_exposed_provenance::<u8>(COMMAND_LINE),
            COMMAND_LINE_SIZE,
        )
    };
    super::cmdline::text_of(area)
}
