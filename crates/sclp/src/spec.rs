//! The architected layouts of the service-call logical processor, and nothing else.
//!
//! Scope: the service-call control block (SCCB) with its header, the command words, response
//! codes, event types and masks, and the event buffers a console needs. No other module spells an
//! offset, a length or a magic number.
//!
//! Every integer that the machine reads or writes has a big-endian type, every structure is free
//! of padding and has its size asserted here.
//!
//! # Sources
//!
//! SERVICE CALL and the SCLP are model-dependent: the Principles of Operation names the
//! instruction's external interruption only (SA22-7832, chapter 6, "Service Signal"). The layouts
//! follow what is published by those who use or imitate the interface, and field names are theirs:
//!
//! * Linux `drivers/s390/char/sclp.h`, `sclp_rw.h`, `sclp_early_core.c`, `sclp_vt220.c`, `sclp_tty.c`
//! * s390-tools `zipl/boot/sclp.h`
//! * QEMU `include/hw/s390x/sclp.h`, `include/hw/s390x/event-facility.h`
//! * Hercules `service.h`
//! * Management-services vectors (MDS-MU, CP-MSU, subvectors): SNA Formats, GA27-3136

use bitflags::bitflags;
use core::fmt;
use core::mem::size_of;
use zerocopy::byteorder::big_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Size and alignment of the page that an SCCB must not leave.
pub const SCCB_SIZE: usize = 4096;

/// The command words used here, first operand of SERVICE CALL.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u32)]
pub enum Command {
    /// READ SCP INFO: memory, CPUs, facilities, load parameter.
    ReadScpInfo = 0x0002_0001,
    /// READ SCP INFO, forced: the form to try first; machines without it answer
    /// [`ResponseCode::INVALID_COMMAND`].
    ReadScpInfoForced = 0x0012_0001,
    /// WRITE EVENT DATA: hand an event buffer, such as a message, to the SCLP.
    WriteEventData = 0x0076_0005,
    /// READ EVENT DATA: take the events that the SCLP holds.
    ReadEventData = 0x0077_0005,
    /// WRITE EVENT MASK: say which events the program sends and takes, learn the same of the SCLP.
    WriteEventMask = 0x0078_0005,
}

impl Command {
    pub const fn word(self) -> u32 {
        self as u32
    }
}

/// Response code of an SCCB: reason in the high byte, class in the low byte.
///
/// Classes: `10` information returned, `20` completed, `40` backed out, `F0` rejected, `00` bad block.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct ResponseCode(pub u16);

impl ResponseCode {
    /// Information was returned.
    pub const NORMAL_READ: Self = Self(0x0010);
    /// The command is complete.
    pub const NORMAL: Self = Self(0x0020);
    /// SCLP equipment check: backed out, may be tried again.
    pub const EQUIPMENT_CHECK: Self = Self(0x0040);
    /// The command word is not known.
    pub const INVALID_COMMAND: Self = Self(0x01F0);
    /// Contained equipment check: some event buffers may have been accepted, see
    /// [`EVENT_ACCEPTED`].
    pub const CONTAINED_EQUIPMENT_CHECK: Self = Self(0x0340);
    /// The target is in an improper state: it may take the request later.
    pub const IMPROPER_STATE: Self = Self(0x05F0);
    /// The function code is not known.
    pub const INVALID_FUNCTION: Self = Self(0x40F0);
    /// READ EVENT DATA: nothing to read.
    pub const NO_EVENT_BUFFERS: Self = Self(0x60F0);
    /// READ EVENT DATA: all pending events are suppressed by the event mask.
    pub const EVENTS_SUPPRESSED: Self = Self(0x62F0);
    /// The selection mask asks for more than the receive mask allows.
    pub const INVALID_SELECTION_MASK: Self = Self(0x70F0);
    /// The event buffer exceeds what the SCLP can hold at the moment.
    pub const BUFFER_FULL: Self = Self(0x71F0);
    /// Lengths inside the event buffer contradict each other.
    pub const INCONSISTENT_LENGTHS: Self = Self(0x72F0);
    /// The event buffer is malformed, or (Hercules) its type is not known.
    pub const EVENT_BUFFER_SYNTAX: Self = Self(0x73F0);

