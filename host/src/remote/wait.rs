//! How long the appliance is waited for.

use std::time::{Duration, Instant};

use vcss::control::Life;
use vcss::{AreaError, Wake, Word};

use crate::areas::{self, Areas};
use crate::doorbell::BellHandle;
use crate::layout::AreaNumber;

/// How long the appliance may take for one instruction, or for one program that waits for nothing else.
const PATIENCE: Duration = Duration::from_secs(if cfg!(test) { 2 } else { 10 });
/// After how long a wait for requests in flight is worth a line in the log.
const WORTH_A_LINE: Duration = Duration::from_secs(10);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Limit {
    /// It waits for nothing but the appliance.
    InTime,
    /// It waits for requests in flight.
    UntilDone,
}

/// How a vhost-user thread gets the appliance's attention and waits for it.
#[derive(Debug)]
pub struct DeviceWait {
    bell: BellHandle,
    area: AreaNumber,
    generation: Word<'static>,
    life: Word<'static>,
    /// For the log: client and disk.
    label: String,
    /// The appliance's generation when the present program began.
    baseline: u32,
    limit: Limit,
    /// The time that counts, and when it was last added to.
    spent: Duration,
    counted: Instant,
    told: bool,
    passes: u32,
}

impl DeviceWait {
    pub fn new(
        bell: BellHandle,
        areas: &Areas,
        client: usize,
        label: &str,
    ) -> Result<Self, AreaError> {
        let area = areas.clients.get(client).ok_or(AreaError::Magic)?;
        let generation = areas::generation(&area.area)?;
        Ok(Self {
            bell,
            area: AreaNumber::of_client(client),
            baseline: generation.load(),
            generation,
            life: areas.life_word()?,
            label: label.to_owned(),
            limit: Limit::InTime,
            spent: Duration::ZERO,
            counted: Instant::now(),
            told: false,
            passes: 0,
        })
    }

    /// A program begins, which may take so long.
    pub(super) fn begin_program(&mut self, limit: Limit) {
        self.limit = limit;
        self.baseline = self.generation.load();
    }

    /// Whether the appliance was started anew since the program began.
    pub(super) fn is_another(&self) -> bool {
        self.generation.load() != self.baseline
    }

    /// Adds the time since it was last asked, if an appliance serves.
    fn spent(&mut self) -> Duration {
        let now = Instant::now();
        if self.life.load() == Life::Serving as u32 {
            self.spent += now - self.counted;
        }
        self.counted = now;
        self.spent
    }
}

impl Wake for DeviceWait {
    fn ring(&mut self) {
        self.bell.ring(self.area);
    }

    fn begin(&mut self) {
        self.spent = Duration::ZERO;
        self.counted = Instant::now();
        self.told = false;
        self.passes = 0;
    }

    /// Ends the wait early when the appliance was started anew: it knows nothing of a running program.
    fn pass(&mut self) -> bool {
        if self.bell.is_abandoned() {
            return false;
        }
        self.passes += 1;
        if self.passes < 100 {
            std::thread::yield_now();
            return true;
        }
        let pause = if self.passes < 500 { 50 } else { 1000 };
        std::thread::sleep(Duration::from_micros(pause));
        if self.is_another() {
            return false;
        }
        let spent = self.spent();
        match self.limit {
            Limit::InTime => spent < PATIENCE,
            Limit::UntilDone => {
                if spent > WORTH_A_LINE && !self.told {
                    self.told = true;
                    tracing::warn!(
                        disk = self.label,
                        "its VM waits for requests in flight, which the disk does not end"
                    );
                }
                true
            }
        }
    }
}
