//! What a count-key-data disk costs the appliance (`bench=eckd`): instructions for a random read of 4 KiB, starts and CCWs of
//! sequential ones of 512 KiB, all through the virtio disk that is served over the volume.
//!
//! # Scope
//!
//! QEMU has no such disk, and Hercules no clock that counts instructions. So the channel subsystem here is a platform of its own with
//! one storage control of software behind it, that of the unit tests, whose [records](Blocks) are not stored. [`Control`] takes a
//! channel program apart, counts its CCWs, and moves no data, as QEMU's `null-co` disk does none worth naming. A program has ended
//! when the CPU has slept, and says so with an interruption.
//!
//! Counted is what the appliance executes. What the storage control executes is not, but for the two looks at the clock with which
//! each call of it begins and ends; they stand for the I/O instruction that is not there.
//!
//! # Limits
//!
//! The channel accepts what it is given. What it would not accept is for the unit tests and for Hercules.

use super::client::{Client, Memory, DATA};
use super::{awake, nearest, serve, Appliance, Scale, DISK_TIME, PATIENCE, READS, WARM_UP};
use alloc::boxed::Box;
use alloc::format;
use alloc::rc::Rc;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use appliance::css::Hardware;
use appliance::css::{OutOfStorage, Platform, Wake};
use appliance::driver::dasd::eckd::Eckd;
use channel::{
    ActivityControl, Ccw1, CcwFlags, ChannelSubsystem, CommandCode, Crw, DeviceStatus,
    FunctionControl, IoInterruption, Irb, NotOperational, Orb, PmcwFlags, Refusal, Schib,
    StatusControl, SubchannelId, Tested,
};
use core::cell::{Cell, RefCell};
use core::{ptr, slice};
use dasd::model::sense::Sense;
use dasd::model::{disk_3390, Records, StorageControl};
use dasd::{CountField, Place};
use s390x::clock::Tod;
use s390x::control::Cr6;
use virtio::blk::RequestType;
use window::Window;
use zerocopy::FromBytes;

const ISC: u8 = 3;
/// The one path.
const PATH: u8 = 0x80;
const CYLINDERS: u16 = 1000;
const BLOCK: u16 = 4096;
const RECORDS: u8 = 12;
/// A long read, so many of them in flight, and how many are counted.
const LONG: u32 = 512 << 10;
const LONG_DEPTH: u32 = 2;
const LONG_READS: u32 = 64;

const _: () = assert!(LONG as usize <= Memory::BLOCKS * 4096);

/// Measures and prints.
pub fn run(scale: &Scale) -> Result<(), String> {
    // SAFETY: the vectors are set, and this is the one CPU.
    let hardware = unsafe { Hardware::new(Cr6::ALL_SUBCLASSES) };
    let counters = Rc::new(Counters::default());
    let mut control = Control::new(hardware, counters.clone());
    let disk = Eckd::open(&mut control, id(), ISC).map_err(|error| error.to_string())?;
    let (appliance, mut client) = serve(Box::new(control), Box::new(disk), true, Memory::BLOCKS)?;
    appliance.borrow_mut().plane.proxy.disarm_wakeup();
    for (depth, reads) in [(1, WARM_UP), (1, READS), (32, READS)] {
        let before = counters.units.get();
        let cost = awake(&appliance, &mut client, depth, reads)?;
        let cost = cost.saturating_sub(counters.units.get() - before);
        if reads == READS {
            let insns = nearest(scale.instructions(cost), reads);
            sclp::println!("bench: eckd depth={depth} reads={reads} insns={insns}");
        }
    }
    let before = (counters.starts.get(), counters.ccws.get());
    sequential(&appliance, &mut client)?;
    let starts = counters.starts.get() - before.0;
    let ccws = counters.ccws.get() - before.1;
    let bytes = LONG * LONG_READS;
    let blocks = bytes / u32::from(BLOCK);
    sclp::println!(
        "bench: eckd sequential bytes={bytes} blocks={blocks} starts={starts} ccws={ccws}"
    );
    Ok(())
}

/// Long reads that follow each other on the disk.
fn sequential(appliance: &RefCell<Appliance>, client: &mut Client) -> Result<(), String> {
    let (mut asked, mut done, mut turns) = (0, 0, 0);
    while done < LONG_READS {
        while asked < LONG_READS && asked - done < LONG_DEPTH {
            let block = u64::from(asked) * u64::from(LONG / u32::from(BLOCK));
            client.ask(RequestType::In, block, &[(DATA, LONG)])?;
            asked += 1;
        }
        client.ring();
        let mut appliance = appliance.borrow_mut();
        appliance.turn();
        done += client.take_of(LONG)?;
        if done < asked {
            appliance.let_pass(DISK_TIME);
        }
        turns += 1;
        if turns > PATIENCE {
            return Err(format!("{done} of {asked} long reads come back"));
        }
    }
    Ok(())
}

