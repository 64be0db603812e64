//! The fixture: one client with two disks, its memory, and a driver for its virtqueues.

use std::boxed::Box;
use std::cell::RefCell;
use std::collections::{BTreeSet, VecDeque};
use std::panic::{catch_unwind, resume_unwind, AssertUnwindSafe};
use std::rc::Rc;
use std::vec::Vec;

use channel::{
    Ccw1, CcwFlags, ChannelSubsystem, CommandCode, DeviceNumber, IoInterruption, Irb, Orb,
    OrbFlags, PmcwFlags, SubchannelId, Tested,
};
use vcss::control::{Export, ExportKind, Quota};
use vcss::layout::Kind;
use vcss::{plan, Area, Remote, RemoteError, Wake};
use virtio::blk::{RequestHeader, RequestType};
use virtio::ccw::{Command, FeatureDescriptor, QueueInfo, Revision};
use virtio::ring::driver::{Buffer, Queue};
use virtio::ring::{Options, QueueLayout};
use virtio::{Features, Status};
use window::{stores, ClientAddress, Segment, Window};
use zerocopy::{FromZeros, IntoBytes};

use crate::control::{Exported, Slot};
use crate::css::Platform;
use crate::driver::block::{
    BlockDevice, BlockStatus, DiscardLimits, Done, Geometry, Operation, Range, SubmitError, Token,
    WriteZeroesLimits,
};
use crate::driver::disk::{Maintenance, OwnedDisk};
use crate::proxy::client::Client;
use crate::proxy::Proxy;
use crate::testing::Machine;

pub const MEMORY: usize = 1 << 20;
pub const QUEUE_SIZE: u16 = 16;
pub const DISK_SECTORS: u64 = 4096;
pub const SLICE_START: u64 = 1000;
pub const SLICE_SECTORS: u64 = 2000;

/// What the test sees of a disk.
pub struct Platter {
    pub bytes: Vec<u8>,
    pub geometry: Geometry,
    /// Requests that the disk has and has not carried out.
    pub waiting: VecDeque<(Operation, Vec<Segment>, Vec<Range>, Token)>,
    pub capacity: usize,
    /// For so many polls nothing is carried out.
    pub stalled: u32,
    /// So many are carried out before that.
    pub first: u32,
    /// Every request fails.
    pub failing: bool,
    /// What was carried out, in order.
    pub log: Vec<Operation>,
    /// The queues that requests came on.
    pub queues_used: BTreeSet<u16>,
}

/// A disk of bytes.
#[derive(Clone)]
pub struct RamDisk(pub Rc<RefCell<Platter>>);

impl RamDisk {
    pub fn new() -> Self {
        Self(Rc::new(RefCell::new(Platter {
            bytes: (0..DISK_SECTORS * 512).map(|at| (at / 512) as u8).collect(),
            geometry: Geometry {
                sectors: DISK_SECTORS,
                block_size: 512,
                physical_block_exp: 0,
                alignment_offset: 0,
                min_io: 1,
                opt_io: 0,
                seg_max: 16,
                size_max: 1 << 20,
                read_only: false,
                flush: true,
                discard: Some(DiscardLimits {
                    max_sectors: 256,
                    max_segments: 4,
                    alignment: 1,
                }),
                write_zeroes: Some(WriteZeroesLimits {
                    max_sectors: 256,
                    max_segments: 4,
                    may_unmap: true,
                }),
                queues: 2,
                queue_size: 64,
            },
            waiting: VecDeque::new(),
            capacity: 64,
            stalled: 0,
            first: 0,
            failing: false,
            log: Vec::new(),
            queues_used: BTreeSet::new(),
        })))
    }
}

/// The disk as the appliance owns it.
fn owned(disk: &RamDisk) -> OwnedDisk {
    OwnedDisk::driven_by(Box::new(disk.clone()), Maintenance::NONE)
}

