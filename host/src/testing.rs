//! A fixture for tests: a pool with its areas, the wake-up thread, and a thread that answers as an appliance
//! would.
//!
//! The stand-in knows the requests of the area and the virtio-ccw commands that the daemon sends. It serves
//! no rings: it writes down what it was told.

use std::mem::offset_of;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use channel::{
    ActivityControl, Ccw1, DeviceStatus, FunctionControl, Irb, Orb, Schib, StatusControl,
};
use vcss::client::{
    Command, DeviceState, Instruction, Notify, QueuePosition, QueueState, Response, SchibPart,
    Status, MAX_QUEUES, SET_VQ_POSITION,
};
use vcss::control::{self, Life};
use vcss::layout::{Doorbell, DoorbellHalf};
use vcss::{Area, Word};
use virtio::ccw;
use window::ClientAddress;
use zerocopy::{FromBytes, IntoBytes};

use crate::api::text::{Dotted, FromDotted, Hex};
use crate::api::{DeviceLife, OwnedDevice, Recoveries};
use crate::areas::{generation, program_offset, Areas, ClientArea};
use crate::config::Config;
use crate::doorbell::{self, new_eventfd, BellHandle, Ringer};
use crate::layout::{parse_device, AreaNumber, Slot};
use crate::pool::{sealed, Pool};
use crate::remote::{DeviceWait, VirtioDevice};
use crate::sys::listen;
use crate::vhost::{Acceptor, Identity, Memory, Server, Session};
use crate::windows::{Former, Windows};

/// What the stand-in offers: a virtio 1 disk with a flush.
pub const FEATURES: u64 = 1 << 32 | 1 << 9;
/// Its configuration space.
pub const CONFIG_BYTES: usize = 60;

const LABEL: &str = "linux1/0 (data)";

/// What the tests and the stand-in share.
#[derive(Debug, Default)]
pub struct Heard {
    /// What the stand-in was told, in order.
    pub log: Mutex<Vec<String>>,
    /// For so many starts it does nothing, and then counts as started anew.
    pub lose: AtomicU32,
    /// It refuses queues.
    pub broken: AtomicBool,
    /// Requests are in flight that do not end: programs wait.
    pub hold: AtomicBool,
    /// Its disk is not there.
    pub absent: AtomicBool,
    stop: AtomicBool,
}

/// Everything that a test needs.
#[derive(Debug)]
pub struct Fixture {
    dir: tempfile::TempDir,
    pub config: Config,
    pub pool: Pool,
    pub windows: Arc<Windows>,
    pub areas: Areas,
    pub bell: BellHandle,
    pub heard: Arc<Heard>,
    pub attention: OwnedFd,
    threads: Vec<JoinHandle<()>>,
}

