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

use channel::{
    Ccw1, ChannelSubsystem, CommandCode, DeviceStatus, Irb, Orb, Refusal, SubchannelId,
    SubchannelStatus,
};
use vcss::client::{DeviceState, QueuePosition, QueueState, MAX_QUEUES, SET_VQ_POSITION};
use vcss::plan::PROGRAM_BYTES;
use vcss::{AreaError, Remote, RemoteError};
use virtio::ccw::{Command, FeatureDescriptor, QueueInfo, Revision};
use virtio::Status;
use window::OutOfWindow;
use zerocopy::big_endian::U16;
use zerocopy::{little_endian, Immutable, IntoBytes};

use super::program::{enable, EnableError, ProgramError, ProgramPlace};
use super::wait::{DeviceWait, Limit};
use crate::api::{Program, Step};
use crate::areas::ClientArea;

pub const MAX_COMMANDS: usize = 8;
/// Bytes of data that a command may have.
pub const ROOM: usize = 256;
/// How often a program is repeated because the appliance was started anew.
const REPEATS: u32 = 5;

const INTERVENTION_REQUIRED: u8 = 0x40;
const REVISION: u16 = 2;
const CCWS: u32 = (MAX_COMMANDS * size_of::<Ccw1>()) as u32;

const _: () = assert!(CCWS as usize + MAX_COMMANDS * ROOM <= PROGRAM_BYTES as usize);

