//! A machine with one volume: the channel and the storage control interpret the programs that the driver starts, and fail
//! when the test says so.

use std::collections::{BTreeMap, VecDeque};
use std::vec::Vec;

use channel::{
    ActivityControl, Ccw1, CcwFlags, ChannelSubsystem, CommandCode, Crw, DeviceStatus,
    FunctionControl, Idaw2, IoInterruption, Irb, Midaw, MidawFlags, NotOperational, Orb, OrbFlags,
    PmcwFlags, Refusal, Schib, StatusControl, SubchannelId, SubchannelStatus, Tested,
};
use s390x::clock::Tod;
use s390x::ebcdic::CP037;
use window::{ClientAddress, Segment, Window};
use zerocopy::{FromBytes, FromZeros, IntoBytes};

use super::super::format::{self, Characteristics, CountField, DefineExtent, LocateRecord};
use crate::driver::{OutOfStorage, Platform, Wake};

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
    schib: Schib,
    status: Option<Irb>,
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
}

const STORAGE: usize = 8 << 20;
const COMMAND_REJECT: u8 = 0x80;
/// Bytes 0 and 1.
const NO_RECORD: [u8; 2] = [0, 0x08];
const FILE_PROTECTED: [u8; 2] = [0, 0x04];
const INVALID_FORMAT: [u8; 2] = [0, 0x40];

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
            status: None,
            sense: Vec::new(),
            running: false,
            storage: Window::leaked(bytes, 0),
            base,
            free: 4096,
        }
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
        self.running = false;
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
        let (mut extent, mut domain, mut next) = (None, None::<LocateRecord>, None::<Address>);
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
            let answer = self.command(code, &data, &mut extent, &mut domain, &mut next);
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
                    domain.is_none_or(|domain| domain.count == 0),
                    "half a domain"
                );
                return (at, Ok(()));
            }
        }
    }

    fn command(
        &mut self,
        code: CommandCode,
        data: &[u8],
        extent: &mut Option<DefineExtent>,
        domain: &mut Option<LocateRecord>,
        next: &mut Option<Address>,
    ) -> Result<Vec<u8>, Stop> {
        let reject = || Stop::Sense(vec![COMMAND_REJECT]);
        let open = domain.is_some_and(|domain| domain.count > 0);
        match code {
            CommandCode::SENSE => Ok(core::mem::take(&mut self.sense)),
            CommandCode::SENSE_ID => Ok(vec![0xFF, 0x39, 0x90, 2, 0x33, 0x90, 2]),
            format::READ_CHARACTERISTICS => Ok(self.about.as_bytes().to_vec()),
            format::DEFINE_EXTENT if !open => {
                let parameters = DefineExtent::read_from_bytes(data).map_err(|_| reject())?;
                assert_eq!(parameters.attributes, DefineExtent::ECKD);
                *extent = Some(parameters);
                Ok(Vec::new())
            }
            format::LOCATE_RECORD if !open && extent.is_some() => {
                let locate = LocateRecord::read_from_bytes(data).map_err(|_| reject())?;
                assert!(locate.count > 0);
                let place = (
                    locate.seek.cylinder.get(),
                    locate.seek.head.get(),
                    locate.record,
                );
                self.protect(extent, place)?;
                if locate.record > 0 && !self.records.contains_key(&place) {
                    return Err(Stop::Sense(NO_RECORD.to_vec()));
                }
                *next = Some(place);
                *domain = Some(locate);
                Ok(Vec::new())
            }
            format::READ_COUNT | format::READ_CKD if open => {
                domain.as_mut().ok_or_else(reject)?.count -= 1;
                let (cylinder, head, record) = next.ok_or_else(reject)?;
                let mut behind = self.records.range((cylinder, head, record + 1)..);
                let found = behind
                    .next()
                    .filter(|(at, _)| (at.0, at.1) == (cylinder, head));
                let (at, found) = found.ok_or(Stop::Sense(NO_RECORD.to_vec()))?;
                let count = CountField {
                    track: format::TrackAddress::new(at.0.into(), at.1),
                    record: at.2,
                    key: found.key.len() as u8,
                    data: (found.data.len() as u16).into(),
                };
                let mut answer = count.as_bytes().to_vec();
                if code == format::READ_CKD {
                    answer.extend(&found.key);
                    answer.extend(&found.data);
                }
                Ok(answer)
            }
            format::READ_DATA | format::WRITE_DATA if open => {
                let locate = domain.as_mut().ok_or_else(reject)?;
                let writes = code == format::WRITE_DATA;
                let operation = if writes {
                    LocateRecord::WRITE_DATA
                } else {
                    LocateRecord::READ_DATA
                };
                assert_eq!(locate.operation, operation);
                let place = next.ok_or_else(reject)?;
                self.protect(extent, place)?;
                let length = usize::from(locate.transfer_length.get());
                let record = self.records.get_mut(&place);
                let record = record.ok_or(Stop::Sense(NO_RECORD.to_vec()))?;
                locate.count -= 1;
                let answer = if writes {
                    if extent.is_none_or(|extent| extent.mask != DefineExtent::MASK_UPDATE) {
                        return Err(Stop::Sense(FILE_PROTECTED.to_vec()));
                    }
                    if record.data.len() != length {
                        return Err(Stop::Sense(INVALID_FORMAT.to_vec()));
                    }
                    record.data.copy_from_slice(data);
                    Vec::new()
                } else {
                    record.data.clone()
                };
                // What comes next on the track, whatever its number, or the first of the next track.
                let track = place.0 * 15 + place.1 + 1;
                let other = (track / 15, track % 15, 1);
                let mut behind = self.records.range((place.0, place.1, place.2 + 1)..);
                let found = behind.next().map_or(other, |(at, _)| *at);
                let same = (found.0, found.1) == (place.0, place.1);
                *next = Some(if same { found } else { other });
                Ok(answer)
            }
            _ => Err(reject()),
        }
    }

    fn protect(&self, extent: &Option<DefineExtent>, place: Address) -> Result<(), Stop> {
        let track = |at: format::TrackAddress| (at.cylinder.get(), at.head.get());
        let inside = extent.is_some_and(|extent| {
            (track(extent.first)..=track(extent.last)).contains(&(place.0, place.1))
        });
        if inside {
            Ok(())
        } else {
            Err(Stop::Sense(FILE_PROTECTED.to_vec()))
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

impl ChannelSubsystem for Machine {
    unsafe fn start(&mut self, _: SubchannelId, orb: &Orb) -> Result<(), Refusal> {
        self.there()?;
        if self.status.is_some() {
            return Err(Refusal::StatusPending);
        }
        if self.running {
            return Err(Refusal::Busy);
        }
        let extended = self.ccw(orb.program.get()).command == format::DEFINE_EXTENT.0;
        let nothing = SubchannelStatus::empty();
        let ended = DeviceStatus::CHANNEL_END | DeviceStatus::DEVICE_END;
        if extended {
            self.starts += 1;
            if let Some(fault) = self.faults.pop_front() {
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
                return Ok(());
            }
        }
        let (address, outcome) = self.run(orb);
        match outcome {
            Ok(()) => self.end(FunctionControl::START, ended, nothing),
            Err(Stop::Sense(sense)) => self.check(sense),
            Err(Stop::Channel(status)) => self.end(FunctionControl::START, ended, status),
        }
        self.status.as_mut().unwrap().scsw.program = address.into();
        Ok(())
    }

    fn halt(&mut self, _: SubchannelId) -> Result<(), Refusal> {
        self.there()?;
        self.halts += 1;
        if !self.halt_stuck {
            let function = FunctionControl::START | FunctionControl::HALT;
            self.end(function, DeviceStatus::empty(), SubchannelStatus::empty());
        }
        Ok(())
    }

    fn clear(&mut self, _: SubchannelId) -> Result<(), NotOperational> {
        self.there().map_err(|_| NotOperational)?;
        self.clears += 1;
        if !self.clear_stuck {
            let (device, channel) = (DeviceStatus::empty(), SubchannelStatus::empty());
            self.end(FunctionControl::CLEAR, device, channel);
        }
        Ok(())
    }

    fn cancel(&mut self, _: SubchannelId) -> Result<(), Refusal> {
        Err(Refusal::Busy)
    }

    fn resume(&mut self, _: SubchannelId) -> Result<(), Refusal> {
        Err(Refusal::Busy)
    }

    fn store(&mut self, _: SubchannelId) -> Result<Schib, NotOperational> {
        self.there().map_err(|_| NotOperational)?;
        Ok(self.schib)
    }

    fn modify(&mut self, _: SubchannelId, schib: &Schib) -> Result<(), Refusal> {
        self.there()?;
        self.schib = *schib;
        Ok(())
    }

    fn test(&mut self, _: SubchannelId) -> Result<Tested, NotOperational> {
        self.there().map_err(|_| NotOperational)?;
        Ok(match self.status.take() {
            Some(irb) => Tested::Status(irb),
            None => Tested::Nothing(Irb::default()),
        })
    }

    fn pending_interruption(&mut self) -> Option<IoInterruption> {
        None
    }

    fn channel_report(&mut self) -> Option<Crw> {
        None
    }
}

impl Platform for Machine {
    fn notify(&mut self, _: SubchannelId, _: u16, _: i64) -> i64 {
        -22
    }

    fn now(&self) -> Tod {
        Tod::from_micros(self.micros)
    }

    fn wait(&mut self, _: Option<Tod>) -> Wake {
        Wake::Deadline
    }

    fn pause(&mut self, deadline: Tod) {
        self.micros = self.micros.max(deadline.as_micros());
    }

    fn forget_interruption(&mut self, _: SubchannelId) -> bool {
        false
    }

    fn storage(&mut self, pages: usize) -> Result<Window, OutOfStorage> {
        let bytes = pages as u64 * 4096;
        if self.free + bytes > STORAGE as u64 {
            return Err(OutOfStorage { pages });
        }
        let start = self.free;
        self.free += bytes;
        // SAFETY: within the leaked bytes, which nobody has a reference to.
        Ok(unsafe { Window::new(self.base.add(start as usize), bytes, start) })
    }

    fn has_midaws(&mut self) -> bool {
        self.midaws
    }

    fn highest_set(&mut self) -> u8 {
        0
    }
}
