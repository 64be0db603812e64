//! The CPU: who it is (STIDP, STAP), how CPUs talk to one another (SIGP), and where one ends
//! (disabled wait).
//!
//! Source: *Principles of Operation*, chapter 4, "Multiprocessing" and "CPU Signaling and Response";
//! chapter 10, "STORE CPU ID".

use bitflags::bitflags;

/// The address of a CPU within its configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(transparent)]
pub struct CpuAddress(pub u16);

/// What STORE CPU ID tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(transparent)]
pub struct CpuId(u64);

impl CpuId {
    /// From the doubleword as stored.
    #[must_use]
    pub const fn from_raw(id: u64) -> Self {
        Self(id)
    }

    /// The doubleword as stored.
    #[must_use]
    pub const fn raw(self) -> u64 {
        self.0
    }

    /// The version code: 0xFF under z/VM and KVM.
    #[must_use]
    pub const fn version(self) -> u8 {
        (self.0 >> 56) as u8
    }

    /// The CPU identification number (24 bits).
    #[must_use]
    pub const fn identification(self) -> u32 {
        (self.0 >> 32) as u32 & 0xFF_FFFF
    }

    /// The machine type, to be read in hexadecimal: 0x2827 is a zEC12.
    #[must_use]
    pub const fn machine_type(self) -> u16 {
        (self.0 >> 16) as u16
    }
}

/// An order of SIGNAL PROCESSOR.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Order {
    /// What state is the CPU in?
    Sense = 0x01,
    /// Give it an external interruption 0x1202 (one can be pending).
    ExternalCall = 0x02,
    /// Give it an external interruption 0x1201 (one for each sender can be pending).
    EmergencySignal = 0x03,
    /// Leave the stopped state.
    Start = 0x04,
    /// Enter the stopped state.
    Stop = 0x05,
    /// Swap PSWs with the restart new PSW, and start.
    Restart = 0x06,
    /// Stop, and store the status into the save areas.
    StopAndStoreStatus = 0x09,
    /// Reset what a reset of the CPU resets, registers excepted.
    InitialCpuReset = 0x0B,
    /// Reset less.
    CpuReset = 0x0C,
    /// Set the prefix to the parameter.
    SetPrefix = 0x0D,
    /// Store the status at the address in the parameter.
    StoreStatusAtAddress = 0x0E,
    /// Set the architecture: parameter 1 is z/Architecture for all CPUs.
    SetArchitecture = 0x12,
    /// Is it running on a physical CPU?
    SenseRunningStatus = 0x15,
}

bitflags! {
    /// The status that SIGNAL PROCESSOR stores with condition code 1.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
    pub struct SigpStatus: u32 {
        /// Bit 32: equipment check.
        const EQUIPMENT_CHECK = 0x8000_0000;
        /// Bit 53: not running (order sense running status).
        const NOT_RUNNING = 0x0000_0400;
        /// Bit 54: incorrect state.
        const INCORRECT_STATE = 0x0000_0200;
        /// Bit 55: invalid parameter.
        const INVALID_PARAMETER = 0x0000_0100;
        /// Bit 56: an external call is still pending.
        const EXTERNAL_CALL_PENDING = 0x0000_0080;
        /// Bit 57: stopped.
        const STOPPED = 0x0000_0040;
        /// Bit 58: the operator intervenes.
        const OPERATOR_INTERVENING = 0x0000_0020;
        /// Bit 59: check stop.
        const CHECK_STOP = 0x0000_0010;
        /// Bit 61: inoperative.
        const INOPERATIVE = 0x0000_0004;
        /// Bit 62: invalid order.
        const INVALID_ORDER = 0x0000_0002;
        /// Bit 63: receiver check.
        const RECEIVER_CHECK = 0x0000_0001;
        /// The other bits stay as they are.
        const _ = !0;
    }
}