impl Platter {
    fn carry_out(&mut self, operation: Operation, segments: &[Segment], ranges: &[Range]) {
        let mut at = match operation {
            Operation::Read { sector } | Operation::Write { sector } => sector as usize * 512,
            _ => 0,
        };
        for segment in segments {
            let length = segment.len as usize;
            let memory: *mut u8 = core::ptr::with_exposed_provenance_mut(segment.absolute as usize);
            let disk = self.bytes[at..at + length].as_mut_ptr();
            // SAFETY: the proxy has checked that the segment lies in the client's window, which is
            // leaked memory that nobody has a reference to.
            unsafe {
                match operation {
                    Operation::Read { .. } => memory.copy_from_nonoverlapping(disk, length),
                    Operation::Write { .. } => disk.copy_from_nonoverlapping(memory, length),
                    _ => {}
                }
            }
            at += length;
        }
        for range in ranges {
            let from = range.sector as usize * 512;
            self.bytes[from..from + range.sectors as usize * 512].fill(0);
        }
        self.log.push(operation);
    }
}

impl BlockDevice for RamDisk {
    fn geometry(&self) -> &Geometry {
        // Geometry does not change in these tests, so one copy of it can be given away.
        let geometry = self.0.borrow().geometry.clone();
        Box::leak(Box::new(geometry))
    }

    fn submit(
        &mut self,
        queue: u16,
        operation: Operation,
        segments: &[Segment],
        ranges: &[Range],
        token: Token,
    ) -> Result<(), SubmitError> {
        let mut platter = self.0.borrow_mut();
        assert!(queue < platter.geometry.queues);
        if segments.len() > usize::from(platter.geometry.seg_max) {
            return Err(SubmitError::TooLarge);
        }
        if platter.waiting.len() >= platter.capacity {
            return Err(SubmitError::Full);
        }
        platter.queues_used.insert(queue);
        platter
            .waiting
            .push_back((operation, segments.to_vec(), ranges.to_vec(), token));
        Ok(())
    }

    fn kick(&mut self, _: &mut dyn Platform) {}

    fn poll(&mut self) -> Option<Done> {
        let mut platter = self.0.borrow_mut();
        if platter.first > 0 {
            platter.first -= 1;
        } else if platter.stalled > 0 {
            platter.stalled -= 1;
            return None;
        }
        // Out of order: the one that waits longest goes last.
        let (operation, segments, ranges, token) = platter.waiting.pop_back()?;
        if platter.failing {
            let status = BlockStatus::IoError;
            return Some(Done { token, status });
        }
        platter.carry_out(operation, &segments, &ranges);
        Some(Done {
            token,
            status: BlockStatus::Ok,
        })
    }

    fn in_flight(&self) -> u32 {
        self.0.borrow().waiting.len() as u32
    }

    fn is_broken(&self) -> bool {
        false
    }

    fn arm(&mut self) -> bool {
        false
    }

    fn interruption(&mut self, _: &mut dyn Platform, _: &IoInterruption) -> bool {
        false
    }
}

/// What outlives the appliance.
#[derive(Clone)]
pub struct World {
    pub area: Area<'static>,
    pub window: &'static Window,
    program: &'static Window,
    pub disks: [RamDisk; 2],
}

/// The appliance's side, shared with the client's `Wake`.
pub struct Side {
    pub proxy: Proxy,
    pub disks: Vec<OwnedDisk>,
    /// Without devices: the proxy asks it for nothing but the time.
    pub machine: Machine,
    /// After how many stores it dies, and its next life after that, and so on.
    pub cuts: VecDeque<u32>,
    /// Of an appliance that comes back.
    world: Option<World>,
}

impl Side {
    pub fn turn(&mut self) -> bool {
        let turned = self.until_cut(|this| {
            let turn = this.proxy.turn(&mut this.disks, &mut this.machine, true);
            turn.worked
        });
        turned.unwrap_or_else(|| {
            let world = self.world.clone().unwrap();
            for disk in &world.disks {
                disk.0.borrow_mut().waiting.clear();
            }
            while self
                .until_cut(|this| (this.proxy, this.disks) = world.life(&[0, 1]))
                .is_none()
            {}
            true
        })
    }

    /// `None`: the appliance died of it.
    fn until_cut<T>(&mut self, act: impl FnOnce(&mut Self) -> T) -> Option<T> {
        stores::cut_after(self.cuts.front().copied());
        let done = catch_unwind(AssertUnwindSafe(|| act(self)));
        let left = stores::cut_after(None);
        match done {
            Ok(done) => {
                if let (Some(cut), Some(left)) = (self.cuts.front_mut(), left) {
                    *cut = left;
                }
                Some(done)
            }
            Err(cause) if cause.is::<stores::Cut>() => {
                self.cuts.pop_front();
                None
            }
            Err(cause) => resume_unwind(cause),
        }
    }
}