/// What the storage control has done.
#[derive(Debug, Default)]
struct Counters {
    /// Clock units that it took.
    units: Cell<u64>,
    starts: Cell<u32>,
    ccws: Cell<u32>,
}

/// The records of a volume of which each track is formatted with blocks, without a label: as many as a 3390 has, and none is stored.
#[derive(Debug)]
struct Blocks;

impl Records for Blocks {
    fn count(&self, at: Place) -> Option<CountField> {
        let there = at.cylinder < CYLINDERS.into() && (1..=RECORDS).contains(&at.record);
        there.then(|| CountField {
            track: at.track(),
            record: at.record,
            key: 0,
            data: BLOCK.into(),
        })
    }

    fn behind(&self, at: Place) -> Option<u8> {
        (at.record < RECORDS).then_some(at.record + 1)
    }

    fn key(&self, _: Place, _: &mut Vec<u8>) {}

    fn data(&self, _: Place, _: &mut Vec<u8>) {}

    fn update(&mut self, _: Place, _: &[u8]) {}

    fn make(&mut self, _: &CountField, _: &[u8]) {}
}

/// One formatted volume, on the one subchannel of a channel subsystem of its own. Clock, storage and sleep are the machine's.
struct Control {
    hardware: Hardware,
    counters: Rc<Counters>,
    volume: StorageControl<Blocks>,
    /// What the storage control sends.
    sent: Vec<u8>,
    schib: Schib,
    /// Final status of a program that has not ended yet, and of one that has.
    running: Option<Irb>,
    pending: Option<Irb>,
    interruption: bool,
}

impl Control {
    fn new(hardware: Hardware, counters: Rc<Counters>) -> Self {
        let mut schib = Schib::default();
        schib.pmcw.set_flag(PmcwFlags::DEVICE_NUMBER_VALID, true);
        schib.pmcw.lpm = PATH;
        schib.pmcw.pam = PATH;
        let about = disk_3390(CYLINDERS);
        debug_assert_eq!(about.records_of(BLOCK.into()), Some(RECORDS.into()));
        Self {
            hardware,
            counters,
            volume: StorageControl::over(about, Blocks),
            sent: Vec::new(),
            schib,
            running: None,
            pending: None,
            interruption: false,
        }
    }

    /// Does something at no cost for whoever counts.
    fn free<T>(&mut self, act: impl FnOnce(&mut Self) -> T) -> T {
        let start = Tod::now();
        let result = act(self);
        let units = Tod::now().units() - start.units();
        let all = self.counters.units.get();
        self.counters.units.set(all + units);
        result
    }

    /// Runs a program up to its end; final status.
    ///
    /// # Safety
    ///
    /// As for [`ChannelSubsystem::start`].
    unsafe fn run(&mut self, orb: &Orb) -> Irb {
        self.volume.begin(PATH);
        let mut at = orb.program.get();
        let mut flags = CcwFlags::empty();
        loop {
            // SAFETY: the address of a CCW of a valid program; so is the next one as long as CCWs are chained.
            let ccw: Ccw1 = unsafe { load(at) };
            at += 8;
            self.counters.ccws.set(self.counters.ccws.get() + 1);
            // What is chained as data is no command.
            if !flags.contains(CcwFlags::CD) {
                // SAFETY: a CCW of a valid program.
                if let Err(sense) = unsafe { self.command(&ccw) } {
                    return status(at, Some(sense));
                }
            }
            flags = ccw.flags();
            if !flags.intersects(CcwFlags::CC | CcwFlags::CD) {
                return status(at, None);
            }
        }
    }

    /// A command, with its data if that is where the CCW itself says. Lists of addresses are for blocks, which nobody has.
    ///
    /// # Safety
    ///
    /// The CCW is one of a channel program that is valid.
    unsafe fn command(&mut self, ccw: &Ccw1) -> Result<(), Sense> {
        let code = CommandCode(ccw.command);
        let is_direct = !ccw.flags().intersects(CcwFlags::IDA | CcwFlags::MIDA);
        let (address, room) = (ccw.address.get() as usize, usize::from(ccw.count.get()));
        let given = if is_direct && !code.reads() {
            // SAFETY: the data area of a valid program, of that length.
            unsafe { slice::from_raw_parts(ptr::with_exposed_provenance(address), room) }
        } else {
            &[]
        };
        self.sent.clear();
        self.volume.command(code, given, &mut self.sent)?;
        if is_direct {
            let length = self.sent.len().min(room);
            let to = ptr::with_exposed_provenance_mut(address);
            // SAFETY: the same.
            unsafe { ptr::copy_nonoverlapping(self.sent.as_ptr(), to, length) };
        }
        Ok(())
    }

