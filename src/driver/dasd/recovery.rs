//! What is done about a program that did not end as it should: from status and sense data to an action.
//!
//! # The rule
//!
//! One table, read from the top; the first row that fits counts. Every action is bounded: a request is tried at most
//! [`ATTEMPTS`] times, with a [pause](pause_us) between, and a program that does not end is halted, then cleared, then the device is
//! given up. Names are the manual's (*3990 Storage Control Reference*, "Sense information").

use channel::{DeviceStatus, Irb, SubchannelStatus};

/// How often a request is tried before it fails.
pub const ATTEMPTS: u32 = 5;
/// How long a program may take, in microseconds: the missing-interruption time.
pub const PROGRAM_TIMEOUT: u64 = 30_000_000;
/// How long a halt or clear function may take.
pub const STOP_TIMEOUT: u64 = 1_000_000;
/// How often the clear function is tried.
pub const CLEARS: u32 = 3;

/// How long to wait before attempt number `attempt`.
pub const fn pause_us(attempt: u32) -> u64 {
    match attempt {
        0 | 1 => 1_000,
        2 => 10_000,
        _ => 100_000,
    }
}

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Again, if it was not tried too often.
    Retry,
    /// The request fails.
    Fail,
}

/// A row of the table, about one sense bit.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    byte: usize,
    mask: u8,
    /// The manual's name.
    pub reason: &'static str,
    /// What is done.
    pub action: Action,
}

const fn row(byte: usize, mask: u8, reason: &'static str, action: Action) -> Row {
    Row {
        byte,
        mask,
        reason,
        action,
    }
}

/// For sense data without any of these bits.
static NO_SENSE: Row = row(0, 0, "no sense", Action::Retry);
const NO_RECORD_FOUND: (usize, u8) = (1, 0x08);

/// The table.
pub static TABLE: [Row; 15] = [
    row(0, 0x80, "command reject", Action::Fail),
    row(1, 0x02, "write inhibited", Action::Fail),
    row(1, 0x04, "file protected", Action::Fail),
    row(
        NO_RECORD_FOUND.0,
        NO_RECORD_FOUND.1,
        "no record found",
        Action::Fail,
    ),
    row(1, 0x40, "invalid track format", Action::Fail),
    row(1, 0x20, "end of cylinder", Action::Fail),
    row(1, 0x80, "permanent error", Action::Fail),
    row(2, 0x10, "environmental data present", Action::Retry),
    row(0, 0x40, "intervention required", Action::Retry),
    row(0, 0x10, "equipment check", Action::Retry),
    row(0, 0x08, "data check", Action::Retry),
    row(0, 0x20, "bus out parity", Action::Retry),
    row(0, 0x04, "overrun", Action::Retry),
    row(0, 0x01, "incomplete domain", Action::Retry),
    row(1, 0x10, "message to operator", Action::Retry),
];

/// The row for sense bytes.
pub fn row_of(sense: &[u8]) -> &'static Row {
    let is_set = |row: &&Row| sense.get(row.byte).copied().unwrap_or(0) & row.mask != 0;
    TABLE.iter().find(is_set).unwrap_or(&NO_SENSE)
}

/// Whether a record that was looked for is not there.
pub fn is_no_record_found(sense: &[u8]) -> bool {
    sense
        .get(NO_RECORD_FOUND.0)
        .is_some_and(|byte| byte & NO_RECORD_FOUND.1 != 0)
}

/// How a program ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// As it should.
    Good,
    /// With a unit check: the sense bytes say more.
    UnitCheck,
    /// Not as it should.
    Bad(&'static str, Action),
    /// The path, and with it the device, is gone.
    Gone,
}

/// What final status says; device and subchannel status are those of the whole start function.
pub fn ending(irb: &Irb) -> Ending {
    use SubchannelStatus as Channel;
    let (device, channel) = (irb.scsw.device(), irb.scsw.subchannel());
    match irb.scsw.deferred_cc() {
        0 => {}
        1 => return Ending::Bad("deferred condition code 1", Action::Retry),
        _ => return Ending::Gone,
    }
    if device.contains(DeviceStatus::UNIT_CHECK) {
        return Ending::UnitCheck;
    }
    let channel_rows = [
        (Channel::PROGRAM_CHECK, "program check", Action::Fail),
        (Channel::PROTECTION_CHECK, "protection check", Action::Fail),
        (
            Channel::INTERFACE_CONTROL_CHECK,
            "interface-control check",
            Action::Retry,
        ),
        (
            Channel::CHANNEL_CONTROL_CHECK,
            "channel-control check",
            Action::Retry,
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
    for (bit, reason, action) in channel_rows {
        if channel.contains(bit) {
            return Ending::Bad(reason, action);
        }
    }
    if device.contains(DeviceStatus::BUSY) {
        return Ending::Bad("busy", Action::Retry);
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