/// A client that waits lets the appliance turn.
pub struct Turning {
    side: Rc<RefCell<Side>>,
    bell: vcss::Bell<'static>,
    patience: u32,
}

impl Wake for Turning {
    fn ring(&mut self) {
        let _ = self.bell.ring();
    }
    fn pass(&mut self) -> bool {
        self.side.borrow_mut().turn();
        self.patience = self.patience.saturating_sub(1);
        self.patience > 0
    }
    fn begin(&mut self) {
        self.patience = 100;
    }
}

/// A leaked piece of memory whose absolute address is its real one.
pub fn memory(length: usize) -> &'static Window {
    let bytes: &'static mut [u8] = Box::leak(std::vec![0u8; length].into_boxed_slice());
    let base = bytes.as_mut_ptr().expose_provenance() as u64;
    Box::leak(Box::new(Window::leaked(bytes, base)))
}

/// One client, its memory, two subchannels: 0 is the slice of disk 0, 1 all of disk 1, read-only.
pub struct Fixture {
    pub side: Rc<RefCell<Side>>,
    pub disks: [RamDisk; 2],
    pub area: Area<'static>,
    pub window: &'static Window,
    program: &'static Window,
    pub remote: Remote<'static, Turning>,
}

impl Fixture {
    pub fn new() -> Self {
        let length = plan::client_area(2).length() as usize;
        Self::over(
            memory(length),
            memory(MEMORY),
            [RamDisk::new(), RamDisk::new()],
        )
    }

    /// A fixture in memory that an earlier one may have had.
    pub fn over(
        area_window: &'static Window,
        window: &'static Window,
        disks: [RamDisk; 2],
    ) -> Self {
        area_window
            .fill(ClientAddress::new(0), area_window.len(), 0)
            .unwrap();
        plan::client_area(2).write(area_window).unwrap();
        let area = Area::open(area_window, Kind::Client).unwrap();
        let program = memory(4096);
        let world = World {
            area: area.clone(),
            window,
            program,
            disks: disks.clone(),
        };
        let (proxy, devices) = world.life(&[0, 1]);
        let side = Rc::new(RefCell::new(Side {
            proxy,
            disks: devices,
            machine: Machine::empty(),
            cuts: VecDeque::new(),
            world: Some(world),
        }));
        let wake = Turning {
            side: side.clone(),
            bell: vcss::Bell::of_client(&area).unwrap(),
            patience: 0,
        };
        let mut fixture = Self {
            remote: Remote::new(area.clone(), wake),
            side,
            disks,
            area,
            window,
            program,
        };
        for number in 0..2 {
            fixture.enable(number);
        }
        fixture
    }

    /// Two clients, each with its memory, that have all of one disk of a single queue.
    pub fn pair() -> [Self; 2] {
        Self::pair_with(&[Quota::default(), Quota::default()])
    }

    /// The same, with these quotas.
    pub fn pair_with(quotas: &[Quota; 2]) -> [Self; 2] {
        let disk = RamDisk::new();
        disk.0.borrow_mut().geometry.queues = 1;
        let plan = plan::client_area(1);
        let parts = [0, 1].map(|_| {
            let area_window = memory(plan.length() as usize);
            plan.write(area_window).unwrap();
            let area = Area::open(area_window, Kind::Client).unwrap();
            (area, memory(MEMORY), memory(4096))
        });
        let side = Rc::new(RefCell::new(appliance_of_two(&disk, &parts, quotas)));
        parts.map(|(area, window, program)| {
            let wake = Turning {
                side: side.clone(),
                bell: vcss::Bell::of_client(&area).unwrap(),
                patience: 0,
            };
            let mut fixture = Self {
                remote: Remote::new(area.clone(), wake),
                side: side.clone(),
                disks: [disk.clone(), disk.clone()],
                area,
                window,
                program,
            };
            fixture.enable(0);
            fixture
        })
    }

    /// The appliance of two clients dies and comes back.
    pub fn restart_pair(pair: &[Self; 2]) {
        let [one, _] = pair;
        one.platter(0).waiting.clear();
        let parts = pair
            .each_ref()
            .map(|fixture| (fixture.area.clone(), fixture.window, fixture.program));
        let quotas = [Quota::default(), Quota::default()];
        *one.side.borrow_mut() = appliance_of_two(&one.disks[0], &parts, &quotas);
    }