    /// Whether the same request, sent again unchanged, can succeed.
    pub const fn is_retryable(self) -> bool {
        matches!(
            self,
            Self::EQUIPMENT_CHECK
                | Self::CONTAINED_EQUIPMENT_CHECK
                | Self::IMPROPER_STATE
                | Self::BUFFER_FULL
        )
    }

    const fn meaning(self) -> &'static str {
        match self {
            Self::NORMAL_READ => "information returned",
            Self::NORMAL => "complete",
            Self::EQUIPMENT_CHECK => "equipment check",
            Self(0x0100) => "SCCB boundary violation",
            Self::INVALID_COMMAND => "invalid command",
            Self(0x0300) => "insufficient SCCB length",
            Self::CONTAINED_EQUIPMENT_CHECK => "contained equipment check",
            Self::IMPROPER_STATE => "improper state",
            Self::INVALID_FUNCTION => "invalid function",
            Self::NO_EVENT_BUFFERS => "no event buffers",
            Self::EVENTS_SUPPRESSED => "events suppressed",
            Self::INVALID_SELECTION_MASK => "invalid selection mask",
            Self::BUFFER_FULL => "buffer full",
            Self::INCONSISTENT_LENGTHS => "inconsistent lengths",
            Self::EVENT_BUFFER_SYNTAX => "event buffer syntax error",
            Self(0x74F0) => "invalid mask length",
            Self(0x75F0) => "event exceeds SCCB",
            _ => "unknown response",
        }
    }
}

impl fmt::Display for ResponseCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04X} ({})", self.0, self.meaning())
    }
}

impl fmt::Debug for ResponseCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ResponseCode({self})")
    }
}

/// Event types, third byte of an event-buffer header.
pub mod event_type {
    /// Operator command in line mode (SCLP to program).
    pub const OPCMD: u8 = 0x01;
    /// Message in line mode (program to SCLP).
    pub const MSG: u8 = 0x02;
    /// Priority message or command, in line mode (both ways).
    pub const PMSGCMD: u8 = 0x09;
    /// ASCII/VT220 data (both ways).
    pub const ASCII: u8 = 0x1A;
    /// Signal quiesce: the machine asks for an orderly end (SCLP to program).
    pub const SIGNAL_QUIESCE: u8 = 0x1D;
}

bitflags! {
    /// Event mask: bit *n* − 1, counted from the left, stands for event type *n*.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
    pub struct EventMask: u32 {
        /// [`event_type::OPCMD`]
        const OPCMD = 1 << (32 - event_type::OPCMD);
        /// [`event_type::MSG`]
        const MSG = 1 << (32 - event_type::MSG);
        /// [`event_type::PMSGCMD`]
        const PMSGCMD = 1 << (32 - event_type::PMSGCMD);
        /// [`event_type::ASCII`]
        const ASCII = 1 << (32 - event_type::ASCII);
        /// [`event_type::SIGNAL_QUIESCE`]
        const SIGNAL_QUIESCE = 1 << (32 - event_type::SIGNAL_QUIESCE);
        // Other types exist; a mask read from the machine keeps their bits.
        const _ = !0;
    }
}

/// SCCB header, the first eight bytes of each SCCB.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct SccbHeader {
    /// Length of the SCCB in bytes, this header included.
    pub length: U16,
    /// Function code. READ EVENT DATA: 0 unconditional; WRITE EVENT DATA: 0 normal.
    pub function_code: u8,
    /// Control mask; see [`VARIABLE_LENGTH_RESPONSE`].
    pub control_mask: [u8; 3],
    /// Written by the SCLP: [`ResponseCode`].
    pub response_code: U16,
}
const _: () = assert!(size_of::<SccbHeader>() == 8);

