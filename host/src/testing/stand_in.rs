//! What answers as an appliance would: a thread on a client's area.
//!
//! It knows the requests of the area and the virtio-ccw commands that the daemon sends. It serves no rings: it writes down what it
//! was told.

use std::mem::offset_of;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicBool, AtomicU32};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use channel::{
    ActivityControl, Ccw1, DeviceStatus, FunctionControl, Irb, Orb, Schib, StatusControl,
};
use vcss::client::{
    Command, DeviceState, Instruction, QueuePosition, QueueState, Response, SchibPart, Status,
    MAX_QUEUES, SET_VQ_POSITION,
};
use vcss::{Area, Word};
use virtio::ccw;
use window::ClientAddress;
use zerocopy::FromBytes;

use crate::areas::{generation, program_offset, ClientArea};

/// What the stand-in offers: a virtio 1 disk with a flush.
pub const FEATURES: u64 = 1 << 32 | 1 << 9;
/// Its configuration space.
const CONFIG_BYTES: usize = 60;

/// What the tests and the stand-in share.
#[derive(Debug, Default)]
pub struct Heard {
    /// What the stand-in was told, in order.
    pub log: Mutex<Vec<String>>,
    /// For so many starts it does nothing, and then counts as started anew.
    pub lose: AtomicU32,
    /// It refuses queues.
    pub broken: AtomicBool,
    /// It refuses to be put back to power-on.
    pub stuck: AtomicBool,
    /// Requests are in flight that do not end: programs wait.
    pub hold: AtomicBool,
    /// Its disk is not there.
    pub absent: AtomicBool,
    pub(super) stop: AtomicBool,
}

/// The requests for one subchannel of an area, as its appliance sees them.
pub struct Requests {
    area: Area<'static>,
    subchannel: u32,
    asked: Word<'static>,
    answered: Word<'static>,
    pub pending: Word<'static>,
}

impl Requests {
    pub fn new(area: &Area<'static>, subchannel: u32) -> Self {
        let asked = offset_of!(Command, sequence);
        let answered = offset_of!(Response, sequence);
        let pending = offset_of!(Status, pending);
        Self {
            asked: area.word::<Command>(subchannel, asked).unwrap(),
            answered: area.word::<Response>(subchannel, answered).unwrap(),
            pending: area.word::<Status>(subchannel, pending).unwrap(),
            area: area.clone(),
            subchannel,
        }
    }

    /// The next request, if there is one after a little while.
    pub fn next(&self) -> Option<Command> {
        if self.asked.load() == self.answered.load() {
            std::thread::sleep(Duration::from_micros(50));
            return None;
        }
        Some(self.area.read(self.subchannel).unwrap())
    }

    pub fn answer(&self, condition: u32) {
        let sequence = self.asked.load();
        let response = Response {
            sequence: self.answered.load().into(),
            condition: condition.into(),
        };
        self.area.write(self.subchannel, &response).unwrap();
        self.answered.store(sequence);
    }

    pub fn show_status(&self, irb: Irb) {
        let status = Status {
            pending: 0.into(),
            reserved: [0.into(); 7],
            irb,
        };
        self.area.write(self.subchannel, &status).unwrap();
    }

    pub fn show_schib(&self, schib: Schib) {
        let part = SchibPart {
            schib,
            functions: 0.into(),
            reserved: [0; 8],
        };
        self.area.write(self.subchannel, &part).unwrap();
    }
}

pub struct StandIn {
    client: ClientArea,
    heard: Arc<Heard>,
    requests: Requests,
    generation: Word<'static>,
    features: u64,
    position: [u16; MAX_QUEUES],
    /// A program that has been started and waits, and in which of the appliance's lives.
    waiting: Option<(u32, Orb)>,
    /// The status of the last one.
    irb: Irb,
}

impl StandIn {
    pub fn new(client: &ClientArea, heard: &Arc<Heard>) -> Self {
        Self {
            client: client.clone(),
            heard: Arc::clone(heard),
            requests: Requests::new(&client.area, 0),
            generation: generation(&client.area).unwrap(),
            features: 0,
            position: [0; MAX_QUEUES],
            waiting: None,
            irb: Irb::default(),
        }
    }

    pub fn run(mut self) {
        while !self.heard.stop.load(Relaxed) {
            let life = self.generation.load();
            // What waits is lost with the appliance.
            self.waiting = self.waiting.filter(|(then, _)| *then == life);
            self.go_on();
            if let Some(command) = self.requests.next() {
                let condition = self.instruction(&command);
                self.requests.answer(condition);
            }
        }
    }

    /// Runs what waits, unless that is held.
    fn go_on(&mut self) {
        let holds = self.heard.hold.load(Relaxed);
        if let Some((_, orb)) = self.waiting.take_if(|_| !holds) {
            self.irb = self.program(&orb);
            self.requests.pending.store(1);
        }
    }

