//! A client in the image: the virtual subchannel by `Remote`, the virtqueue by the driver half of
//! the ring, as in a guest that knows its trade.

use super::Appliance;
use alloc::boxed::Box;
use alloc::format;
use alloc::rc::Rc;
use alloc::string::{String, ToString};
use appliance::css::{OutOfStorage, Platform};
use appliance::proxy::client::Client as Served;
use channel::{
    Ccw1, CcwFlags, ChannelSubsystem, CommandCode, DeviceStatus, Orb, OrbFlags, PmcwFlags,
    SubchannelId,
};
use core::cell::RefCell;
use vcss::control::{Export, Quota};
use vcss::layout::Kind;
use vcss::{plan, Area, Bell, Remote, Wake};
use virtio::blk::{RequestHeader, RequestStatus, RequestType};
use virtio::ccw::{Command, FeatureDescriptor, QueueInfo, Revision};
use virtio::ring::driver::{Queue, TableShape};
use virtio::ring::{Descriptor, DescriptorFlags, Options, QueueLayout};
use virtio::{Features, Status};
use window::{ClientAddress, Window};
use zerocopy::{FromZeros, IntoBytes};

/// Entries of the queue; no more than so many reads are in flight.
const ENTRIES: u16 = 128;
const BLOCK: u32 = 4096;
const SECTORS_OF_A_BLOCK: u64 = 8;

/// Where things are in the window.
const RING: u64 = 0;
const RING_PAGES: u64 = 1;
/// A slot for each head: header, status byte and indirect table.
const SLOTS: u64 = RING + RING_PAGES * 4096;
const SLOT: u64 = 128;
const STATUS: u64 = 16;
const TABLE: u64 = 32;
/// Where the data of requests is.
pub const DATA: u64 = SLOTS + ENTRIES as u64 * SLOT;
/// Pieces of data that a request can be in.
pub const MOST_PIECES: usize = 4;

const _: () = assert!(QueueLayout::contiguous_bytes(ENTRIES) as u64 <= RING_PAGES * 4096);
const _: () = assert!(DATA.is_multiple_of(4096));
const _: () =
    assert!(TABLE as usize + (MOST_PIECES + 2) * size_of::<Descriptor>() <= SLOT as usize);

/// Place of the data of a channel program, behind its CCW.
const PROGRAM_DATA: u32 = 0x100;

const FEATURES: Features = Features::VERSION_1
    .union(Features::RING_EVENT_IDX)
    .union(Features::RING_INDIRECT_DESC);

/// The memory that client and appliance share.
pub struct Memory {
    area: Area<'static>,
    window: &'static Window,
    program: &'static Window,
}

impl Memory {
    /// Pages for one block for each entry of the ring.
    pub const BLOCKS: usize = ENTRIES as usize;

    /// Pages of the heap, laid out as a client's area, window and program window; `data` of them for the data of requests.
    pub fn new(platform: &mut dyn Platform, data: usize) -> Result<Self, OutOfStorage> {
        let plan = plan::client_area(1);
        let pages = (plan.length() / 4096) as usize;
        let mut share = |pages| platform.storage(pages).map(|it| &*Box::leak(Box::new(it)));
        let memory = share(pages)?;
        // The window is as long as the plan, so plan and area fit each other.
        let area = plan.write(memory).ok();
        let area = area.and_then(|()| Area::open(memory, Kind::Client).ok());
        Ok(Self {
            area: area.ok_or(OutOfStorage { pages })?,
            window: share((DATA / 4096) as usize + data)?,
            program: share(1)?,
        })
    }

    /// The appliance's end: one subchannel with all of the disk behind it.
    pub fn appliance_side(&self, read_only: bool) -> Result<Served, String> {
        let mut export = Export::new_zeroed();
        if read_only {
            export.flags = Export::READ_ONLY.into();
        }
        let area = self.area.clone();
        let (window, program) = (self.window, self.program);
        let mut served = Served::new("bench".to_string(), 0, area, window, program, 3)
            .map_err(|error| error.to_string())?;
        served
            .add(&export, &Quota::default())
            .map_err(|error| error.to_string())?;
        Ok(served)
    }
}

/// While the client waits, the appliance turns.
struct Turning {
    appliance: Rc<RefCell<Appliance>>,
    bell: Bell<'static>,
    turns: u32,
}

impl Wake for Turning {
    fn ring(&mut self) {
        // Whether it sleeps makes no difference: it turns when it is waited for.
        let _ = self.bell.ring();
    }

    fn pass(&mut self) -> bool {
        self.appliance.borrow_mut().turn();
        self.turns += 1;
        self.turns < super::PATIENCE
    }

