//! The virtio transport over channel I/O, from the driver's side (virtio 1.3, section 4.3).
//!
//! # Scope
//!
//! A [`Transport`] brings a virtio-ccw device up: revision, reset, features, queues, indicators, status;
//! then it carries notifications one way and interruptions the other. What the queues are for is
//! the device driver's affair.
//!
//! The order is that of section 3.1.1, and the compiler does not enforce it:
//! [`Transport::open`], [`negotiate`](Transport::negotiate), [`read_config`](Transport::read_config),
//! [`queue`](Transport::queue) for each, [`finish`](Transport::finish).
//!
//! # Interruptions
//!
//! With *adapter interruptions* the device sets a bit for the queue and a summary byte, and makes one
//! interruption pending for all devices of a subclass; no subchannel gets a status. Where the device
//! refuses them, or they are switched off, the *classic* indicators do: then each interruption makes
//! the subchannel status pending, and TEST SUBCHANNEL clears it. Configuration changes always come
//! that way. The indicator bits themselves are not looked at: a used ring tells as much, and cannot be
//! wrong. They are cleared before sleeping ([`Transport::arm`]), and the rings looked at after.
//!
//! # Limits
//!
//! virtio 1.0 and later, revisions 1 and 2. At most [`MAX_QUEUES`] queues of a device can be used. No
//! queue reset.
//!
//! # The rule
//!
//! All storage that the device is told of is below 2 GiB, within one page if it is a command's, and
//! stays its own for good.

use channel::{CommandCode, IoInterruption, SubchannelId, Tested};
use s390x::fence;
use virtio::ccw::{
    AdapterIndicators, Command, FeatureDescriptor, IndicatorAddress, QueueConfig, QueueInfo,
    Revision,
};
use virtio::ring::driver::Queue;
use virtio::ring::QueueLayout;
use virtio::{Features, Status};
use window::{ClientAddress, Window};
use zerocopy::{FromBytes, IntoBytes};

use crate::css;
use crate::css::{Channel, Platform};

mod error;
mod settings;

pub use error::TransportError;
pub use settings::{Settings, Signalling};

/// Most queues of a device that can be used: the classic indicators are so many bits.
pub const MAX_QUEUES: u16 = 64;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TransportEvent {
    Queues,
    /// Look at the configuration too, and at the status.
    Configuration,
    Gone,
}

#[derive(Debug)]
pub struct Transport {
    channel: Channel,
    settings: Settings,
    revision: u16,
    features: Features,
    status: Status,
    signalling: Signalling,
    indicators: Window,
    cookies: [i64; MAX_QUEUES as usize],
}

impl Transport {
    /// Where the indicators are in their page.
    const QUEUE_BITS: u64 = 0;
    const CONFIG_BITS: u64 = 8;
    const SUMMARY: u64 = 16;
    /// How often the status is read until a reset shows.
    const RESET_ATTEMPTS: u32 = 1_000;
    const RESET_PAUSE: u64 = 1_000;

    /// Enables the subchannel, agrees on a revision, resets the device and says that there is a
    /// driver for it.
    pub fn open(
        platform: &mut dyn Platform,
        id: SubchannelId,
        settings: Settings,
    ) -> Result<Self, TransportError> {
        let schib = css::enable(platform, id, settings.isc)?;
        let page = platform.storage(1)?;
        let indicators = platform.storage(1)?;
        let mut transport = Self {
            channel: Channel::new(id, css::path_mask(&schib), page),
            settings,
            revision: 0,
            features: Features::empty(),
            status: Status::empty(),
            signalling: Signalling::Classic,
            indicators,
            cookies: [0; MAX_QUEUES as usize],
        };
        transport.agree_on_revision(platform)?;
        transport.reset(platform)?;
        transport.add_status(platform, Status::ACKNOWLEDGE)?;
        transport.add_status(platform, Status::DRIVER)?;
        Ok(transport)
    }

    fn agree_on_revision(&mut self, platform: &mut dyn Platform) -> Result<(), TransportError> {
        let wishes = [
            virtio::ccw::REVISION_READ_STATUS,
            virtio::ccw::REVISION_VIRTIO_1,
        ];
        let mut refused = TransportError::NotModern;
        for revision in wishes {
            let wish = Revision {
                revision: revision.into(),
                length: 0.into(),
            };
            match self.write(platform, Command::SetRevision, wish.as_bytes()) {
                Ok(()) => {
                    self.revision = revision;
                    return Ok(());
                }
                Err(error) if error.is_command_reject() => {}
                Err(error) => {
                    refused = error;
                    break;
                }
            }
        }
        Err(refused)
    }

    /// Puts the device back to its beginnings. It has let go of all storage when this returns
    /// without an error.
    pub fn reset(&mut self, platform: &mut dyn Platform) -> Result<(), TransportError> {
        self.write(platform, Command::Reset, &[])?;
        self.status = Status::empty();
        if self.revision < virtio::ccw::REVISION_READ_STATUS {
            return Ok(());
        }
        for _ in 0..Self::RESET_ATTEMPTS {
            if self.read_status(platform)?.is_empty() {
                return Ok(());
            }
            let soon = platform.now().plus_micros(Self::RESET_PAUSE);
            platform.pause(soon);
        }
        Err(TransportError::NotReset)
    }

