//! DIAGNOSE: what a hypervisor offers under code numbers.
//!
//! Nothing here is part of the architecture: an LPAR answers most of it with a specification
//! exception. Each function names who understands it.

/// The least time, in seconds, for which the watchdog of DIAGNOSE X'288' can be set.
pub const LEAST_WATCHDOG_SECONDS: u64 = 15;

/// What DIAGNOSE X'288' is asked to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
pub enum WatchdogFunction {
    /// Begin to count, from the full time.
    Initialize = 0,
    /// Count again from the full time: only after [`Initialize`](Self::Initialize).
    Change = 1,
    /// Count no longer: only after [`Initialize`](Self::Initialize).
    Cancel = 2,
}

/// There is no watchdog, or it does not take this function now, or not for so short a time. Nothing was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WatchdogRefusal;

impl core::fmt::Display for WatchdogRefusal {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("the machine's watchdog does not take this")
    }
}

impl core::error::Error for WatchdogRefusal {}

#[cfg(target_arch = "s390x")]
pub use instructions::*;

#[cfg(target_arch = "s390x")]
mod instructions {
    use super::{WatchdogFunction, WatchdogRefusal};
    use crate::io::SubchannelWord;
    use core::arch::{asm, global_asm};

    // A machine without the watchdog answers by a specification or an operation exception. Whoever takes program interruptions
    // sends one at `s390x_diagnose_guarded_watchdog` on to `s390x_io_refused`.
    global_asm!(
        ".section .text.s390x_diagnose_watchdog,\"ax\",@progbits",
        ".globl s390x_diagnose_watchdog, s390x_diagnose_guarded_watchdog",
        ".type s390x_diagnose_watchdog,@function",
        "s390x_diagnose_watchdog:",
        "lghi    %r4,0", // what is done at the end of the time: a restart
        "lghi    %r5,0",
        ".insn   rs,0x83000000,%r2,%r4,0x288(%r0)",
        "s390x_diagnose_guarded_watchdog:", // what the old PSW names then
        "lghi    %r2,0",
        "br      %r14",
        ".size s390x_diagnose_watchdog,.-s390x_diagnose_watchdog",
        ".previous",
    );

    extern "C" {
        fn s390x_diagnose_watchdog(function: u64, seconds: u64) -> u64;
        /// Behind DIAGNOSE X'288': where the program-old PSW points after it was refused. The program goes on at
        /// [`s390x_io_refused`](crate::io::s390x_io_refused) then.
        pub fn s390x_diagnose_guarded_watchdog();
    }

    /// DIAGNOSE X'288' (LPAR, z/VM, KVM and QEMU): the watchdog, which does something to this machine when `seconds` pass without
    /// another [`Change`](WatchdogFunction::Change). What it does is said to QEMU by `-action watchdog=`; elsewhere it is a restart.
    ///
    /// # Errors
    /// The machine does not take this; nothing has been done.
    ///
    /// # Safety
    /// The program-interruption handler goes on at [`s390x_io_refused`](crate::io::s390x_io_refused).
    pub unsafe fn watchdog(
        function: WatchdogFunction,
        seconds: u64,
    ) -> Result<(), WatchdogRefusal> {
        // SAFETY: no storage is named; a refusal is the caller's care.
        match unsafe { s390x_diagnose_watchdog(function as u64, seconds) } {
            0 => Ok(()),
            _ => Err(WatchdogRefusal),
        }
    }

    /// DIAGNOSE 0x500, function 3 (KVM and QEMU): notify the device behind a virtio-ccw
    /// subchannel that virtqueue `queue` has new buffers.
    ///
    /// `cookie` is what the last notification of the same queue returned (0 at first): the
    /// hypervisor finds the queue faster by it. A negative result is an error number.
    ///
    /// Source: virtio 1.3, section 4.3.3.2, "Guest->Host Notification".
    ///
    /// # Safety
    /// `subchannel` is a virtio-ccw subchannel that is driven by the caller, and its virtqueues are
    /// in order: the device reads them now.
    #[inline]
    pub unsafe fn virtio_ccw_notify(subchannel: SubchannelWord, queue: u32, cookie: i64) -> i64 {
        let result: i64;
        // SAFETY: the caller's.
        unsafe {
            asm!(
                ".insn rs,0x83000000,%r2,%r4,0x500(%r0)",
                in("r1") 3u64,
                inout("r2") u64::from(subchannel.0) => result,
                in("r3") u64::from(queue),
                in("r4") cookie,
                options(nostack),
            );
        }
        result
    }
}
