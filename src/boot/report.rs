//! The report: what is printed when something ends this program that should not.
//!
//! It shows what an operator of an s390 expects: the kind of interruption with its code, the PSW, all general
//! registers, the control registers in use, the failing address, the call chain by name, the last
//! log records. Then the CPU enters a disabled wait whose address tells the kind once more
//! (`Stop`), which QEMU and KVM report to management as a crash of the guest.
//!
//! **The rule this module lives by.** Nothing that crashed is relied on: the report has a stack of
//! its own, takes console and log by force, allocates nothing, follows no pointer it has not
//! checked, and ends after a bounded number of steps. A crash during the report ends in a disabled
//! wait at once.
//!
//! **The ways in** are the stubs below, one for each class of interruption. A program interruption of START or MODIFY
//! SUBCHANNEL that is an operand exception does not end here: it becomes that instruction's answer
//! ([`s390x::io::OperandException`]). So does any one of the watchdog's DIAGNOSE ([`s390x::diagnose::WatchdogRefusal`]).
//!
//! **A restart interruption** may be somebody's wish for a report, or the end of a program that hangs, which is its own fault; after
//! one that is neither the program goes on. [`hang`] tells them apart.
//!
//! **Limits.** Other CPUs are not stopped.

use super::call_chain::{innermost, CalledFrom, Calls, Place};
use super::hang::{self, Cause};
use super::image::{CALLER_FRAME, STACK_BOTTOM, STACK_TOP};
use super::stop::Stop;
use super::{death, logring, symbols};
use core::arch::{asm, global_asm};
use core::fmt::{self, Write};
use core::mem::offset_of;
use core::panic::PanicInfo;
use core::sync::atomic::{AtomicBool, Ordering};
use s390x::clock::Tod;
use s390x::control;
use s390x::cpu::disabled_wait;
use s390x::diagnose::{self, WatchdogFunction, LEAST_WATCHDOG_SECONDS};
use s390x::idle::{self, Unexpected};
use s390x::io;
use s390x::lowcore::{self, Lowcore};
use s390x::machine_check::MachineCheckCode;
use s390x::program::ProgramInterruptionCode;
use s390x::psw::{Psw, PswMask};

/// The version that banner and report show.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The size of the stack that reports are made on.
const EMERGENCY_STACK_SIZE: usize = 16 * 1024;

/// The stack that reports are made on.
#[repr(C, align(8))]
struct EmergencyStack([u8; EMERGENCY_STACK_SIZE]);

static mut EMERGENCY_STACK: EmergencyStack = EmergencyStack([0; EMERGENCY_STACK_SIZE]);

/// The program-interruption code of an operand exception.
const OPERAND_EXCEPTION: u16 = 0x15;

/// Which way the CPU came here; the numbers are in the stubs below.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
enum Entry {
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
    const fn from_number(number: u64) -> Self {
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

    # An operand exception of START or MODIFY SUBCHANNEL is an answer, and so is whatever the watchdog's DIAGNOSE has come to. They
    # are called as functions, which leaves r1 and r2 free.
    entry   __boot_program
    lg      %r1,{program_old}+8
    larl    %r2,{guarded_watchdog}
    cgr     %r1,%r2
    je      9f
    llgh    %r2,{program_code}
    chi     %r2,{operand_exception}
    jne     8f
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
    registers = const offset_of!(Lowcore, report_registers),
    program_code = const offset_of!(Lowcore, program_code),
    program_old = const offset_of!(Lowcore, program_old),
    operand_exception = const OPERAND_EXCEPTION,
    guarded_ssch = sym io::s390x_io_guarded_ssch,
    guarded_msch = sym io::s390x_io_guarded_msch,
    guarded_watchdog = sym diagnose::s390x_diagnose_guarded_watchdog,
    refused = sym io::s390x_io_refused,
    disabled = const PswMask::DISABLED.bits(),
    caller_frame = const CALLER_FRAME,
    emergency_stack = sym EMERGENCY_STACK,
    emergency_stack_size = const EMERGENCY_STACK_SIZE,
    report = sym report,
);

extern "C" {
    fn __boot_external();
    fn __boot_io();
    fn __boot_machine_check();
    /// Stop here, with a report.
    fn __boot_stop(entry: u64, info: *const ()) -> !;
}

/// Let the idle wait take interruptions, and a report everything that comes elsewhere.
pub fn set_vectors() {
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

/// Most calls of a call chain that are shown; those of a recursion count once.
const CALLS: usize = 32;

/// Stop because of a machine check, taken in the idle wait, after which nothing can be trusted
/// ([`MachineCheckCode::is_fatal`]).
pub fn fatal_machine_check() -> ! {
    // SAFETY: the entry needs no info.
    unsafe { __boot_stop(Entry::FatalMachineCheck as u64, core::ptr::null()) }
}

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    // SAFETY: `info` is what this entry wants; this frame stays while the report is made.
    unsafe { __boot_stop(Entry::Panic as u64, core::ptr::from_ref(info).cast()) }
}

/// Make the report. Called by the stubs, on the emergency stack, with the registers as they were
/// in the lowcore.
extern "C" fn report(entry: u64, info: *const ()) -> ! {
    static IN_REPORT: AtomicBool = AtomicBool::new(false);
    let entry = Entry::from_number(entry);
    let in_report = IN_REPORT.load(Ordering::Relaxed);
    if !in_report && entry == Entry::Restart && hang::cause(Tod::now()) == Cause::Standstill {
        go_on();
    }
    if IN_REPORT.swap(true, Ordering::Relaxed) {
        disabled_wait(Stop::InReport.wait_code());
    }
    set_vectors();
    let ending = Report::of(entry, info);
    if ending.stop.is_its_own() {
        death::tell();
    }
    // Too early for a console? Then bring it up now; otherwise this does nothing.
    sclp::bring_up();
    // SAFETY: whoever was using the console never runs again, and this is reached only once.
    let console = unsafe { sclp::CONSOLE.steal() };
    if let Some(console) = console {
        // What the console refuses cannot be told to anybody.
        let _ = ending.show(console);
        let _ = console.flush();
    }
    disabled_wait(ending.stop.wait_code())
}

/// Goes on where a restart interruption came, with the machine's watchdog set for its least time. Comes back if it cannot be set: nobody
/// would find that the program hangs after all.
fn go_on() {
    hang::goes_on();
    let function = WatchdogFunction::Initialize;
    // SAFETY: the program-interruption handler is here.
    if unsafe { diagnose::watchdog(function, LEAST_WATCHDOG_SECONDS) }.is_err() {
        return;
    }
    // SAFETY: the registers are those that the stub has saved, and nothing of what was interrupted has been touched since: no
    // floating-point or access register is used in this program.
    unsafe {
        asm!(
            "lmg     %r0,%r15,{registers}",
            "lpswe   {restart_old}",
            registers = const offset_of!(Lowcore, report_registers),
            restart_old = const offset_of!(Lowcore, restart_old),
            options(noreturn)
        )
    }
}

/// What is known of the end.
struct Report<'a> {
    stop: Stop,
    entry: Entry,
    psw: Psw,
    registers: [u64; 16],
    panic: Option<&'a PanicInfo<'a>>,
}

