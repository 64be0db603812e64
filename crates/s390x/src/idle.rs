//! The one place where interruptions are taken: a wait.
//!
//! **The rule.** Code runs disabled for all interruptions, always. To learn of one, it calls
//! [`wait`]: that loads an enabled wait PSW, and when an interruption comes (or is already
//! pending), execution goes on behind the call, everything disabled again, with what the
//! interruption said as the return value. An interruption is a function result, not a thread of
//! control: no handler runs concurrently with anything.
//!
//! **How.** The new PSWs of the three classes designate stubs that see by the old PSW's wait bit
//! that the CPU was waiting, put the class into r2 and return to the caller of the wait: the CPU
//! does not change a register while it waits. An interruption of these classes that came from no
//! wait (only possible when somebody broke the rule) goes to the PSWs given to [`install`].
//!
//! [`install`] needs neither heap nor console; from then on [`wait`] works.
//!
//! **Limits.** One wait serves one interruption. The stubs run with DAT off.
//!
//! Source: *Principles of Operation*, chapter 6, "Interruptions"; chapter 4, "Wait State".

use crate::control::Cr0;
use crate::io::IoInterruption;
use crate::machine_check::MachineCheckCode;
use bitflags::bitflags;

bitflags! {
    /// What may end a wait, apart from its deadline.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
    pub struct Sources: u8 {
        /// I/O interruptions of the subclasses that [`crate::control::Cr6`] enables.
        const IO = 1 << 0;
        /// Machine checks: those that cannot be masked, and the subclasses that
        /// [`crate::control::Cr14`] enables (channel reports among them).
        const MACHINE_CHECK = 1 << 1;
        /// The service signal, 0x2401.
        const SERVICE_SIGNAL = 1 << 2;
        /// Another CPU's external call, 0x1202.
        const EXTERNAL_CALL = 1 << 3;
        /// The operator's interrupt key, 0x0040.
        const INTERRUPT_KEY = 1 << 4;
    }
}

impl Sources {
    /// What an event loop waits for.
    pub const EVENT_LOOP: Self = Self::IO
        .union(Self::MACHINE_CHECK)
        .union(Self::SERVICE_SIGNAL)
        .union(Self::EXTERNAL_CALL)
        .union(Self::INTERRUPT_KEY);

    /// The bits of CR 0 that enable the external ones among them.
    pub fn external_subclasses(self) -> Cr0 {
        let mut cr0 = Cr0::empty();
        cr0.set(Cr0::SERVICE_SIGNAL, self.contains(Self::SERVICE_SIGNAL));
        cr0.set(Cr0::EXTERNAL_CALL, self.contains(Self::EXTERNAL_CALL));
        cr0.set(Cr0::INTERRUPT_KEY, self.contains(Self::INTERRUPT_KEY));
        cr0
    }
}

/// Why an external interruption came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExternalInterruption {
    /// The external-interruption code.
    pub code: ExternalCode,
    /// The parameter of 32 bits; for a service signal, the SCCB address and two flags.
    pub parameter: u32,
}

/// An external-interruption code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ExternalCode {
    /// 0x1004.
    ClockComparator,
    /// 0x2401.
    ServiceSignal,
    /// Any other.
    Other(u16),
}

impl From<u16> for ExternalCode {
    fn from(code: u16) -> Self {
        match code {
            0x1004 => Self::ClockComparator,
            0x2401 => Self::ServiceSignal,
            other => Self::Other(other),
        }
    }
}

/// What ended a wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wake {
    /// The deadline: the clock comparator.
    Deadline,
    /// An I/O interruption. It has been taken: TPI will not show it again.
    Io(IoInterruption),
    /// An external interruption.
    External(ExternalInterruption),
    /// A machine check.
    MachineCheck(MachineCheckCode),
}

#[cfg(target_arch = "s390x")]
pub use instructions::*;