impl SccbHeader {
    /// That of a request; `length` is at most [`SCCB_SIZE`].
    pub(crate) fn new(length: usize, control_mask: [u8; 3]) -> Self {
        Self {
            length: (length as u16).into(),
            function_code: 0,
            control_mask,
            response_code: 0.into(),
        }
    }
}

/// `control_mask[2]`: the SCLP may set the SCCB's length to that of what it stored.
pub const VARIABLE_LENGTH_RESPONSE: u8 = 0x80;

/// SCCB of WRITE EVENT MASK with masks of four bytes.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct EventMaskSccb {
    pub header: SccbHeader,
    /// Reserved, zero.
    pub reserved: U16,
    /// Length of each mask, [`EVENT_MASK_LENGTH`].
    pub mask_length: U16,
    /// The events that the program takes.
    pub cp_receive_mask: U32,
    /// The events that the program sends.
    pub cp_send_mask: U32,
    /// Written by the SCLP: the events it takes.
    pub sclp_receive_mask: U32,
    /// Written by the SCLP: the events it sends.
    pub sclp_send_mask: U32,
}
const _: () = assert!(size_of::<EventMaskSccb>() == 28);

/// Length in bytes of one mask in [`EventMaskSccb`].
pub const EVENT_MASK_LENGTH: u16 = 4;

/// Header of an event buffer; one or more follow the SCCB header of READ/WRITE EVENT DATA.
///
/// Hercules takes the first of an SCCB only, so this crate writes one per SCCB.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct EventBufferHeader {
    /// Length of the event buffer in bytes, this header included.
    pub length: U16,
    /// Type, see [`event_type`].
    pub event_type: u8,
    /// [`EVENT_ACCEPTED`], or none.
    pub flags: u8,
    /// Reserved, zero.
    pub reserved: U16,
}
const _: () = assert!(size_of::<EventBufferHeader>() == 6);

/// `flags` of an event buffer: the SCLP has accepted it.
pub const EVENT_ACCEPTED: u8 = 0x80;

/// First payload byte of an ASCII event that the SCLP sends.
pub mod ascii_session {
    /// Typed characters follow.
    pub const DATA: u8 = 0x00;
}

/// Header of a message data block (MDB), the payload of a line-mode message.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct MdbHeader {
    /// Length of the MDB in bytes, this header and all objects included.
    pub length: U16,
    /// [`MDB_TYPE`]
    pub mdb_type: U16,
    /// [`MDB_TAG`]
    pub tag: U32,
    /// [`MDB_REVISION`]
    pub revision_code: U32,
}
const _: () = assert!(size_of::<MdbHeader>() == 12);

/// Type of a message data block.
pub const MDB_TYPE: u16 = 0x0001;
/// `MDB` and a blank in EBCDIC.
pub const MDB_TAG: u32 = 0xD4C4_C240;
/// Revision of the message data block.
pub const MDB_REVISION: u32 = 0x0000_0001;

/// General object (GO): first object of an MDB, says whence and when. All zero here but for its
/// header: the machine fills in what it wants to show.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct GeneralObject {
    /// Length of the object in bytes.
    pub length: U16,
    /// [`OBJECT_GENERAL`]
    pub object_type: U16,
    /// Domain, time, date, flags, and the names of system and guest.
    pub rest: [u8; 52],
}
const _: () = assert!(size_of::<GeneralObject>() == 56);

/// Message text object (MTO): one line of a message; the EBCDIC text follows it.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct MessageTextObject {
    /// Length of the object in bytes, the text included.
    pub length: U16,
    /// [`OBJECT_MESSAGE_TEXT`]
    pub object_type: U16,
    /// [`LINE_END_TEXT`]
    pub line_type_flags: U16,
    /// Zero: no alarm, and the console's own presentation.
    pub rest: [u8; 4],
}
const _: () = assert!(size_of::<MessageTextObject>() == 10);

