//! The state that a command sees, and what a command can do.
//!
//! # Rule
//!
//! A [`View`] gives copies, row by row, and never waits. What the areas have is given as they have it, so that whoever has only them (a
//! daemon, or a reader of a dump) can be a view, too; it leaves out the rest.
//!
//! # Limits
//!
//! Rows are looked up by their place at each call: what changes between two pages of a table can be there twice, or not at all.

use core::fmt;

use channel::{DeviceNumber, Schib, SubchannelId};
use log::LevelFilter;
use s390x::clock::Tod;
use vcss::control::{self, Counters, ExportKind, HeldBack, Life, Recoveries};
use vcss::trace::TraceEntry;

use crate::boot::program::Innards;

/// What the appliance says of itself.
#[derive(Clone, Copy, Debug)]
pub struct Summary<'a> {
    pub version: &'a str,
    pub life: Life,
    /// Since the first instruction, in microseconds.
    pub up_us: u64,
    pub about: control::Appliance,
    /// Requests at the disks.
    pub at_disks: usize,
}

#[derive(Clone, Copy, Debug)]
pub struct Disk<'a> {
    pub name: &'a str,
    pub number: DeviceNumber,
    pub id: Option<SubchannelId>,
    pub sectors: u64,
    pub block_size: u32,
    pub in_flight: u32,
    pub is_broken: bool,
    /// Its driver has its subchannel.
    pub is_own: bool,
    pub recoveries: Recoveries,
    /// Why it is not served.
    pub reason: Option<&'a str>,
}

#[derive(Clone, Copy, Debug)]
pub struct Client<'a> {
    pub number: u16,
    pub name: &'a str,
    /// Bytes of its memory.
    pub memory: u64,
    /// It has to be rung, for it sleeps.
    pub sleeps: bool,
    /// Nothing is taken from it: its memory changes, or it is leaving.
    pub is_held: bool,
    pub reports: Reports,
    /// Why it is not served.
    pub reason: Option<&'a str>,
}

/// Channel reports for a client.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reports {
    pub made: u32,
    pub lost: u32,
    /// Of those that were made, the client has not taken so many.
    pub left: u32,
}

/// What a client is given.
#[derive(Clone, Copy, Debug)]
pub struct Export<'a> {
    pub client: u16,
    /// Its virtual subchannel.
    pub index: u16,
    pub kind: ExportKind,
    /// The number by which the client knows the device.
    pub device: u16,
    /// The disk's index, if it is a part of one.
    pub disk: Option<usize>,
    pub driver: Driver,
    pub queues: u16,
    pub counters: Counters,
    pub held_back: HeldBack,
    /// Why it is not served.
    pub reason: Option<&'a str>,
}

/// How far a client's driver is with a device of the virtio-ccw kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Driver {
    /// It is no such device.
    None,
    /// None has set it up.
    Absent,
    Ready,
    /// It has damaged a queue.
    NeedsReset,
    /// The disk is not there: requests wait.
    NoDisk,
}

impl fmt::Display for Driver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "-",
            Self::Absent => "no driver",
            Self::Ready => "ready",
            Self::NeedsReset => "needs reset",
            Self::NoDisk => "no disk",
        })
    }
}

/// A virtqueue that is set up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Queue {
    pub size: u16,
    /// The next available-ring index that the appliance will take.
    pub next_avail: u16,
    pub in_flight: u16,
    /// There is something that was not taken yet.
    pub has_news: bool,
    pub disk_queue: u16,
}

/// A request at a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request {
    pub client: u16,
    pub index: u16,
    pub queue: u16,
    pub operation: &'static str,
    /// The first sector on the disk, of a read or a write.
    pub sector: Option<u64>,
    pub bytes: u32,
}

pub trait View {
    fn now(&self) -> Tod;

    fn summary(&self) -> Summary<'_>;

    /// The owned devices as the control area lists them.
    fn device(&self, place: u32) -> Option<control::Device>;

    /// How many places for disks there are, up to the last one.
    fn disk_count(&self) -> usize;

    fn disk(&self, index: usize) -> Option<Disk<'_>>;

    /// The `place`-th client.
    fn client(&self, place: usize) -> Option<Client<'_>>;

    /// The `place`-th of all that clients are given.
    fn export(&self, place: usize) -> Option<Export<'_>>;

    /// A queue of the device with this place among the exports.
    fn queue(&self, place: usize, queue: u16) -> Option<Queue>;

    fn each_request(&self, act: &mut dyn FnMut(Request));

    /// The number of the newest record of the trace; 0 if there is none.
    fn newest_traced(&self) -> u32;

    /// The record of the trace with this number, if it is still there.
    fn traced(&self, number: u32) -> Option<TraceEntry>;

    /// The last log records, the oldest one first.
    fn each_log_line(&self, act: &mut dyn FnMut(&str));

    /// Stores the subchannel-information block.
    fn schib(&self, id: SubchannelId) -> Option<Schib>;

    fn innards(&self) -> Innards;

    /// Reads the appliance's own storage. Returns whether that is there, all of it.
    fn bytes(&self, address: u64, to: &mut [u8]) -> bool;
}

/// What commands can do that change something.
pub trait Acts: View {
    fn set_log_level(&mut self, level: LevelFilter);
}