#[derive(Debug, thiserror::Error)]
pub enum VirtioError {
    #[error(transparent)]
    Remote(#[from] RemoteError),
    #[error(transparent)]
    Area(#[from] AreaError),
    #[error(transparent)]
    Enable(#[from] EnableError),
    #[error(transparent)]
    Program(#[from] ProgramError),
    #[error(transparent)]
    Window(#[from] OutOfWindow),
    #[error("{command} ended with device status {device:?}, subchannel status {subchannel:?}")]
    Ended {
        command: String,
        device: DeviceStatus,
        subchannel: SubchannelStatus,
    },
    /// A command needs the disk, which is not there for now.
    #[error("its disk cannot be served for now; `stellwerk status` says why")]
    Absent,
}

/// An export, driven by channel programs.
#[derive(Debug)]
pub struct VirtioDevice {
    remote: Remote<'static, DeviceWait>,
    id: SubchannelId,
    place: ProgramPlace,
}

fn step(command: impl Into<u8>, data: &(impl IntoBytes + Immutable + ?Sized)) -> Step {
    let data = data.as_bytes().to_vec();
    // A command without data has a count that is not looked at; zero would be a program check.
    let count = data.len().max(1) as u16;
    Step::new(CommandCode(command.into()), count, data)
}

impl VirtioDevice {
    /// The export at virtual subchannel `index` of a client; `wait` is for the client's area.
    pub fn new(area: &ClientArea, index: u16, wait: DeviceWait) -> Result<Self, AreaError> {
        area.area.entry::<DeviceState>(u32::from(index))?;
        let id = SubchannelId::new(0, index).ok_or(AreaError::Magic)?;
        Ok(Self {
            remote: Remote::new(area.area.clone(), wait),
            id,
            place: ProgramPlace::new(area, id, CCWS, PROGRAM_BYTES),
        })
    }

    /// Ends what an earlier daemon was about to have the device do. What the device has begun goes on, and whoever asks for the same
    /// again waits for its end.
    pub fn settle(&mut self) -> Result<(), VirtioError> {
        for _ in 0..REPEATS {
            self.remote.wake().begin_program(Limit::InTime);
            let outcome = self.settle_once();
            let lost = outcome.as_ref().is_err_and(is_lost);
            if !lost || !self.remote.wake().is_another() {
                return outcome;
            }
        }
        Err(RemoteError::Timeout.into())
    }

    fn settle_once(&mut self) -> Result<(), VirtioError> {
        self.remote.catch_up(self.id)?;
        enable(&mut self.remote, self.id)?;
        self.remote.clear(self.id).map_err(EnableError::from)?;
        self.remote.wait(self.id)?;
        Ok(())
    }

    /// Whether a queue is set up, and its next available-ring index.
    pub fn position(&self, queue: u16) -> Result<(bool, u16), VirtioError> {
        let index = self.index() * MAX_QUEUES as u32 + u32::from(queue);
        let state: QueueState = self.remote.area().read(index)?;
        Ok((state.size.get() != 0, state.next_avail.get()))
    }

    /// Back to power-on, ready to be set up: nothing of an earlier driver is left. Waits until everything in flight has
    /// ended.
    pub fn reset(&mut self) -> Result<(), VirtioError> {
        let revision = Revision {
            revision: U16::new(REVISION),
            length: U16::ZERO,
        };
        let steps = vec![
            step(Command::Reset, [].as_slice() as &[u8]),
            step(Command::SetRevision, &revision),
        ];
        self.run(steps, Limit::UntilDone).map(drop)
    }

    pub fn features(&mut self) -> Result<u64, VirtioError> {
        let word = |index| {
            let descriptor = FeatureDescriptor {
                index,
                ..FeatureDescriptor::default()
            };
            step(Command::ReadFeatures, &descriptor)
        };
        let read = self.run(vec![word(0), word(1)], Limit::InTime)?;
        let bits = |bytes: &Vec<u8>| match bytes.first_chunk::<4>() {
            Some(bytes) => u64::from(u32::from_le_bytes(*bytes)),
            None => 0,
        };
        Ok(bits(&read[0]) | bits(&read[1]) << 32)
    }

    /// Resets the device and agrees on features with it.
    ///
    /// # Errors
    ///
    /// See [`VirtioError`]. A device that does not take the features rejects the command.
    pub fn negotiate(&mut self, features: u64) -> Result<(), VirtioError> {
        self.reset()?;
        let word = |index: u8| {
            let descriptor = FeatureDescriptor {
                features: little_endian::U32::new((features >> (32 * index)) as u32),
                index,
            };
            step(Command::WriteFeatures, &descriptor)
        };
        let begun = Status::ACKNOWLEDGE | Status::DRIVER;
        let agreed = begun | Status::FEATURES_OK;
        let steps = vec![
            step(Command::WriteStatus, &[begun.bits()]),
            word(0),
            word(1),
            step(Command::WriteStatus, &[agreed.bits()]),
        ];
        self.run(steps, Limit::InTime).map(drop)
    }

    pub fn driver_ok(&mut self) -> Result<(), VirtioError> {
        let status = Status::ACKNOWLEDGE | Status::DRIVER | Status::FEATURES_OK | Status::DRIVER_OK;
        let steps = vec![step(Command::WriteStatus, &[status.bits()])];
        self.run(steps, Limit::InTime).map(drop)
    }

    /// Sets a queue up, to begin at this available-ring index.
    pub fn start_queue(&mut self, queue: QueueInfo, next_avail: u16) -> Result<(), VirtioError> {
        let position = QueuePosition {
            index: queue.index,
            next_avail: U16::new(next_avail),
        };
        let steps = vec![
            step(SET_VQ_POSITION, &position),
            step(Command::SetQueue, &queue),
        ];
        // A queue that is still served under this number is released first.
        self.run(steps, Limit::UntilDone).map(drop)
    }

    /// Releases a queue, after everything in flight has ended; the next available-ring index.
    pub fn stop_queue(&mut self, queue: u16) -> Result<u16, VirtioError> {
        let released = QueueInfo {
            index: U16::new(queue),
            ..QueueInfo::default()
        };
        self.run(vec![step(Command::SetQueue, &released)], Limit::UntilDone)?;
        Ok(self.position(queue)?.1)
    }

    /// The first `length` bytes of the configuration space.
    pub fn read_config(&mut self, length: usize) -> Result<Vec<u8>, VirtioError> {
        let steps = vec![step(Command::ReadConfig, vec![0u8; length].as_slice())];
        Ok(self.run(steps, Limit::InTime)?.remove(0))
    }

    pub fn write_config(&mut self, bytes: &[u8]) -> Result<(), VirtioError> {
        self.run(vec![step(Command::WriteConfig, bytes)], Limit::InTime)
            .map(drop)
    }

    /// Says that writes may be cached, as they may after a power-on, if the device lets the driver say so. A reset leaves that
    /// as it is.
    pub fn set_write_back(&mut self) -> Result<(), VirtioError> {
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
        let state = self.remote.area().read::<DeviceState>(self.index());
        state.is_ok_and(|state| {
            Status::from_bits_retain(state.status).contains(Status::DEVICE_NEEDS_RESET)
        })
    }

    /// Sectors that the device has, as the area says it, if it does.
    pub fn capacity(&self) -> Option<u64> {
        let state = self.remote.area().read::<DeviceState>(self.index());
        let capacity = state.ok()?.capacity.get();
        (capacity != 0).then_some(capacity)
    }

    fn index(&self) -> u32 {
        self.id.number().into()
    }

    /// Runs a program, and again if the appliance was started anew meanwhile. What each command's data is afterwards.
    fn run(&mut self, steps: Vec<Step>, limit: Limit) -> Result<Vec<Vec<u8>>, VirtioError> {
        let program = Program {
            no_prefetch: true,
            ..Program::chained(steps)
        };
        let mut repeats = 0;
        while limit == Limit::UntilDone || repeats < REPEATS {
            self.remote.wake().begin_program(limit);
            let outcome = self.run_once(&program);
            let lost = outcome.as_ref().is_err_and(is_lost);
            if !lost || !self.remote.wake().is_another() {
                return outcome;
            }
            repeats += 1;
        }
        Err(RemoteError::Timeout.into())
    }

    fn run_once(&mut self, program: &Program) -> Result<Vec<Vec<u8>>, VirtioError> {
        enable(&mut self.remote, self.id)?;
        let orb = self.place.write(program)?;
        let irb = match self.start(&orb) {
            // An earlier program was given up, and still waits for requests in flight. What it has begun goes on, and this
            // one waits for the same.
            Err(RemoteError::Refused(Refusal::Busy)) => {
                self.remote.clear(self.id).map_err(EnableError::from)?;
                self.remote.wait(self.id)?;
                self.start(&orb)?
            }
            irb => irb?,
        };
        self.check(&irb, program)?;
        let mut data: Vec<Vec<u8>> = program.ccws.iter().map(|it| it.data.clone()).collect();
        for read in self.place.read_back(program, &irb)? {
            let to = data[read.ccw].iter_mut();
            to.zip(&read.bytes).for_each(|(to, from)| *to = *from);
        }
        Ok(data)
    }

    fn start(&mut self, orb: &Orb) -> Result<Irb, RemoteError> {
        // SAFETY: the program and its data lie in this subchannel's part of the program window, which is memory of
        // the pool: it outlives the process, and only this device uses it, one program at a time.
        unsafe { self.remote.run(self.id, orb) }
    }

    fn check(&self, irb: &Irb, program: &Program) -> Result<(), VirtioError> {
        let scsw = &irb.scsw;
        let fine = DeviceStatus::CHANNEL_END | DeviceStatus::DEVICE_END;
        if scsw.device() == fine && scsw.subchannel().is_empty() && scsw.deferred_cc() == 0 {
            return Ok(());
        }
        let sense = irb.concurrent_sense().and_then(<[u8]>::first);
        if sense.is_some_and(|sense| sense & INTERVENTION_REQUIRED != 0) {
            return Err(VirtioError::Absent);
        }
        let beyond = scsw.program.get().wrapping_sub(self.place.start());
        let at = (beyond as usize / size_of::<Ccw1>()).wrapping_sub(1);
        let command = match program.ccws.get(at).map(|step| step.command) {
            Some(code) => match Command::try_from(code) {
                Ok(command) => format!("{command:?}"),
                Err(_) => format!("command {code:#04x}"),
            },
            None => "the channel program".to_owned(),
        };
        Err(VirtioError::Ended {
            command,
            device: scsw.device(),
            subchannel: scsw.subchannel(),
        })
    }
}

/// Whether an error may be due to an appliance that has died. The trait has no word for that but "not operational"; a program
/// that a restart has cut off ends with interface-control check.
fn is_lost(error: &VirtioError) -> bool {
    match error {
        VirtioError::Ended { subchannel, .. } => {
            subchannel.contains(SubchannelStatus::INTERFACE_CONTROL_CHECK)
        }
        VirtioError::Remote(
            RemoteError::Timeout | RemoteError::Refused(Refusal::NotOperational),
        )
        | VirtioError::Enable(
            EnableError::NotOperational(_) | EnableError::Refused(Refusal::NotOperational),
        ) => true,
        _ => false,
    }
}