/// Read a field of the lowcore.
macro_rules! lowcore_field {
    ($field:ident: $type:ty) => {
        // SAFETY: offset and type belong together.
        unsafe { lowcore::read::<$type>(offset_of!(Lowcore, $field)) }
    };
}

impl Report<'_> {
    fn of(entry: Entry, info: *const ()) -> Self {
        let registers = lowcore_field!(report_registers: [u64; 16]);
        let [.., r14, r15] = registers;
        let called_at = Psw::new(Psw::current_mask(), r14);
        let (stop, psw) = match entry {
            Entry::Restart => {
                let stop = match hang::cause(Tod::now()) {
                    Cause::Demand => Stop::Restart,
                    Cause::Hang(_) | Cause::Standstill => Stop::Hang,
                };
                (stop, lowcore_field!(restart_old: Psw))
            }
            Entry::SupervisorCall => (Stop::Unexpected, lowcore_field!(svc_old: Psw)),
            Entry::External => (Stop::Unexpected, lowcore_field!(external_old: Psw)),
            Entry::Io => (Stop::Unexpected, lowcore_field!(io_old: Psw)),
            Entry::MachineCheck | Entry::FatalMachineCheck => {
                (Stop::MachineCheck, lowcore_field!(machine_check_old: Psw))
            }
            Entry::Program if is_overflow(r15) => {
                (Stop::StackOverflow, lowcore_field!(program_old: Psw))
            }
            Entry::Program => (Stop::Program, lowcore_field!(program_old: Psw)),
            Entry::Panic => (Stop::Panic, called_at),
        };
        let panic = match entry {
            // SAFETY: the panic handler gave it, and its frame is still there.
            Entry::Panic => unsafe { info.cast::<PanicInfo<'_>>().as_ref() },
            _ => None,
        };
        Self {
            stop,
            entry,
            psw,
            registers,
            panic,
        }
    }

    fn show(&self, to: &mut dyn Write) -> fmt::Result {
        writeln!(
            to,
            "\n==== stellwerk {} stopped: {} ====",
            VERSION,
            self.stop.title()
        )?;
        self.show_cause(to)?;
        writeln!(to, "PSW  {:?}", self.psw)?;
        self.show_registers(to)?;
        self.show_call_chain(to)?;
        writeln!(to, "last log records:")?;
        // SAFETY: nothing else runs any more.
        unsafe { logring::show(to) }?;
        let wait = self.stop.wait_code().get();
        writeln!(
            to,
            "==== {}: disabled wait {wait:X} ====",
            self.stop.title()
        )
    }

    /// One or two lines that only this kind of end has.
    fn show_cause(&self, to: &mut dyn Write) -> fmt::Result {
        match self.entry {
            Entry::Panic => match self.panic {
                Some(info) => writeln!(to, "{info}"),
                None => Ok(()),
            },
            Entry::Restart => match hang::cause(Tod::now()) {
                Cause::Hang(silent) => writeln!(
                    to,
                    "the event loop has not come round for {} ms",
                    silent.as_millis()
                ),
                Cause::Standstill => writeln!(to, "the event loop has not come round for long"),
                Cause::Demand => writeln!(to, "on demand: the operator's restart, or an NMI"),
            },
            Entry::SupervisorCall => {
                writeln!(to, "supervisor call {}", lowcore_field!(svc_code: u16))
            }
            Entry::External => writeln!(
                to,
                "external interruption {:04x}, parameter {:08x}, outside the idle wait",
                lowcore_field!(external_code: u16),
                lowcore_field!(external_parameter: u32),
            ),
            Entry::Io => writeln!(
                to,
                "I/O interruption, subchannel {:08x} parameter {:08x} identification {:08x}, outside the idle wait",
                lowcore_field!(subsystem_id_word: u32),
                lowcore_field!(io_parameter: u32),
                lowcore_field!(io_id_word: u32),
            ),
            Entry::MachineCheck | Entry::FatalMachineCheck => self.show_machine_check(to),
            Entry::Program => self.show_program(to),
        }
    }

    fn show_machine_check(&self, to: &mut dyn Write) -> fmt::Result {
        let code = MachineCheckCode::from_bits_retain(lowcore_field!(machine_check_code: u64));
        writeln!(
            to,
            "machine-check-interruption code {:016x}, failing storage {:016x}, external damage {:08x}",
            code.bits(),
            lowcore_field!(failing_storage_address: u64),
            lowcore_field!(external_damage_code: u32),
        )?;
        write!(to, " ")?;
        for (name, _) in code.iter_names() {
            write!(to, " {name}")?;
        }
        writeln!(to)
    }

    fn show_program(&self, to: &mut dyn Write) -> fmt::Result {
        let code = ProgramInterruptionCode::from_raw(lowcore_field!(program_code: u16));
        let length = lowcore_field!(program_ilc: u16) & 0x6;
        writeln!(to, "code {code}, ILC {}", length / 2)?;
        if self.stop == Stop::StackOverflow {
            let r15 = self.registers[15];
            writeln!(
                to,
                "r15 {r15:x} is not within the stack {STACK_BOTTOM:x}-{STACK_TOP:x}"
            )?;
        }
        if code.exception() == ProgramInterruptionCode::PROTECTION {
            let id = lowcore_field!(translation_exception_id: u64);
            writeln!(
                to,
                "failing page {:016x} (identification {id:016x})",
                id & !0xFFF
            )?;
        }
        let from = lowcore_field!(breaking_event_address: u64);
        writeln!(to, "last branch {}", Place(from))
    }

    fn show_registers(&self, to: &mut dyn Write) -> fmt::Result {
        for (row, four) in self.registers.chunks(4).enumerate() {
            write!(to, "r{:<2}", row * 4)?;
            for register in four {
                write!(to, "  {register:016x}")?;
            }
            writeln!(to)?;
        }
        let control = control::read_all();
        writeln!(
            to,
            "cr0  {:016x}  cr6  {:016x}  cr14 {:016x}",
            control[0], control[6], control[14]
        )
    }

    fn show_call_chain(&self, to: &mut dyn Write) -> fmt::Result {
        writeln!(to, "call chain:")?;
        writeln!(to, "  at   {}", Place(self.instruction()))?;
        let Some(symbols) = symbols::of_this_image() else {
            return writeln!(
                to,
                "  no names: this is not a finished image; r14 is {:x}",
                self.registers[14]
            );
        };
        let chain = Calls::from_interruption(symbols, self.instruction(), &self.registers);
        let chain = if chain.is_complete() {
            chain
        } else {
            innermost(symbols).unwrap_or(chain)
        };
        let mut calls = chain.peekable();
        let mut depth = 0;
        for _ in 0..CALLS {
            let Some(call) = calls.next() else {
                return Ok(());
            };
            depth += 1;
            write!(to, "  {depth:<4} {}", CalledFrom(call))?;
            let mut times = 1;
            while calls.next_if_eq(&call).is_some() {
                times += 1;
            }
            depth += times - 1;
            match times {
                1 => writeln!(to)?,
                _ => writeln!(to, ", {times} times")?,
            }
        }
        writeln!(to, "  ...  {} more", calls.count())
    }

    /// Where it happened: the PSW points behind the instruction after most program interruptions.
    fn instruction(&self) -> u64 {
        match self.entry {
            Entry::Program => {
                let length = lowcore_field!(program_ilc: u16) & 0x6;
                self.psw.address.wrapping_sub(u64::from(length))
            }
            Entry::Panic => self.psw.address.wrapping_sub(1),
            _ => self.psw.address,
        }
    }
}

/// Whether a stack pointer says that the stack was used up: it is below the stack, or has wrapped
/// around to the far end of the address space.
fn is_overflow(r15: u64) -> bool {
    r15 < STACK_BOTTOM as u64 || r15 > i64::MAX as u64
}
