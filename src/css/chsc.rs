//! CHANNEL SUBSYSTEM CALL: switching the multiple-subchannel-set facility on.
//!
//! The command is *set domain attributes*, operation *enable the multiple-subchannel-set facility*.
//! No public manual has it; the layout is that of Linux (`drivers/s390/cio/chsc.c`).

use channel::SubchannelId;
use s390x::cc::ConditionCode;
use s390x::io;
use zerocopy::big_endian::{U16, U32};
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout};

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C, align(4096))]
struct SetDomainAttributes {
    length: U16,
    command: U16,
    format: U16,
    operation: U16,
    reserved: [U32; 2],
    operands: [U32; 252],
    response_length: U16,
    response: U16,
    reserved1: U32,
    rest: [U32; 766],
}

const _: () = assert!(size_of::<SetDomainAttributes>() == 4096);
const _: () = assert!(core::mem::offset_of!(SetDomainAttributes, response_length) == 0x400);

const COMMAND: u16 = 0x0031;
const REQUEST_LENGTH: u16 = 0x0400;
const ENABLE_SUBCHANNEL_SETS: u16 = 0x0002;
const DONE: u16 = 0x0001;

/// Switches the facility on; gives the highest subchannel set that may be named from now on.
pub(super) fn enable_subchannel_sets() -> u8 {
    let mut block = SetDomainAttributes::new_zeroed();
    block.length = U16::new(REQUEST_LENGTH);
    block.command = U16::new(COMMAND);
    block.operation = U16::new(ENABLE_SUBCHANNEL_SETS);
    // SAFETY: a page, aligned by its type, with a request as Linux makes it.
    let cc = unsafe { io::chsc(core::ptr::from_mut(&mut block)) };
    if cc == ConditionCode::Cc0 && block.response.get() == DONE {
        SubchannelId::MAX_SET
    } else {
        0
    }
}
