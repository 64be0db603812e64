//! The control area's entries: what the daemon tells the appliance about the pool, and what the
//! appliance tells the daemon about itself.
//!
//! [`Client`], [`Disk`], [`Export`] and [`Quota`] are written by the daemon before it starts the appliance
//! and are not changed while it runs. [`Order`], [`ClientMemory`], and its words of each [`Loan`] and of the [`Heartbeat`], are
//! written by the daemon at any time. The rest is written by the appliance at any time, for `stellwerk status` and
//! `stellwerk lscss`; so is the [trace](crate::trace).

use zerocopy::big_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, TryFromBytes};

use crate::layout::{from_number, Extent, Name};

from_number!(ExportKind: u32, LoanState: u32, ConditionState: u32, HeldBackBy: u32, Life: u32, DeviceLife: u8);

/// A client and the memory that it shares.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Client {
    /// Its name in the configuration.
    pub name: Name,
    /// Its area.
    pub area: Extent,
    /// Its window: where its absolute addresses begin and how far they reach at most. Ring addresses, and
    /// every address in a ring, are resolved here. [`ClientMemory`] says how much of it there is.
    pub window: Extent,
    /// Its program window: CCWs and the data areas they name are resolved here. The same as the window
    /// for a client that writes channel programs itself; pages of the area when the daemon writes them.
    pub program: Extent,
    /// [`Client::PATH_REPORTS`]. The daemon may change it alone, as it changes entries; the client does not notice.
    pub flags: U32,
    /// Zero.
    pub reserved: [u8; 44],
}

impl Client {
    /// It gets a channel report when a channel path of its subchannels is lost or found. Otherwise it finds that in the masks.
    pub const PATH_REPORTS: u32 = 1;
}

/// How much memory a client has in its window. One entry for each client.
///
/// The daemon changes it at any time: it writes the length, then the generation, and rings. The appliance uses no memory beyond the
/// new length from then on. It says so by [`MemoryTaken`] when nothing that was in flight before is in flight any more; until then
/// the daemon leaves the memory as it is.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct ClientMemory {
    /// Bytes from the window's first one on.
    pub length: U64,
    /// Counts the daemon's changes, also those that leave the length as it is; written last.
    pub generation: U32,
    /// Zero.
    pub reserved: U32,
}

/// Up to which change of its [`ClientMemory`] a client's memory has been changed. Written by the appliance.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct MemoryTaken {
    /// The generation of the change.
    pub generation: U32,
    /// Zero.
    pub reserved: U32,
}

/// A disk that the appliance is to drive.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Disk {
    /// Its name in the configuration.
    pub name: Name,
    /// Device number of its subchannel.
    pub device: U16,
    /// Subchannel set of its subchannel.
    pub set: u8,
    /// Zero.
    pub reserved: [u8; 29],
}

/// A disk, a slice of one, or a subchannel, given to a client. The client's virtual subchannels are its exports, in
/// the order in which they stand here.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Export {
    /// Index of the client.
    pub client: U16,
    /// Index of the disk, or [`Export::NO_DISK`]. Of an [`ExportKind::Lent`] the disk's subchannel is meant.
    pub disk: U16,
    /// Virtual device number. Of an [`ExportKind::Any`] it is the owned device's.
    pub device: U16,
    /// Queues that the client may use, 1 to [`MAX_QUEUES`](crate::client::MAX_QUEUES).
    pub queues: U16,
    /// [`Export::READ_ONLY`].
    pub flags: U32,
    /// [`ExportKind`].
    pub kind: U32,
    /// First sector (512 bytes) on the disk.
    pub start: U64,
    /// Sectors; 0 means to the end of the disk.
    pub sectors: U64,
    /// What GET ID answers, padded with NUL.
    pub serial: [u8; 20],
    /// [`ExportKind::PassThrough`]: the owned device's number.
    pub owned_device: U16,
    /// [`ExportKind::PassThrough`]: the owned device's subchannel set.
    pub owned_set: u8,
    /// [`ExportKind::Block`]: not 0, a partition of the disk; `start` and `sectors` are 0 then.
    pub partition: u8,
    /// Zero.
    pub reserved: [u8; 8],
}

impl Export {
    /// The client may not write.
    pub const READ_ONLY: u32 = 1;
    /// [`Export::disk`] of what is no disk.
    pub const NO_DISK: u16 = 0xFFFF;
}

