//! Serialisation.
//!
//! The architecture is strongly ordered: of one CPU's accesses, only a fetch can be seen to happen
//! before an earlier store. Where that matters (publish an index, then look whether the other side
//! wants to be told) stands [`full`]; the other orderings need nothing but the compiler's consent,
//! which `core::sync::atomic::fence` gives.
//!
//! Source: *Principles of Operation*, chapter 5, "CPU Serialization".

/// Complete all earlier storage accesses of this CPU before any later one (BCR 15,0).
#[inline]
pub fn full() {
    #[cfg(target_arch = "s390x")]
    // SAFETY: serialisation, and no branch.
    unsafe {
        core::arch::asm!("bcr 15,0", options(nostack, preserves_flags));
    }
    #[cfg(not(target_arch = "s390x"))]
    core::sync::atomic::fence(core::sync::atomic::Ordering::SeqCst);
}
