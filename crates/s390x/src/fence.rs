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

/// As [`full`], without waiting for checkpoints (BCR 14,0): cheaper where the CPU has the
/// fast-BCR-serialization facility, no operation at all where it has not.
///
/// Use it only after looking for
/// [`Facility::FastBcrSerialization`](crate::facility::Facility::FastBcrSerialization) in the list.
#[inline]
pub fn fast() {
    #[cfg(target_arch = "s390x")]
    // SAFETY: serialisation, and no branch.
    unsafe {
        core::arch::asm!("bcr 14,0", options(nostack, preserves_flags));
    }
    #[cfg(not(target_arch = "s390x"))]
    core::sync::atomic::fence(core::sync::atomic::Ordering::SeqCst);
}