/// How an [`ExportKind::Block`] shares its disk with the others that have a part of it, and what it may do at most. One entry for each
/// export; without the part, nobody is limited and all weights are equal.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct Quota {
    /// Its share of the disk relative to the others' while several want the disk; 0 means [`Quota::WEIGHT`].
    pub weight: U32,
    /// Requests a second; 0 means as many as there are.
    pub iops: U32,
    /// Requests that may be done at once after a pause; 0 means those of a second.
    pub iops_burst: U32,
    /// Zero.
    pub reserved: U32,
    /// Bytes a second; 0 means as many as there are.
    pub bandwidth: U64,
    /// Bytes that may be moved at once after a pause; 0 means those of a second.
    pub bandwidth_burst: U64,
}

impl Quota {
    /// The weight that is taken where none is given.
    pub const WEIGHT: u32 = 100;
    /// The greatest weight.
    pub const MAX_WEIGHT: u32 = 10_000;
}

/// What stands behind a virtual subchannel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, TryFromBytes)]
#[repr(u32)]
pub enum ExportKind {
    /// A disk or a slice of one: a virtio-ccw device.
    Block = 0,
    /// The owned subchannel with the device number that the export says.
    PassThrough = 1,
    /// The k-th such export of a client gets the k-th owned subchannel that nobody else was given.
    Any = 2,
    /// The subchannel of the disk that the export names, as long as it is [lent](Loan).
    Lent = 3,
    /// Nothing: there is room for an export of this client's, or of anybody's.
    Vacant = 4,
}

/// Name of the client that is the host daemon itself.
pub const HOST: &str = "host";

/// What the daemon wants of the appliance.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Order {
    /// One of the constants here.
    pub order: U32,
    /// Generation of clients, disks, exports and quotas: another number after each change to them, not 0. From its change on until
    /// [`Appliance::configuration`] is the same number, none of them changes again. A daemon that changes nothing leaves it 0.
    pub configuration: U32,
}

impl Order {
    /// Serve.
    pub const SERVE: u32 = 0;
    /// Take no new requests, let those in flight end, flush, and stop. Until it has flushed, an appliance that finds [`Self::SERVE`] again
    /// serves on.
    pub const SHUT_DOWN: u32 = 1;
}

/// Whether the appliance's event loop still comes round.
///
/// The daemon asks by another [`ping`](Self::ping), and rings; the event loop answers when it next looks for orders.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Heartbeat {
    /// Written by the daemon, never 0 while the appliance runs.
    pub ping: U32,
    /// Written by the appliance: the last ping that it has found. The daemon sets it to 0 while none runs, so one that leaves it so
    /// does not answer pings at all.
    pub answer: U32,
    /// Written by the daemon, before the appliance starts: after how many seconds in which the event loop has not come round the
    /// machine's own watchdog is to end the appliance. 0: not at all.
    pub watchdog_seconds: U32,
    /// Zero.
    pub reserved: U32,
}

/// A disk's subchannel, lent to the client that has an [`ExportKind::Lent`] of it. One entry for each disk.
///
/// The disk's own driver lets go of the subchannel between two programs, and keeps its requests until it has it again.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Loan {
    /// What the daemon wants: [`Loan::NONE`], [`Loan::WANTED`] or [`Loan::FORMAT`].
    pub wanted: U32,
    /// What the appliance has done: [`LoanState`].
    pub state: U32,
    /// Zero.
    pub reserved: U64,
}

impl Loan {
    /// The disk's driver has its subchannel.
    pub const NONE: u32 = 0;
    /// The subchannel is to be lent.
    pub const WANTED: u32 = 1;
    /// The same, and the volume may be another one afterwards: the driver has to look.
    pub const FORMAT: u32 = 2;
}

/// How far a [`Loan`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, TryFromBytes)]
#[repr(u32)]
pub enum LoanState {
    /// The disk's driver has the subchannel.
    Own = 0,
    /// The client has it.
    Lent = 1,
    /// On the way from one to the other.
    Changing = 2,
    /// The disk has none that could be lent.
    Refused = 3,
}