impl Fixture {
    /// One client with one disk of two queues.
    pub fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let config = config(dir.path());
        let pool = Pool::create(&config).unwrap();
        let areas = Areas::lay_out(&config, &pool).unwrap();
        let bell = BellHandle::new(areas.numbered().count()).unwrap();
        let former = Former::open(dir.path()).unwrap();
        let windows = Windows::new(&pool, &areas.control, bell.clone(), former).unwrap();
        let attention = new_eventfd().unwrap();
        let setup = doorbell::Setup {
            areas: areas
                .numbered()
                .map(|area| (area.clone(), Ringer::Daemon))
                .collect(),
            exports: vec![doorbell::Export {
                area: AreaNumber::of_client(0),
                subchannel: 0,
                attention: attention.try_clone().unwrap(),
            }],
            link: listen(&dir.path().join("link.sock")).unwrap(),
            poll: Duration::ZERO,
        };
        let thread = doorbell::Thread::new(bell.clone(), setup).unwrap();
        let heard = Arc::new(Heard::default());
        let stand_in = StandIn {
            client: areas.clients[0].clone(),
            heard: Arc::clone(&heard),
            features: 0,
            position: [0; MAX_QUEUES],
            waiting: None,
        };
        set_life(&areas, Life::Serving);
        let threads = vec![
            std::thread::spawn(move || thread.run()),
            std::thread::spawn(move || stand_in.run()),
        ];
        Self {
            dir,
            config,
            pool,
            windows: Arc::new(windows),
            areas,
            bell,
            heard,
            attention,
            threads,
        }
    }

    /// The device at the client's only subchannel.
    pub fn device(&self) -> VirtioDevice {
        let client = &self.areas.clients[0];
        let patience = DeviceWait::new(self.bell.clone(), &self.areas, 0, LABEL).unwrap();
        VirtioDevice::new(client, 0, patience).unwrap()
    }

    /// A session of the client's disk, with nobody connected.
    pub fn session(&self) -> Session {
        Session::new(
            Identity {
                label: LABEL.into(),
                queues: 2,
                first_slot: Slot(0),
            },
            Memory::new(Arc::clone(&self.windows), 0),
            self.device(),
            self.areas.clone(),
            self.bell.clone(),
        )
    }

    /// The client's vhost-user socket.
    pub fn server(&self) -> (Server, PathBuf) {
        let session = self.session();
        let path = self.dir.path().join("linux1.0.sock");
        let attention = self.attention.try_clone().unwrap();
        let acceptor = Arc::new(Acceptor::start().unwrap());
        (
            Server::start(&path, session, attention, &acceptor).unwrap(),
            path,
        )
    }

    /// Memory that a client's VM may share.
    pub fn memory(&self) -> std::fs::File {
        sealed("client", self.pool.layout().windows[0].length).unwrap()
    }

    /// Where the appliance's QEMU connects.
    pub fn link(&self) -> PathBuf {
        self.dir.path().join("link.sock")
    }

    /// A word of the appliance's half of the client's doorbell.
    pub fn appliance_word(&self, at: usize) -> Word<'static> {
        let at = offset_of!(Doorbell, appliance) + at;
        self.areas.clients[0].area.word::<Doorbell>(0, at).unwrap()
    }

    /// How often the daemon has rung the client's bell.
    pub fn rung(&self) -> u32 {
        let at = offset_of!(Doorbell, client) + offset_of!(DoorbellHalf, bell);
        self.areas.clients[0]
            .area
            .word::<Doorbell>(0, at)
            .unwrap()
            .load()
    }

    /// As the appliance: adds one to a counter of the export's notifications, and rings.
    pub fn notify(&self, at: usize) {
        let counter = self.areas.clients[0].area.word::<Notify>(0, at).unwrap();
        counter.store(counter.load().wrapping_add(1));
        self.ring();
    }

    /// As the appliance: rings the client's bell, and sends no byte.
    pub fn ring(&self) {
        let bell = self.appliance_word(offset_of!(DoorbellHalf, bell));
        bell.store(bell.load().wrapping_add(1));
        // Stands for the byte.
        self.bell.ring(AreaNumber::CONTROL);
    }

    /// What the stand-in was told since this was asked last.
    pub fn log(&self) -> Vec<String> {
        std::mem::take(&mut *self.heard.log.lock().unwrap())
    }
}

impl Drop for Fixture {
    fn drop(&mut self) {
        self.heard.stop.store(true, Ordering::Relaxed);
        self.bell.stop();
        for thread in self.threads.drain(..) {
            thread.join().unwrap();
        }
    }
}

fn config(dir: &Path) -> Config {
    let file = dir.join("fixture.toml");
    let dir = dir.display();
    let text = format!(
        "[appliance]\nimage = \"i\"\nmemory = \"4M\"\nrun_dir = \"{dir}\"\n\
         [[disk]]\nname = \"data\"\nimage = \"i\"\n\
         [[client]]\nname = \"linux1\"\nmemory = \"16M\"\n[[client.disk]]\ndisk = \"data\"\nqueues = 2\n"
    );
    std::fs::write(&file, text).unwrap();
    Config::load(&file).unwrap()
}

pub fn number<T: FromDotted>(text: &str) -> Dotted<T> {
    Dotted(parse_device(text).and_then(T::from_dotted).unwrap())
}

/// An owned subchannel that nobody has, with a control unit of this type.
pub fn owned_device(device: &str, cu_type: u16) -> OwnedDevice {
    OwnedDevice {
        device: number(device),
        subchannel: number("0.0.0001"),
        cu_type: Hex(cu_type),
        cu_model: Hex(0),
        dev_type: Hex(0),
        dev_model: Hex(0),
        state: DeviceLife::Standby,
        disk: None,
        sectors: 0,
        reserved: None,
        recoveries: Recoveries::default(),
        name: None,
        driver: None,
        client: None,
        client_device: None,
        pim: Hex(0x80),
        pam: Hex(0x80),
        pom: Hex(0xFF),
        chpids: [1, 0, 0, 0, 0, 0, 0, 0],
    }
}

/// As the appliance: says what state of life it is in.
pub fn set_life(areas: &Areas, life: Life) {
    let at = offset_of!(control::Appliance, life);
    let word = areas.control.word::<control::Appliance>(0, at).unwrap();
    word.store(life as u32);
}

/// Waits until something holds.
pub fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < Duration::from_secs(20), "never: {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
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

struct StandIn {
    client: ClientArea,
    heard: Arc<Heard>,
    features: u64,
    position: [u16; MAX_QUEUES],
    /// A program that has been started and waits, and in which of the appliance's lives.
    waiting: Option<(u32, Orb)>,
}

