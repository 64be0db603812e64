//! A machine with one volume: the channel and the storage control interpret the programs that the driver starts, and fail
//! when the test says so.

mod control;
mod platform;
mod subsystem;

use std::boxed::Box;
use std::collections::{BTreeMap, VecDeque};
use std::vec::Vec;

use channel::{
    ActivityControl, Ccw1, CcwFlags, CommandCode, DeviceStatus, FunctionControl, Idaw2, Irb, Midaw,
    MidawFlags, Orb, OrbFlags, PmcwFlags, Refusal, Schib, StatusControl, SubchannelId,
    SubchannelStatus,
};
use s390x::ebcdic::CP037;
use window::{ClientAddress, Segment, Window};
use zerocopy::FromZeros;

use super::super::format::{Characteristics, DefineExtent, LocateRecord, PathGroup};
use crate::css::Patience;

/// What happens to a program of reads and writes instead of its work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Unit check with these sense bytes.
    UnitCheck(Vec<u8>),
    /// Subchannel status.
    Channel(SubchannelStatus),
    /// Device status.
    Device(DeviceStatus),
    /// Deferred condition code.
    Deferred(u8),
    /// START SUBCHANNEL is refused.
    Refused(Refusal),
    /// Nothing, until a halt or clear function ends it.
    Hang,
}

/// What the storage control knows of path groups.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Groups {
    Unknown,
    SinglePath,
    Multipath,
}

/// A control unit of another kind: a command and its data in, data or sense bytes out.
pub type Control = Box<dyn FnMut(CommandCode, &[u8]) -> Result<Vec<u8>, Vec<u8>>>;

/// What a program has said so far.
#[derive(Default)]
struct Running {
    path: u8,
    extent: Option<DefineExtent>,
    domain: Option<LocateRecord>,
    next: Option<Address>,
    /// A storage query.
    prepared: bool,
}

/// A record: key and data.
#[derive(Clone, Debug, Default)]
pub struct Record {
    pub key: Vec<u8>,
    pub data: Vec<u8>,
}

type Address = (u16, u16, u8);

/// The machine.
pub struct Machine {
    pub records: BTreeMap<Address, Record>,
    pub about: Characteristics,
    pub faults: VecDeque<Fault>,
    /// So many such programs before that do their work.
    pub skip_faults: u32,
    /// What happens to every such program on a path.
    pub path_faults: BTreeMap<u8, Fault>,
    /// The paths that such programs took.
    pub taken: Vec<u8>,
    /// What happens to SENSE.
    pub sense_faults: VecDeque<Fault>,
    /// Ends a program that hangs as soon as the status in front of it has been taken.
    pub ends_behind: bool,
    /// Clients are served: whoever waits now has them wait.
    pub serving: bool,
    pub groups: Groups,
    /// What each path was told of its group.
    pub paths: BTreeMap<u8, PathGroup>,
    /// The storage control takes PREFIX.
    pub prefix: bool,
    /// The volume is thin-provisioned, and its storage control says so.
    pub thin: bool,
    /// A format write hangs after so many records.
    pub format_hangs_after: Option<u8>,
    /// Format writes are inhibited.
    pub format_inhibited: bool,
    /// Records that were made.
    pub formatted: u32,
    /// In place of the storage control.
    pub control: Option<Control>,
    pub concurrent_sense: bool,
    pub midaws: bool,
    /// Halt and clear functions do not end.
    pub halt_stuck: bool,
    pub clear_stuck: bool,
    pub gone: bool,
    /// Programs of reads and writes that were started, and halts and clears.
    pub starts: u32,
    pub halts: u32,
    pub clears: u32,
    pub micros: u64,
    pub schib: Schib,
    patience: Patience,
    status: Option<Irb>,
    interruption: bool,
    sense: Vec<u8>,
    running: bool,
    storage: Window,
    base: *mut u8,
    free: u64,
}

/// Why a program stops.
enum Stop {
    Sense(Vec<u8>),
    Channel(SubchannelStatus),
    /// It does not, until a halt or clear function ends it.
    Hang,
}

const STORAGE: usize = 8 << 20;

/// The path that the channel subsystem takes.
fn first_path(mask: u8) -> u8 {
    0x80_u8.checked_shr(mask.leading_zeros()).unwrap_or(0)
}

pub fn id() -> SubchannelId {
    SubchannelId::new(0, 3).unwrap()
}

