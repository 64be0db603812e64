//! What the subchannel says: status, and whether there is still a device.

use channel::{FunctionControl, Irb, Schib, Tested};
use vcss::trace::{DriverState, TraceEvent};

use super::incident::Cause;
use super::paths::Paths;
use super::recovery::Action;
use super::{BringUpError, Disk, Medium, State};
use crate::css::{self, Platform};

impl<M: Medium> Disk<M> {
    /// Takes the status that is pending, whatever it is.
    ///
    /// Its interruption is not looked for: one that outlives the status leads to another look, which finds nothing, whereas
    /// one that is thrown away behind the status may be that of the next.
    pub(super) fn take(&mut self, platform: &mut dyn Platform) -> Option<Irb> {
        self.looked = platform.now();
        match platform.test(self.id) {
            Err(_) => {
                self.give_up(platform, "not operational");
                None
            }
            Ok(Tested::Nothing(_)) => None,
            Ok(Tested::Status(irb)) => Some(irb),
        }
    }

    /// Looks how the function in progress is getting on.
    pub(super) fn look(&mut self, platform: &mut dyn Platform) {
        let Some(mut irb) = self.take(platform) else {
            return;
        };
        let function = irb.scsw.function();
        match self.state {
            State::Idle(_) | State::Lent | State::GivenUp => {
                log::debug!("disk {}: unsolicited {:?}", self.id, irb.scsw.device());
            }
            State::Waiting(_) => self.state = State::Idle(platform.now()),
            State::Running(_) | State::Sensing(_) if function == FunctionControl::START => {
                self.status.0 |= irb.scsw.device_status;
                self.status.1 |= irb.scsw.subchannel_status;
                if irb.scsw.ended() {
                    (irb.scsw.device_status, irb.scsw.subchannel_status) = self.status;
                    let before = core::mem::replace(&mut self.state, State::Idle(platform.now()));
                    match before {
                        State::Sensing(_) => self.sensed(platform, &irb),
                        _ => self.ended(platform, &irb),
                    }
                }
            }
            State::Running(_) | State::Sensing(_) | State::Halting(_) | State::Clearing(..) => {
                if !function.is_empty() && self.is_idle(platform, &irb) {
                    let (reason, action) = match self.state {
                        State::Running(_) | State::Sensing(_) => {
                            ("halted or cleared", Action::Retry)
                        }
                        _ => ("missing interruption", Action::OtherPath),
                    };
                    if action == Action::OtherPath {
                        self.paths.leave(irb.esw.last_path_used(), self.looked);
                    }
                    self.state = State::Idle(platform.now());
                    let (irb, sense) = (&irb, None);
                    self.again(platform, action, &Cause { reason, irb, sense });
                }
            }
        }
    }

    /// Whether the subchannel has no function any more, the status of a halt or clear function having been taken. Hercules shows a
    /// halted program as active in that status.
    pub(super) fn is_idle(&self, platform: &mut dyn Platform, irb: &Irb) -> bool {
        irb.scsw.ended()
            || platform
                .store(self.id)
                .is_ok_and(|schib| schib.scsw.function().is_empty())
    }

    /// The SCHIB, if the disk's device is there.
    pub(super) fn stored(&self, platform: &mut dyn Platform) -> Option<Schib> {
        let schib = platform.store(self.id).ok()?;
        let ours = schib.pmcw.has_device() && schib.pmcw.device.get() == self.number;
        ours.then_some(schib)
    }

    /// The disk was given up, and a device is there.
    pub(super) fn come_back(&mut self, platform: &mut dyn Platform) {
        if self.stored(platform).is_none() {
            log::error!(
                "disk {} is not brought up again: it has another device",
                self.id
            );
            return;
        }
        let enabled = css::enable(platform, self.id, self.isc);
        let back = enabled.map_err(BringUpError::Enable).and_then(|schib| {
            let path_mask = css::path_mask(&schib);
            self.medium.channel().set_path_mask(path_mask);
            self.medium.come_back(platform, path_mask)?;
            Ok(path_mask)
        });
        match back {
            Ok(path_mask) => {
                log::info!("disk {} is back", self.id);
                self.paths = Paths::new(path_mask);
                self.state = State::Idle(platform.now());
                self.recoveries.broken = false;
                self.note(platform, TraceEvent::Back, DriverState::Idle);
            }
            Err(error) => log::error!("disk {} is not brought up again: {error}", self.id),
        }
    }
}
