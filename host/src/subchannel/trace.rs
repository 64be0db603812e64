//! What happened to the subchannels that are passed through, record by record.

use std::fmt;

use channel::{DeviceNumber, SubchannelId};
use serde::{Deserialize, Serialize};
use vcss::client::Instruction;
use vcss::control;
use vcss::trace::{DriverState, Followed, Follower, TraceEntry, TraceEvent};
use vcss::{Area, AreaError};
use zerocopy::big_endian::U32;

/// Bits of the TOD clock below a microsecond.
const TOD_SHIFT: u32 = 12;
/// Days from 1 March of the year 0 to the beginning of 1900.
const DAYS_BEFORE_1900: u64 = 693_901;
const DAY_US: u64 = 24 * 60 * 60 * 1_000_000;

/// A record, or how many were missed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Line {
    /// A record.
    Record(Box<Record>),
    /// So many records were overwritten before they were read.
    Lost(u32),
}

/// A record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Its number.
    pub number: u32,
    /// TOD clock of the appliance's VM: microseconds since the beginning of 1900.
    pub tod_us: u64,
    /// The same as date and time in UTC, in the form of the daemon's log.
    pub time: String,
    /// The subchannel.
    pub subchannel: String,
    /// Its device number, if it has one.
    pub device: Option<String>,
    /// For whom.
    pub client: Option<String>,
    /// What happened.
    pub event: String,
    /// The driver's state before.
    pub before: String,
    /// The driver's state after.
    pub after: String,
    /// Condition code.
    pub cc: Option<u8>,
    /// Words of an ORB (`start`), or of SCSW and ESW (`interruption`, `test`), hexadecimal.
    pub words: Vec<String>,
}

/// Follows the trace.
#[derive(Debug)]
pub struct Tracer {
    follower: Follower<'static>,
    control: Area<'static>,
    /// The clients' names, by their index.
    clients: Vec<String>,
}

impl Tracer {
    /// From the oldest record on. `clients` are in the order of the control area.
    pub fn open(control: &Area<'static>, clients: Vec<String>) -> Result<Self, AreaError> {
        Ok(Self {
            follower: Follower::open(control)?,
            control: control.clone(),
            clients,
        })
    }

    /// The next line, if there is one.
    pub fn line(&mut self) -> Option<Line> {
        match self.follower.follow() {
            Followed::Record(entry) => Some(Line::Record(Box::new(self.record(&entry)))),
            Followed::Lost(count) => Some(Line::Lost(count)),
            Followed::Nothing => None,
        }
    }

    fn record(&self, entry: &TraceEntry) -> Record {
        let word = entry.subchannel.get();
        let id = SubchannelId::from_word(word);
        let client = usize::from(entry.client.get());
        let words = match entry.words.iter().all(|word| *word == U32::ZERO) {
            true => &[][..],
            false => &entry.words[..],
        };
        Record {
            number: entry.sequence.get(),
            tod_us: entry.tod.get() >> TOD_SHIFT,
            time: utc(entry.tod.get() >> TOD_SHIFT),
            subchannel: id.map_or_else(|| format!("{word:08x}"), |id| id.to_string()),
            device: self.device(word),
            client: self.clients.get(client).cloned(),
            event: event(entry.event.get()),
            before: state(entry.before),
            after: state(entry.after),
            cc: Some(entry.condition).filter(|cc| *cc != TraceEntry::NO_CONDITION),
            words: words
                .iter()
                .map(|word| format!("{:08x}", word.get()))
                .collect(),
        }
    }

    fn device(&self, subchannel: u32) -> Option<String> {
        let devices = (0..self.control.count::<control::Device>())
            .map_while(|index| self.control.read::<control::Device>(index).ok())
            .take_while(|entry| entry.subchannel.get() != 0);
        let mut matching = devices.filter(|entry| entry.subchannel.get() == subchannel);
        matching.next().map(|entry| {
            let number = DeviceNumber {
                set: entry.set,
                number: entry.device.get(),
            };
            number.to_string()
        })
    }
}

