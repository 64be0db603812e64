//! One export as a virtio-ccw device: the channel programs that set it up.
//!
//! # Purpose
//!
//! The appliance offers each export as a virtual subchannel with a virtio-ccw control unit. A client that
//! has channel I/O of its own would drive it by itself; a stock VM has a vhost-user socket instead, and
//! this module writes the channel programs on its behalf. From then on the guest's rings are served in
//! place.
//!
//! # Rules
//!
//! * Programs and their data lie in the subchannel's own page of the area; addresses in them are
//!   offsets in the client's program window.
//! * What only the appliance has to do with, it has to do in time; time in which no appliance serves does not count.
//! * What waits for requests in flight to end (the release of a queue, a reset) waits as long as it takes: until then the
//!   disk may still write into the client's memory, and nobody may go on as if it could not.
//! * A program that the appliance lost, because it was started anew, is repeated: each of them can be carried out twice
//!   without harm. One that was given up and still runs makes room for the next.
//!
//! # Limits
//!
//! One program at a time for each export, of at most [`MAX_COMMANDS`] commands with [`ROOM`] bytes of data each.

mod patience;

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::Arc;

use channel::{
    Ccw1, CcwFlags, ChannelSubsystem, CommandCode, DeviceStatus, Irb, NotOperational, Orb,
    OrbFlags, PmcwFlags, Refusal, SubchannelId, SubchannelStatus,
};
use vcss::client::{DeviceState, QueuePosition, QueueState, MAX_QUEUES, SET_VQ_POSITION};
use vcss::plan::PROGRAM_BYTES;
use vcss::{AreaError, Remote, RemoteError, Word};
use virtio::ccw::{Command, FeatureDescriptor, QueueInfo, Revision};
use virtio::Status;
use window::{ClientAddress, Window};
use zerocopy::big_endian::U16;
use zerocopy::{little_endian, Immutable, IntoBytes};

use self::patience::Limit;
use crate::areas::{self, ClientArea};

pub use self::patience::DeviceWait;

/// Commands that fit into one program.
pub const MAX_COMMANDS: usize = 8;
/// Bytes of data that a command may have.
pub const ROOM: usize = 256;
/// How often a program is repeated because the appliance was started anew.
const REPEATS: u32 = 5;

/// In sense byte 0.
const INTERVENTION_REQUIRED: u8 = 0x40;
const REVISION: u16 = 2;
const PATHS: u8 = 0xFF;
const DATA: u32 = 64;

const _: () = assert!(MAX_COMMANDS * size_of::<Ccw1>() <= DATA as usize);
const _: () = assert!(DATA as usize + MAX_COMMANDS * ROOM <= PROGRAM_BYTES as usize);