    /// The appliance dies and comes back; nothing remains but memory and disks.
    pub fn restart(&mut self) {
        self.restart_with(&[0, 1]);
    }

    /// The same, but only these disks are there.
    pub fn restart_with(&mut self, there: &[usize]) {
        for disk in &self.disks {
            disk.0.borrow_mut().waiting.clear();
        }
        let side = &mut *self.side.borrow_mut();
        (side.proxy, side.disks) = side.world.as_ref().unwrap().life(there);
    }

    /// A disk is there again.
    pub fn attach(&mut self, disk: usize) {
        let side = &mut *self.side.borrow_mut();
        side.proxy
            .attach(disk, &mut side.disks, |_, fits| fits.unwrap());
    }

    pub fn enable(&mut self, number: u16) {
        let id = SubchannelId::new(0, number).unwrap();
        let mut schib = self.remote.store(id).unwrap();
        assert!(schib.pmcw.has_device());
        schib.pmcw.set_flag(PmcwFlags::ENABLED, true);
        schib.pmcw.set_concurrent_sense(true);
        self.remote.modify(id, &schib).unwrap();
    }

    /// Runs one command; the data stands at 0x100 of the program window.
    pub fn command(&mut self, number: u16, code: u8, data: &mut [u8]) -> Irb {
        self.try_command(number, code, data).unwrap()
    }

    /// The same, of an appliance that may die.
    pub fn try_command(
        &mut self,
        number: u16,
        code: u8,
        data: &mut [u8],
    ) -> Result<Irb, RemoteError> {
        let (id, orb) = self.program(number, code, data);
        // SAFETY: program and data are in the program window, which lives for ever.
        let irb = unsafe { self.remote.run(id, &orb) }?;
        self.program
            .read_bytes(ClientAddress::new(0x100), data)
            .unwrap();
        Ok(irb)
    }

    /// Writes a program of one command.
    fn program(&self, number: u16, code: u8, data: &[u8]) -> (SubchannelId, Orb) {
        let ccw = Ccw1::new(CommandCode(code), CcwFlags::SLI, data.len() as u16, 0x100);
        self.program.write(ClientAddress::new(0), &ccw).unwrap();
        self.program
            .write_bytes(ClientAddress::new(0x100), data)
            .unwrap();
        let id = SubchannelId::new(0, number).unwrap();
        (id, Orb::format_1(0, 0, OrbFlags::empty(), 0x80))
    }

    /// A command that has to succeed.
    pub fn good(&mut self, number: u16, command: Command, data: &mut [u8]) {
        let irb = self.command(number, command.into(), data);
        let scsw = &irb.scsw;
        assert_eq!(
            (scsw.device_status, scsw.subchannel_status),
            (0x0C, 0),
            "{command:?}"
        );
    }

    pub fn features(&mut self, number: u16) -> Features {
        let mut features = Features::empty();
        for index in 0..2 {
            let mut block = FeatureDescriptor {
                index,
                ..Default::default()
            };
            self.good(number, Command::ReadFeatures, block.as_mut_bytes());
            features = features.with_word(index, block.features.get());
        }
        features
    }

    pub fn status(&mut self, number: u16) -> Status {
        let mut status = [0];
        self.good(number, Command::ReadStatus, &mut status);
        Status::from_bits_truncate(status[0])
    }

    /// Starts one command, and looks at nothing else.
    pub fn start(&mut self, number: u16, command: Command, data: &[u8]) -> SubchannelId {
        let (id, orb) = self.program(number, command.into(), data);
        // SAFETY: program and data are in the program window, which lives for ever.
        unsafe { self.remote.start(id, &orb) }.unwrap();
        id
    }

    /// Changes the data of a command that waits.
    pub fn change_data(&self, data: &[u8]) {
        let at = ClientAddress::new(0x100);
        self.program.write_bytes(at, data).unwrap();
    }

    /// Starts one command, which has to wait, and clears the subchannel.
    pub fn cut_off(&mut self, number: u16, command: Command, data: &mut [u8]) {
        let id = self.start(number, command, data);
        assert!(matches!(self.remote.test(id), Ok(Tested::Nothing(_))));
        self.remote.clear(id).unwrap();
        assert!(matches!(self.remote.test(id), Ok(Tested::Status(_))));
    }

