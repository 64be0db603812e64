//! DIAGNOSE: what a hypervisor offers under code numbers.
//!
//! Nothing here is part of the architecture: an LPAR answers most of it with a specification
//! exception. Each function names who understands it.

#[cfg(target_arch = "s390x")]
pub use instructions::*;

#[cfg(target_arch = "s390x")]
mod instructions {
    use crate::io::SubchannelWord;
    use core::arch::asm;

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
