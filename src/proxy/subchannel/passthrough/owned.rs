//! The owned subchannel, and whether its device is there.

use channel::{Classify, DeviceNumber, PmcwFlags, Schib, SubchannelId};

use crate::css::Platform;

/// An owned subchannel, and the number of the device that is meant there. Another device on that subchannel is none.
#[derive(Clone, Copy, Debug)]
pub struct Owned {
    pub id: SubchannelId,
    pub number: u16,
    /// What can be said to the device again.
    pub classify: Classify,
    /// Programs run within START SUBCHANNEL.
    pub runs_within_start: bool,
}

impl Owned {
    pub const fn device(&self) -> DeviceNumber {
        DeviceNumber {
            set: self.id.set(),
            number: self.number,
        }
    }

    /// The SCHIB, if there is a device, and the same as before: one that was exchanged in between has another number, or is disabled
    /// while the client has it enabled.
    pub(super) fn stored(&self, is_enabled: bool, platform: &mut dyn Platform) -> Option<Schib> {
        let schib = platform.store(self.id).ok()?;
        let disabled = is_enabled && !schib.pmcw.flags().contains(PmcwFlags::ENABLED);
        let exchanged = disabled || schib.pmcw.device.get() != self.number;
        (schib.pmcw.has_device() && !exchanged).then_some(schib)
    }
}

/// Whether somebody left the subchannel enabled, or a function in progress.
pub(super) fn is_in_use(schib: &Schib) -> bool {
    schib.pmcw.flags().contains(PmcwFlags::ENABLED) || !schib.scsw.function().is_empty()
}
