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
//! **Program interruptions** end the image with a report, but for one: an operand exception of START or MODIFY SUBCHANNEL, which
//! becomes that instruction's answer ([`s390x::io::OperandException`]).
//!
//! **Stack guard.** The stack lies directly above the lowcore and grows down. With low-address
//! protection on, an overflow ends in a protection exception before it can touch a new PSW: a
//! store to 4096-4607 or 0-511. A frame that jumps over both wraps around to the end of the
//! address space: an addressing exception. The handler runs on a stack of its own and tells both
//! from other exceptions by r15.

use core::arch::global_asm;
use core::mem::offset_of;
use core::ptr::addr_of;
use s390x::address::AbsoluteAddress;
use s390x::clock::Tod;
use s390x::control::Cr0;
use s390x::idle::{self, Unexpected};
use s390x::io;
use s390x::lowcore::Lowcore;
use s390x::psw::{Psw, PswMask};

/// The stack's lowest address: the end of the lowcore.
pub(super) const STACK_BOTTOM: usize = size_of::<Lowcore>();

/// Where the image begins.
const IMAGE_START: u64 = 0x10000;

/// Where the stack ends: at the image.
pub(super) const STACK_TOP: usize = IMAGE_START as usize;

/// What the ABI wants above a function's own frame: its register save area.
pub(super) const CALLER_FRAME: usize = 160;

/// Where in a frame a function that it called saves r11 and r14, the return address.
pub(super) const SAVED_R11: u64 = 88;
pub(super) const SAVED_R14: u64 = 112;

/// Where the loader puts the command line, and how much room there is for it.
const COMMAND_LINE: usize = 0x10480;
const COMMAND_LINE_SIZE: usize = 0x11000 - COMMAND_LINE;

/// The size of the stack that reports are made on.
const EMERGENCY_STACK_SIZE: usize = 16 * 1024;

/// The stack that reports are made on.
#[repr(C, align(8))]
struct EmergencyStack([u8; EMERGENCY_STACK_SIZE]);

static mut EMERGENCY_STACK: EmergencyStack = EmergencyStack([0; EMERGENCY_STACK_SIZE]);

/// The program-interruption code of an operand exception.
const OPERAND_EXCEPTION: u16 = 0x15;

/// Which way the CPU came into [`super::report`]; the numbers are in the stubs below.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
pub(super) enum Entry {
    /// The restart interruption: the operator's key, or a hypervisor's "NMI".
    Restart = 1,
    /// SUPERVISOR CALL, which nothing here executes.
    SupervisorCall = 2,
    /// A program interruption.
    Program = 3,
    /// An external interruption outside the idle wait.
    External = 4,
    /// An I/O interruption outside the idle wait.
    Io = 5,
    /// A machine check outside the idle wait.
    MachineCheck = 6,
    /// A call: panic.
    Panic = 7,
    /// A call: a machine check taken in the idle wait says that storage or CPU is damaged.
    FatalMachineCheck = 8,
}

impl Entry {
    /// The entry with this number; anything unknown is as bad as a panic.
    pub(super) const fn from_number(number: u64) -> Self {
        match number {
            1 => Self::Restart,
            2 => Self::SupervisorCall,
            3 => Self::Program,
            4 => Self::External,
            5 => Self::Io,
            6 => Self::MachineCheck,
            8 => Self::FatalMachineCheck,
            _ => Self::Panic,
        }
    }
}

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

    # Where what must not happen goes: keep the registers, change the stack, report. No register
    # can be trusted, not even r15.
    .pushsection .text.boot_stubs, "ax", @progbits
    .macro entry name
    .balign 8
    .globl  \name
    .type   \name, @function
\name:
    stmg    %r0,%r15,{registers}
    .endm
    .macro stub name, number
    entry   \name
    lghi    %r2,\number
    lghi    %r3,0
    j       7f
    .endm
    stub __boot_restart, 1
    stub __boot_svc, 2
    stub __boot_external, 4
    stub __boot_io, 5
    stub __boot_machine_check, 6

    # An operand exception of START or MODIFY SUBCHANNEL is an answer. They are called as functions, which leaves r1 and r2 free.
    entry   __boot_program
    llgh    %r1,{program_code}
    chi     %r1,{operand_exception}
    jne     8f
    lg      %r1,{program_old}+8
    larl    %r2,{guarded_ssch}
    cgr     %r1,%r2
    je      9f
    larl    %r2,{guarded_msch}
    cgr     %r1,%r2
    jne     8f
