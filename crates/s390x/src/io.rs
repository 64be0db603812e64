//! The I/O instructions: one wrapper each, nothing else.
//!
//! **Scope.** The instruction, its operands, and its condition code as a type. The formats behind
//! the pointers (ORB, SCHIB, IRB, CRW, ...) are architected elsewhere (crate `channel`), so the
//! wrappers take any pointee. What a condition code means for a given instruction is told in that
//! wrapper's documentation.
//!
//! **The rule this module lives by.** Each wrapper makes the condition code dirty before it executes the instruction, so that it
//! is never seen as a success if it is wrongly not executed.
//!
//! **Operands.** The pointers are real addresses: DAT is off in everything this crate is for.
//! Operand areas are word aligned (doubleword for CHSC's 4 KiB block: page); an operand that is
//! not leads to a specification exception, not to undefined behaviour of the caller's.
//!
//! Source: *Principles of Operation*, chapter 14, "I/O Instructions"; CHSC is described in no
//! public manual but in Linux (`drivers/s390/cio/chsc.c`).

use zerocopy::big_endian::U32;
use zerocopy::{FromBytes, Immutable};

/// The subsystem-identification word, which general register 1 holds for the I/O instructions and
/// which the CPU stores at real location 184 with an I/O interruption.
///
/// ```text
/// bit  0      8     13 14 15          16                              31
///     +------+-----+-----+-----------+--------------------------------+
///     | CSSID| 0   | m   | SSID | 1  |       subchannel number        |
///     +------+-----+-----+-----------+--------------------------------+
/// ```
///
/// Bit 15, which the architecture requires to be one, is not checked: the instruction does (operand
/// exception).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(transparent)]
pub struct SubchannelWord(pub u32);

/// What TEST PENDING INTERRUPTION and an I/O interruption leave: the I/O-interruption code.
///
/// The 12 bytes at real locations 184-195, or at TPI's operand.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, Immutable)]
#[repr(C)]
pub struct IoInterruption {
    /// The subsystem-identification word; without meaning for an adapter interruption.
    pub subsystem_id: U32,
    /// The interruption parameter of the subchannel, as ORB or MODIFY SUBCHANNEL set it.
    pub parameter: U32,
    /// The interruption-identification word: bit 0 adapter interruption, bits 2-4 the ISC.
    pub identification: U32,
}

/// The CPU recognised an operand exception: the operand asks for something that the machine does not have. Nothing was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OperandException;

impl core::fmt::Display for OperandException {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("operand exception")
    }
}

impl core::error::Error for OperandException {}

#[cfg(target_arch = "s390x")]
pub use instructions::*;

#[cfg(target_arch = "s390x")]
mod instructions {
    use super::{IoInterruption, OperandException, SubchannelWord};
    use crate::cc::{condition_code, ConditionCode};
    use core::arch::global_asm;
    use zerocopy::FromZeros;