#[cfg(target_arch = "s390x")]
mod instructions {
    use super::{ExternalCode, ExternalInterruption, Sources, Wake};
    use crate::clock::{sckc, stckc, Tod};
    use crate::control::Cr0;
    use crate::io::IoInterruption;
    use crate::lowcore::{self, Lowcore};
    use crate::machine_check::MachineCheckCode;
    use crate::psw::{Psw, PswMask};
    use core::arch::global_asm;
    use core::mem::offset_of;

    // What the stubs return in r2.
    const EXTERNAL: u64 = 1;
    const IO: u64 = 2;
    const MACHINE_CHECK: u64 = 3;

    global_asm!(
        r#"
        .pushsection .text.s390x_idle, "ax", @progbits
        .balign 8
        .globl __s390x_idle_wait
        .type __s390x_idle_wait, @function
    __s390x_idle_wait:                      # r2: the wait PSW; r14: where to go on
        lpswe   0(%r2)

        .balign 8
        .globl __s390x_idle_external
    __s390x_idle_external:
        tm      {external_old}+1,0x02       # was it waiting?
        jz      1f
        lghi    %r2,{external}
        br      %r14
    1:  lpswe   {unexpected_external}

        .balign 8
        .globl __s390x_idle_io
    __s390x_idle_io:
        tm      {io_old}+1,0x02
        jz      1f
        lghi    %r2,{io}
        br      %r14
    1:  lpswe   {unexpected_io}

        .balign 8
        .globl __s390x_idle_machine_check
    __s390x_idle_machine_check:
        tm      {machine_check_old}+1,0x02
        jz      1f
        lghi    %r2,{machine_check}
        br      %r14
    1:  lpswe   {unexpected_machine_check}
        .size __s390x_idle_wait, . - __s390x_idle_wait
        .popsection
        "#,
        external_old = const offset_of!(Lowcore, external_old),
        io_old = const offset_of!(Lowcore, io_old),
        machine_check_old = const offset_of!(Lowcore, machine_check_old),
        unexpected_external = const offset_of!(Lowcore, unexpected_external),
        unexpected_io = const offset_of!(Lowcore, unexpected_io),
        unexpected_machine_check = const offset_of!(Lowcore, unexpected_machine_check),
        external = const EXTERNAL,
        io = const IO,
        machine_check = const MACHINE_CHECK,
    );

    extern "C" {
        fn __s390x_idle_wait(psw: *const Psw) -> u64;
        fn __s390x_idle_external();
        fn __s390x_idle_io();
        fn __s390x_idle_machine_check();
    }

    /// Where interruptions go that came from no wait.
    #[derive(Clone, Copy, Debug)]
    pub struct Unexpected {
        /// External ones.
        pub external: Psw,
        /// Machine checks.
        pub machine_check: Psw,
        /// I/O ones.
        pub io: Psw,
    }

    /// Set this CPU's new PSWs for external, I/O and machine-check interruptions.
    ///
    /// # Safety
    /// No interruption is enabled, and the PSWs in `unexpected` lead to code that can run with
    /// unknown register contents.
    pub unsafe fn install(unexpected: &Unexpected) {
        let stub =
            |entry: unsafe extern "C" fn()| Psw::new(PswMask::DISABLED, entry as usize as u64);
        for (offset, psw) in [
            (
                offset_of!(Lowcore, unexpected_external),
                unexpected.external,
            ),
            (
                offset_of!(Lowcore, unexpected_machine_check),
                unexpected.machine_check,
            ),
            (offset_of!(Lowcore, unexpected_io), unexpected.io),
            (
                offset_of!(Lowcore, external_new),
                stub(__s390x_idle_external),
            ),
            (offset_of!(Lowcore, io_new), stub(__s390x_idle_io)),
            (
                offset_of!(Lowcore, machine_check_new),
                stub(__s390x_idle_machine_check),
            ),
        ] {
            // SAFETY: the offsets are those of PSWs; the stubs live as long as the program.
            unsafe { lowcore::write(offset, psw) };
        }
    }