9:  larl    %r1,10f
    lpswe   0(%r1)
8:  lghi    %r2,3
    lghi    %r3,0
    j       7f
    .balign 8
10: .quad   {disabled}, {refused}

    # fn __boot_stop(entry: u64, info: *const ()) -> !: the same, for those who call.
    .balign 8
    .globl  __boot_stop
    .type   __boot_stop, @function
__boot_stop:
    stmg    %r0,%r15,{registers}
7:  larl    %r15,{emergency_stack}
    agfi    %r15,{emergency_stack_size}-{caller_frame}
    brasl   %r14,{report}
    j       .
    .popsection
    "#,
    set_architecture = const s390x::cpu::SET_ARCHITECTURE,
    restart_new = const offset_of!(Lowcore, restart_new),
    registers = const offset_of!(Lowcore, report_registers),
    program_code = const offset_of!(Lowcore, program_code),
    program_old = const offset_of!(Lowcore, program_old),
    operand_exception = const OPERAND_EXCEPTION,
    guarded_ssch = sym io::s390x_io_guarded_ssch,
    guarded_msch = sym io::s390x_io_guarded_msch,
    refused = sym io::s390x_io_refused,
    disabled = const PswMask::DISABLED.bits(),
    first_instruction = sym FIRST_INSTRUCTION,
    stack = const STACK_TOP - CALLER_FRAME,
    caller_frame = const CALLER_FRAME,
    command_line_size = const COMMAND_LINE_SIZE,
    emergency_stack = sym EMERGENCY_STACK,
    emergency_stack_size = const EMERGENCY_STACK_SIZE,
    entry = sym enter,
    report = sym super::report::report,
);

extern "Rust" {
    /// What the image does once the CPU is set up.
    fn kmain() -> !;
}

extern "C" {
    static __image_end: u8;
    static __image_start: u8;
    static __text_end: u8;
    fn __boot_external();
    fn __boot_io();
    fn __boot_machine_check();
    /// Stop here, with a report.
    pub(super) fn __boot_stop(entry: u64, info: *const ()) -> !;
}

/// The clock at the first instruction. Written before Rust runs, never again.
static mut FIRST_INSTRUCTION: u64 = 0;

/// The clock at the first instruction.
#[must_use]
pub fn first_instruction() -> Tod {
    // SAFETY: written once, before Rust ran.
    Tod::from_units(unsafe { addr_of!(FIRST_INSTRUCTION).read_volatile() })
}

/// Where the image ends (a page boundary): storage from here on is free at boot.
#[must_use]
pub fn image_end() -> AbsoluteAddress {
    AbsoluteAddress::of(addr_of!(__image_end))
}

/// How much storage the image takes, from its first byte to [`image_end`].
#[must_use]
pub fn image_size() -> u64 {
    image_end().get() - AbsoluteAddress::of(addr_of!(__image_start)).get()
}

/// The addresses of the image's code.
pub(super) fn code() -> core::ops::Range<u64> {
    AbsoluteAddress::of(addr_of!(__image_start)).get()
        ..AbsoluteAddress::of(addr_of!(__text_end)).get()
}

/// The first of Rust.
extern "C" fn enter() -> ! {
    set_vectors();
    // SAFETY: from here on nobody writes to the protected locations but `s390x::lowcore`.
    unsafe { Cr0::update(|cr0| cr0 | Cr0::LOW_ADDRESS_PROTECTION) };
    // SAFETY: the image defines it, once and with this type.
    unsafe { kmain() }
}

/// Let the idle wait take interruptions, and a report everything that comes elsewhere.
pub(super) fn set_vectors() {
    let stub = |entry: unsafe extern "C" fn()| Psw::new(PswMask::DISABLED, entry as usize as u64);
    // SAFETY: nothing is enabled, and the stubs rely on no register.
    unsafe {
        idle::install(&Unexpected {
            external: stub(__boot_external),
            machine_check: stub(__boot_machine_check),
            io: stub(__boot_io),
        });
    }
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