/// How SIGNAL PROCESSOR ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signaled {
    /// cc 0: the order was accepted.
    Accepted,
    /// cc 1: refused or answered, with this status.
    Status(SigpStatus),
    /// cc 2: busy with an earlier order: ask again.
    Busy,
    /// cc 3: there is no such CPU.
    NotOperational,
}

/// The address in a disabled-wait PSW: the last thing a program says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(transparent)]
pub struct WaitCode(u64);

impl WaitCode {
    /// "The program ended as it should": QEMU and KVM shut the machine down on a disabled wait at
    /// an address that ends in 0xFFF, and do not call it a crash.
    pub const QUIESCED: Self = Self(0xFFF);

    /// A code of the program's own choice.
    #[must_use]
    pub const fn new(code: u64) -> Self {
        Self(code)
    }

    /// The code as a number.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }
}

#[cfg(target_arch = "s390x")]
pub use instructions::*;

#[cfg(target_arch = "s390x")]
mod instructions {
    use super::{CpuAddress, CpuId, Order, Signaled, SigpStatus, WaitCode};
    use crate::cc::ConditionCode;
    use crate::psw::{Psw, PswMask};
    use core::arch::asm;

    /// STORE CPU ID.
    #[inline]
    #[must_use]
    pub fn stidp() -> CpuId {
        let mut id = 0u64;
        // SAFETY: stores eight bytes at an operand of our own.
        unsafe { asm!("stidp 0({})", in(reg_addr) &mut id, options(nostack)) }
        CpuId(id)
    }

    /// STORE CPU ADDRESS: which CPU this is.
    #[inline]
    #[must_use]
    pub fn stap() -> CpuAddress {
        let mut address = 0u16;
        // SAFETY: stores two bytes at an operand of our own.
        unsafe { asm!("stap 0({})", in(reg_addr) &mut address, options(nostack)) }
        CpuAddress(address)
    }

    /// SIGNAL PROCESSOR: give `cpu` an order.
    ///
    /// # Safety
    /// What the order does to the other CPU, or to this one, is as the program intends.
    pub unsafe fn sigp(cpu: CpuAddress, order: Order, parameter: u32) -> Signaled {
        let ipm: u64;
        let status: u64;
        // SAFETY: the caller's; r1, being odd, holds the parameter and then the status.
        unsafe {
            asm!(
                "tmll {cc},3",
                "sigp %r1,{cpu},0({order})",
                "ipm {cc}",
                cc = inout(reg) 3u64 => ipm,
                cpu = in(reg) u64::from(cpu.0),
                order = in(reg_addr) order as u64,
                inout("r1") u64::from(parameter) => status,
                options(nostack),
            );
        }
        match ConditionCode::from_ipm(ipm) {
            ConditionCode::Cc0 => Signaled::Accepted,
            ConditionCode::Cc1 => Signaled::Status(SigpStatus::from_bits_retain(status as u32)),
            ConditionCode::Cc2 => Signaled::Busy,
            ConditionCode::Cc3 => Signaled::NotOperational,
        }
    }

    /// SET PREFIX: this CPU's real addresses 0-8191 are absolute addresses `prefix` and on.
    ///
    /// # Safety
    /// `prefix` is a multiple of 8192 below 2 GiB, and the 8 KiB there are a complete lowcore.
    pub unsafe fn set_prefix(prefix: crate::address::Address31) {
        let prefix = prefix.get();
        // SAFETY: the caller's.
        unsafe { asm!("spx 0({})", in(reg_addr) &prefix, options(nostack)) }
    }

    /// The end: a wait in which nothing is enabled, with `code` for who looks at the PSW.
    pub fn disabled_wait(code: WaitCode) -> ! {
        // SAFETY: nothing runs after this.
        unsafe { Psw::new(PswMask::DISABLED_WAIT, code.get()).load() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cpu_id_comes_apart() {
        let id = CpuId::from_raw(0xFF00_2623_2827_8000);
        assert_eq!(id.version(), 0xFF);
        assert_eq!(id.identification(), 0x2623);
        assert_eq!(id.machine_type(), 0x2827);
    }
}