    /// Wait for an interruption of one of the `sources`, or until `deadline`.
    ///
    /// Returns at once if one is already pending, or the deadline is past. Of several pending
    /// ones, the CPU takes machine checks first, then external ones, then I/O.
    ///
    /// Without any source and without a deadline this never returns: it is then a disabled wait,
    /// which a hypervisor reports as a crash.
    ///
    /// [`install`] must have been called on this CPU before.
    #[must_use = "the interruption has been taken: nobody else will tell of it"]
    pub fn wait(sources: Sources, deadline: Option<Tod>) -> Wake {
        let mut subclasses = sources.external_subclasses();
        if let Some(deadline) = deadline {
            if stckc() != deadline {
                sckc(deadline);
            }
            subclasses |= Cr0::CLOCK_COMPARATOR;
        }
        let mut mask = PswMask::DISABLED_WAIT;
        mask.set(PswMask::IO, sources.contains(Sources::IO));
        mask.set(
            PswMask::MACHINE_CHECK,
            sources.contains(Sources::MACHINE_CHECK),
        );
        mask.set(PswMask::EXTERNAL, !subclasses.is_empty());
        let psw = Psw::new(mask, __s390x_idle_wait as *const () as usize as u64);

        // Loading a control register can cost a hypervisor its translation buffers; mostly it holds
        // what is wanted from the wait before.
        let cr0 = Cr0::read();
        let wanted = (cr0 - Cr0::EXTERNAL_SUBCLASSES) | subclasses;
        if cr0 != wanted {
            // SAFETY: the subclasses interrupt only while the wait PSW is loaded, and the new PSWs
            // for that are installed.
            unsafe { wanted.write() };
        }
        // SAFETY: comes back like any function, by way of one of the stubs.
        let class = unsafe { __s390x_idle_wait(&psw) };

        match class {
            EXTERNAL => {
                let interruption = external();
                if interruption.code == ExternalCode::ClockComparator {
                    Wake::Deadline
                } else {
                    Wake::External(interruption)
                }
            }
            IO => Wake::Io(io()),
            _ => Wake::MachineCheck(machine_check()),
        }
    }

    /// What the last external interruption said.
    fn external() -> ExternalInterruption {
        // SAFETY: offsets and types belong together.
        unsafe {
            ExternalInterruption {
                code: lowcore::read::<u16>(offset_of!(Lowcore, external_code)).into(),
                parameter: lowcore::read(offset_of!(Lowcore, external_parameter)),
            }
        }
    }

    /// What the last I/O interruption said.
    fn io() -> IoInterruption {
        // SAFETY: offsets and types belong together.
        unsafe {
            IoInterruption {
                subsystem_id: lowcore::read::<u32>(offset_of!(Lowcore, subsystem_id_word)).into(),
                parameter: lowcore::read::<u32>(offset_of!(Lowcore, io_parameter)).into(),
                identification: lowcore::read::<u32>(offset_of!(Lowcore, io_id_word)).into(),
            }
        }
    }

    /// What the last machine check said.
    fn machine_check() -> MachineCheckCode {
        // SAFETY: offset and type belong together.
        MachineCheckCode::from_bits_retain(unsafe {
            lowcore::read::<u64>(offset_of!(Lowcore, machine_check_code))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_service_signal_alone_enables_one_bit() {
        assert_eq!(Sources::SERVICE_SIGNAL.external_subclasses().bits(), 0x200);
        assert!((Sources::IO | Sources::MACHINE_CHECK)
            .external_subclasses()
            .is_empty());
    }

    #[test]
    fn a_code_without_a_name_keeps_its_number() {
        assert_eq!(ExternalCode::from(0x2401), ExternalCode::ServiceSignal);
        assert_eq!(ExternalCode::from(0x2603), ExternalCode::Other(0x2603));
    }
}