/// Why the device did not do what it was asked for.
#[derive(Debug, thiserror::Error)]
pub enum DeviceError {
    /// The appliance did not carry the instruction out.
    #[error(transparent)]
    Remote(#[from] RemoteError),
    /// The area does not have what is needed.
    #[error(transparent)]
    Area(#[from] AreaError),
    /// The subchannel is not there.
    #[error("virtual subchannel: {0}")]
    NotOperational(#[from] NotOperational),
    /// It would not be enabled.
    #[error("virtual subchannel cannot be enabled: {0}")]
    Refused(#[from] Refusal),
    /// A command ended badly.
    #[error("{command} ended with device status {device:?}, subchannel status {subchannel:?}")]
    Ended {
        /// The command.
        command: String,
        /// Its device status.
        device: DeviceStatus,
        /// Its subchannel status.
        subchannel: SubchannelStatus,
    },
    /// A command needs the disk, which is not there for now.
    #[error("its disk cannot be served for now; `stellwerk status` says why")]
    Absent,
    /// The program is too large.
    #[error("the channel program does not fit its page")]
    TooLarge,
}

/// An export, driven by channel programs.
#[derive(Debug)]
pub struct Device {
    remote: Remote<'static, DeviceWait>,
    generation: Word<'static>,
    baseline: Arc<AtomicU32>,
    id: SubchannelId,
    index: u32,
    /// The client's area.
    window: &'static Window,
    /// The subchannel's page in the area.
    page: ClientAddress,
}

/// A command of a program, and its data: in, and after the run, out.
#[derive(Clone, Debug)]
struct Step {
    code: u8,
    data: Vec<u8>,
}

impl Step {
    fn new(command: Command, data: &(impl IntoBytes + Immutable + ?Sized)) -> Self {
        Self {
            code: command.into(),
            data: data.as_bytes().to_vec(),
        }
    }
}

impl Device {
    /// The export at virtual subchannel `index` of a client; `patience` is for the client's area.
    pub fn new(area: &ClientArea, index: u16, patience: DeviceWait) -> Result<Self, AreaError> {
        area.area.entry::<DeviceState>(u32::from(index))?;
        let id = SubchannelId::new(0, index).ok_or(AreaError::Magic)?;
        let page = areas::program_offset(&area.area) + u64::from(index) * u64::from(PROGRAM_BYTES);
        Ok(Self {
            generation: areas::generation(&area.area)?,
            baseline: Arc::clone(&patience.baseline),
            remote: Remote::new(area.area.clone(), patience),
            id,
            index: u32::from(index),
            window: area.window,
            page: ClientAddress::new(page),
        })
    }

    /// Back to power-on, ready to be set up: nothing of an earlier driver is left. Waits until everything in flight has
    /// ended.
    pub fn reset(&mut self) -> Result<(), DeviceError> {
        let revision = Revision {
            revision: U16::new(REVISION),
            length: U16::ZERO,
        };
        let steps = &mut [
            Step::new(Command::Reset, [].as_slice() as &[u8]),
            Step::new(Command::SetRevision, &revision),
        ];
        self.run(steps, Limit::UntilDone)
    }

    /// The features that the device offers.
    pub fn features(&mut self) -> Result<u64, DeviceError> {
        let word = |index| {
            let descriptor = FeatureDescriptor {
                index,
                ..FeatureDescriptor::default()
            };
            Step::new(Command::ReadFeatures, &descriptor)
        };
        let mut steps = [word(0), word(1)];
        self.run(&mut steps, Limit::InTime)?;
        let bits = |step: &Step| match step.data.first_chunk::<4>() {
            Some(bytes) => u64::from(u32::from_le_bytes(*bytes)),
            None => 0,
        };
        Ok(bits(&steps[0]) | bits(&steps[1]) << 32)
    }

    /// Resets the device and agrees on features with it.
    ///
    /// # Errors
    ///
    /// See [`DeviceError`]. A device that does not take the features rejects the command.
    pub fn negotiate(&mut self, features: u64) -> Result<(), DeviceError> {
        self.reset()?;
        let word = |index: u8| {
            let descriptor = FeatureDescriptor {
                features: little_endian::U32::new((features >> (32 * index)) as u32),
                index,
            };
            Step::new(Command::WriteFeatures, &descriptor)
        };
        let begun = Status::ACKNOWLEDGE | Status::DRIVER;
        let agreed = begun | Status::FEATURES_OK;
        let steps = &mut [
            Step::new(Command::WriteStatus, &[begun.bits()]),
            word(0),
            word(1),
            Step::new(Command::WriteStatus, &[agreed.bits()]),
        ];
        self.run(steps, Limit::InTime)
    }

    /// Says that the driver is ready.
    pub fn driver_ok(&mut self) -> Result<(), DeviceError> {
        let status = Status::ACKNOWLEDGE | Status::DRIVER | Status::FEATURES_OK | Status::DRIVER_OK;
        let steps = &mut [Step::new(Command::WriteStatus, &[status.bits()])];
        self.run(steps, Limit::InTime)
    }

    /// Sets a queue up, to begin at this available-ring index.
    pub fn start_queue(&mut self, queue: QueueInfo, next_avail: u16) -> Result<(), DeviceError> {
        let position = QueuePosition {
            index: queue.index,
            next_avail: U16::new(next_avail),
        };
        let steps = &mut [
            Step {
                code: SET_VQ_POSITION,
                data: position.as_bytes().to_vec(),
            },
            Step::new(Command::SetQueue, &queue),
        ];
        // A queue that is still served under this number is released first.
        self.run(steps, Limit::UntilDone)
    }

    /// Releases a queue, after everything in flight has ended; the next available-ring index.
    pub fn stop_queue(&mut self, queue: u16) -> Result<u16, DeviceError> {
        let released = QueueInfo {
            index: U16::new(queue),
            ..QueueInfo::default()
        };
        let steps = &mut [Step::new(Command::SetQueue, &released)];
        self.run(steps, Limit::UntilDone)?;
        let state: QueueState = self.remote.area().read(self.queue_index(queue))?;
        Ok(state.next_avail.get())
    }

    /// The first `length` bytes of the configuration space.
    pub fn read_config(&mut self, length: usize) -> Result<Vec<u8>, DeviceError> {
        let mut steps = [Step::new(Command::ReadConfig, vec![0u8; length].as_slice())];
        self.run(&mut steps, Limit::InTime)?;
        let [step] = steps;
        Ok(step.data)
    }

    /// Writes the start of the configuration space.
    pub fn write_config(&mut self, bytes: &[u8]) -> Result<(), DeviceError> {
        self.run(&mut [Step::new(Command::WriteConfig, bytes)], Limit::InTime)
    }

    /// Says that writes may be cached, as they may after a power-on, if the device lets the driver say so. A reset leaves that
    /// as it is.
    pub fn set_write_back(&mut self) -> Result<(), DeviceError> {
        const WRITEBACK: usize = core::mem::offset_of!(virtio::blk::Config, writeback);
        let mut config = self.read_config(WRITEBACK + 1)?;
        match config.get_mut(WRITEBACK) {
            Some(mode) if *mode == 0 => *mode = 1,
            _ => return Ok(()),
        }
        self.write_config(&config)
    }

    /// Whether the device has met an error that only a reset cures.
    pub fn needs_reset(&self) -> bool {
        let state = self.remote.area().read::<DeviceState>(self.index);
        state.is_ok_and(|state| {
            Status::from_bits_retain(state.status).contains(Status::DEVICE_NEEDS_RESET)
        })
    }

    fn queue_index(&self, queue: u16) -> u32 {
        self.index * MAX_QUEUES as u32 + u32::from(queue)
    }

    /// Runs a program, and again if the appliance was started anew meanwhile.
    fn run(&mut self, steps: &mut [Step], limit: Limit) -> Result<(), DeviceError> {
        self.remote.wake().limit = limit;
        let mut repeats = 0;
        while limit == Limit::UntilDone || repeats < REPEATS {
            let generation = self.generation.load();
            self.baseline.store(generation, Ordering::Relaxed);
            let outcome = self.run_once(steps);
            // The trait has no word for a dead appliance but "not operational". A program that a restart has cut off ends with
            // interface-control check.
            let cut_off = matches!(
                &outcome,
                Err(DeviceError::Ended { subchannel, .. })
                    if subchannel.contains(SubchannelStatus::INTERFACE_CONTROL_CHECK)
            );
            let lost = cut_off
                || matches!(
                    outcome,
                    Err(DeviceError::Remote(
                        RemoteError::Timeout | RemoteError::Refused(Refusal::NotOperational)
                    ) | DeviceError::NotOperational(_)
                        | DeviceError::Refused(Refusal::NotOperational))
                );
            if !lost || self.generation.load() == generation {
                return outcome;
            }
            repeats += 1;
        }
        Err(RemoteError::Timeout.into())
    }

    fn run_once(&mut self, steps: &mut [Step]) -> Result<(), DeviceError> {
        self.enable()?;
        self.write_program(steps)?;
        let orb = Orb::format_1(0, self.program_address(), OrbFlags::empty(), PATHS);
        let irb = match self.start(&orb) {
            // An earlier program was given up, and still waits for requests in flight. What it has begun goes on, and this
            // one waits for the same.
            Err(RemoteError::Refused(Refusal::Busy)) => {
                self.remote.clear(self.id)?;
                self.remote.wait(self.id)?;
                self.start(&orb)?
            }
            irb => irb?,
        };
        self.check(&irb, steps)?;
        for (number, step) in steps.iter_mut().enumerate() {
            self.window
                .read_bytes(self.data(number)?, &mut step.data)
                .map_err(AreaError::from)?;
        }
        Ok(())
    }

    fn start(&mut self, orb: &Orb) -> Result<Irb, RemoteError> {
        // SAFETY: the program and its data lie in this subchannel's page of the area, which is memory of
        // the pool: it outlives the process, and only this device uses it, one program at a time.
        unsafe { self.remote.run(self.id, orb) }
    }

    fn write_program(&self, steps: &[Step]) -> Result<(), DeviceError> {
        if steps.len() > MAX_COMMANDS || steps.iter().any(|step| step.data.len() > ROOM) {
            return Err(DeviceError::TooLarge);
        }
        for (number, step) in steps.iter().enumerate() {
            let chain = if number + 1 < steps.len() {
                CcwFlags::CC
            } else {
                CcwFlags::empty()
            };
            // A command without data has a count that is not looked at; zero would be a program check.
            let count = step.data.len().max(1) as u16;
            let address = self.program_address() + DATA + (number * ROOM) as u32;
            let ccw = Ccw1::new(
                CommandCode(step.code),
                chain | CcwFlags::SLI,
                count,
                address,
            );
            let place = self.at((number * size_of::<Ccw1>()) as u32)?;
            self.window.write(place, &ccw).map_err(AreaError::from)?;
            self.window
                .write_bytes(self.data(number)?, &step.data)
                .map_err(AreaError::from)?;
        }
        Ok(())
    }

    /// The program's address in the program window.
    const fn program_address(&self) -> u32 {
        self.index * PROGRAM_BYTES
    }

    /// An offset in the subchannel's page, as an address in the area.
    fn at(&self, offset: u32) -> Result<ClientAddress, DeviceError> {
        let address = self.page.checked_add(u64::from(offset));
        address.ok_or(DeviceError::TooLarge)
    }

    fn data(&self, number: usize) -> Result<ClientAddress, DeviceError> {
        self.at(DATA + (number * ROOM) as u32)
    }

    fn check(&self, irb: &Irb, steps: &[Step]) -> Result<(), DeviceError> {
        let scsw = &irb.scsw;
        let fine = DeviceStatus::CHANNEL_END | DeviceStatus::DEVICE_END;
        if scsw.device() == fine && scsw.subchannel().is_empty() && scsw.deferred_cc() == 0 {
            return Ok(());
        }
        let sense = irb.concurrent_sense().and_then(<[u8]>::first);
        if sense.is_some_and(|sense| sense & INTERVENTION_REQUIRED != 0) {
            return Err(DeviceError::Absent);
        }
        let beyond = scsw.program.get().wrapping_sub(self.program_address());
        let at = (beyond as usize / size_of::<Ccw1>()).wrapping_sub(1);
        let command = match steps.get(at) {
            Some(step) => match Command::try_from(step.code) {
                Ok(command) => format!("{command:?}"),
                Err(_) => format!("command {:#04x}", step.code),
            },
            None => "the channel program".to_owned(),
        };
        Err(DeviceError::Ended {
            command,
            device: scsw.device(),
            subchannel: scsw.subchannel(),
        })
    }

    fn enable(&mut self) -> Result<(), DeviceError> {
        let mut schib = self.remote.store(self.id)?;
        if !schib.pmcw.flags().contains(PmcwFlags::ENABLED) || !schib.pmcw.has_concurrent_sense() {
            schib.pmcw.set_flag(PmcwFlags::ENABLED, true);
            schib.pmcw.set_concurrent_sense(true);
            self.remote.modify(self.id, &schib)?;
        }
        Ok(())
    }
}