    /// One wrapper: the subchannel in r1 and one operand in storage.
    macro_rules! subchannel_and_operand {
        ($(#[$meta:meta])* $name:ident, $mnemonic:literal, dirty $dirty:literal) => {
            $(#[$meta])*
            #[inline]
            pub unsafe fn $name<T>(schid: SubchannelWord, operand: *mut T) -> ConditionCode {
                // SAFETY: the caller vouches for the operand; the instruction changes no register.
                unsafe {
                    condition_code!(
                        dirty $dirty, concat!($mnemonic, " 0({operand})"),
                        operand = in(reg_addr) operand, in("r1") u64::from(schid.0)
                    )
                }
            }
        };
    }

    /// One wrapper: the subchannel in r1 and no operand.
    macro_rules! subchannel_only {
        ($(#[$meta:meta])* $name:ident, $mnemonic:literal, dirty $dirty:literal) => {
            $(#[$meta])*
            #[inline]
            pub unsafe fn $name(schid: SubchannelWord) -> ConditionCode {
                // SAFETY: the caller vouches for what the subchannel will do.
                unsafe { condition_code!(dirty $dirty, $mnemonic, in("r1") u64::from(schid.0)) }
            }
        };
    }

    // START and MODIFY SUBCHANNEL recognise an operand exception for what an ORB or SCHIB asks and the machine does not have.
    // Whoever takes program interruptions sends one at `s390x_io_guarded_*` on to `s390x_io_refused`.
    global_asm!(
        ".section .text.s390x_io_guarded,\"ax\",@progbits",
        ".macro guarded name",
        ".globl s390x_io_\\name, s390x_io_guarded_\\name",
        ".type s390x_io_\\name,@function",
        "s390x_io_\\name:",
        "lgr     %r1,%r2",
        "lghi    %r0,3",
        "tmll    %r0,3",
        "\\name 0(%r3)",
        "s390x_io_guarded_\\name:", // what the old PSW names then
        "ipm     %r2",
        "br      %r14",
        ".size s390x_io_\\name,.-s390x_io_\\name",
        ".endm",
        "guarded ssch",
        "guarded msch",
        ".purgem guarded",
        ".globl s390x_io_refused",
        ".type s390x_io_refused,@function",
        "s390x_io_refused:",
        "lghi    %r2,-1",
        "br      %r14",
        ".size s390x_io_refused,.-s390x_io_refused",
        ".previous",
    );

    extern "C" {
        fn s390x_io_ssch(id: u64, operand: *const ()) -> u64;
        fn s390x_io_msch(id: u64, operand: *const ()) -> u64;
        /// Behind START SUBCHANNEL: where the program-old PSW points after its operand exception.
        pub fn s390x_io_guarded_ssch();
        /// The same of MODIFY SUBCHANNEL.
        pub fn s390x_io_guarded_msch();
        /// Where the program goes on then, with any contents of general registers 0 to 5.
        pub fn s390x_io_refused();
    }

    const fn guarded(result: u64) -> Result<ConditionCode, OperandException> {
        match result {
            u64::MAX => Err(OperandException),
            ipm => Ok(ConditionCode::from_ipm(ipm)),
        }
    }

    /// START SUBCHANNEL: start the channel program that the ORB at `operand` designates.
    ///
    /// cc 0: start function initiated. cc 1: status pending. cc 2: function in progress.
    /// cc 3: not operational.
    ///
    /// # Errors
    /// The ORB is none that the machine takes; nothing has been done.
    ///
    /// # Safety
    /// * `operand` points to an ORB (32 bytes, word aligned), and everything its channel program
    ///   reads or writes stays valid and is not otherwise used until the program has ended.
    /// * The program-interruption handler goes on at [`s390x_io_refused`].
    #[inline]
    pub unsafe fn ssch<T>(
        schid: SubchannelWord,
        operand: *const T,
    ) -> Result<ConditionCode, OperandException> {
        // SAFETY: the caller vouches for the operand.
        guarded(unsafe { s390x_io_ssch(schid.0.into(), operand.cast()) })
    }

    /// MODIFY SUBCHANNEL: set the modifiable fields from the SCHIB at `operand`.
    ///
    /// cc 0: done. cc 1: status pending. cc 2: function in progress. cc 3: not operational.
    ///
    /// # Errors
    /// The SCHIB is none that the machine takes; nothing has been done.
    ///
    /// # Safety
    /// * `operand` points to a SCHIB (52 bytes, word aligned); a measurement block it designates
    ///   belongs to the channel subsystem from now on.
    /// * The program-interruption handler goes on at [`s390x_io_refused`].
    #[inline]
    pub unsafe fn msch<T>(
        schid: SubchannelWord,
        operand: *const T,
    ) -> Result<ConditionCode, OperandException> {
        // SAFETY: the caller vouches for the operand.
        guarded(unsafe { s390x_io_msch(schid.0.into(), operand.cast()) })
    }

    subchannel_and_operand! {
        /// STORE SUBCHANNEL: store the SCHIB at `operand`.
        ///
        /// cc 0: stored. cc 3: not operational: there is no such subchannel, nor a higher one.
        ///
        /// # Safety
        /// `operand` is valid for a write of 52 bytes and word aligned.
        stsch, "stsch", dirty 2u64
    }

    subchannel_and_operand! {
        /// TEST SUBCHANNEL: store the IRB at `operand` and clear the status.
        ///
        /// cc 0: status was pending. cc 1: status was not pending (the IRB is stored all the
        /// same). cc 3: not operational.
        ///
        /// # Safety
        /// `operand` is valid for a write of 96 bytes and word aligned.
        tsch, "tsch", dirty 2u64
    }

    subchannel_only! {
        /// HALT SUBCHANNEL: end the present operation at the device in an orderly way.
        ///
        /// cc 0: halt function initiated. cc 1: status pending. cc 2: halt or clear in progress.
        /// cc 3: not operational.
        ///
        /// # Safety
        /// The caller is the one who drives this subchannel.
        hsch, "hsch", dirty 3u64
    }

    subchannel_only! {
        /// CLEAR SUBCHANNEL: discard whatever is going on and all status.
        ///
        /// cc 0: clear function initiated. cc 3: not operational.
        ///
        /// # Safety
        /// The caller is the one who drives this subchannel.
        csch, "csch", dirty 1u64
    }

    subchannel_only! {
        /// CANCEL SUBCHANNEL: take back a start that has not begun yet.
        ///
        /// cc 0: cancelled, as if the start had not been. cc 1: status pending. cc 2: too late, or
        /// nothing to cancel. cc 3: not operational.
        ///
        /// # Safety
        /// The caller is the one who drives this subchannel.
        xsch, "xsch", dirty 3u64
    }

    subchannel_only! {
        /// RESUME SUBCHANNEL: go on with a suspended channel program.
        ///
        /// cc 0: resume function initiated. cc 1: status pending. cc 2: not resumable now.
        /// cc 3: not operational.
        ///
        /// # Safety
        /// As for [`ssch`]: the channel program goes on with the storage it designates.
        rsch, "rsch", dirty 3u64
    }

    /// TEST PENDING INTERRUPTION: take one pending I/O interruption of the enabled subclasses
    /// (CR 6), without taking it as an interruption.
    ///
    /// `None`: none is pending.
    #[inline]
    #[must_use = "the interruption has been taken"]
    pub fn tpi() -> Option<IoInterruption> {
        #[repr(C, align(8))]
        struct Code(IoInterruption);
        let mut code = Code(IoInterruption::new_zeroed());
        // SAFETY: 12 bytes are stored, at a word-aligned operand that is our own.
        let cc =
            unsafe { condition_code!(dirty 2u64, "tpi 0({code})", code = in(reg_addr) &mut code) };
        (cc == ConditionCode::Cc1).then_some(code.0)
    }

    /// STORE CHANNEL REPORT WORD: take the oldest pending channel report.
    ///
    /// `None`: none is pending. The word's layout is `channel`'s CRW.
    #[inline]
    #[must_use = "the report has been taken"]
    pub fn stcrw() -> Option<u32> {
        let mut crw = 0u32;
        // SAFETY: four bytes are stored, at a word-aligned operand that is our own.
        let cc =
            unsafe { condition_code!(dirty 2u64, "stcrw 0({crw})", crw = in(reg_addr) &mut crw) };
        (cc == ConditionCode::Cc0).then_some(crw)
    }

    /// CHANNEL SUBSYSTEM CALL: `block` holds the request and receives the response.
    ///
    /// cc 0: done; the response code in the block tells how it went. cc 3: not available.
    ///
    /// # Safety
    /// `block` is a page (4096 bytes, aligned) with a request the caller understands.
    #[inline]
    pub unsafe fn chsc<T>(block: *mut T) -> ConditionCode {
        // SAFETY: the caller vouches for the block.
        unsafe {
            condition_code!(dirty 2u64, ".insn rre,0xb25f0000,{block},0", block = in(reg_addr) block)
        }
    }
}
