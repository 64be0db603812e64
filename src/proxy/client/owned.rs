//! Owned devices for a client: which it can have, and who passes them through.

use liballoc::boxed::Box;

use channel::DeviceNumber;
use vcss::control::ExportKind;

use super::super::translate::{Translator, ARENA_BYTES};
use super::place::{Fit, Kind};
use super::Client;
use crate::control::Exported;
use crate::css::{has_room, Device, Platform};
use crate::driver::disk;
use crate::proxy::ctx::Ctx;
use crate::proxy::subchannel::passthrough::{Owned, PassThrough, Place};

/// Storage that is left to everything else when a device has got its arena.
const SPARE_BYTES: usize = 64 * 1024;

impl Client {
    /// Whether a device can be passed through to a client; the log says why not.
    pub(super) fn may_have(&self, export: &Exported, device: &Device) -> bool {
        #[cfg(feature = "test-image")]
        if self.trusted {
            return true;
        }
        // A disk's is lent to the host alone, which may find out what it is.
        if export.kind == ExportKind::Lent && device.identity.is_err() {
            return true;
        }
        let reason = device.reason_to_withhold();
        if let Some(reason) = reason {
            log::error!(
                "client {}: {} is not passed through: {reason}",
                self.name,
                device.number
            );
        }
        reason.is_none()
    }

    /// The client is the appliance itself: it may have any device. For tests and benchmarks.
    #[cfg(feature = "test-image")]
    #[must_use]
    pub const fn trusted(mut self) -> Self {
        self.trusted = true;
        self
    }

    pub(super) fn note(&self, export: &Exported, device: &Device) {
        let (number, seen) = (device.number, export.seen(device.number));
        log::info!(
            "client {}: {number} passed through as {seen:04x}",
            self.name
        );
    }

    /// What passes a device through, if there is storage for it.
    pub(super) fn subject(
        &self,
        platform: &mut dyn Platform,
        index: u16,
        export: &Exported,
        device: &Device,
    ) -> Option<PassThrough> {
        let number = device.number;
        if !has_room(ARENA_BYTES + SPARE_BYTES) {
            log::error!(
                "client {}: no storage to pass {number} through: the appliance needs more memory",
                self.name
            );
            return None;
        }
        let mut translator = Translator::new(ARENA_BYTES);
        if !platform.has_midaws() {
            translator = translator.without_midaws();
        }
        let place = Place {
            client: self.number,
            index,
            isc: self.isc,
            window: self.program,
        };
        let subject = PassThrough::new(owned(device), place, export.seen(number), translator);
        Some(if export.kind == ExportKind::Lent {
            subject.of_a_disk()
        } else {
            subject
        })
    }

    /// Gives what passes devices through arenas that the channel finds below 2 GiB, where the developer's machine has no storage.
    #[cfg(test)]
    pub fn place_arenas(&mut self) {
        use crate::proxy::translate::tests::history::ChannelSide;
        for place in &mut self.subchannels {
            if let Some(subject) = place.subject_mut() {
                subject.set_translator(Translator::at(ARENA_BYTES, 0x100_0000));
            }
        }
    }

    /// The virtual subchannel that does best for a device that nobody has, and how well.
    pub fn place_for(&self, number: DeviceNumber) -> Option<(Fit, u16)> {
        let fits = (0..).zip(&self.subchannels);
        fits.filter_map(|(index, place)| Some((place.fit(number)?, index)))
            .min()
    }

    /// Gives a virtual subchannel the device that has been plugged in, and tells the client.
    pub fn plug(&mut self, index: u16, device: &Device, ctx: &mut Ctx<'_>) {
        if let Some(export) = self.provide(index, device, ctx) {
            let seen = export.seen(device.number);
            self.one_pass_through(index, ctx, |subject, ctx| {
                subject.plug(owned(device), seen, ctx);
            });
            self.note(&export, device);
        }
    }

    /// Puts a virtual subchannel into service that was [withheld](Self::withhold), with the device for which it stands, if that is there.
    pub fn release(&mut self, index: u16, devices: &[Device], ctx: &mut Ctx<'_>) {
        let Some(place) = self.subchannels.get_mut(usize::from(index)) else {
            return;
        };
        place.withheld = false;
        let number = match &place.kind {
            Kind::Virtio(_, device) => {
                // What of it is not the client's memory is known already.
                if let Some(device) = self.devices.get_mut(*device) {
                    ctx.serve(self.number, index);
                    device.take_up();
                }
                None
            }
            Kind::Owned(export, subject) => match export.kind {
                ExportKind::Any => subject.as_ref().map(|it| it.device()),
                ExportKind::Block
                | ExportKind::PassThrough
                | ExportKind::Lent
                | ExportKind::Vacant => export.given(),
            },
        };
        let device = devices.iter().find(|it| Some(it.number) == number);
        if let Some(device) = device {
            self.plug(index, device, ctx);
        }
    }

    /// Gives the subchannel of a disk, which nobody uses, to the virtual subchannel that stands for that disk, for maintenance. Returns
    /// whether there is one that has it now.
    pub fn begin_maintenance(&mut self, disk: usize, device: &Device, ctx: &mut Ctx<'_>) -> bool {
        let is_its = |export: &Exported| export.kind == ExportKind::Lent && export.disk() == disk;
        let mut all = self.subchannels.iter();
        let found = all.position(|place| {
            matches!(&place.kind, Kind::Owned(export, _) if is_its(export)) && !place.withheld
        });
        let Some(index) = found.map(|index| index as u16) else {
            return false;
        };
        self.provide(index, device, ctx).is_some()
            && self.one_pass_through(index, ctx, |subject, ctx| {
                subject.begin_maintenance(owned(device), ctx)
            }) == Some(true)
    }

    /// Gives a virtual subchannel what passes a device through, if it may have that and has not got it. What it stands for, if it has.
    fn provide(&mut self, index: u16, device: &Device, ctx: &mut Ctx<'_>) -> Option<Exported> {
        let place = self.subchannels.get(usize::from(index));
        let Kind::Owned(export, subject) = &place?.kind else {
            return None;
        };
        let (export, has_it) = (*export, subject.is_some());
        if !self.may_have(&export, device) {
            return None;
        }
        if !has_it {
            let subject = self.subject(ctx.platform, index, &export, device)?;
            let place = self.subchannels.get_mut(usize::from(index))?;
            place.kind = Kind::Owned(export, Some(Box::new(subject)));
        }
        Some(export)
    }
}

fn owned(device: &Device) -> Owned {
    Owned {
        id: device.id,
        number: device.number.number,
        classify: disk::classify(device),
        runs_within_start: device.runs_within_start,
    }
}
