//! The clients: each put together from what the control area says, and tried again when that cannot be.
//!
//! # Rule
//!
//! One client whose area is spoilt is that client's trouble. It is tried again every few seconds.

use core::fmt;

use liballoc::vec::Vec;

use channel::{DeviceNumber, SubchannelId};
use vcss::layout::Kind;
use vcss::underway::Served;
use vcss::{Area, AreaError};

use super::data_plane::DataPlane;
use super::suspects::Deaths;
use super::Appliance;
use crate::control::{ControlError, ExportKind, Exported, Subject};
use crate::css::{Device, Platform};
use crate::proxy::client::{Client, Stands};

#[derive(Debug)]
enum ClientError {
    Withheld(Deaths),
    Share(ControlError),
    Spoilt(AreaError),
    /// It is given a disk that is none.
    NoDisk,
}

impl fmt::Display for ClientError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Withheld(deaths) => deaths.fmt(f),
            Self::Share(error) => error.fmt(f),
            Self::Spoilt(error) => write!(f, "its area is spoilt: {error}"),
            Self::NoDisk => f.write_str("it is given a disk that is none"),
        }
    }
}

impl From<AreaError> for ClientError {
    fn from(error: AreaError) -> Self {
        Self::Spoilt(error)
    }
}

impl Appliance {
    /// Tries the clients that have failed, when they are due.
    pub(super) fn tend_clients(&mut self, platform: &mut dyn Platform) {
        for number in 0..self.control.client_count() {
            let of = Subject::Client(number);
            if self.conditions.is_asked(of) {
                self.conditions.try_soon(of);
            }
            let is_withheld = self.suspects.withholds(of).is_some();
            if !is_withheld && self.conditions.is_due(of, platform.now()) {
                self.try_client(platform, number);
            }
        }
    }

    /// Tries to put a client together, and to serve it.
    pub(super) fn try_client(&mut self, platform: &mut dyn Platform, number: u16) {
        let began = platform.now();
        let of = Subject::Client(number);
        let client = self.assemble(platform, number);
        self.plane.proxy.serve_nobody();
        match client {
            Ok(client) => {
                self.plane.proxy.admit(client);
                let place = self.plane.proxy.clients().len() - 1;
                self.plane.proxy.cut_off(place, platform);
                for index in 0..self.plane.disks.len() {
                    let disk = self.plane.disks.get(index);
                    if disk.is_some_and(|disk| !disk.driver.is_broken()) {
                        self.attach(index);
                    }
                }
                if self.conditions.good(of) {
                    log::info!("client {number}: it is served again");
                }
            }
            Err(error) => {
                if self.conditions.failed(of, &error) {
                    log::error!("client {number}: failed: {error}; it is tried again");
                }
                self.conditions.try_later(of, began, platform.now());
            }
        }
    }

    /// Puts a client together, without its disks.
    fn assemble(
        &mut self,
        platform: &mut dyn Platform,
        number: u16,
    ) -> Result<Client, ClientError> {
        if let Some(deaths) = self.suspects.withholds(Subject::Client(number)) {
            return Err(ClientError::Withheld(deaths));
        }
        self.plane.proxy.serve(Served::Client(number));
        let share = self.control.share(number).map_err(ClientError::Share)?;
        let area = Area::open(share.area, Kind::Client)?;
        let mut client = Client::new(share.name, number, area, share.window, share.program)?;
        let mut unassigned = unassigned(
            self.inventory.devices(),
            &self.plane,
            &self.exports,
            self.link.id(),
        )
        .into_iter();
        let DataPlane { disks, proxy } = &mut self.plane;
        let mut ctx = proxy.ctx(platform);
        let exports = self.exports.iter().enumerate();
        for (index, export) in exports.filter(|(_, it)| it.slot.client == number) {
            ctx.serve(number, export.slot.index);
            if self.suspects.withholds(Subject::Export(index)).is_some() {
                client.withhold(export.slot.index);
            }
            let (stands, device) = match &export.kind {
                ExportKind::Block(block) => {
                    client.add(export.device, block.clone())?;
                    continue;
                }
                ExportKind::PassThrough(owned) => {
                    let device = self.inventory.find(*owned);
                    if device.is_none() {
                        log::warn!("no device {owned} to pass through so far");
                    }
                    (Stands::For(*owned, export.device), device)
                }
                ExportKind::Any => (Stands::Any, unassigned.next()),
                ExportKind::Maintenance(disk) => {
                    // It gets the device when that is in maintenance.
                    let disk = disks.get(*disk).ok_or(ClientError::NoDisk)?;
                    (Stands::Lent(disk.number), None)
                }
            };
            client.add_pass_through(stands, device, self.tuning.settings.isc, &mut ctx)?;
        }
        Ok(client)
    }
}

/// The owned devices that nobody has or is given by number, and that a client can have.
fn unassigned<'a>(
    devices: &'a [Device],
    plane: &DataPlane,
    exports: &[Exported],
    link: SubchannelId,
) -> Vec<&'a Device> {
    let is_given = |device: &Device| {
        let is_its = |number: DeviceNumber| number == device.number;
        plane.disks.iter().any(|disk| is_its(disk.number))
            || exports.iter().any(
                |export| matches!(export.kind, ExportKind::PassThrough(number) if is_its(number)),
            )
    };
    devices
        .iter()
        .filter(|device| {
            !is_given(device)
                && device.reason_to_withhold().is_none()
                && device.id != link
                && !plane.proxy.holds(device.id)
        })
        .collect()
}