/// How a disk, a client or an export fares. The disks stand first, in their order, then the clients, then the exports:
/// [`Condition::of_disk`] and its like say where.
///
/// What has failed is tried again every few seconds, and at once when the daemon changes [`Condition::retry`].
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Condition {
    /// [`ConditionState`], written last.
    pub state: U32,
    /// How often it was tried since the appliance started.
    pub tries: U32,
    /// Written by the daemon, when it rings: another value than before asks for a try at once.
    pub retry: U32,
    /// How often the appliance died while it did something for it, and has not forgiven that. It outlives the appliance.
    pub deaths: U32,
    /// Why it failed: UTF-8, padded with NUL.
    pub reason: [u8; 112],
}

impl Condition {
    /// The entry of a disk.
    pub const fn of_disk(disk: usize) -> u32 {
        disk as u32
    }

    /// The entry of a client, where there are so many disks.
    pub const fn of_client(client: usize, disks: u32) -> u32 {
        disks + client as u32
    }

    /// The entry of an export, where there are so many disks and clients.
    pub const fn of_export(export: usize, disks: u32, clients: u32) -> u32 {
        disks + clients + export as u32
    }

    /// A reason as it is stored: what does not fit is cut off between two characters.
    pub fn pack(text: &str) -> [u8; 112] {
        let mut reason = [0; 112];
        let mut end = text.len().min(reason.len());
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        for (to, from) in reason.iter_mut().zip(text.bytes().take(end)) {
            *to = from;
        }
        reason
    }

    /// The reason as text; what is no UTF-8 is left out.
    pub fn reason(&self) -> &str {
        let end = self.reason.iter().position(|&byte| byte == 0);
        let bytes = self.reason.get(..end.unwrap_or(self.reason.len()));
        let bytes = bytes.unwrap_or_default();
        core::str::from_utf8(bytes).unwrap_or_else(|error| {
            let good = bytes.get(..error.valid_up_to()).unwrap_or_default();
            core::str::from_utf8(good).unwrap_or_default()
        })
    }
}

/// State of a [`Condition`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, TryFromBytes)]
#[repr(u32)]
pub enum ConditionState {
    /// Not looked at yet.
    Unknown = 0,
    /// It is served.
    Good = 1,
    /// It is not served, for the reason that stands beside.
    Failed = 2,
}

/// The appliance's state of life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, TryFromBytes)]
#[repr(u32)]
pub enum Life {
    /// Not up yet, or not this time.
    Starting = 0,
    /// Serving.
    Serving = 1,
    /// Letting requests end.
    Stopping = 2,
    /// Everything has ended and is flushed.
    Stopped = 3,
    /// Ended by a fault; its report is on the console.
    Failed = 4,
}

/// What the appliance says of itself.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Appliance {
    /// [`Life`].
    pub life: U32,
    /// Microseconds from the first instruction to serving.
    pub boot_us: U32,
    /// TOD clock when it began to serve.
    pub serving_tod: U64,
    /// Its version.
    pub version: Name,
    /// Bytes of the pool that are its own.
    pub private_bytes: U64,
    /// Bytes of the loaded image.
    pub image_bytes: U64,
    /// Bytes of heap in use when it began to serve.
    pub heap_bytes: U64,
    /// Turns of the event loop.
    pub turns: U64,
    /// Times it went to sleep.
    pub sleeps: U64,
    /// Wake-up bytes sent.
    pub wakes_sent: U64,
    /// Work found by the slow timer that no wake-up had announced.
    pub healed: U64,
    /// The generation of [`Order::configuration`] that it serves by.
    pub configuration: U32,
    /// Zero.
    pub reserved: [u8; 20],
}

/// State of an owned subchannel's driver.
#[derive(Clone, Copy, Debug, PartialEq, Eq, TryFromBytes)]
#[repr(u8)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize, strum::Display)
)]
#[cfg_attr(
    feature = "serde",
    serde(rename_all = "kebab-case"),
    strum(serialize_all = "kebab-case")
)]
pub enum DeviceLife {
    /// Present, not driven.
    Standby = 0,
    /// Driven.
    Online = 1,
    /// Driven once, given up.
    Failed = 2,
}

/// What the driver of a disk has done to get requests through, since the appliance started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Recoveries {
    /// Requests, or several of them together, that were tried again.
    pub retries: U32,
    /// Of these, over another path.
    pub other_paths: U32,
    /// Of these, after a wait for the device.
    pub waits: U32,
    /// Operations that did not end in time.
    pub timeouts: U32,
    /// Requests that failed all the same.
    pub failures: U32,
}

