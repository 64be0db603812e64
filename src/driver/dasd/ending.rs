//! What the subchannel says, and how programs and requests end: well, by the [table](super::recovery) of errors, or because their time is over.

use channel::{FunctionControl, Irb, Refusal, Schib, Tested};
use s390x::clock::Tod;
use vcss::trace::{DriverState, TraceEvent};

use super::incident::Cause;
use super::paths::Paths;
use super::recovery::{self, Action, Ending};
use super::{BringUpError, Disk, Hold, Medium, Purpose, State};
use crate::css::{self, Platform, Sense};

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
                    self.again(platform, action, &Cause::new(reason, &irb));
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
            self.medium.channel().enabled(path_mask);
            self.medium.verify(platform)?;
            self.medium.regroup(platform, path_mask);
            Ok(path_mask)
        });
        match back {
            Ok(path_mask) => {
                log::info!("disk {} is back", self.id);
                self.paths = Paths::new(path_mask);
                self.hold -= Hold::VERIFYING;
                self.state = State::Idle(platform.now());
                self.recoveries.broken = false;
                self.note(platform, TraceEvent::Back, DriverState::Idle);
            }
            Err(error) => log::error!("disk {} is not brought up again: {error}", self.id),
        }
    }

    #[cold]
    pub(super) fn refused(&mut self, platform: &mut dyn Platform, refusal: Refusal) {
        let (reason, action) = match refusal {
            Refusal::StatusPending => {
                let _ = self.take(platform);
                return;
            }
            Refusal::Busy => ("subchannel busy", Action::Retry),
            Refusal::NotOperational if self.paths.is_whole() => {
                return self.give_up(platform, "not operational")
            }
            Refusal::Operand => return self.give_up(platform, "operand exception"),
            // None of the paths in use is available; those that are left out may be.
            Refusal::NotOperational => {
                self.paths.reset();
                ("path not operational", Action::OtherPath)
            }
        };
        self.again(platform, action, &Cause::new(reason, &Irb::default()));
    }

    pub(super) fn ended(&mut self, platform: &mut dyn Platform, irb: &Irb) {
        let (reason, action) = match recovery::ending(irb) {
            Ending::Good => {
                return match self.purpose {
                    Purpose::Requests => self.complete(),
                    Purpose::Survey => self.surveyed(platform, irb, true),
                    Purpose::Format => self.formatted(),
                }
            }
            Ending::Gone if self.paths.is_whole() => {
                return self.give_up(platform, "no path is operational")
            }
            // The other paths may be.
            Ending::Gone => ("path not operational", Action::OtherPath),
            Ending::Bad(reason, action) => (reason, action),
            Ending::UnitCheck => {
                return match irb.concurrent_sense() {
                    Some(bytes) => self.checked(platform, irb, Sense::new(bytes)),
                    None => self.ask_for_sense(platform, irb),
                }
            }
        };
        self.recover(platform, action, &Cause::new(reason, irb));
    }

    /// The program has ended with a unit check, and these are its sense bytes.
    #[cold]
    fn checked(&mut self, platform: &mut dyn Platform, irb: &Irb, sense: Sense) {
        let row = recovery::row_of(sense.bytes());
        let reason = row.reason;
        let lacks_record = recovery::is_no_record_found(sense.bytes());
        let rejected = sense.is_command_reject();
        let sense = Some(sense);
        let cause = Cause { reason, irb, sense };
        let purpose = self.purpose;
        match purpose {
            Purpose::Requests if rejected && self.medium.do_without() => {
                log::warn!("disk {}: {reason}: tried in another way", self.id);
                self.requests.withdraw();
            }
            Purpose::Requests if lacks_record && self.lacks_record(platform) => {}
            // At the first one that is missing.
            Purpose::Survey if lacks_record => self.surveyed(platform, irb, false),
            Purpose::Requests | Purpose::Survey | Purpose::Format => {
                self.recover(platform, row.action, &cause);
            }
        }
    }

    /// The program has ended with a unit check without sense bytes: they are asked for over the path that it took.
    #[cold]
    fn ask_for_sense(&mut self, platform: &mut dyn Platform, irb: &Irb) {
        let path = match irb.esw.last_path_used() & self.paths.current() {
            0 => self.paths.current(),
            path => path,
        };
        self.unit_check = *irb;
        let orb = self.medium.channel().sense_program(path);
        // SAFETY: the program and its data lie in the channel's page, which nobody else uses before the state is another one;
        // after a program that cannot be stopped it is not used at all.
        let started = orb.map(|orb| unsafe { platform.start(self.id, &orb) });
        match started {
            Ok(Ok(())) => {
                self.status = (0, 0);
                let deadline = platform.now().plus_micros(recovery::SENSE_TIMEOUT);
                self.state = State::Sensing(deadline);
                self.look(platform);
            }
            Ok(Err(refusal @ (Refusal::NotOperational | Refusal::Operand))) => {
                self.refused(platform, refusal);
            }
            Ok(Err(Refusal::Busy | Refusal::StatusPending)) | Err(_) => self.unsensed(platform),
        }
    }

    #[cold]
    pub(super) fn sensed(&mut self, platform: &mut dyn Platform, irb: &Irb) {
        match (recovery::ending(irb), self.medium.channel().sensed()) {
            (Ending::Good, Ok(sense)) => {
                let irb = self.unit_check;
                self.checked(platform, &irb, sense);
            }
            _ => self.unsensed(platform),
        }
    }

    #[cold]
    fn unsensed(&mut self, platform: &mut dyn Platform) {
        let irb = self.unit_check;
        self.recover(platform, Action::Retry, &Cause::new("no sense data", &irb));
    }

    /// The program has done its work.
    pub(super) fn complete(&mut self) {
        self.attempts = 0;
        self.requests.complete();
    }

    pub(super) fn recover(
        &mut self,
        platform: &mut dyn Platform,
        action: Action,
        cause: &Cause<'_>,
    ) {
        let used = cause.irb.esw.last_path_used();
        let now = platform.now();
        let action = match action {
            Action::OtherPath => {
                self.paths.leave(used, now);
                action
            }
            Action::UntriedPath => {
                if self.attempts == 0 {
                    self.paths.reset();
                }
                match self.paths.leave(used, now) {
                    true => action,
                    false => Action::Fail,
                }
            }
            Action::Retry | Action::AwaitChange | Action::Fail => action,
        };
        // What is wrong with the device is not the fault of any one request.
        if self.requests.running() <= 1 || action == Action::AwaitChange {
            self.warn(cause);
            match action {
                Action::Fail => {
                    self.note_recovery(platform, action, cause);
                    self.fail(cause.reason);
                }
                _ => self.again(platform, action, cause),
            }
            return;
        }
        log::debug!(
            "disk {}: {}: its requests one by one",
            self.id,
            cause.reason
        );
        self.requests.separate();
        self.requests.withdraw();
        let action = match action {
            Action::Fail => Action::Retry,
            other => other,
        };
        self.count(action);
        self.note_recovery(platform, action, cause);
    }

    #[cold]
    fn warn(&self, cause: &Cause<'_>) {
        let Some(request) = self.requests.first() else {
            return;
        };
        if self.attempts == 0 {
            let at = match self.purpose {
                Purpose::Requests => self.medium.block_at(cause.irb.scsw.program.get()),
                Purpose::Survey | Purpose::Format => 0,
            };
            let place = self.medium.place(request.block + at);
            let bytes = cause.sense.unwrap_or(Sense::new(&[]));
            log::warn!("disk {}: {} at {place}, {bytes:?}", self.id, cause.reason);
        }
    }

    fn count(&mut self, action: Action) {
        let all = &mut self.recoveries;
        all.retries += 1;
        match action {
            Action::OtherPath | Action::UntriedPath => all.other_paths += 1,
            Action::AwaitChange => all.waits += 1,
            Action::Retry | Action::Fail => {}
        }
    }

    /// Tries the program's requests again, if they were not tried too often: otherwise they all fail.
    #[cold]
    pub(super) fn again(&mut self, platform: &mut dyn Platform, action: Action, cause: &Cause<'_>) {
        self.attempts += 1;
        if self.attempts >= recovery::ATTEMPTS {
            self.note_recovery(platform, Action::Fail, cause);
            for _ in 0..self.requests.running().max(1) {
                self.fail(cause.reason);
            }
            self.requests.withdraw();
            return;
        }
        self.requests.withdraw();
        self.count(action);
        self.note_recovery(platform, action, cause);
        log::debug!("disk {}: {}: {action:?}", self.id, cause.reason);
        self.state = if action == Action::AwaitChange {
            State::Waiting(platform.now().plus_micros(recovery::CHANGE_US))
        } else {
            let pause = recovery::pause_us(self.attempts);
            State::Idle(platform.now().plus_micros(pause))
        };
    }

    /// The first request fails.
    #[cold]
    pub(super) fn fail(&mut self, reason: &'static str) {
        self.attempts = 0;
        if self.requests.fail_first() {
            self.recoveries.failures += 1;
            log::error!("disk {}: request failed: {reason}", self.id);
        }
    }

    fn note(&mut self, platform: &mut dyn Platform, event: TraceEvent, after: DriverState) {
        self.incidents.note(platform.now(), event, after, [0; 3]);
    }

    fn note_recovery(&mut self, platform: &mut dyn Platform, action: Action, cause: &Cause<'_>) {
        let (attempt, paths) = ((action, self.attempts), self.paths.current());
        self.incidents
            .recovery(platform.now(), attempt, paths, cause);
    }

    /// Nothing can be done with the disk any more: all its requests fail.
    #[cold]
    pub(super) fn give_up(&mut self, platform: &mut dyn Platform, reason: &'static str) {
        log::error!("disk {} is given up: {reason}", self.id);
        self.state = State::GivenUp;
        self.recoveries.broken = true;
        self.note(platform, TraceEvent::Gone, DriverState::Disconnected);
        self.requests.withdraw();
        for _ in 0..self.requests.waiting() {
            self.fail(reason);
        }
    }

    /// The time of a function is over: the next harder one.
    #[cold]
    pub(super) fn overdue(&mut self, platform: &mut dyn Platform) {
        let deadline = platform.now().plus_micros(recovery::STOP_TIMEOUT);
        let clears = match self.state {
            State::Idle(_) | State::Waiting(_) | State::Lent | State::GivenUp => return,
            State::Running(_) | State::Sensing(_) => {
                self.recoveries.timeouts += 1;
                self.note(platform, TraceEvent::TimeOut, DriverState::Busy);
                self.requests.separate();
                log::warn!("disk {}: missing interruption: halt", self.id);
                return self.stop(platform);
            }
            State::Halting(_) => recovery::CLEARS,
            State::Clearing(_, left) => left,
        };
        self.clear(platform, deadline, clears);
    }

    /// Has the program that runs be ended: by a halt function, and if that does not do it, by a clear function.
    #[cold]
    pub(super) fn stop(&mut self, platform: &mut dyn Platform) {
        let deadline = platform.now().plus_micros(recovery::STOP_TIMEOUT);
        match platform.halt(self.id) {
            Ok(()) => self.state = State::Halting(deadline),
            Err(Refusal::NotOperational | Refusal::Operand) => {
                self.give_up(platform, "not operational");
            }
            // Status came after all.
            Err(Refusal::StatusPending) => self.look(platform),
            Err(Refusal::Busy) => self.clear(platform, deadline, recovery::CLEARS),
        }
    }

    fn clear(&mut self, platform: &mut dyn Platform, deadline: Tod, clears: u32) {
        if clears == 0 {
            return self.give_up(platform, "its program cannot be stopped");
        }
        log::warn!("disk {}: missing interruption: clear", self.id);
        match platform.clear(self.id) {
            Ok(()) => self.state = State::Clearing(deadline, clears - 1),
            Err(_) => self.give_up(platform, "not operational"),
        }
    }
}