    /// Negotiates these features, as a driver does, up to DRIVER_OK, with one queue at 0.
    pub fn bring_up(&mut self, number: u16, features: Features) -> Driver {
        self.begin(number, features);
        let driver = self.queue(number, 0, features);
        self.good(number, Command::WriteStatus, &mut [1 | 2 | 8 | 4]);
        driver
    }

    /// Negotiates these features, up to FEATURES_OK.
    pub fn begin(&mut self, number: u16, features: Features) {
        let mut revision = Revision {
            revision: 2.into(),
            length: 0.into(),
        };
        self.good(number, Command::Reset, &mut []);
        self.good(number, Command::SetRevision, revision.as_mut_bytes());
        for index in 0..2 {
            let mut block = FeatureDescriptor {
                features: features.word(index).into(),
                index,
            };
            self.good(number, Command::WriteFeatures, block.as_mut_bytes());
        }
        self.good(number, Command::WriteStatus, &mut [1 | 2 | 8]);
    }

    /// Sets up a queue.
    pub fn queue(&mut self, number: u16, index: u16, features: Features) -> Driver {
        let driver = Driver::new(self.window, number, index, features);
        let mut info = driver.info(index);
        self.good(number, Command::SetQueue, info.as_mut_bytes());
        driver
    }

    /// Whether the memory of the client may change now.
    pub fn settles(&mut self) -> bool {
        self.side.borrow_mut().proxy.settle(0)
    }

    /// The memory of the client has changed.
    pub fn check_rings(&mut self) {
        self.side.borrow_mut().proxy.check_rings(0);
    }

    /// Turns until nothing happens any more.
    pub fn settle(&mut self) {
        for _ in 0..1000 {
            if !self.side.borrow_mut().turn() {
                return;
            }
        }
        panic!("the appliance never comes to rest");
    }

    pub fn platter(&self, disk: usize) -> std::cell::RefMut<'_, Platter> {
        self.disks[disk].0.borrow_mut()
    }
}

impl World {
    /// A life of the appliance, for which these disks are there.
    fn life(&self, there: &[usize]) -> (Proxy, Vec<OwnedDisk>) {
        let (area, window, program) = (self.area.clone(), self.window, self.program);
        let mut client = Client::new("linux".into(), 0, area, window, program, 3).unwrap();
        let slice = Export {
            device: 0x1000.into(),
            start: SLICE_START.into(),
            sectors: SLICE_SECTORS.into(),
            queues: 4.into(),
            serial: *b"slice of disk zero\0\0",
            ..Export::new_zeroed()
        };
        let whole = Export {
            disk: 1.into(),
            device: 0x1001.into(),
            sectors: DISK_SECTORS.into(),
            flags: Export::READ_ONLY.into(),
            ..Export::new_zeroed()
        };
        client.add(&slice, &Quota::default()).unwrap();
        client.add(&whole, &Quota::default()).unwrap();
        let mut disks: Vec<OwnedDisk> = self.disks.iter().map(owned).collect();
        let mut proxy = Proxy::new(std::vec![client], &disks, None);
        for &index in there {
            proxy.attach(index, &mut disks, |_, fits| fits.unwrap());
        }
        (proxy, disks)
    }
}

/// What a virtual subchannel of this kind stands for.
pub fn exported(slot: Slot, kind: ExportKind) -> Exported {
    let kind = (kind as u32).into();
    let entry = Export {
        kind,
        ..Export::new_zeroed()
    };
    Exported::new(slot, entry)
}

/// The owned device with this number, as the client is to see it.
pub fn exported_as(slot: Slot, given: DeviceNumber, seen: u16) -> Exported {
    let mut exported = exported(slot, ExportKind::PassThrough);
    exported.entry.owned_set = given.set;
    exported.entry.owned_device = given.number.into();
    exported.entry.device = seen.into();
    exported
}

