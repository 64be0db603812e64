//! What the device, the channel and the machine do to a subchannel: one step at a time, so that everything can be tried in every state.
//!
//! The model's subchannel gives condition codes, takes up starts and resumptions, and carries out halt and clear functions. The
//! device of the [`Fixture`] ends no command by itself: what comes of a program is what the test says next, though a halt or clear function
//! is pending that never ends.

use channel::model::Fault;
use channel::{
    ActivityControl, DeviceStatus, FunctionControl, Irb, PmcwFlags, StatusControl, SubchannelStatus,
};

use super::fixture::Fixture;

/// What the device, the channel or the machine does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// A start, halt, clear or resume that is pending is carried out.
    Work,
    /// The channel fetches a CCW with PCI.
    Pci,
    /// The channel fetches a CCW with the suspend flag.
    Suspend,
    /// Channel end and device end.
    End,
    /// Channel end, the device stays active.
    ChannelEnd,
    /// Device end of such a device.
    DeviceEnd,
    /// Unit check at the end, with sense data if they are wanted.
    UnitCheck,
    /// Attention.
    Attention,
    /// The device turns the start away, saying nothing.
    Busy,
    /// The device turns the start away with attention.
    Preempted,
    /// No path is there.
    NoPath,
    /// The device is unplugged.
    Unplug,
    /// It is plugged in again.
    Plug,
}

impl Step {
    pub const ALL: [Self; 13] = [
        Self::Work,
        Self::Pci,
        Self::Suspend,
        Self::End,
        Self::ChannelEnd,
        Self::DeviceEnd,
        Self::UnitCheck,
        Self::Attention,
        Self::Busy,
        Self::Preempted,
        Self::NoPath,
        Self::Unplug,
        Self::Plug,
    ];
}

const WORK: ActivityControl = ActivityControl::START_PENDING
    .union(ActivityControl::RESUME_PENDING)
    .union(ActivityControl::HALT_PENDING)
    .union(ActivityControl::CLEAR_PENDING);

impl Fixture {
    /// Whether the step makes sense now; if so it has been made.
    pub fn happens(&mut self, step: Step) -> bool {
        let schib = self.hardware();
        let (function, activity) = (schib.scsw.function(), schib.scsw.activity());
        let pending = schib.scsw.status().contains(StatusControl::PENDING);
        let starts = function.contains(FunctionControl::START);
        let runs = starts && activity.contains(ActivityControl::SUBCHANNEL_ACTIVE);
        let waits = activity == ActivityControl::START_PENDING && !pending;
        let none = ActivityControl::empty();
        let both = StatusControl::PRIMARY | StatusControl::SECONDARY;
        let ended = DeviceStatus::CHANNEL_END | DeviceStatus::DEVICE_END;
        match step {
            Step::Unplug if !self.port().mishaps.gone => self.machine.unplug(self.id),
            Step::Plug if self.port().mishaps.gone => {
                self.port().mishaps.gone = false;
                self.hardware();
            }
            _ if !schib.pmcw.flags().contains(PmcwFlags::ENABLED) => return false,
            Step::Work if activity.intersects(WORK) => return self.work(),
            Step::Pci if runs => {
                self.show(activity, StatusControl::INTERMEDIATE, |irb| {
                    irb.scsw.subchannel_status |= SubchannelStatus::PCI.bits();
                });
            }
            Step::Suspend if runs => {
                let suspended = ActivityControl::SUSPENDED;
                self.show(suspended, StatusControl::INTERMEDIATE, |_| {});
            }
            Step::End if runs => self.ends(none, both, ended),
            Step::ChannelEnd if runs => self.ends(
                ActivityControl::DEVICE_ACTIVE,
                StatusControl::PRIMARY,
                DeviceStatus::CHANNEL_END,
            ),
            Step::UnitCheck if runs => {
                let status = both | StatusControl::ALERT;
                self.ends(none, status, ended | DeviceStatus::UNIT_CHECK);
                if schib.pmcw.has_concurrent_sense() {
                    self.present(|irb| irb.set_concurrent_sense(&[0x5A; 32]));
                }
            }
            Step::DeviceEnd if activity == ActivityControl::DEVICE_ACTIVE => {
                let (status, device) = (StatusControl::SECONDARY, DeviceStatus::DEVICE_END);
                self.alert(none, status, device);
            }
            // While a program runs or is suspended the device's own status waits, and a start that is pending is turned away with it.
            Step::Attention if !pending && !starts => {
                self.alert(activity, StatusControl::ALERT, DeviceStatus::ATTENTION);
            }
            Step::Busy if waits => self.strikes(Fault::DeferredStatus(DeviceStatus::BUSY)),
            Step::Preempted if waits => {
                self.strikes(Fault::DeferredStatus(DeviceStatus::ATTENTION));
            }
            Step::NoPath if waits => self.strikes(Fault::DeferredNoPath),
            _ => return false,
        }
        true
    }

    fn strikes(&mut self, fault: Fault) {
        self.machine.css.inject(self.id, fault);
        assert!(self.machine.css.step(self.id));
    }

    /// The device has status, together with what is pending already.
    fn alert(&mut self, activity: ActivityControl, status: StatusControl, device: DeviceStatus) {
        self.present(|irb| {
            irb.scsw.device_status |= device.bits();
            pend(irb, activity, status);
        });
    }

    /// The same at the first CCW of the program.
    fn ends(&mut self, activity: ActivityControl, status: StatusControl, device: DeviceStatus) {
        self.show(activity, status, |irb| {
            irb.scsw.device_status |= device.bits();
        });
    }

    fn show(
        &mut self,
        activity: ActivityControl,
        status: StatusControl,
        make: impl FnOnce(&mut Irb),
    ) {
        let first = self.port().started.last().unwrap().program.get();
        self.present(|irb| {
            irb.scsw.program = (first + 8).into();
            make(irb);
            pend(irb, activity, status);
        });
    }
}

fn pend(irb: &mut Irb, activity: ActivityControl, status: StatusControl) {
    let scsw = &mut irb.scsw;
    let together = scsw.status() | status | StatusControl::PENDING;
    scsw.set_controls(scsw.function(), activity, together);
}