/// Object type of the [`GeneralObject`].
pub const OBJECT_GENERAL: u16 = 0x0001;
/// Object type of the [`MessageTextObject`].
pub const OBJECT_MESSAGE_TEXT: u16 = 0x0004;
/// Line-type flag "end text line": this object is a line of its own.
pub const LINE_END_TEXT: u16 = 0x1000;

/// All that stands before an event buffer's payload, which of an ASCII write is its text.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct EventSccb {
    pub header: SccbHeader,
    /// Event-buffer header.
    pub event: EventBufferHeader,
}
const _: () = assert!(size_of::<EventSccb>() == 14);

impl EventSccb {
    /// That of a write that ends at `end` in its SCCB.
    pub(crate) fn new(end: usize, event_type: u8) -> Self {
        Self {
            header: SccbHeader::new(end, [0; 3]),
            event: EventBufferHeader {
                length: ((end - size_of::<SccbHeader>()) as u16).into(),
                event_type,
                flags: 0,
                reserved: 0.into(),
            },
        }
    }
}

/// All that stands before the first message text object of a line-mode message.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct MessageSccb {
    /// The headers of SCCB and event buffer.
    pub headers: EventSccb,
    /// Message data block.
    pub mdb: MdbHeader,
    /// General object.
    pub go: GeneralObject,
}
const _: () = assert!(size_of::<MessageSccb>() == 82);

/// Header of a management-services major vector (GDS variable).
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct GdsVector {
    /// Length of the vector in bytes, this header included.
    pub length: U16,
    /// Identifier, see [`gds`].
    pub id: U16,
}
const _: () = assert!(size_of::<GdsVector>() == 4);

/// Header of a management-services subvector.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct GdsSubvector {
    /// Length of the subvector in bytes, this header included.
    pub length: u8,
    /// Key, see [`gds`].
    pub key: u8,
}
const _: () = assert!(size_of::<GdsSubvector>() == 2);

/// Identifiers and keys on the way to the text of an operator command, outermost first.
pub mod gds {
    /// Multiple-domain-support message unit.
    pub const MDS_MU: u16 = 0x1310;
    /// Control-point management-services unit.
    pub const CP_MSU: u16 = 0x1212;
    pub const TEXT_COMMAND: u16 = 0x1320;
    /// Key of the self-defining text message.
    pub const SELF_DEFINING_TEXT: u8 = 0x31;
    /// Key of the text message itself.
    pub const TEXT_MESSAGE: u8 = 0x30;
}

/// The shape that QEMU gives the payload of an operator command: five headers in a row, then the text.
///
/// Its lengths count headers only, and (QEMU up to 10.0 on little-endian hosts) the identifiers are
/// byte-swapped and the subvectors' lengths zero. So the text is found by its place.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct FlatCommand {
    /// Message unit.
    pub mds_mu: GdsVector,
    /// Management-services unit.
    pub cp_msu: GdsVector,
    pub text_command: GdsVector,
    /// Self-defining text message.
    pub self_defining_text: GdsSubvector,
    pub text_message: GdsSubvector,
}
const _: () = assert!(size_of::<FlatCommand>() == 16);

/// SCCB of READ SCP INFO as far as it is used.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct ScpInfoSccb {
    pub header: SccbHeader,
    /// 8: number of storage increments; 0 means `rnmax2`.
    pub rnmax: U16,
    /// 10: size of an increment in MiB; 0 means `rnsize2`.
    pub rnsize: u8,
    /// 11–15: not used.
    pub reserved_11: [u8; 5],
    /// 16: number of CPU entries.
    pub entries_cpu: U16,
    /// 18–99: not used.
    pub reserved_18: [u8; 82],
    /// 100: size of an increment in MiB, when `rnsize` is 0.
    pub rnsize2: U32,
    /// 104: number of storage increments, when `rnmax` is 0.
    pub rnmax2: U64,
}
const _: () = assert!(size_of::<ScpInfoSccb>() == 112);
const _: () = assert!(core::mem::offset_of!(ScpInfoSccb, rnsize2) == 100);
const _: () = assert!(core::mem::offset_of!(ScpInfoSccb, rnmax2) == 104);