/// An owned subchannel.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Device {
    /// Subsystem-identification word; 0 ends the list.
    pub subchannel: U32,
    /// Device number.
    pub device: U16,
    /// Subchannel set.
    pub set: u8,
    /// [`DeviceLife`].
    pub life: u8,
    /// Control-unit type.
    pub cu_type: U16,
    /// Control-unit model.
    pub cu_model: u8,
    /// Device model.
    pub dev_model: u8,
    /// Device type.
    pub dev_type: U16,
    /// Index of the disk that it is, or [`Device::NO_DISK`].
    pub disk: U16,
    /// Size in sectors, when it is a disk.
    pub sectors: U64,
    /// Path-installed mask.
    pub pim: u8,
    /// Path-available mask.
    pub pam: u8,
    /// Path-operational mask.
    pub pom: u8,
    /// [`DriverState`](crate::trace::DriverState) of one that is passed through.
    pub state: u8,
    /// Index of the client that it is passed through to, or [`Device::NO_CLIENT`].
    pub client: U16,
    /// The client's virtual subchannel.
    pub index: U16,
    /// Channel-path identifiers.
    pub chpids: [u8; 8],
    /// What the driver of a disk has done to get requests through.
    pub recoveries: Recoveries,
    /// Logical-path mask, as of the last look; 0 is what an appliance says that does not say it.
    pub lpm: u8,
    /// Last-path-used mask, as of the last look.
    pub lpum: u8,
    /// Path-not-operational mask, as of the last look.
    pub pnom: u8,
    /// [`Device::PATH_NOT_OPERATIONAL`].
    pub path_flags: u8,
}

impl Device {
    /// The status that was pending at the last look said *path not operational*.
    pub const PATH_NOT_OPERATIONAL: u8 = 0x80;
    /// [`Device::disk`] of what is no disk.
    pub const NO_DISK: u16 = 0xFFFF;
    /// [`Device::client`] of what is passed through to nobody.
    pub const NO_CLIENT: u16 = 0xFFFF;
}

/// What holds back requests of one export that are there, and how long it has; since the appliance started. One entry for each export.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct HeldBack {
    /// [`HeldBackBy`]: what does now.
    pub by: U32,
    /// Zero.
    pub reserved: U32,
    /// Microseconds in which they waited for others that share the disk.
    pub share_us: U64,
    /// Microseconds in which they waited for the export's own limits.
    pub limits_us: U64,
    /// Zero.
    pub reserved_end: U64,
}

/// What holds back requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, TryFromBytes)]
#[repr(u32)]
pub enum HeldBackBy {
    /// Nothing does.
    Nothing = 0,
    /// Others have the rest of the disk.
    Share = 1,
    /// The export has done what it may for now.
    Limits = 2,
}

/// Counters of one export; all since the appliance started.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Counters {
    /// Reads ended.
    pub reads: U64,
    /// Writes ended.
    pub writes: U64,
    /// Flushes ended.
    pub flushes: U64,
    /// Discards and write-zeroes ended.
    pub discards: U64,
    /// Bytes read.
    pub bytes_read: U64,
    /// Bytes written.
    pub bytes_written: U64,
    /// Requests that ended in an error.
    pub errors: U64,
    /// Requests in flight.
    pub in_flight: U64,
}

#[cfg(test)]
mod tests {
    extern crate std;

    use std::format;

    use zerocopy::FromZeros;

    use super::*;

    #[test]
    fn a_reason_that_is_too_long_is_cut_between_two_characters() {
        let long = "é".repeat(80);
        let mut condition = Condition::new_zeroed();
        condition.reason = Condition::pack(&long);
        assert_eq!(condition.reason(), "é".repeat(56));
        condition.reason = Condition::pack(&"x".repeat(111));
        assert_eq!(condition.reason().len(), 111);
        condition.reason = Condition::pack(&format!("{}é", "x".repeat(111)));
        assert_eq!(condition.reason().len(), 111);
    }

    #[test]
    fn a_reason_that_is_no_text_is_as_much_of_it_as_is() {
        let mut condition = Condition::new_zeroed();
        condition.reason = [0xFF; 112];
        assert_eq!(condition.reason(), "");
        condition.reason = Condition::pack("good");
        condition.reason[4] = 0xC3;
        assert_eq!(condition.reason(), "good");
    }
}
