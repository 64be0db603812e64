//! A virtio-ccw control unit: the channel commands, and queues that a model of a device serves.

use std::vec::Vec;

use channel::CommandCode;
use virtio::ccw::{
    AdapterIndicators, Command, FeatureDescriptor, IndicatorAddress, QueueConfig, QueueInfo,
    Revision, CONTROL_UNIT_TYPE,
};
use virtio::ring::device::{Position, Queue};
use virtio::ring::QueueLayout;
use virtio::{Features, Status};
use window::{ClientAddress, Window};
use zerocopy::{FromBytes, IntoBytes};

use super::block::Disk;
use super::console::Console;
use super::queue::QueueState;
use super::unit::Unit;

/// Sense byte 0 of a command that is not known, or not now.
const COMMAND_REJECT: u8 = 0x80;

/// What is behind the control unit.
#[derive(Debug)]
pub enum Model {
    Disk(Disk),
    Console(Console),
}

/// How a queue's driver is to be told.
pub enum Signal {
    Adapter(u8),
    Classic,
}

#[derive(Debug)]
pub struct Virtio {
    /// What it says that it is, if not a virtio control unit.
    pub control_unit: u16,
    pub model: Model,
    pub max_revision: u16,
    pub offered: Features,
    /// FEATURES_OK does not stay.
    pub refuses_features: bool,
    /// SET_IND_ADAPTER is a command reject.
    pub refuses_adapter: bool,
    pub queue_max: u16,
    pub queues: Vec<QueueState>,
    pub accepted: Features,
    pub status: Status,
    pub revision: Option<u16>,
    pub indicators: Option<u64>,
    pub adapter: Option<AdapterIndicators>,
    pub config_indicators: Option<u64>,
}

fn parse<T: FromBytes>(data: &[u8]) -> T {
    T::read_from_prefix(data).unwrap().0
}

impl Virtio {
    pub fn new(model: Model, queues: u16) -> Self {
        let ring = Features::RING_INDIRECT_DESC | Features::RING_EVENT_IDX;
        Self {
            offered: Features::VERSION_1 | ring | model.features(),
            model,
            control_unit: CONTROL_UNIT_TYPE,
            max_revision: 2,
            refuses_features: false,
            refuses_adapter: false,
            queue_max: 256,
            queues: (0..queues).map(|_| QueueState::default()).collect(),
            accepted: Features::empty(),
            status: Status::empty(),
            revision: None,
            indicators: None,
            adapter: None,
            config_indicators: None,
        }
    }

    /// The same, but of another control-unit type.
    pub fn of_type(mut self, control_unit: u16) -> Self {
        self.control_unit = control_unit;
        self
    }

    pub fn disk(&mut self) -> &mut Disk {
        match &mut self.model {
            Model::Disk(disk) => disk,
            Model::Console(_) => panic!("a console"),
        }
    }

    pub fn console(&mut self) -> &mut Console {
        match &mut self.model {
            Model::Console(console) => console,
            Model::Disk(_) => panic!("a disk"),
        }
    }

    pub fn notifications(&self, queue: u16) -> u32 {
        self.queues[usize::from(queue)].notifications
    }

    /// What the last notification returned.
    pub fn expected_cookie(&self, queue: u16) -> i64 {
        if self.notifications(queue) == 0 {
            0
        } else {
            i64::from(queue) + 1000
        }
    }

    pub fn notified(&mut self, queue: u16) {
        assert!(
            self.status.contains(Status::DRIVER_OK),
            "notified before DRIVER_OK"
        );
        self.queues[usize::from(queue)].notifications += 1;
    }

    fn reset(&mut self) {
        self.status = Status::empty();
        self.accepted = Features::empty();
        self.queues
            .iter_mut()
            .for_each(|queue| *queue = QueueState::default());
        self.indicators = None;
        self.adapter = None;
        self.config_indicators = None;
        self.model.reset();
    }

