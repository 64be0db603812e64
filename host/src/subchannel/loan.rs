//! A disk to be administered: its subchannel, for the channel programs of [`dasd::admin`].
//!
//! # Rules
//!
//! * A disk of the configuration is lent by the appliance's driver, which has its requests wait meanwhile; it has the disk back
//!   when the [`Borrowed`] one is dropped, whatever happened to it. A device that nobody else has is used as it is.
//! * Every wait has an end.

use std::time::{Duration, Instant};

use anyhow::{anyhow, ensure, Context, Result};
use channel::{CcwFlags, SubchannelId};
use dasd::admin::{Fault, Runner, SENSE};
use vcss::control::{Condition, ConditionState, Loan, LoanState};

use super::host::{lock, HostClient};
use super::program::{Program, Step};
use super::view::{bytes, hex};
use super::IrbView;
use crate::areas::{device_number, HOST_SUBCHANNELS};

/// How long the disk's driver may take to let go: as long as a program of its own may take, and be ended.
const LEND_LIMIT: Duration = Duration::from_secs(40);
/// How long a program may take.
const PROGRAM_LIMIT: Duration = Duration::from_secs(30);
/// How often the loan is looked at.
const TICK: Duration = Duration::from_millis(1);

/// A disk that is borrowed, until it is dropped.
#[derive(Debug)]
pub struct Borrowed<'a> {
    host: &'a HostClient,
    /// Virtual subchannel.
    id: SubchannelId,
    /// What it is called.
    name: String,
    /// Its number, if it is a disk of the configuration.
    disk: Option<usize>,
}

impl HostClient {
    /// Borrows a disk of the configuration, by its name, or a device that nobody has, by its number. `formats`: the volume may be
    /// another one afterwards.
    ///
    /// # Errors
    ///
    /// There is no such disk, it is not one that can be lent, or is lent already, or it is not let go in time.
    pub fn borrow_disk(&self, name: &str, formats: bool) -> Result<Borrowed<'_>> {
        self.is_served()?;
        let Some(disk) = self.disk(name) else {
            let id = self.find(name).with_context(|| {
                format!("\"{name}\" is no disk of the configuration, nor a device that is free")
            })?;
            let name = name.into();
            let disk = None;
            return Ok(Borrowed {
                host: self,
                id,
                name,
                disk,
            });
        };
        let number = HOST_SUBCHANNELS as u16 + disk as u16;
        let id = SubchannelId::new(0, number).context("too many disks")?;
        ensure!(
            lock(&self.lent).insert(disk),
            "disk \"{name}\" is being administered already"
        );
        let borrowed = Borrowed {
            host: self,
            id,
            name: name.into(),
            disk: Some(disk),
        };
        let wanted = if formats { Loan::FORMAT } else { Loan::WANTED };
        self.want(disk, wanted)?;
        let began = Instant::now();
        loop {
            match self.areas.loan(disk)? {
                LoanState::Lent => return Ok(borrowed),
                LoanState::Refused => return Err(self.refused(name, disk)),
                LoanState::Own | LoanState::Changing => {}
            }
            self.is_served()?;
            ensure!(
                began.elapsed() < LEND_LIMIT && !self.bell.is_abandoned(),
                "the appliance does not let go of disk \"{name}\""
            );
            std::thread::sleep(TICK);
        }
    }

    /// Why a disk is not lent.
    fn refused(&self, name: &str, disk: usize) -> anyhow::Error {
        let condition = self.areas.condition(Condition::of_disk(disk)).ok();
        let failed = condition.filter(|it| it.state == ConditionState::Failed);
        match failed {
            Some(failed) => anyhow!(
                "disk \"{name}\" cannot be administered now: {}; the appliance's console says more",
                failed.reason
            ),
            None => anyhow!("disk \"{name}\" is no DASD: there is nothing to administer"),
        }
    }

    /// The number of a disk of the configuration.
    pub fn disk(&self, name: &str) -> Option<usize> {
        self.names.disks.iter().position(|disk| disk == name)
    }

    fn want(&self, disk: usize, wanted: u32) -> Result<()> {
        self.areas.want_loan(disk, wanted)?;
        self.bell.ring(0);
        Ok(())
    }
}

impl Drop for Borrowed<'_> {
    fn drop(&mut self) {
        let Some(disk) = self.disk else { return };
        if let Err(error) = self.host.want(disk, Loan::NONE) {
            tracing::error!("disk \"{}\": {error:#}", self.name);
        }
        // Not lent again before it is back. An appliance that is started anew has it anyway.
        let began = Instant::now();
        while self.host.is_served().is_ok()
            && !self.host.bell.is_abandoned()
            && began.elapsed() < LEND_LIMIT
            && matches!(
                self.host.areas.loan(disk),
                Ok(LoanState::Lent | LoanState::Changing)
            )
        {
            std::thread::sleep(TICK);
        }
        lock(&self.host.lent).remove(&disk);
    }
}

impl Borrowed<'_> {
    /// The device number, as far as it is known without asking.
    pub fn device(&self) -> String {
        match self.disk {
            Some(disk) => format!("0.0.{:04x}", device_number(disk)),
            None => self.name.clone(),
        }
    }
}

impl Runner for Borrowed<'_> {
    type Error = anyhow::Error;

    fn run(&mut self, program: &mut dasd::Program) -> Result<(), Fault<Self::Error>> {
        let last = program.steps().len().saturating_sub(1);
        let step = |(number, step): (usize, &dasd::program::Step)| Step {
            command: step.command.0,
            flags: match number == last {
                true => CcwFlags::SLI,
                false => CcwFlags::SLI | CcwFlags::CC,
            }
            .bits(),
            count: step.count,
            target: None,
            data: match step.command.reads() {
                true => String::new(),
                false => hex(program.data(number)),
            },
        };
        let whole = Program {
            ccws: program.steps().iter().enumerate().map(step).collect(),
            ..Program::default()
        };
        let outcome = self
            .host
            .run_on(self.id, &self.name, &whole, PROGRAM_LIMIT)
            .map_err(Fault::Other)?;
        for data in &outcome.data {
            let read = bytes(&data.bytes).unwrap_or_default();
            for (to, from) in program.data_mut(data.ccw).iter_mut().zip(read) {
                *to = from;
            }
        }
        match outcome.irb {
            None => Err(Fault::Other(anyhow!("the program was cancelled"))),
            Some(irb) => judge(&irb),
        }
    }
}

/// What the status says.
fn judge<E: From<anyhow::Error>>(irb: &IrbView) -> Result<(), Fault<E>> {
    let has = |name: &str| irb.scsw.device_status.iter().any(|status| status == name);
    if has("unit check") {
        let mut sense = [0; SENSE];
        let read = irb.sense.as_deref().and_then(bytes).unwrap_or_default();
        for (to, from) in sense.iter_mut().zip(read) {
            *to = from;
        }
        return Err(Fault::UnitCheck(sense));
    }
    if has("busy") {
        return Err(Fault::Busy);
    }
    match irb.trouble() {
        // What a record has less than was asked for is no trouble, but SLI says so already.
        Some(trouble) => Err(Fault::Other(anyhow!(trouble).into())),
        None => Ok(()),
    }
}