    /// Time has passed: what ran has ended.
    fn wake(&mut self) {
        if let Some(irb) = self.running.take() {
            self.pending = Some(irb);
            self.interruption = true;
        }
    }
}

/// Final status of a program that stopped before `ccw`.
fn status(ccw: u32, sense: Option<Sense>) -> Irb {
    let mut irb = Irb::default();
    let control = StatusControl::PRIMARY | StatusControl::SECONDARY | StatusControl::PENDING;
    irb.scsw
        .set_controls(FunctionControl::START, ActivityControl::empty(), control);
    let mut device = DeviceStatus::CHANNEL_END | DeviceStatus::DEVICE_END;
    if let Some(sense) = sense {
        device |= DeviceStatus::UNIT_CHECK;
        irb.set_concurrent_sense(sense);
    }
    irb.scsw.device_status = device.bits();
    irb.scsw.program = ccw.into();
    irb
}

/// # Safety
///
/// The address is one of a channel program that is valid.
unsafe fn load<T: FromBytes>(address: u32) -> T {
    // SAFETY: the caller's; every value is a `T`.
    unsafe { ptr::read_unaligned(ptr::with_exposed_provenance(address as usize)) }
}

const fn id() -> SubchannelId {
    match SubchannelId::new(0, 0) {
        Some(id) => id,
        None => unreachable!(),
    }
}

impl ChannelSubsystem for Control {
    unsafe fn start(&mut self, _: SubchannelId, orb: &Orb) -> Result<(), Refusal> {
        self.free(|control| {
            if control.pending.is_some() {
                return Err(Refusal::StatusPending);
            }
            if control.running.is_some() {
                return Err(Refusal::Busy);
            }
            control
                .counters
                .starts
                .set(control.counters.starts.get() + 1);
            // SAFETY: the caller's.
            control.running = Some(unsafe { control.run(orb) });
            Ok(())
        })
    }

    fn halt(&mut self, _: SubchannelId) -> Result<(), Refusal> {
        Err(Refusal::Busy)
    }

    fn clear(&mut self, _: SubchannelId) -> Result<(), NotOperational> {
        Err(NotOperational)
    }

    fn cancel(&mut self, _: SubchannelId) -> Result<(), Refusal> {
        Err(Refusal::Busy)
    }

    fn resume(&mut self, _: SubchannelId) -> Result<(), Refusal> {
        Err(Refusal::Busy)
    }

    fn store(&mut self, _: SubchannelId) -> Result<Schib, NotOperational> {
        Ok(self.schib)
    }

    fn modify(&mut self, _: SubchannelId, schib: &Schib) -> Result<(), Refusal> {
        self.schib = *schib;
        Ok(())
    }

    fn test(&mut self, _: SubchannelId) -> Result<Tested, NotOperational> {
        self.free(|control| {
            Ok(match control.pending.take() {
                Some(irb) => Tested::Status(irb),
                None => Tested::Nothing(Irb::default()),
            })
        })
    }

    fn pending_interruption(&mut self) -> Option<IoInterruption> {
        self.free(|control| {
            let parameter = control.schib.pmcw.parameter.get();
            core::mem::take(&mut control.interruption).then_some(IoInterruption::Subchannel {
                id: id(),
                parameter,
                isc: ISC,
            })
        })
    }

    fn channel_report(&mut self) -> Option<Crw> {
        None
    }
}

impl Platform for Control {
    fn notify(&mut self, _: SubchannelId, _: u16, _: i64) -> i64 {
        -22
    }

    fn now(&self) -> Tod {
        self.hardware.now()
    }

    fn wait(&mut self, deadline: Option<Tod>) -> Wake {
        let wake = self.hardware.wait(deadline);
        self.wake();
        wake
    }

    fn pause(&mut self, _: Tod) {
        self.wake();
    }

    fn forget_interruption(&mut self, _: SubchannelId) -> bool {
        self.free(|control| core::mem::take(&mut control.interruption))
    }

    fn storage(&mut self, pages: usize) -> Result<Window, OutOfStorage> {
        self.hardware.storage(pages)
    }

    fn storage_as_is(&mut self, pages: usize) -> Result<Window, OutOfStorage> {
        self.hardware.storage_as_is(pages)
    }

    fn has_midaws(&mut self) -> bool {
        self.hardware.has_midaws()
    }

    fn path_group(&self) -> [u8; 11] {
        self.hardware.path_group()
    }

    fn highest_set(&mut self) -> u8 {
        0
    }
}