impl Machine {
    /// A 3390 of some cylinders without records.
    pub fn new(cylinders: u16) -> Self {
        let bytes = vec![0; STORAGE].leak();
        let base = bytes.as_mut_ptr();
        let mut about = Characteristics::new_zeroed();
        about.device = 0x3390.into();
        about.cylinders = cylinders.into();
        about.heads = 15.into();
        about.track_length = [0, 0xE5, 0xA2];
        (about.formula, about.factor_1, about.factor_6) = (2, 34, 6);
        about.factors = [19, 9, 6, 116];
        let mut schib = Schib::default();
        schib.pmcw.set_flag(PmcwFlags::DEVICE_NUMBER_VALID, true);
        schib.pmcw.lpm = 0x80;
        schib.pmcw.pam = 0x80;
        Self {
            records: BTreeMap::new(),
            about,
            faults: VecDeque::new(),
            skip_faults: 0,
            path_faults: BTreeMap::new(),
            taken: Vec::new(),
            sense_faults: VecDeque::new(),
            ends_behind: false,
            serving: false,
            groups: Groups::Multipath,
            paths: BTreeMap::new(),
            prefix: false,
            thin: false,
            format_hangs_after: None,
            format_inhibited: false,
            formatted: 0,
            control: None,
            concurrent_sense: true,
            midaws: true,
            halt_stuck: false,
            clear_stuck: false,
            gone: false,
            starts: 0,
            halts: 0,
            clears: 0,
            micros: 1,
            schib,
            patience: Patience::DRIVERS,
            status: None,
            interruption: false,
            sense: Vec::new(),
            running: false,
            storage: Window::leaked(bytes, 0),
            base,
            free: 4096,
        }
    }

    /// With these paths.
    pub fn over(mut self, paths: u8) -> Self {
        self.schib.pmcw.lpm = paths;
        self.schib.pmcw.pam = paths;
        self
    }

    /// Where the storage control says that it has PREFIX.
    pub fn offering_prefix(mut self) -> Self {
        self.about.facilities = 0x0200_0000.into();
        self
    }

    /// Thin-provisioned, with only these tracks formatted.
    pub fn thin(mut self, formatted: &[u16]) -> Self {
        self.thin = true;
        self.about.control = 0x2107.into();
        self.records
            .retain(|at, _| formatted.contains(&(at.0 * 15 + at.1)));
        self
    }

    /// Status that no program asked for.
    pub fn alert(&mut self, device: DeviceStatus) {
        let running = self.running;
        self.end(FunctionControl::empty(), device, SubchannelStatus::empty());
        self.running = running;
    }

    /// Takes the device away; the subchannel is disabled with it.
    pub fn unplug(&mut self) {
        self.gone = true;
        self.running = false;
        self.status = None;
        self.interruption = false;
        self.schib.pmcw.set_flag(PmcwFlags::ENABLED, false);
    }

    /// Formats all tracks from number `first` on.
    pub fn format(mut self, first: u16, block: usize, records: u8) -> Self {
        for track in first..self.about.cylinders.get() * 15 {
            for record in 1..=records {
                let data = vec![0; block];
                let key = Vec::new();
                let address = (track / 15, track % 15, record);
                self.records.insert(address, Record { key, data });
            }
        }
        self
    }

    /// Puts a text into the data of a record, with a key.
    pub fn label(mut self, key: &str, text: &str) -> Self {
        // The IPL records are in front of it.
        for record in 1..3 {
            self.records.entry((0, 0, record)).or_default();
        }
        let record = self.records.entry((0, 0, 3)).or_default();
        let code = |text: &str| text.chars().map(|c| CP037.encode_char(c)).collect();
        record.key = code(key);
        let text: Vec<u8> = code(text);
        record.data.resize(record.data.len().max(80), 0);
        record.data[..text.len()].copy_from_slice(&text);
        self
    }

    pub fn window(&self) -> &Window {
        &self.storage
    }

    fn end(&mut self, function: FunctionControl, device: DeviceStatus, channel: SubchannelStatus) {
        let mut irb = Irb::default();
        let status = StatusControl::PRIMARY | StatusControl::SECONDARY | StatusControl::PENDING;
        irb.scsw
            .set_controls(function, ActivityControl::empty(), status);
        irb.scsw.device_status = device.bits();
        irb.scsw.subchannel_status = channel.bits();
        self.status = Some(irb);
        self.interruption = true;
        self.running = false;
    }

    /// Ends the program that hangs as one that has done its work.
    pub fn end_well(&mut self) {
        let ended = DeviceStatus::CHANNEL_END | DeviceStatus::DEVICE_END;
        self.end(FunctionControl::START, ended, SubchannelStatus::empty());
    }

    fn check(&mut self, sense: Vec<u8>) {
        let ended = DeviceStatus::CHANNEL_END | DeviceStatus::DEVICE_END;
        self.end(
            FunctionControl::START,
            ended | DeviceStatus::UNIT_CHECK,
            SubchannelStatus::empty(),
        );
        self.sense = sense;
        if self.concurrent_sense {
            let sense = self.sense.clone();
            self.status.as_mut().unwrap().set_concurrent_sense(&sense);
        }
    }

    fn fail(&mut self, fault: Fault) -> Result<(), Refusal> {
        let nothing = SubchannelStatus::empty();
        let ended = DeviceStatus::CHANNEL_END | DeviceStatus::DEVICE_END;
        match fault {
            Fault::UnitCheck(sense) => self.check(sense),
            Fault::Channel(status) => self.end(FunctionControl::START, ended, status),
            Fault::Device(status) => self.end(FunctionControl::START, status, nothing),
            Fault::Deferred(cc) => {
                self.end(FunctionControl::START, DeviceStatus::empty(), nothing);
                self.status.as_mut().unwrap().scsw.set_deferred_cc(cc);
            }
            Fault::Refused(refusal) => return Err(refusal),
            Fault::Hang => self.running = true,
        }
        Ok(())
    }