    /// Puts it back to its beginnings, and leaves the subchannel as nobody has it.
    pub fn close(&mut self, platform: &mut dyn Platform) -> Result<(), TransportError> {
        self.reset(platform)?;
        css::disable(platform, self.channel.id())?;
        Ok(())
    }

    /// Agrees on features: those of `wanted` that the device offers. [`Features::VERSION_1`] has to
    /// be among them.
    pub fn negotiate(
        &mut self,
        platform: &mut dyn Platform,
        wanted: Features,
    ) -> Result<Features, TransportError> {
        let mut offered = Features::empty();
        for index in [0, 1] {
            let mut word = FeatureDescriptor {
                features: 0.into(),
                index,
            };
            self.read(platform, Command::ReadFeatures, word.as_mut_bytes())?;
            offered = offered.with_word(index, word.features.get());
        }
        let accepted = offered.intersection(wanted.union(Features::VERSION_1));
        if !accepted.contains(Features::VERSION_1) {
            return Err(TransportError::NotModern);
        }
        for index in [0, 1] {
            let word = FeatureDescriptor {
                features: accepted.word(index).into(),
                index,
            };
            self.write(platform, Command::WriteFeatures, word.as_bytes())?;
        }
        match self.add_status(platform, Status::FEATURES_OK) {
            Err(error) if error.is_command_reject() => {
                return Err(TransportError::Features(accepted))
            }
            other => other?,
        }
        if self.revision >= virtio::ccw::REVISION_READ_STATUS
            && !self.read_status(platform)?.contains(Status::FEATURES_OK)
        {
            return Err(TransportError::Features(accepted));
        }
        self.features = accepted;
        Ok(accepted)
    }

    /// The configuration space from its start. What the device does not have is zero.
    pub fn read_config<T: FromBytes + IntoBytes>(
        &mut self,
        platform: &mut dyn Platform,
    ) -> Result<T, TransportError> {
        let mut config = T::new_zeroed();
        self.read(platform, Command::ReadConfig, config.as_mut_bytes())?;
        Ok(config)
    }

    /// The largest size of queue `index`; zero if there is no such queue.
    pub fn queue_max(
        &mut self,
        platform: &mut dyn Platform,
        index: u16,
    ) -> Result<u16, TransportError> {
        let mut config = QueueConfig {
            index: index.into(),
            max_size: 0.into(),
        };
        match self.read(platform, Command::ReadQueueConfig, config.as_mut_bytes()) {
            Ok(()) => Ok(config.max_size.get()),
            Err(error) if error.is_command_reject() => Ok(0),
            Err(error) => Err(error),
        }
    }

    /// Sets up queue `index` with `SIZE` entries, or as many as the device allows.
    ///
    /// # Errors
    ///
    /// [`TransportError`]; among others if there is no such queue.
    pub fn queue<const SIZE: usize>(
        &mut self,
        platform: &mut dyn Platform,
        index: u16,
    ) -> Result<Queue<SIZE>, TransportError> {
        let max = self.queue_max(platform, index)?;
        let size = u16::try_from(SIZE).unwrap_or(u16::MAX).min(max);
        if size == 0 || index >= MAX_QUEUES {
            return Err(TransportError::NoQueue(index));
        }
        // Down to a power of two.
        let size = 1 << size.ilog2();
        let pages = (QueueLayout::contiguous_bytes(size) as usize).div_ceil(4096);
        let memory = platform.storage(pages)?;
        let queue = Queue::new(memory, size, self.features.into())
            .map_err(|error| TransportError::Layout(index, error))?;
        let addresses = queue.addresses();
        let info = QueueInfo {
            descriptors: addresses.descriptors.into(),
            reserved: 0.into(),
            index: index.into(),
            size: size.into(),
            driver: addresses.driver.into(),
            device: addresses.device.into(),
        };
        self.write(platform, Command::SetQueue, info.as_bytes())?;
        Ok(queue)
    }

    /// Says where the indicators are, and that the driver is ready: the device is live.
    pub fn finish(&mut self, platform: &mut dyn Platform) -> Result<(), TransportError> {
        self.signalling = self.set_indicators(platform)?;
        let config = IndicatorAddress {
            address: self.indicator(Self::CONFIG_BITS).into(),
        };
        self.write(platform, Command::SetConfigIndicators, config.as_bytes())?;
        self.add_status(platform, Status::DRIVER_OK)
    }