    /// Gives what the device sends; `None` is a command reject.
    fn virtio_command(&mut self, command: Command, data: &[u8]) -> Option<Vec<u8>> {
        match command {
            Command::SetRevision => {
                let wish = parse::<Revision>(data).revision.get();
                if self.revision.is_some() || wish > self.max_revision {
                    return None;
                }
                self.revision = Some(wish);
            }
            Command::Reset => self.reset(),
            Command::ReadFeatures => {
                let mut word: FeatureDescriptor = parse(data);
                word.features = self.offered.word(word.index).into();
                return Some(word.as_bytes().to_vec());
            }
            Command::WriteFeatures => {
                let word: FeatureDescriptor = parse(data);
                self.accepted = self.accepted.with_word(word.index, word.features.get());
                assert!(
                    self.offered.contains(self.accepted),
                    "accepted what was not offered"
                );
            }
            Command::WriteStatus => {
                let status = Status::from_bits_truncate(data[0]);
                if self.refuses_features && status.contains(Status::FEATURES_OK) {
                    if self.revision == Some(1) {
                        return None;
                    }
                } else {
                    self.status = status;
                }
            }
            Command::ReadStatus if self.revision >= Some(2) => {
                return Some(vec![self.status.bits()]);
            }
            Command::ReadStatus => return None,
            Command::ReadConfig => {
                let mut config = self.model.config();
                config.truncate(data.len());
                return Some(config);
            }
            Command::WriteConfig => {}
            Command::ReadQueueConfig => {
                let mut config: QueueConfig = parse(data);
                let known = usize::from(config.index.get()) < self.queues.len();
                config.max_size = if known { self.queue_max } else { 0 }.into();
                return Some(config.as_bytes().to_vec());
            }
            Command::SetQueue => {
                assert!(self.status.contains(Status::FEATURES_OK));
                let info: QueueInfo = parse(data);
                self.queues[usize::from(info.index.get())].info = Some(info);
            }
            Command::SetIndicators => {
                self.indicators = Some(parse::<IndicatorAddress>(data).address.get());
            }
            Command::SetConfigIndicators => {
                self.config_indicators = Some(parse::<IndicatorAddress>(data).address.get());
            }
            Command::SetAdapterIndicators if self.refuses_adapter => return None,
            Command::SetAdapterIndicators => self.adapter = Some(parse(data)),
        }
        Some(Vec::new())
    }

    /// Serves all queues; says how the driver is to be told, for each that wants it.
    pub fn work(&mut self, storage: &Window) -> Vec<Signal> {
        let options = self.accepted.into();
        for state in &mut self.queues {
            let Some(info) = state.info.filter(|_| state.ring.is_none()) else {
                continue;
            };
            let layout = QueueLayout {
                size: info.size.get(),
                descriptors: ClientAddress::new(info.descriptors.get()),
                driver: ClientAddress::new(info.driver.get()),
                device: ClientAddress::new(info.device.get()),
            };
            state.ring = Some(Queue::new(storage, layout, options, Position::default()).unwrap());
        }
        self.model.serve(&mut self.queues, storage);
        let mut signals = Vec::new();
        for index in 0..self.queues.len() {
            let Some(ring) = &mut self.queues[index].ring else {
                continue;
            };
            ring.publish(storage).unwrap();
            let wanted = ring.needs_notification(storage).unwrap();
            ring.enable_notifications(storage).unwrap();
            if wanted {
                signals.push(self.signal(index as u64, storage));
            }
        }
        signals
    }

    fn signal(&self, queue: u64, storage: &Window) -> Signal {
        let set = |address: u64, bit: u64| {
            let place = ClientAddress::new(address + bit / 8);
            let old: u8 = storage.read(place).unwrap();
            storage.write(place, &(old | 0x80 >> (bit % 8))).unwrap();
        };
        match &self.adapter {
            Some(area) => {
                set(area.indicator.get(), area.bit_number.get() + queue);
                set(area.summary_indicator.get(), 7);
                Signal::Adapter(area.isc)
            }
            None => {
                set(self.indicators.expect("indicators"), queue);
                Signal::Classic
            }
        }
    }
}

impl Model {
    fn features(&self) -> Features {
        match self {
            Self::Disk(disk) => disk.features().into(),
            Self::Console(console) => console.features.into(),
        }
    }

    fn device_id(&self) -> u8 {
        match self {
            Self::Disk(_) => virtio::blk::DEVICE_ID,
            Self::Console(_) => virtio::console::DEVICE_ID,
        }
    }

    fn config(&self) -> Vec<u8> {
        match self {
            Self::Disk(disk) => disk.config(),
            Self::Console(console) => console.config(),
        }
    }

    fn reset(&mut self) {
        match self {
            Self::Disk(disk) => disk.resets += 1,
            Self::Console(console) => console.reset(),
        }
    }

    fn serve(&mut self, queues: &mut [QueueState], storage: &Window) {
        match self {
            Self::Disk(disk) => disk.serve(queues, storage),
            Self::Console(console) => console.serve(queues, storage),
        }
    }
}

/// Programs of a virtio control unit have one command, whose data area it looks at by itself.
impl Unit for Virtio {
    fn command(&mut self, code: CommandCode, data: &[u8]) -> Result<Vec<u8>, Vec<u8>> {
        if code == CommandCode::SENSE_ID {
            let [high, low] = self.control_unit.to_be_bytes();
            return Ok(vec![0xFF, high, low, self.model.device_id(), 0, 0, 0]);
        }
        let known = Command::try_from(code.0).ok();
        let known = known.filter(|known| self.revision.is_some() || *known == Command::SetRevision);
        let answer = known.and_then(|known| self.virtio_command(known, data));
        answer.ok_or(vec![COMMAND_REJECT])
    }

    fn disable(&mut self) {
        self.revision = None;
    }
}