    fn begin(&mut self) {
        self.turns = 0;
    }
}

/// A request that has come back.
#[derive(Clone, Copy, Debug)]
pub struct Taken {
    /// Its name.
    pub name: u16,
    /// Its status byte.
    pub status: u8,
    /// The bytes that the device says it has written.
    pub bytes: u32,
}

/// The client.
pub struct Client {
    remote: Remote<'static, Turning>,
    bell: Bell<'static>,
    program: &'static Window,
    window: &'static Window,
    queue: Queue<{ ENTRIES as usize }>,
    blocks: u64,
    random: u64,
}

impl Client {
    /// Enables the subchannel and brings the device up, with one queue.
    pub fn negotiate(
        memory: Memory,
        appliance: Rc<RefCell<Appliance>>,
        sectors: u64,
    ) -> Result<Self, String> {
        let Memory {
            area,
            window,
            program,
        } = memory;
        let bell = || Bell::of_client(&area).map_err(|error| error.to_string());
        let wake = Turning {
            appliance,
            bell: bell()?,
            turns: 0,
        };
        let mut client = Self {
            bell: bell()?,
            remote: Remote::new(area.clone(), wake),
            program,
            window,
            queue: queue(window)?,
            blocks: sectors / SECTORS_OF_A_BLOCK,
            random: 0x9E37_79B9_7F4A_7C15,
        };
        if client.blocks == 0 {
            return Err("a disk of less than a block".to_string());
        }
        client.enable()?;
        client.bring_up()?;
        Ok(client)
    }

    fn enable(&mut self) -> Result<(), String> {
        let mut schib = self.remote.store(id()).map_err(|error| error.to_string())?;
        schib.pmcw.set_flag(PmcwFlags::ENABLED, true);
        self.remote
            .modify(id(), &schib)
            .map_err(|error| error.to_string())
    }

    fn bring_up(&mut self) -> Result<(), String> {
        let revision = Revision {
            revision: virtio::ccw::REVISION_READ_STATUS.into(),
            length: 0.into(),
        };
        self.command(Command::SetRevision, revision.as_bytes())?;
        for index in [0, 1] {
            let word = FeatureDescriptor {
                features: FEATURES.word(index).into(),
                index,
            };
            self.command(Command::WriteFeatures, word.as_bytes())?;
        }
        let agreed = Status::ACKNOWLEDGE | Status::DRIVER | Status::FEATURES_OK;
        self.command(Command::WriteStatus, &[agreed.bits()])?;
        let addresses = self.queue.addresses();
        let info = QueueInfo {
            descriptors: addresses.descriptors.into(),
            index: 0.into(),
            size: ENTRIES.into(),
            driver: addresses.driver.into(),
            device: addresses.device.into(),
            ..QueueInfo::default()
        };
        self.command(Command::SetQueue, info.as_bytes())?;
        let ready = agreed | Status::DRIVER_OK;
        self.command(Command::WriteStatus, &[ready.bits()])
    }

    /// Runs a channel program of one command.
    fn command(&mut self, command: Command, data: &[u8]) -> Result<(), String> {
        let code = CommandCode(command.into());
        let ccw = Ccw1::new(code, CcwFlags::SLI, data.len() as u16, PROGRAM_DATA);
        let place = ClientAddress::new(u64::from(PROGRAM_DATA));
        self.program
            .write(ClientAddress::new(0), &ccw)
            .and_then(|()| self.program.write_bytes(place, data))
            .map_err(|error| error.to_string())?;
        let orb = Orb::format_1(0, 0, OrbFlags::empty(), 0x80);
        // SAFETY: program and data are in the program window, which is never given back.
        let irb = unsafe { self.remote.run(id(), &orb) }
            .map_err(|error| format!("{command:?}: {error}"))?;
        let ended = DeviceStatus::CHANNEL_END | DeviceStatus::DEVICE_END;
        if irb.scsw.device() != ended || !irb.scsw.subchannel().is_empty() {
            return Err(format!("{command:?}: {:?}", irb.scsw.device()));
        }
        Ok(())
    }

    /// Asks for a block anywhere on the disk; [`ring`](Self::ring) tells.
    pub fn read(&mut self) -> Result<(), String> {
        let block = self.next_block();
        let data = self.vacant()?;
        self.ask(RequestType::In, block, &[(data, BLOCK)]).map(drop)
    }

    /// Where there is room for a block of the next request, in the window.
    pub fn vacant(&self) -> Result<u64, String> {
        let head = self.queue.vacant().ok_or("no room in the client's ring")?;
        Ok(DATA + u64::from(head) * u64::from(BLOCK))
    }