const fn instruction(instruction: Instruction) -> &'static str {
    match instruction {
        Instruction::Start => "start",
        Instruction::Halt => "halt",
        Instruction::Clear => "clear",
        Instruction::Cancel => "cancel",
        Instruction::Resume => "resume",
        Instruction::Store => "store",
        Instruction::Modify => "modify",
        Instruction::Test => "test",
    }
}

fn event(number: u16) -> String {
    let name = match TraceEvent::from_number(number) {
        Some(TraceEvent::Request(this)) => instruction(this),
        Some(TraceEvent::Own(this)) => return format!("own {}", instruction(this)),
        Some(TraceEvent::Online) => "online",
        Some(TraceEvent::Offline) => "offline",
        Some(TraceEvent::Reset) => "reset",
        Some(TraceEvent::Interruption) => "interruption",
        Some(TraceEvent::Path) => "path",
        Some(TraceEvent::Gone) => "gone",
        Some(TraceEvent::Back) => "back",
        Some(TraceEvent::TimeOut) => "time-out",
        Some(TraceEvent::Recovery) => "recovery",
        None => return format!("event {number:#x}"),
    };
    name.into()
}

fn state(number: u8) -> String {
    let name = driver_state(number);
    name.map_or_else(|| format!("state {number}"), str::to_owned)
}

/// The name of a driver's state.
pub fn driver_state(number: u8) -> Option<&'static str> {
    Some(match DriverState::from_number(number) {
        Some(DriverState::NotOperational) => "not-operational",
        Some(DriverState::Standby) => "standby",
        Some(DriverState::Idle) => "idle",
        Some(DriverState::Busy) => "busy",
        Some(DriverState::Quiescing) => "quiescing",
        Some(DriverState::Disconnected) => "disconnected",
        None => return None,
    })
}

/// Date and time of so many microseconds after the beginning of 1900, in UTC.
fn utc(tod_us: u64) -> String {
    let (seconds, us) = (tod_us / 1_000_000, tod_us % 1_000_000);
    // Counted from 1 March of the year 0, so that a leap day is the last of its year, in eras of 400 years.
    let days = tod_us / DAY_US + DAYS_BEFORE_1900;
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let of_month = day - (153 * month + 2) / 5 + 1;
    let (month, carry) = if month < 10 {
        (month + 3, 0)
    } else {
        (month - 9, 1)
    };
    format!(
        "{:04}-{month:02}-{of_month:02}T{:02}:{:02}:{:02}.{us:06}Z",
        era * 400 + year + carry,
        seconds / 3600 % 24,
        seconds / 60 % 60,
        seconds % 60
    )
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Lost(count) => write!(f, "({count} records were not read in time)"),
            Self::Record(record) => record.fmt(f),
        }
    }
}

impl fmt::Display for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let device = self.device.as_deref().unwrap_or(&self.subchannel);
        let change = match self.before == self.after {
            true => self.after.clone(),
            false => format!("{} > {}", self.before, self.after),
        };
        write!(
            f,
            "{}  {device:<8}  {:<8}  {:<12}  cc {}  {change:<24}",
            self.time,
            self.client.as_deref().unwrap_or("-"),
            self.event,
            self.cc.map_or_else(|| "-".to_owned(), |cc| cc.to_string()),
        )?;
        write!(f, "  {}", self.words.join(" "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_of_a_record_can_be_compared_with_the_log() {
        let unix = 2_208_988_800_000_000;
        assert_eq!(utc(0), "1900-01-01T00:00:00.000000Z");
        assert_eq!(utc(unix), "1970-01-01T00:00:00.000000Z");
        assert_eq!(
            utc(unix + 951_782_400_000_001),
            "2000-02-29T00:00:00.000001Z"
        );
        assert_eq!(
            utc(unix + 1_796_017_497_123_456),
            "2026-11-30T05:44:57.123456Z"
        );
        assert_eq!(
            utc(unix + 1_798_761_599_000_000),
            "2026-12-31T23:59:59.000000Z"
        );
    }
}
