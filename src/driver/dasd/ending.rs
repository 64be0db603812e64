//! How programs and requests end: well, by the [table](super::recovery) of errors, or because their time is over.

use channel::{Irb, Refusal};

use super::super::{Platform, Sense};
use super::recovery::{self, Action, Ending};
use super::{BlockStatus, Disk, Done, Medium, Request, State, QUEUE_SIZE};

impl<M: Medium> Disk<M> {
    /// The program has ended.
    pub(super) fn ended(&mut self, platform: &mut dyn Platform, irb: &Irb) {
        match recovery::ending(irb) {
            Ending::Good => self.complete(),
            Ending::Gone => self.give_up("no path is operational"),
            Ending::Bad(reason, action) => self.recover(platform, irb, reason, action, None),
            Ending::UnitCheck => {
                let sense = match irb.concurrent_sense() {
                    Some(bytes) => Ok(Sense::new(bytes)),
                    None => self.medium.channel().sense(platform),
                };
                match sense {
                    Ok(sense) => {
                        let row = recovery::row_of(sense.bytes());
                        self.recover(platform, irb, row.reason, row.action, Some(sense));
                    }
                    Err(error) => {
                        log::warn!("disk {}: {error}", self.id);
                        self.again(platform, "no sense data");
                    }
                }
            }
        }
    }

    /// The program has done its work: so have the requests that are whole.
    fn complete(&mut self) {
        self.attempts = 0;
        self.alone = self.alone.saturating_sub(1);
        for part in &self.parts {
            let Some(&number) = self.queue.front() else {
                break;
            };
            let Some(request) = self.requests.get_mut(usize::from(number)) else {
                break;
            };
            request.at = part.end;
            request.block += u64::from(part.blocks);
            request.left = request.left.saturating_sub(part.blocks);
            if request.left == 0 {
                finish(
                    &mut self.queue,
                    &mut self.free,
                    &mut self.done,
                    request,
                    BlockStatus::Ok,
                );
            } else if self.alone > 0 {
                // It still goes alone.
                self.alone += 1;
            }
        }
        self.parts.clear();
    }

    /// What the table says is done.
    fn recover(
        &mut self,
        platform: &mut dyn Platform,
        irb: &Irb,
        reason: &'static str,
        action: Action,
        sense: Option<Sense>,
    ) {
        if self.parts.len() > 1 {
            log::debug!("disk {}: {reason}: its requests one by one", self.id);
            self.alone = self.parts.len();
            self.counters.retries += 1;
            self.parts.clear();
            return;
        }
        let first = self.queue.front().map(|&number| usize::from(number));
        if let Some(request) = first.and_then(|number| self.requests.get(number)) {
            let block = request.block + self.medium.block_at(irb.scsw.program.get());
            let place = self.medium.place(block);
            let id = self.id;
            let bytes = sense.unwrap_or(Sense::new(&[]));
            if self.attempts == 0 {
                log::warn!("disk {id}: {reason} at {place}, {bytes:?}");
            }
        }
        match action {
            Action::Retry => self.again(platform, reason),
            Action::Fail => self.fail(reason),
        }
    }

    /// Tries the program's requests again, if they were not tried too often.
    pub(super) fn again(&mut self, platform: &mut dyn Platform, reason: &'static str) {
        self.parts.clear();
        self.attempts += 1;
        if self.attempts >= recovery::ATTEMPTS {
            return self.fail(reason);
        }
        self.counters.retries += 1;
        let pause = recovery::pause_us(self.attempts);
        log::debug!("disk {}: {reason}: again in {pause} us", self.id);
        self.state = State::Idle(platform.now().plus_micros(pause));
    }

    /// The first request fails.
    pub(super) fn fail(&mut self, reason: &'static str) {
        self.parts.clear();
        self.attempts = 0;
        self.alone = self.alone.saturating_sub(1);
        let first = self.queue.front().map(|&number| usize::from(number));
        if let Some(request) = first.and_then(|number| self.requests.get_mut(number)) {
            self.counters.failures += 1;
            log::error!("disk {}: request failed: {reason}", self.id);
            finish(
                &mut self.queue,
                &mut self.free,
                &mut self.done,
                request,
                BlockStatus::IoError,
            );
        }
    }

    /// Nothing can be done with the disk any more: all its requests fail.
    #[cold]
    pub(super) fn give_up(&mut self, reason: &'static str) {
        log::error!("disk {} is given up: {reason}", self.id);
        self.state = State::GivenUp;
        for _ in 0..self.queue.len() {
            self.fail(reason);
        }
    }

    /// The time of a function is over: the next harder one.
    #[cold]
    pub(super) fn overdue(&mut self, platform: &mut dyn Platform) {
        let deadline = platform.now().plus_micros(recovery::STOP_TIMEOUT);
        let clears = match self.state {
            State::Idle(_) | State::Lent | State::GivenUp => return,
            State::Running(_) => {
                self.counters.timeouts += 1;
                self.alone = self.alone.max(self.parts.len());
                log::warn!("disk {}: missing interruption: halt", self.id);
                match platform.halt(self.id) {
                    Ok(()) => {
                        self.state = State::Halting(deadline);
                        return;
                    }
                    Err(Refusal::NotOperational) => return self.give_up("not operational"),
                    // Status came after all.
                    Err(Refusal::StatusPending) => return self.look(platform),
                    Err(Refusal::Busy) => recovery::CLEARS,
                }
            }
            State::Halting(_) => recovery::CLEARS,
            State::Clearing(_, left) => left,
        };
        if clears == 0 {
            return self.give_up("its program cannot be stopped");
        }
        log::warn!("disk {}: missing interruption: clear", self.id);
        match platform.clear(self.id) {
            Ok(()) => self.state = State::Clearing(deadline, clears - 1),
            Err(_) => self.give_up("not operational"),
        }
    }
}

/// The first request of the queue ends. There is room for as many endings as there are requests.
fn finish(
    queue: &mut heapless::Deque<u8, QUEUE_SIZE>,
    free: &mut heapless::Vec<u8, QUEUE_SIZE>,
    done: &mut heapless::Deque<Done, QUEUE_SIZE>,
    request: &mut Request,
    status: BlockStatus,
) {
    if let (Some(number), Some(token)) = (queue.pop_front(), request.token.take()) {
        let _ = free.push(number);
        let _ = done.push_back(Done { token, status });
    }
}