    /// The window; data of requests is at [`DATA`] in it.
    pub const fn window(&self) -> &'static Window {
        self.window
    }

    /// Asks to read or write from a block on: the data is in at most [`MOST_PIECES`] pieces, each with its place in the window
    /// and its length. [`ring`](Self::ring) tells. Gives the name by which the request comes back.
    pub fn ask(
        &mut self,
        kind: RequestType,
        block: u64,
        pieces: &[(u64, u32)],
    ) -> Result<u16, String> {
        let head = self.queue.vacant().ok_or("no room in the client's ring")?;
        let slot = SLOTS + u64::from(head) * SLOT;
        let sector = block * SECTORS_OF_A_BLOCK;
        let reads = u16::from(kind == RequestType::In);
        let mut table: heapless::Vec<Descriptor, { MOST_PIECES + 2 }> = heapless::Vec::new();
        let mut bytes = 0;
        let header = size_of::<RequestHeader>() as u32;
        let data = pieces.iter().map(|&(place, len)| (place, len, reads));
        let ends = |place, len, writable| core::iter::once((place, len, writable));
        let parts = ends(slot, header, 0)
            .chain(data)
            .chain(ends(slot + STATUS, 1, 1));
        for ((place, len, writable), next) in parts.zip(1_u16..) {
            let next = (usize::from(next) < pieces.len() + 2).then_some(next);
            bytes += u32::from(writable) * len;
            table
                .push(descriptor(place, len, writable, next))
                .map_err(|_| "too many pieces")?;
        }
        let at = |offset| ClientAddress::new(slot + offset);
        self.window
            .write(at(0), &RequestHeader::new(kind, sector))
            .and_then(|()| self.window.write(at(STATUS), &0xFF_u8))
            .and_then(|()| self.window.write_bytes(at(TABLE), table.as_bytes()))
            .map_err(|error| error.to_string())?;
        let shape = TableShape {
            count: table.len() as u16,
            writable: bytes,
        };
        self.queue
            .add_indirect(slot + TABLE, shape)
            .map_err(|error| error.to_string())?;
        Ok(head)
    }

    /// Shows the appliance what was asked for, and rings if it wants that.
    pub fn ring(&mut self) {
        self.queue.publish();
        if self.queue.needs_kick() {
            let _ = self.bell.ring();
        }
    }

    /// Takes the reads of a block that have come back; how many that was.
    pub fn take(&mut self) -> Result<u32, String> {
        self.take_of(BLOCK)
    }

    /// Takes the reads of so many bytes that have come back, all of which have to have ended well; how many that was.
    pub fn take_of(&mut self, bytes: u32) -> Result<u32, String> {
        let mut count = 0;
        while let Some(taken) = self.poll()? {
            if taken.status != RequestStatus::Ok.into() || taken.bytes != bytes + 1 {
                return Err(format!("a read ended with {taken:?}"));
            }
            count += 1;
        }
        Ok(count)
    }

    /// Takes a request that has come back.
    pub fn poll(&mut self) -> Result<Option<Taken>, String> {
        let Some(used) = self.queue.poll_used() else {
            return Ok(None);
        };
        let used = used.map_err(|error| error.to_string())?;
        let place = SLOTS + u64::from(used.head) * SLOT + STATUS;
        let status: Result<u8, _> = self.window.read(ClientAddress::new(place));
        Ok(Some(Taken {
            name: used.head,
            status: status.map_err(|error| error.to_string())?,
            bytes: used.len,
        }))
    }

    /// Marsaglia's xorshift: the same blocks each time.
    fn next_block(&mut self) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random % self.blocks
    }
}

const fn id() -> SubchannelId {
    match SubchannelId::new(0, 0) {
        Some(id) => id,
        None => unreachable!(),
    }
}

/// The client's queue, at the front of its window and known by the client's addresses.
fn queue(window: &'static Window) -> Result<Queue<{ ENTRIES as usize }>, String> {
    let base = core::ptr::with_exposed_provenance_mut(window.absolute_base() as usize);
    // SAFETY: the first page of a window that is never given back, to which there are no references.
    let ring = unsafe { Window::new(base, RING_PAGES * 4096, RING) };
    Queue::new(ring, ENTRIES, Options::from(FEATURES)).map_err(|error| error.to_string())
}

fn descriptor(address: u64, len: u32, writable: u16, next: Option<u16>) -> Descriptor {
    let mut flags = DescriptorFlags::empty();
    flags.set(DescriptorFlags::WRITE, writable != 0);
    flags.set(DescriptorFlags::NEXT, next.is_some());
    Descriptor::new(address, len, flags, next.unwrap_or(0))
}
