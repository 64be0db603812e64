//! SERVICE CALL: how a request reaches the service-call logical processor (SCLP).
//!
//! Only the instruction; commands, SCCBs and events are crate `sclp`'s. The answer comes with a
//! service-signal external interruption (0x2401), which must be taken ([`crate::idle`]) for each
//! accepted call before the next one.
//!
//! Source: Linux, `drivers/s390/char/sclp.h` (`sclp_service_call`).

/// How SERVICE CALL ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServiceCall {
    /// cc 0: accepted; the service signal follows.
    Initiated,
    /// cc 2: busy with an earlier one.
    Busy,
    /// cc 3, or an impossible one: there is none.
    NotOperational,
}

#[cfg(target_arch = "s390x")]
pub use instructions::*;

#[cfg(target_arch = "s390x")]
mod instructions {
    use super::ServiceCall;
    use crate::address::Address31;
    use crate::cc::{condition_code, ConditionCode};

    /// SERVICE CALL.
    ///
    /// # Safety
    /// `sccb` is doubleword aligned and holds an SCCB that fits `command` and lies within one
    /// page; it belongs to the SCLP until the service signal names it.
    pub unsafe fn servc(command: u32, sccb: Address31) -> ServiceCall {
        // SAFETY: the caller's.
        let cc = unsafe {
            condition_code!(
                dirty 1u64, ".insn rre,0xb2200000,{command},{sccb}",
                command = in(reg) u64::from(command), sccb = in(reg) u64::from(sccb.get())
            )
        };
        match cc {
            ConditionCode::Cc0 => ServiceCall::Initiated,
            ConditionCode::Cc2 => ServiceCall::Busy,
            ConditionCode::Cc1 | ConditionCode::Cc3 => ServiceCall::NotOperational,
        }
    }
}