    /// Carries out an instruction; its condition code.
    fn instruction(&mut self, command: &Command) -> u32 {
        let pending = &self.requests.pending;
        match Instruction::from_number(command.instruction.get()).unwrap() {
            Instruction::Start if self.waiting.is_some() => return 2,
            Instruction::Start => {
                let (orb, _) = Orb::read_from_prefix(&command.operand).unwrap();
                let left = |left: u32| left.checked_sub(1);
                let life = self.generation.load();
                match self.heard.lose.fetch_update(Relaxed, Relaxed, left) {
                    Ok(_) => self.generation.store(life + 1),
                    Err(_) => {
                        self.waiting = Some((life, orb));
                        self.go_on();
                    }
                }
            }
            Instruction::Clear => {
                self.waiting = None;
                self.irb = Irb::default();
                self.irb.scsw.set_controls(
                    FunctionControl::CLEAR,
                    ActivityControl::empty(),
                    StatusControl::PENDING,
                );
                pending.store(1);
            }
            Instruction::Test => {
                let condition = u32::from(pending.load() == 0);
                self.requests.show_status(self.irb);
                return condition;
            }
            Instruction::Modify => {
                let (schib, _) = Schib::read_from_prefix(&command.operand).unwrap();
                self.requests.show_schib(schib);
            }
            _ => {}
        }
        0
    }

    fn program(&mut self, orb: &Orb) -> Irb {
        let base = program_offset(&self.client.area);
        let mut next = orb.program.get();
        let mut irb = Irb::default();
        let mut status = DeviceStatus::CHANNEL_END | DeviceStatus::DEVICE_END;
        loop {
            let at = ClientAddress::new(base + u64::from(next));
            let ccw: Ccw1 = self.client.window.read(at).unwrap();
            next += 8;
            let data = ClientAddress::new(base + u64::from(ccw.address.get()));
            let mut bytes = vec![0; usize::from(ccw.count.get())];
            self.client.window.read_bytes(data, &mut bytes).unwrap();
            if let Err(sense) = self.command(ccw.command, &mut bytes) {
                if let Some(sense) = sense {
                    irb.set_concurrent_sense(&[sense]);
                }
                status |= DeviceStatus::UNIT_CHECK;
                break;
            }
            self.client.window.write_bytes(data, &bytes).unwrap();
            if !ccw.flags().contains(channel::CcwFlags::CC) {
                break;
            }
        }
        irb.scsw.program = next.into();
        irb.scsw.device_status = status.bits();
        irb.scsw.set_controls(
            FunctionControl::START,
            ActivityControl::empty(),
            StatusControl::PRIMARY | StatusControl::SECONDARY | StatusControl::PENDING,
        );
        irb
    }

    /// Carries out a command; the first sense byte of one that fails, if it has any.
    fn command(&mut self, code: u8, bytes: &mut [u8]) -> Result<(), Option<u8>> {
        let area = &self.client.area;
        let log = |line: String| self.heard.log.lock().unwrap().push(line);
        if code == SET_VQ_POSITION {
            let position = QueuePosition::read_from_bytes(bytes).unwrap();
            self.position[usize::from(position.index.get())] = position.next_avail.get();
            return Ok(());
        }
        match ccw::Command::try_from(code).unwrap() {
            ccw::Command::ReadFeatures | ccw::Command::ReadConfig
                if self.heard.absent.load(Relaxed) =>
            {
                return Err(Some(0x40));
            }
            ccw::Command::Reset if self.heard.stuck.load(Relaxed) => return Err(None),
            ccw::Command::Reset => {
                self.features = 0;
                area.write(0, &DeviceState::default()).unwrap();
                log("reset".into());
            }
            ccw::Command::ReadFeatures => {
                let word = (FEATURES >> (32 * bytes[4])) as u32;
                bytes[..4].copy_from_slice(&word.to_le_bytes());
            }
            ccw::Command::WriteFeatures => {
                let word = u32::from_le_bytes(*bytes.first_chunk().unwrap());
                self.features |= u64::from(word) << (32 * bytes[4]);
            }
            ccw::Command::WriteStatus => {
                log(format!(
                    "status {:#x} features {:#x}",
                    bytes[0], self.features
                ));
            }
            ccw::Command::ReadConfig => {
                for (at, byte) in bytes.iter_mut().enumerate().take(CONFIG_BYTES) {
                    *byte = at as u8;
                }
            }
            ccw::Command::WriteConfig => log(format!("config {:?}", bytes.last())),
            ccw::Command::SetQueue => {
                if self.heard.broken.load(Relaxed) {
                    return Err(None);
                }
                let info = ccw::QueueInfo::read_from_bytes(bytes).unwrap();
                let index = info.index.get();
                let position = &mut self.position[usize::from(index)];
                if info.size.get() == 0 {
                    // As if five requests had been served.
                    *position += 5;
                    log(format!("release {index}"));
                } else {
                    log(format!(
                        "queue {index} size {} at {:#x} {:#x} {:#x} from {position}",
                        info.size, info.descriptors, info.driver, info.device
                    ));
                }
                let state = QueueState {
                    size: info.size,
                    next_avail: (*position).into(),
                    descriptors: info.descriptors,
                    ..QueueState::default()
                };
                area.write(u32::from(index), &state).unwrap();
            }
            _ => {}
        }
        Ok(())
    }
}
