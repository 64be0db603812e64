//! What drivers and the event loop need of the machine beyond the I/O instructions.

use channel::{ChannelSubsystem, NotOperational, SubchannelId, Tested};
use s390x::clock::Tod;
use s390x::idle::ExternalInterruption;
use s390x::machine_check::MachineCheckCode;
use thiserror::Error;
use window::Window;

use super::events::EventInformation;
use super::stock::Stock;

/// What a driver needs of the machine beyond the I/O instructions.
pub trait Platform: ChannelSubsystem {
    /// Tells the hypervisor that a virtio queue has new buffers (virtio 1.3, section 4.3.3.2).
    ///
    /// `cookie` is what the last notification of the same queue returned, 0 at first. A negative
    /// result says that the hypervisor refused.
    ///
    /// This is not an unsafe function: the device may touch only what a channel program has
    /// told it of, and starting that program was.
    fn notify(&mut self, id: SubchannelId, queue: u16, cookie: i64) -> i64;

    fn now(&self) -> Tod;

    /// Sleeps until anything happens, at most until `deadline`: for the event loop.
    ///
    /// An I/O interruption that ends the wait is kept: the next
    /// [`pending_interruption`](ChannelSubsystem::pending_interruption) returns it. As long as one
    /// is kept, this returns at once.
    fn wait(&mut self, deadline: Option<Tod>) -> Wake;

    /// Sleeps until an I/O interruption comes (it is kept, as by [`wait`](Self::wait)), at most until
    /// `deadline`: for a driver that waits for its device. Everything else stays pending for the
    /// event loop.
    fn pause(&mut self, deadline: Tod);

    /// Takes all pending I/O interruptions, drops those of subchannel `id` and keeps the others for
    /// [`pending_interruption`](ChannelSubsystem::pending_interruption). Returns whether there were
    /// any of `id`.
    ///
    /// Only for a subchannel that is not enabled, and before its status is taken: status that comes
    /// after TEST SUBCHANNEL has an interruption of its own, which must not be dropped.
    fn forget_interruption(&mut self, id: SubchannelId) -> bool;

    /// Takes the status of subchannel `id` and the interruption that told of it: for a driver that
    /// does not wait for the interruption to be served.
    fn take_status(&mut self, id: SubchannelId) -> Result<Tested, NotOperational> {
        self.forget_interruption(id);
        self.test(id)
    }

    /// Storage for a device to reach: `pages` whole pages of 4096 bytes, zeroed, contiguous, below
    /// 2 GiB. It stays with the caller until the next restart.
    ///
    /// # Errors
    ///
    /// [`OutOfStorage`]: there is not that much.
    fn storage(&mut self, pages: usize) -> Result<Window, OutOfStorage>;

    /// As [`storage`](Self::storage), with whatever is in it: for storage each byte of which is
    /// written before it is read. What is never used is never touched, so that a hypervisor need
    /// not provide it.
    fn storage_as_is(&mut self, pages: usize) -> Result<Window, OutOfStorage> {
        self.storage(pages)
    }

    /// From now on storage comes from this stock, as far as that goes, and is added to it. Returns the stock before.
    fn use_stock(&mut self, stock: Option<Stock>) -> Option<Stock> {
        stock
    }

    /// Fills storage, absolute addresses, with zeroes. `false`: that cannot be done here.
    ///
    /// # Safety
    ///
    /// The storage is there, it belongs to a request that is in progress, and no device is at it.
    unsafe fn zero(&mut self, address: u64, length: u32) -> bool {
        let _ = (address, length);
        false
    }

    /// The next event of the channel subsystem, if it has any.
    fn event_information(&mut self) -> Option<EventInformation> {
        None
    }

    /// Whether programs may have modified indirect data addressing.
    fn has_midaws(&mut self) -> bool {
        false
    }

    /// Has the machine's own watchdog end this program, with a report, unless this is called again within so many seconds. Returns
    /// whether there is one that takes that.
    fn arm_watchdog(&mut self, seconds: u32) -> bool {
        let _ = seconds;
        false
    }

    /// The identifier of the path groups of this machine: the same for all its devices, and another one than any other
    /// machine has, or had. Zero is that of a machine that has no disks to share.
    fn path_group(&self) -> [u8; 11] {
        [0; 11]
    }

    fn patience(&self) -> Patience {
        Patience::DRIVERS
    }

    /// From now on they may wait so long: see [`within`].
    fn set_patience(&mut self, patience: Patience) {
        let _ = patience;
    }

    /// The highest subchannel set that may be named. Switches the multiple-subchannel-set facility
    /// on if it is there.
    fn highest_set(&mut self) -> u8;
}

/// How long drivers may wait for their devices, if that is less than they would by themselves. A device that does not answer in time has
/// its program cleared, as always; one that answers within START SUBCHANNEL is always heard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// For one program, in microseconds, and as long again for its clear function.
    pub each: u64,
    pub until: Tod,
}

impl Patience {
    /// As long as they would by themselves.
    pub const DRIVERS: Self = Self {
        each: u64::MAX,
        until: Tod::NEVER,
    };
    /// For one program, and for all of one look at a device, while clients are served, who wait meanwhile.
    const SERVING_EACH: u64 = 250_000;
    const SERVING_ALL: u64 = 1_000_000;
}

/// Does something with so much patience.
pub fn within<T>(
    platform: &mut dyn Platform,
    patience: Patience,
    act: impl FnOnce(&mut dyn Platform) -> T,
) -> T {
    let before = platform.patience();
    platform.set_patience(patience);
    let done = act(&mut *platform);
    platform.set_patience(before);
    done
}

/// Does something that waits for a device while clients are served.
pub fn while_serving<T>(
    platform: &mut dyn Platform,
    act: impl FnOnce(&mut dyn Platform) -> T,
) -> T {
    let patience = Patience {
        each: Patience::SERVING_EACH,
        until: platform.now().plus_micros(Patience::SERVING_ALL),
    };
    within(platform, patience, act)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wake {
    Io,
    Deadline,
    /// A machine check; with a channel report pending, see [`crate::css::next_report`].
    MachineCheck(MachineCheckCode),
    /// An external interruption: the service signal, another CPU, the operator.
    External(ExternalInterruption),
}

/// Whether so many bytes can be had. What comes while clients are served must not be what ends the appliance: it looks first.
pub fn has_room(bytes: usize) -> bool {
    let mut room: liballoc::vec::Vec<u8> = liballoc::vec::Vec::new();
    let there = room.try_reserve_exact(bytes).is_ok();
    // An allocation that nobody uses would not be made.
    core::hint::black_box(&mut room);
    there
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("no {pages} contiguous pages of storage are left below 2 GiB")]
pub struct OutOfStorage {
    pub pages: usize,
}