    fn work(&mut self, orb: &Orb) {
        let ended = DeviceStatus::CHANNEL_END | DeviceStatus::DEVICE_END;
        let (address, outcome) = self.run(orb);
        match outcome {
            Ok(()) => self.end(FunctionControl::START, ended, SubchannelStatus::empty()),
            Err(Stop::Sense(sense)) => self.check(sense),
            Err(Stop::Channel(status)) => self.end(FunctionControl::START, ended, status),
            Err(Stop::Hang) => {
                self.running = true;
                return;
            }
        }
        self.status.as_mut().unwrap().scsw.program = address.into();
    }

    fn ccw(&self, address: u32) -> Ccw1 {
        self.storage
            .read(ClientAddress::new(address.into()))
            .unwrap()
    }

    /// The storage of a CCW, piece by piece.
    fn pieces(&self, ccw: &Ccw1, flags: OrbFlags) -> Vec<Segment> {
        let mut left = u32::from(ccw.count.get());
        let mut place = u64::from(ccw.address.get());
        let mut pieces = Vec::new();
        if ccw.flags().contains(CcwFlags::MIDA) {
            assert!(flags.contains(OrbFlags::MIDAW));
            assert!(place.is_multiple_of(16), "a MIDAW on no boundary");
            let page = place / 4096;
            loop {
                assert_eq!(place / 4096, page, "MIDAWs cross a page");
                let midaw: Midaw = self.storage.read(ClientAddress::new(place)).unwrap();
                assert!(midaw.is_well_formed());
                let (absolute, len) = (midaw.address.get(), u32::from(midaw.count.get()));
                let last = absolute + u64::from(len) - 1;
                assert_eq!(absolute / 4096, last / 4096, "MIDAW data crosses a page");
                pieces.push(Segment { absolute, len });
                left -= len;
                place += 16;
                if midaw.flags().contains(MidawFlags::LAST) {
                    assert_eq!(left, 0);
                    return pieces;
                }
            }
        }
        if !ccw.flags().contains(CcwFlags::IDA) {
            let absolute = place;
            return vec![Segment {
                absolute,
                len: left,
            }];
        }
        assert!(flags.contains(OrbFlags::FORMAT_2_IDAW) && place.is_multiple_of(8));
        while left > 0 {
            let idaw: Idaw2 = self.storage.read(ClientAddress::new(place)).unwrap();
            let absolute = idaw.address();
            assert!(pieces.is_empty() || absolute.is_multiple_of(4096));
            let len = left.min(4096 - (absolute % 4096) as u32);
            pieces.push(Segment { absolute, len });
            left -= len;
            place += 8;
        }
        pieces
    }

    /// Runs the program; gives the CCW address at its end.
    fn run(&mut self, orb: &Orb) -> (u32, Result<(), Stop>) {
        let mut at = orb.program.get();
        let mut program = Running {
            path: first_path(orb.path_mask()),
            ..Running::default()
        };
        loop {
            let first = self.ccw(at);
            let mut pieces = self.pieces(&first, orb.flags());
            let mut last = first;
            at += 8;
            while last.flags().contains(CcwFlags::CD) {
                last = self.ccw(at);
                pieces.extend(self.pieces(&last, orb.flags()));
                at += 8;
            }
            let mut data = Vec::new();
            for piece in &pieces {
                let mut bytes = vec![0; piece.len as usize];
                let place = ClientAddress::new(piece.absolute);
                self.storage.read_bytes(place, &mut bytes).unwrap();
                data.extend(bytes);
            }
            let code = CommandCode(first.command);
            let answer = match &mut self.control {
                Some(control) => control(code, &data).map_err(Stop::Sense),
                None => self.command(code, &data, &mut program),
            };
            match answer {
                Err(stop) => return (at, Err(stop)),
                Ok(answer) => {
                    let length = first.flags().contains(CcwFlags::SLI)
                        || !code.reads()
                        || answer.len() == data.len();
                    let mut rest = answer.as_slice();
                    for piece in &pieces {
                        let (now, later) = rest.split_at(rest.len().min(piece.len as usize));
                        let place = ClientAddress::new(piece.absolute);
                        self.storage.write_bytes(place, now).unwrap();
                        rest = later;
                    }
                    if !length {
                        return (at, Err(Stop::Channel(SubchannelStatus::INCORRECT_LENGTH)));
                    }
                }
            }
            if !last.flags().contains(CcwFlags::CC) {
                assert!(
                    program.domain.is_none_or(|domain| domain.count == 0),
                    "half a domain"
                );
                return (at, Ok(()));
            }
        }
    }

    fn there(&self) -> Result<(), Refusal> {
        if self.gone {
            Err(Refusal::NotOperational)
        } else {
            Ok(())
        }
    }
}
