//! The clients: each put together from what the control area says, and tried again when that cannot be.
//!
//! # Rule
//!
//! One client whose area is spoilt is that client's trouble. It is tried again every few seconds.

use liballoc::format;
use liballoc::string::{String, ToString};

use channel::SubchannelId;
use vcss::layout::Kind;
use vcss::underway::Served;
use vcss::Area;

use super::owners::{find, Unassigned};
use super::suspects::Suspects;
use super::{Appliance, Spec};
use crate::control::{Control, Exported, Subject};
use crate::css::Device;
use crate::css::Platform;
use crate::proxy::client::{Client, Stands};
use crate::proxy::ctx::Ctx;

/// What a client is put together from.
pub(super) struct Parts<'a, 'b> {
    pub(super) ctx: Ctx<'a>,
    pub(super) control: &'a Control,
    pub(super) exports: &'a [Spec],
    pub(super) devices: &'a [Device],
    pub(super) disks: &'a [channel::DeviceNumber],
    pub(super) free: &'a mut Unassigned<'b>,
    pub(super) suspects: &'a Suspects,
    pub(super) isc: u8,
}

/// Puts a client together, without its disks.
pub(super) fn assemble(number: u16, parts: &mut Parts<'_, '_>) -> Result<Client, String> {
    if let Some(reason) = parts.suspects.withholds(Subject::Client(number)) {
        return Err(reason);
    }
    if let Some(note) = parts.ctx.note {
        note.serve(Served::Client(number));
    }
    let share = parts.control.share(number);
    let share = share.map_err(|error| error.to_string())?;
    let spoilt = |error| format!("its area is spoilt: {error}");
    let area = Area::open(share.area, Kind::Client).map_err(spoilt)?;
    let client = Client::new(share.name, number, area, share.window, share.program);
    let mut client = client.map_err(spoilt)?;
    for export in parts.exports.iter().filter(|it| it.client == number) {
        parts.ctx.serve(number, export.place);
        if parts.suspects.withholds_subchannel(number, export.place) {
            client.withhold(export.place);
        }
        let (stands, device) = match &export.what {
            Exported::Block(block) => {
                client.add(export.number, block.clone()).map_err(spoilt)?;
                continue;
            }
            Exported::PassThrough(owned) => (
                Stands::For(*owned, export.number),
                find(parts.devices, *owned),
            ),
            Exported::Any => (Stands::Any, parts.free.next()),
            Exported::Lent(disk) => {
                // It gets the device when that is lent.
                let number = parts
                    .disks
                    .get(*disk)
                    .ok_or("it is given a disk that is none")?;
                (Stands::Lent(*number), None)
            }
        };
        client
            .add_pass_through(stands, device, parts.isc, &mut parts.ctx)
            .map_err(spoilt)?;
    }
    Ok(client)
}

impl Appliance {
    /// Tries the clients that have failed, when they are due.
    pub(super) fn tend_clients(&mut self, platform: &mut dyn Platform) {
        for number in 0..self.control.client_count() {
            let asked = self.conditions.is_asked(Subject::Client(number));
            let trial = self.clients.get(usize::from(number));
            let is_withheld = self.suspects.withholds(Subject::Client(number)).is_some();
            if !is_withheld && trial.is_some_and(|trial| trial.is_due(platform.now(), asked)) {
                self.try_client(platform, number);
            }
        }
    }

    /// Has a client tried the next time that the house is kept.
    pub(super) fn try_client_soon(&mut self, number: u16) {
        if let Some(trial) = self.clients.get_mut(usize::from(number)) {
            trial.soon();
        }
    }

    fn try_client(&mut self, platform: &mut dyn Platform, number: u16) {
        let began = platform.now();
        let disks: liballoc::vec::Vec<_> = self.owned.iter().map(|owned| owned.number).collect();
        let devices = self.inventory.devices();
        let held: liballoc::vec::Vec<SubchannelId> = devices
            .iter()
            .map(|device| device.id)
            .filter(|&id| self.proxy.holds(id))
            .collect();
        let mut free = Unassigned::new(devices, &disks, self.link.id(), &self.exports, held);
        let client = assemble(
            number,
            &mut Parts {
                ctx: Ctx {
                    note: self.proxy.note(),
                    ..Ctx::new(platform)
                },
                control: &self.control,
                exports: &self.exports,
                devices,
                disks: &disks,
                free: &mut free,
                suspects: &self.suspects,
                isc: self.tuning.settings.isc,
            },
        );
        self.proxy.serve_nobody();
        match client {
            Ok(client) => {
                self.proxy.admit(client);
                let place = self.proxy.clients().len() - 1;
                self.proxy.cut_off(place, platform);
                for index in 0..self.disks.len() {
                    if self.disks.get(index).is_some_and(|disk| !disk.is_broken()) {
                        self.attach(index);
                    }
                }
                self.client_works(number);
            }
            Err(reason) => self.client_failed(number, began, platform.now(), reason),
        }
    }

    pub(super) fn client_works(&mut self, number: u16) {
        let trial = self.clients.get_mut(usize::from(number));
        if trial.is_some_and(super::disks::Trial::good) {
            log::info!("client {number}: it is served again");
        }
        self.conditions.good(Subject::Client(number));
    }

    pub(super) fn client_failed(
        &mut self,
        number: u16,
        began: s390x::clock::Tod,
        now: s390x::clock::Tod,
        reason: String,
    ) {
        self.conditions.failed(Subject::Client(number), &reason);
        let text = format!("client {number}: failed: {reason}");
        let trial = self.clients.get_mut(usize::from(number));
        if trial.is_some_and(|trial| trial.failed(began, now, reason)) {
            log::error!("{text}; it is tried again");
        }
    }
}
