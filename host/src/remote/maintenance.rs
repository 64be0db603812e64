//! A disk in maintenance: its subchannel, for the channel programs of [`dasd_tools`].
//!
//! # Rules
//!
//! * A disk of the configuration is left to its administrator by the appliance's driver, which has its requests wait meanwhile; it
//!   has the disk back when the [`Maintained`] one is dropped, whatever happened to it. A device that nobody else has is used
//!   as it is.
//! * Every wait has an end.

use std::time::{Duration, Instant};

use anyhow::{anyhow, ensure, Context, Result};
use channel::{DeviceStatus, SubchannelId};
use dasd_tools::admin::Reservation;
use dasd_tools::reserve::Reservations;
use dasd_tools::runner::{Fault, Runner, SENSE};
use vcss::control::{ConditionState, Loan, LoanState};

use super::host::HostClient;
use crate::api::{sense, trouble, Program, Step};
use crate::layout::{disk_device, AreaNumber, HOST_SUBCHANNELS};

/// How long the disk's driver may take to let go: as long as a program of its own may take, and be ended.
const HANDOVER_LIMIT: Duration = Duration::from_secs(40);
const PROGRAM_LIMIT: Duration = Duration::from_secs(30);
/// How often it is looked whether it has.
const TICK: Duration = Duration::from_millis(1);

/// A disk in maintenance, until it is dropped.
#[derive(Debug)]
pub struct Maintained<'a> {
    host: &'a HostClient,
    id: SubchannelId,
    name: String,
    /// Its number, if it is a disk of the configuration.
    disk: Option<usize>,
}

/// What a disk is borrowed for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// The volume stays what it is.
    Look,
    /// The volume may be another one afterwards.
    Format,
}

impl HostClient {
    /// A disk of the configuration by its name, or a device that nobody has by its number.
    pub fn borrow_disk(&self, name: &str, purpose: Purpose) -> Result<Maintained<'_>> {
        self.is_served()?;
        let Some(disk) = self.config.disk_number(name) else {
            let id = self.find(name).with_context(|| {
                format!("\"{name}\" is no disk of the configuration, nor a device that is free")
            })?;
            return Ok(Maintained {
                host: self,
                id,
                name: name.into(),
                disk: None,
            });
        };
        let number = HOST_SUBCHANNELS as u16 + disk as u16;
        let id = SubchannelId::new(0, number).context("too many disks")?;
        ensure!(
            self.in_maintenance.lock().insert(disk),
            "disk \"{name}\" is being administered already"
        );
        let maintained = Maintained {
            host: self,
            id,
            name: name.into(),
            disk: Some(disk),
        };
        let wanted = match purpose {
            Purpose::Look => Loan::WANTED,
            Purpose::Format => Loan::FORMAT,
        };
        self.want(disk, wanted)?;
        let began = Instant::now();
        loop {
            match self.areas.maintenance(disk)? {
                LoanState::Lent => return Ok(maintained),
                LoanState::Refused => return Err(self.refused(name, disk)),
                LoanState::Own | LoanState::Changing => {}
            }
            self.is_served()?;
            ensure!(
                began.elapsed() < HANDOVER_LIMIT && !self.bell.is_abandoned(),
                "the appliance does not let go of disk \"{name}\""
            );
            std::thread::sleep(TICK);
        }
    }

    /// Borrows a disk, and reserves or releases it: see [`Reservations::apply`].
    pub fn reserve(
        &self,
        book: &Reservations,
        name: &str,
        how: Reservation,
        limit: Duration,
    ) -> Result<()> {
        let mut disk = self.borrow_disk(name, Purpose::Look)?;
        Ok(book.apply(&mut disk, name, how, limit)?)
    }

    /// Why a disk is not left to its administrator.
    fn refused(&self, name: &str, disk: usize) -> anyhow::Error {
        let condition = self
            .areas
            .condition(self.config.condition_of_disk(disk))
            .ok();
        let failed = condition.filter(|it| it.state == ConditionState::Failed);
        match failed {
            Some(failed) => anyhow!(
                "disk \"{name}\" cannot be administered now: {}; the appliance's console says more",
                failed.reason
            ),
            None => anyhow!("disk \"{name}\" is no DASD: there is nothing to administer"),
        }
    }

    fn want(&self, disk: usize, wanted: u32) -> Result<()> {
        self.areas.want_maintenance(disk, wanted)?;
        self.bell.ring(AreaNumber::CONTROL);
        Ok(())
    }
}

impl Drop for Maintained<'_> {
    fn drop(&mut self) {
        let Some(disk) = self.disk else { return };
        if let Err(error) = self.host.want(disk, Loan::NONE) {
            tracing::error!("disk \"{}\": {error:#}", self.name);
        }
        // Not anybody's again before it is back. An appliance that is started anew has it anyway.
        let began = Instant::now();
        while self.host.is_served().is_ok()
            && !self.host.bell.is_abandoned()
            && began.elapsed() < HANDOVER_LIMIT
            && matches!(
                self.host.areas.maintenance(disk),
                Ok(LoanState::Lent | LoanState::Changing)
            )
        {
            std::thread::sleep(TICK);
        }
        self.host.in_maintenance.lock().remove(&disk);
    }
}

impl Maintained<'_> {
    /// The device number, as far as it is known without asking.
    pub fn device(&self) -> String {
        match self.disk {
            Some(disk) => disk_device(disk).to_string(),
            None => self.name.clone(),
        }
    }
}

impl Runner for Maintained<'_> {
    fn run(&mut self, program: &mut dasd_tools::program::Program) -> Result<(), Fault> {
        let steps = program.steps.iter().map(|step| {
            let data = match step.command.reads() {
                true => Vec::new(),
                false => step.data.clone(),
            };
            Step::new(step.command, step.data.len() as u16, data)
        });
        let whole = Program::chained(steps.collect());
        let ended = self
            .host
            .run_on(self.id, &self.name, &whole, PROGRAM_LIMIT)
            .map_err(|error| Fault::Other(error.into()))?;
        for data in &ended.data {
            program.give(data.ccw, &data.bytes);
        }
        let Some(irb) = ended.irb else {
            return Err(Fault::Other("the program was cancelled".into()));
        };
        let device = irb.scsw.device();
        if device.contains(DeviceStatus::UNIT_CHECK) {
            let mut bytes = [0; SENSE];
            let read = sense(&irb).unwrap_or_default();
            for (to, from) in bytes.iter_mut().zip(read) {
                *to = *from;
            }
            return Err(Fault::UnitCheck(bytes));
        }
        if device.contains(DeviceStatus::BUSY) {
            return Err(Fault::Busy);
        }
        // What a record has less than was asked for is no trouble, but SLI says so already.
        match trouble(&irb) {
            Some(trouble) => Err(Fault::Other(trouble.into())),
            None => Ok(()),
        }
    }
}