impl StandIn {
    fn run(mut self) {
        let area = self.client.area.clone();
        let requests = Requests::new(&area, 0);
        let mut irb = Irb::default();
        while !self.heard.stop.load(Ordering::Relaxed) {
            let life = generation(&area).unwrap().load();
            match self.waiting {
                Some((then, _)) if then != life => self.waiting = None,
                Some((_, orb)) if !self.heard.hold.load(Ordering::Relaxed) => {
                    self.waiting = None;
                    irb = self.program(&orb);
                    requests.pending.store(1);
                }
                _ => {}
            }
            let Some(command) = requests.next() else {
                continue;
            };
            let mut condition = 0u32;
            match Instruction::from_number(command.instruction.get()).unwrap() {
                Instruction::Start if self.waiting.is_some() => condition = 2,
                Instruction::Start => {
                    let (orb, _) = Orb::read_from_prefix(&command.operand).unwrap();
                    let lose = &self.heard.lose;
                    if lose
                        .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| {
                            left.checked_sub(1)
                        })
                        .is_ok()
                    {
                        let generation = generation(&area).unwrap();
                        generation.store(generation.load() + 1);
                    } else if self.heard.hold.load(Ordering::Relaxed) {
                        self.waiting = Some((life, orb));
                    } else {
                        irb = self.program(&orb);
                        requests.pending.store(1);
                    }
                }
                Instruction::Clear => {
                    self.waiting = None;
                    irb = Irb::default();
                    irb.scsw.set_controls(
                        FunctionControl::CLEAR,
                        ActivityControl::empty(),
                        StatusControl::PENDING,
                    );
                    requests.pending.store(1);
                }
                Instruction::Test => {
                    condition = u32::from(requests.pending.load() == 0);
                    requests.show_status(irb);
                }
                Instruction::Modify => {
                    let (schib, _) = Schib::read_from_prefix(&command.operand).unwrap();
                    requests.show_schib(schib);
                }
                _ => {}
            }
            requests.answer(condition);
        }
    }

    fn program(&mut self, orb: &Orb) -> Irb {
        let base = program_offset(&self.client.area);
        let mut next = orb.program.get();
        let mut irb = Irb::default();
        let ended = DeviceStatus::CHANNEL_END | DeviceStatus::DEVICE_END;
        let mut status = ended;
        loop {
            let at = ClientAddress::new(base + u64::from(next));
            let ccw: Ccw1 = self.client.window.read(at).unwrap();
            next += 8;
            let data = ClientAddress::new(base + u64::from(ccw.address.get()));
            let mut bytes = vec![0; usize::from(ccw.count.get())];
            self.client.window.read_bytes(data, &mut bytes).unwrap();
            let needs_disk = matches!(
                ccw::Command::try_from(ccw.command),
                Ok(ccw::Command::ReadFeatures | ccw::Command::ReadConfig)
            );
            if needs_disk && self.heard.absent.load(Ordering::Relaxed) {
                irb.set_concurrent_sense(&[0x40]);
                status = ended | DeviceStatus::UNIT_CHECK;
                break;
            }
            if !self.command(ccw.command, &mut bytes) {
                status = ended | DeviceStatus::UNIT_CHECK;
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

    fn command(&mut self, code: u8, bytes: &mut [u8]) -> bool {
        let area = &self.client.area;
        let log = |line: String| self.heard.log.lock().unwrap().push(line);
        if code == SET_VQ_POSITION {
            let position = QueuePosition::read_from_bytes(bytes).unwrap();
            self.position[usize::from(position.index.get())] = position.next_avail.get();
            return true;
        }
        match ccw::Command::try_from(code).unwrap() {
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
                if self.heard.broken.load(Ordering::Relaxed) {
                    return false;
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
        true
    }
}

/// For a guest's eventfds: whether one is signalled, once.
pub fn fired(fd: &impl std::os::fd::AsFd) -> bool {
    doorbell::taken(fd.as_fd())
}

/// As [`IntoBytes::as_bytes`], for a message that is written by hand.
pub fn message(code: u32, flags: u32, payload: &[u8]) -> Vec<u8> {
    let head = [code, flags, payload.len() as u32].map(u32::to_le_bytes);
    [head.as_bytes(), payload].concat()
}

/// What this thread writes into the log meanwhile.
pub fn logged(what: impl FnOnce()) -> String {
    let (reader, writer) = std::io::pipe().unwrap();
    let reading = std::thread::spawn(|| std::io::read_to_string(reader).unwrap());
    let log = tracing_subscriber::fmt()
        .with_ansi(false)
        .with_writer(Mutex::new(writer))
        .finish();
    tracing::subscriber::with_default(log, what);
    reading.join().unwrap()
}
