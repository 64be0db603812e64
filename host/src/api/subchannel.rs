//! Channel programs, what comes of them, and what happened to subchannels.

use channel::{
    CcwFlags, CommandCode, DeviceNumber, DeviceStatus, FunctionControl, Irb, Schib,
    SubchannelStatus,
};
use serde::{Deserialize, Serialize};
use zerocopy::IntoBytes;

use super::text::{Architected, Dotted, Hex};

pub const MAX_CCWS: usize = 256;

/// A channel program, and how it is to be started.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Program {
    pub ccws: Vec<Step>,
    /// The channel must not fetch ahead.
    pub no_prefetch: bool,
    /// CCWs may have the suspend flag.
    pub suspend: bool,
    /// Logical-path mask, if not all paths are to be used.
    pub lpm: Option<u8>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    pub command: u8,
    pub flags: u8,
    pub count: u16,
    /// Where a TIC leads, in bytes from the program's first.
    pub target: Option<u32>,
    #[serde(with = "hex::serde")]
    pub data: Vec<u8>,
}

impl Step {
    /// A CCW that suppresses length indications.
    pub fn new(command: CommandCode, count: u16, data: Vec<u8>) -> Self {
        Self {
            command: command.0,
            flags: CcwFlags::SLI.bits(),
            count,
            target: None,
            data,
        }
    }

    pub fn chain(&mut self) {
        self.flags |= CcwFlags::CC.bits();
    }

    /// Whether the channel may store into its data area.
    pub const fn reads(&self) -> bool {
        self.target.is_none() && CommandCode(self.command).reads()
    }
}

impl Program {
    /// These CCWs, each chained to the next.
    pub fn chained(mut ccws: Vec<Step>) -> Self {
        let last = ccws.len().saturating_sub(1);
        ccws.iter_mut().take(last).for_each(Step::chain);
        Self {
            ccws,
            ..Self::default()
        }
    }
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Outcome {
    pub device: String,
    /// Where the program was: addresses in the statuses are counted from there.
    pub base: u32,
    /// The status that ended it; none when it was cancelled.
    pub irb: Option<Architected<Irb>>,
    /// Status that came before: unsolicited, intermediate, or left over.
    pub earlier: Vec<Architected<Irb>>,
    pub data: Vec<Data>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Data {
    /// Its place in the program, from 0.
    pub ccw: usize,
    pub command: Hex<u8>,
    #[serde(with = "hex::serde")]
    pub bytes: Vec<u8>,
}

impl Outcome {
    /// What was wrong with the end, if anything.
    pub fn trouble(&self) -> Option<String> {
        match &self.irb {
            None => Some("the program was cancelled".into()),
            Some(irb) => trouble(&irb.0),
        }
    }
}

macro_rules! names {
    ($flags:expr) => {
        $flags
            .iter_names()
            .map(|(name, _)| name.to_lowercase().replace('_', " "))
            .collect::<Vec<String>>()
    };
}
pub(crate) use names;

/// What in a status says that a program did not do what it should.
pub fn trouble(irb: &Irb) -> Option<String> {
    let scsw = &irb.scsw;
    let fine = DeviceStatus::CHANNEL_END | DeviceStatus::DEVICE_END;
    let mut bad = names!(scsw.device() - fine);
    bad.extend(names!(scsw.subchannel() - SubchannelStatus::PCI));
    if scsw.deferred_cc() != 0 {
        bad.push(format!("deferred condition code {}", scsw.deferred_cc()));
    }
    let ended_by = FunctionControl::HALT | FunctionControl::CLEAR;
    bad.extend(names!(scsw.function() & ended_by));
    (!bad.is_empty()).then(|| format!("the program ended with {}", bad.join(", ")))
}

/// Concurrent sense. An emulated subchannel stores the bytes, and their count in the wrong place.
pub fn sense(irb: &Irb) -> Option<&[u8]> {
    let sense = irb.concurrent_sense()?;
    Some(match sense.is_empty() {
        true => irb.ecw.as_bytes(),
        false => sense,
    })
}

/// A subchannel as STORE SUBCHANNEL shows it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct StoredSchib {
    pub device: String,
    pub schib: Architected<Schib>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, strum::Display)]
#[serde(rename_all = "kebab-case")]
#[strum(serialize_all = "kebab-case")]
pub enum Function {
    Halt,
    Clear,
    Cancel,
    Resume,
}

/// A record of the trace, or how many were missed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TraceLine<R = TraceRecord> {
    Record(Box<R>),
    /// So many records were overwritten before they were read.
    Lost(u32),
}

/// The TOD clock of the appliance's VM: microseconds since the beginning of 1900.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TodMicros(pub u64);

/// A record, as the appliance has written it, with the names that belong to it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TraceRecord {
    pub number: u32,
    pub tod_us: TodMicros,
    /// The subsystem-identification word.
    pub subchannel: u32,
    /// Its device number, if it has one.
    pub device: Option<Dotted<DeviceNumber>>,
    pub client: Option<String>,
    /// The numbers of a [`TraceEvent`](vcss::trace::TraceEvent), and of the driver's states before and after.
    pub event: u16,
    pub before: u8,
    pub after: u8,
    pub cc: Option<u8>,
    /// Words of an ORB, or of SCSW and ESW.
    pub words: Vec<u32>,
}