/// Area, window and program window of a client.
type Parts = (Area<'static>, &'static Window, &'static Window);

fn appliance_of_two(disk: &RamDisk, parts: &[Parts; 2], quotas: &[Quota; 2]) -> Side {
    let all = (0..).zip(parts).zip(quotas);
    let clients = all.map(|((number, (area, window, program)), quota)| {
        let mut client =
            Client::new("linux".into(), number, area.clone(), window, program, 3).unwrap();
        let whole = Export {
            device: 0x1000.into(),
            ..Export::new_zeroed()
        };
        client.add(&whole, quota).unwrap();
        client
    });
    let mut disks: Vec<OwnedDisk> = std::vec![owned(disk)];
    let mut proxy = Proxy::new(clients.collect(), &disks, None);
    proxy.attach(0, &mut disks, |_, fits| fits.unwrap());
    Side {
        proxy,
        disks,
        machine: Machine::empty(),
        cuts: VecDeque::new(),
        world: None,
    }
}

/// A block driver in the client: header and status of each head have a fixed place, data goes where
/// the test wants it.
pub struct Driver {
    pub queue: Queue<{ QUEUE_SIZE as usize }>,
    window: &'static Window,
    headers: u64,
}

impl Driver {
    pub fn new(window: &'static Window, number: u16, index: u16, features: Features) -> Self {
        let place = (u64::from(number) * 8 + u64::from(index)) * 0x4000;
        let bytes = u64::from(QueueLayout::contiguous_bytes(QUEUE_SIZE));
        window.fill(ClientAddress::new(place), 0x4000, 0).unwrap();
        let base: *mut u8 =
            core::ptr::with_exposed_provenance_mut((window.absolute_base() + place) as usize);
        // SAFETY: a part of the client's leaked memory, to which there are no references.
        let ring = unsafe { Window::new(base, bytes, place) };
        Self {
            queue: Queue::new(ring, QUEUE_SIZE, Options::from(features)).unwrap(),
            window,
            headers: place + 0x2000,
        }
    }

    /// What SET_VQ is given for its queue.
    pub fn info(&self, index: u16) -> QueueInfo {
        let addresses = self.queue.addresses();
        QueueInfo {
            descriptors: addresses.descriptors.into(),
            reserved: 0.into(),
            index: index.into(),
            size: QUEUE_SIZE.into(),
            driver: addresses.driver.into(),
            device: addresses.device.into(),
        }
    }

    fn header(&self, head: u16) -> u64 {
        self.headers + u64::from(head) * 32
    }

    /// Makes a request available; the buffers are (address, length).
    pub fn request(
        &mut self,
        kind: RequestType,
        sector: u64,
        data: &[(u64, u32)],
        writable: bool,
    ) -> u16 {
        let head = self.queue.vacant().unwrap();
        let at = self.header(head);
        self.window
            .write(ClientAddress::new(at), &RequestHeader::new(kind, sector))
            .unwrap();
        self.window
            .write(ClientAddress::new(at + 16), &0xAAu8)
            .unwrap();
        let mut buffers = std::vec![buffer(at, 16, false)];
        buffers.extend(data.iter().map(|&(at, len)| buffer(at, len, writable)));
        buffers.push(buffer(at + 16, 1, true));
        self.queue.add(&buffers).unwrap();
        self.queue.publish();
        head
    }

    pub fn read(&mut self, sector: u64, at: u64, len: u32) -> u16 {
        self.request(RequestType::In, sector, &[(at, len)], true)
    }

    pub fn write(&mut self, sector: u64, at: u64, len: u32) -> u16 {
        self.request(RequestType::Out, sector, &[(at, len)], false)
    }

    /// The next request that came back: head, status byte, bytes written.
    pub fn done(&mut self) -> Option<(u16, u8, u32)> {
        let used = self.queue.poll_used()?.unwrap();
        let status: u8 = self
            .window
            .read(ClientAddress::new(self.header(used.head) + 16))
            .unwrap();
        Some((used.head, status, used.len))
    }
}

pub fn buffer(absolute: u64, len: u32, writable: bool) -> Buffer {
    Buffer {
        absolute,
        len,
        writable,
    }
}

/// What these tests negotiate.
pub const FEATURES: Features = Features::VERSION_1
    .union(Features::RING_EVENT_IDX)
    .union(Features::RING_INDIRECT_DESC)
    .union(Features::from_bits_retain(
        virtio::blk::Features::FLUSH.bits()
            | virtio::blk::Features::DISCARD.bits()
            | virtio::blk::Features::WRITE_ZEROES.bits()
            | virtio::blk::Features::CONFIG_WCE.bits(),
    ));
