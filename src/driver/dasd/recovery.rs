//! What is done about a program that did not end as it should: from status and sense data to an action.
//!
//! # The rule
//!
//! One table, read from the top; the first row that fits counts. Every action is bounded: a request is tried at most
//! [`ATTEMPTS`] times, with a [pause](pause_us) or a wait of [`CHANGE_US`] at most between, and a program that does not end is halted, then cleared, then the device is
//! given up. Names are the manual's (*3990 Storage Control Reference*, "Sense information").

use channel::{DeviceStatus, Irb, SubchannelStatus as Channel};

pub const ATTEMPTS: u32 = 5;
/// How long a program may take, in microseconds, if nobody says another time: the missing-interruption time.
pub const PROGRAM_TIMEOUT: u64 = 30_000_000;
pub const SENSE_TIMEOUT: u64 = 5_000_000;
pub const CHANGE_US: u64 = 5_000_000;
pub const STOP_TIMEOUT: u64 = 1_000_000;
pub const CLEARS: u32 = 3;

/// How long to wait before attempt number `attempt`.
pub const fn pause_us(attempt: u32) -> u64 {
    match attempt {
        0 | 1 => 1_000,
        2 => 10_000,
        _ => 100_000,
    }
}

/// What is to be done. In all cases but the last, again if it was not tried too often.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Action {
    /// Again, after a [pause](pause_us).
    Retry = 1,
    /// Over another path, or over the same if there is no other.
    OtherPath = 2,
    /// Over a path that was not tried yet; without one, the request fails.
    UntriedPath = 3,
    /// When status says that the state of the device or of the control unit has changed, or [`CHANGE_US`] later.
    AwaitChange = 4,
    Fail = 5,
}

/// A row of the table: sense bits that are all one, each a byte and a mask.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    bits: &'static [(usize, u8)],
    pub reason: &'static str,
    pub action: Action,
}

impl Row {
    fn fits(&self, sense: &[u8]) -> bool {
        self.bits
            .iter()
            .all(|&(byte, mask)| sense.get(byte).is_some_and(|found| found & mask != 0))
    }
}

const fn row(bits: &'static [(usize, u8)], reason: &'static str, action: Action) -> Row {
    Row {
        bits,
        reason,
        action,
    }
}

const COMMAND_REJECT: (usize, u8) = (0, 0x80);
const INTERVENTION_REQUIRED: (usize, u8) = (0, 0x40);
const BUS_OUT_PARITY: (usize, u8) = (0, 0x20);
const EQUIPMENT_CHECK: (usize, u8) = (0, 0x10);
const DATA_CHECK: (usize, u8) = (0, 0x08);
const OVERRUN: (usize, u8) = (0, 0x04);
const INCOMPLETE_DOMAIN: (usize, u8) = (0, 0x01);
const PERMANENT_ERROR: (usize, u8) = (1, 0x80);
const INVALID_TRACK_FORMAT: (usize, u8) = (1, 0x40);
const END_OF_CYLINDER: (usize, u8) = (1, 0x20);
const MESSAGE_TO_OPERATOR: (usize, u8) = (1, 0x10);
const NO_RECORD_FOUND: (usize, u8) = (1, 0x08);
const FILE_PROTECTED: (usize, u8) = (1, 0x04);
const WRITE_INHIBITED: (usize, u8) = (1, 0x02);
const ENVIRONMENTAL_DATA: (usize, u8) = (2, 0x10);

/// The table. The last row fits always.
pub static TABLE: [Row; 17] = [
    row(&[COMMAND_REJECT], "command reject", Action::Fail),
    row(&[WRITE_INHIBITED], "write inhibited", Action::UntriedPath),
    row(&[FILE_PROTECTED], "file protected", Action::Fail),
    row(&[NO_RECORD_FOUND], "no record found", Action::Fail),
    row(
        &[INVALID_TRACK_FORMAT],
        "invalid track format",
        Action::Fail,
    ),
    row(&[END_OF_CYLINDER], "end of cylinder", Action::Fail),
    row(
        &[EQUIPMENT_CHECK, PERMANENT_ERROR],
        "permanent equipment check",
        Action::UntriedPath,
    ),
    row(&[PERMANENT_ERROR], "permanent error", Action::Fail),
    row(
        &[INTERVENTION_REQUIRED],
        "intervention required",
        Action::AwaitChange,
    ),
    row(
        &[ENVIRONMENTAL_DATA],
        "environmental data present",
        Action::Retry,
    ),
    row(&[EQUIPMENT_CHECK], "equipment check", Action::OtherPath),
    row(&[BUS_OUT_PARITY], "bus out parity", Action::OtherPath),
    row(&[DATA_CHECK], "data check", Action::Retry),
    row(&[OVERRUN], "overrun", Action::Retry),
    row(&[INCOMPLETE_DOMAIN], "incomplete domain", Action::Retry),
    row(&[MESSAGE_TO_OPERATOR], "message to operator", Action::Retry),
    row(&[], "no sense", Action::Retry),
];

pub fn row_of(sense: &[u8]) -> &'static Row {
    let [.., last] = &TABLE;
    TABLE.iter().find(|row| row.fits(sense)).unwrap_or(last)
}

pub fn is_no_record_found(sense: &[u8]) -> bool {
    row_of(sense).bits == [NO_RECORD_FOUND]
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    Good,
    /// With a unit check: the sense bytes say more.
    UnitCheck,
    /// Not as it should.
    Bad(&'static str, Action),
    /// The path, and with it the device, is gone.
    Gone,
}

/// What subchannel status besides the program-controlled interruption means, the first that there is.
const CHANNEL_CHECKS: [(Channel, &str, Action); 7] = [
    (Channel::PROGRAM_CHECK, "program check", Action::Fail),
    (Channel::PROTECTION_CHECK, "protection check", Action::Fail),
    (
        Channel::INTERFACE_CONTROL_CHECK,
        "interface-control check",
        Action::OtherPath,
    ),
    (
        Channel::CHANNEL_CONTROL_CHECK,
        "channel-control check",
        Action::OtherPath,
    ),
    (
        Channel::CHANNEL_DATA_CHECK,
        "channel-data check",
        Action::Retry,
    ),
    (Channel::CHAINING_CHECK, "chaining check", Action::Retry),
    (
        Channel::INCORRECT_LENGTH,
        "record of another length",
        Action::Fail,
    ),
];

/// What final status says; device and subchannel status are those of the whole start function.
pub fn ending(irb: &Irb) -> Ending {
    let (device, channel) = (irb.scsw.device(), irb.scsw.subchannel());
    match irb.scsw.deferred_cc() {
        0 => {}
        1 => return Ending::Bad("deferred condition code 1", Action::Retry),
        _ => return Ending::Gone,
    }
    if device.contains(DeviceStatus::UNIT_CHECK) {
        return Ending::UnitCheck;
    }
    // As a rule there are none.
    if !channel.difference(Channel::PCI).is_empty() {
        for (bit, reason, action) in CHANNEL_CHECKS {
            if channel.contains(bit) {
                return Ending::Bad(reason, action);
            }
        }
    }
    if device.contains(DeviceStatus::BUSY) {
        return Ending::Bad("busy", Action::AwaitChange);
    }
    if device.contains(DeviceStatus::UNIT_EXCEPTION) {
        return Ending::Bad("record without data", Action::Fail);
    }
    if device.contains(DeviceStatus::CHANNEL_END | DeviceStatus::DEVICE_END) {
        Ending::Good
    } else {
        Ending::Bad("no normal end", Action::Retry)
    }
}
