//! CHANNEL SUBSYSTEM CALL: switching the multiple-subchannel-set facility on, and getting event information.
//!
//! The commands are *set domain attributes*, operation *enable the multiple-subchannel-set facility*, and *store event information*.
//! No public manual has them; the layout is that of Linux (`drivers/s390/cio/chsc.c`).

use channel::SubchannelId;
use s390x::cc::ConditionCode;
use s390x::io;
use zerocopy::big_endian::{U16, U32, U64};
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout};

use super::EventInformation;

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

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C, align(4096))]
struct StoreEventInformation {
    length: U16,
    command: U16,
    reserved: U32,
    /// Which notifications are wanted; those of channel I/O always are.
    types: U64,
    response_length: U16,
    response: U16,
    event: EventInformation,
    rest: [U32; 1014],
}

const _: () = assert!(size_of::<StoreEventInformation>() == 4096);

const STORE_EVENT_INFORMATION: u16 = 0x000E;
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

/// Gets the next event, if the machine has one.
pub(super) fn event_information() -> Option<EventInformation> {
    let mut block = StoreEventInformation::new_zeroed();
    block.length = U16::new(0x0010);
    block.command = U16::new(STORE_EVENT_INFORMATION);
    // SAFETY: a page, aligned by its type, with a request as Linux makes it.
    let cc = unsafe { io::chsc(core::ptr::from_mut(&mut block)) };
    let done = cc == ConditionCode::Cc0 && block.response.get() == DONE;
    done.then_some(block.event)
}