    fn set_indicators(
        &mut self,
        platform: &mut dyn Platform,
    ) -> Result<Signalling, TransportError> {
        if self.settings.adapter {
            let area = AdapterIndicators {
                summary_indicator: self.indicator(Self::SUMMARY).into(),
                indicator: self.indicator(Self::QUEUE_BITS).into(),
                bit_number: 0.into(),
                isc: self.settings.isc,
            };
            match self.write(platform, Command::SetAdapterIndicators, area.as_bytes()) {
                Ok(()) => return Ok(Signalling::Adapter),
                Err(error) if error.is_command_reject() => {}
                Err(error) => return Err(error),
            }
        }
        let area = IndicatorAddress {
            address: self.indicator(Self::QUEUE_BITS).into(),
        };
        self.write(platform, Command::SetIndicators, area.as_bytes())?;
        Ok(Signalling::Classic)
    }

    fn indicator(&self, offset: u64) -> u64 {
        self.indicators.absolute_base() + offset
    }

    /// Tells the device that a queue has new buffers; whether that was possible.
    #[inline]
    pub fn notify(&mut self, platform: &mut dyn Platform, queue: u16) -> bool {
        let Some(cookie) = self.cookies.get_mut(usize::from(queue)) else {
            return false;
        };
        let answer = platform.notify(self.channel.id(), queue, *cookie);
        *cookie = answer.max(0);
        answer >= 0
    }

    /// Clears the indicators, before looking at the rings a last time and going to sleep.
    pub fn arm(&self) {
        // The places are in the page: nothing to be done about an error that cannot be.
        let _ = self
            .indicators
            .write(ClientAddress::new(Self::SUMMARY), &0_u8);
        let _ = self
            .indicators
            .write(ClientAddress::new(Self::QUEUE_BITS), &0_u64);
        fence::full();
    }

    /// Takes the status of an interruption if it is one of this device's subchannel.
    pub fn interruption(
        &mut self,
        platform: &mut dyn Platform,
        interruption: &IoInterruption,
    ) -> Option<TransportEvent> {
        match interruption {
            IoInterruption::Subchannel { id, .. } if *id == self.channel.id() => {}
            IoInterruption::Subchannel { .. } | IoInterruption::Adapter { .. } => return None,
        }
        match platform.test(self.channel.id()) {
            Ok(Tested::Status(_) | Tested::Nothing(_)) => {}
            Err(_) => return Some(TransportEvent::Gone),
        }
        Some(match self.take_change() {
            true => TransportEvent::Configuration,
            false => TransportEvent::Queues,
        })
    }

    /// Whether the configuration has changed since this was asked last. What is read of it afterwards is not older than the change:
    /// one that comes meanwhile sets the indicator again, which is what the standard's generation count is for elsewhere.
    pub fn take_change(&mut self) -> bool {
        let place = ClientAddress::new(Self::CONFIG_BITS);
        let bits = self.indicators.read::<u64>(place);
        let changed = bits.is_ok_and(|bits| bits != 0);
        if changed {
            let _ = self.indicators.write(place, &0_u64);
            fence::full();
        }
        changed
    }

    /// Takes whatever status and interruption of the subchannel there is: for a driver that looks at
    /// its queues anyway.
    pub fn settle(&mut self, platform: &mut dyn Platform) {
        // A device that has gone shows up at the next command.
        let _ = platform.take_status(self.channel.id());
    }

    /// Whether the device says that it needs a reset. Always no before revision 2.
    pub fn needs_reset(&mut self, platform: &mut dyn Platform) -> Result<bool, TransportError> {
        if self.revision < virtio::ccw::REVISION_READ_STATUS {
            return Ok(false);
        }
        Ok(self
            .read_status(platform)?
            .contains(Status::DEVICE_NEEDS_RESET))
    }

    pub const fn id(&self) -> SubchannelId {
        self.channel.id()
    }

    pub const fn features(&self) -> Features {
        self.features
    }

    pub const fn signalling(&self) -> Signalling {
        self.signalling
    }

    fn add_status(
        &mut self,
        platform: &mut dyn Platform,
        status: Status,
    ) -> Result<(), TransportError> {
        let status = self.status.union(status);
        self.write(platform, Command::WriteStatus, &[status.bits()])?;
        self.status = status;
        Ok(())
    }

    fn read_status(&mut self, platform: &mut dyn Platform) -> Result<Status, TransportError> {
        let mut status = [0];
        self.read(platform, Command::ReadStatus, &mut status)?;
        Ok(Status::from_bits_truncate(status[0]))
    }

    fn write(
        &mut self,
        platform: &mut dyn Platform,
        command: Command,
        data: &[u8],
    ) -> Result<(), TransportError> {
        self.channel
            .write(platform, code(command), data)
            .map_err(|error| TransportError::Program(command, error))
    }

    fn read(
        &mut self,
        platform: &mut dyn Platform,
        command: Command,
        data: &mut [u8],
    ) -> Result<(), TransportError> {
        self.channel
            .read(platform, code(command), data)
            .map(drop)
            .map_err(|error| TransportError::Program(command, error))
    }
}

const fn code(command: Command) -> CommandCode {
    CommandCode(command as u8)
}

#[cfg(test)]
mod tests;
