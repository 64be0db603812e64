//! A fixture for tests: a pool with its areas, the wake-up thread, and a thread that answers as an appliance
//! would.
//!
//! The tests run against a stand-in ([`stand_in`]) and not against the appliance's own proxy: what they ask is what the daemon does
//! when the appliance loses a program, holds one, refuses a queue or has no disk, and that is to be had at a word.
//! That the two programs agree is shown end to end, by `tests/e2e`.

mod stand_in;

use std::mem::offset_of;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::sync::{mpsc, Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use vcss::client::Notify;
use vcss::control::{self, DeviceLife, Life};
use vcss::layout::{Doorbell, DoorbellHalf};
use vcss::Word;
use zerocopy::IntoBytes;

use crate::api::text::{Dotted, FromDotted, Hex};
use crate::api::{OwnedDevice, Recoveries};
use crate::areas::Areas;
use crate::config::{Config, Part};
use crate::doorbell::{self, new_eventfd, BellHandle, Request, Ringer};
use crate::layout::{parse_device, AreaNumber, Slot};
use crate::pool::{sealed, Pool};
use crate::remote::{DeviceWait, VirtioDevice};
use crate::store::{Record, Store};
use crate::sys::listen;
use crate::vhost::{Acceptor, Connection, Identity, Kept, Memory, Server, Session, Socket};
use crate::windows::{Former, Windows};

use stand_in::StandIn;
pub use stand_in::{Heard, Requests, FEATURES};

const LABEL: &str = "linux1/0 (data)";

/// As much of an image as is looked at before QEMU is started: the head of an ELF file for this machine.
pub fn image() -> Vec<u8> {
    let mut elf = vec![0; 64];
    elf[..6].copy_from_slice(b"\x7fELF\x02\x02");
    elf[18..20].copy_from_slice(&22u16.to_be_bytes());
    elf
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
    pub store: Arc<Store>,
    /// The appliance's end of its serial port.
    link: UnixStream,
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
        let former = Former::open(dir.path(), None).unwrap();
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
            is_taken_over: false,
            links: mpsc::channel().0,
            poll: Duration::ZERO,
        };
        let thread = doorbell::Thread::new(bell.clone(), setup).unwrap();
        let (link, ours) = UnixStream::pair().unwrap();
        bell.request(Request::Link { link: ours });
        let heard = Arc::new(Heard::default());
        let stand_in = StandIn::new(&areas.clients[0], &heard);
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
            store: Arc::new(Store::unkept()),
            link,
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
            Memory::new(
                Arc::clone(&self.windows),
                Part {
                    client: 0,
                    number: 0,
                },
            ),
            self.device(),
            self.areas.clone(),
            self.bell.clone(),
            Arc::clone(&self.store),
        )
    }

    /// The client's vhost-user socket.
    pub fn server(&self) -> (Server, PathBuf) {
        self.server_after(None)
    }

    /// The same, after a daemon that has left this connection.
    pub fn server_after(&self, connection: Option<Connection>) -> (Server, PathBuf) {
        let path = self.dir.path().join("linux1.0.sock");
        let socket = Socket {
            path: path.clone(),
            listener: listen(&path).unwrap(),
        };
        let kept = Kept {
            store: Arc::clone(&self.store),
            record: Record::new(&self.store).unwrap(),
            door: Record::new(&self.store).unwrap(),
            connection,
            waiting: None,
        };
        (self.server_with(self.session(), socket, kept), path)
    }

    pub fn server_with(&self, session: Session, socket: Socket, kept: Kept) -> Server {
        let attention = self.attention.try_clone().unwrap();
        let acceptor = Arc::new(Acceptor::start().unwrap());
        Server::start(socket, session, kept, attention, &acceptor).unwrap()
    }

    /// Memory that a client's VM may share.
    pub fn memory(&self) -> std::fs::File {
        sealed("client", self.pool.layout().windows[0].length).unwrap()
    }

    /// The appliance's end of its serial port.
    pub fn link(&self) -> UnixStream {
        self.link.try_clone().unwrap()
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
        lpm: Hex(0x80),
        lpum: Hex(0),
        pnom: Hex(0),
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
