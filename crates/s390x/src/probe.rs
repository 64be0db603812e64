//! Whether an instruction is taken at all: tried out, where no facility bit tells.
//!
//! **Scope.** START SUBCHANNEL, whose ORB can ask for facilities that an interpreter of the instruction does not have.
//!
//! **The rule.** The program new PSW is replaced for the length of one instruction, with interruptions disabled.

use core::arch::global_asm;
use core::mem::offset_of;

use crate::io::SubchannelWord;
use crate::lowcore::{self, Lowcore};
use crate::psw::{Psw, PswMask};

global_asm!(
    ".section .text.s390x_probe_ssch,\"ax\",@progbits",
    ".globl s390x_probe_ssch, s390x_probe_refused",
    ".type s390x_probe_ssch,@function",
    "s390x_probe_ssch:",
    "lgr     %r1,%r2",
    "ssch    0(%r3)",
    "lghi    %r2,1",
    "br      %r14",
    // A program interruption changes no register.
    "s390x_probe_refused:",
    "lghi    %r2,0",
    "br      %r14",
    ".size s390x_probe_ssch,.-s390x_probe_ssch",
    ".previous",
);

unsafe extern "C" {
    fn s390x_probe_ssch(id: u64, orb: *const u8) -> u64;
    fn s390x_probe_refused();
}

/// Whether START SUBCHANNEL takes the ORB, rather than recognise an exception. Its condition code is not told.
///
/// # Safety
///
/// As for [`ssch`](crate::io::ssch); the subchannel is best one that is not enabled. Interruptions are disabled.
pub unsafe fn takes_orb<T>(id: SubchannelWord, orb: *const T) -> bool {
    let offset = offset_of!(Lowcore, program_new);
    // SAFETY: that is the field's type.
    let usual = unsafe { lowcore::read::<Psw>(offset) };
    let refused = s390x_probe_refused as *const () as u64;
    // SAFETY: what is there returns to the caller of `s390x_probe_ssch`, and nothing else runs until it is replaced.
    unsafe { lowcore::write(offset, Psw::new(PswMask::DISABLED, refused)) };
    // SAFETY: the caller vouches for the ORB.
    let taken = unsafe { s390x_probe_ssch(id.raw().into(), orb.cast()) };
    // SAFETY: as it was before.
    unsafe { lowcore::write(offset, usual) };
    taken != 0
}
