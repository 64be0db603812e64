//! Owned devices for a client: which it can have, and who passes them through.

use liballoc::boxed::Box;

use channel::DeviceNumber;

use super::super::translate::{Translator, ARENA_BYTES};
use super::place::{Fit, Kind, Stands};
use super::Client;
use crate::css::Device;
use crate::css::{has_room, Platform};
use crate::driver::disk;
use crate::proxy::ctx::Ctx;
use crate::proxy::subchannel::passthrough::{Owned, PassThrough, Place};

/// Storage that is left to everything else when a device has got its arena.
const SPARE_BYTES: usize = 64 * 1024;

impl Client {
    /// Whether a device can be passed through to a client; the log says why not.
    pub(super) fn may_have(&self, stands: Stands, device: &Device) -> bool {
        #[cfg(feature = "test-image")]
        if self.trusted {
            return true;
        }
        // A disk's is lent to the host alone, which may find out what it is.
        if matches!(stands, Stands::Lent(_)) && device.identity.is_err() {
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

    pub(super) fn note(&self, stands: Stands, device: &Device) {
        let (number, seen) = (device.number, seen(stands, device.number));
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
        stands: Stands,
        device: &Device,
        isc: u8,
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
            isc,
            window: self.program,
        };
        let seen = seen(stands, number);
        let subject = PassThrough::new(owned(device), place, seen, translator);
        Some(match stands {
            Stands::For(..) | Stands::Any => subject,
            Stands::Lent(_) => subject.of_a_disk(),
        })
    }

    /// Gives what passes devices through arenas that the channel finds below 2 GiB, where the developer's machine has no storage.
    #[cfg(test)]
    pub fn place_arenas(&mut self) {
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
    pub fn plug(&mut self, index: u16, device: &Device, isc: u8, ctx: &mut Ctx<'_>) {
        let place = self.subchannels.get(usize::from(index));
        let Some(&Kind::Owned(stands, _)) = place.map(|place| &place.kind) else {
            return;
        };
        if self.provide(index, stands, device, isc, ctx) {
            let seen = seen(stands, device.number);
            self.one_pass_through(index, ctx, |subject, ctx| {
                subject.plug(owned(device), seen, ctx);
            });
            self.note(stands, device);
        }
    }

    /// Puts a virtual subchannel into service that was [withheld](Self::withhold), with the device for which it stands, if that is there.
    pub fn release(
        &mut self,
        index: u16,
        find: impl FnOnce(DeviceNumber) -> Option<Device>,
        isc: u8,
        ctx: &mut Ctx<'_>,
    ) {
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
            Kind::Owned(Stands::For(number, _), _) => Some(*number),
            Kind::Owned(Stands::Any, subject) => subject.as_ref().map(|it| it.device()),
            Kind::Owned(Stands::Lent(_), _) => None,
        };
        if let Some(device) = number.and_then(find) {
            self.plug(index, &device, isc, ctx);
        }
    }

    /// Gives the subchannel of a disk, which nobody uses, to the virtual subchannel that stands for that disk, for maintenance. Returns
    /// whether there is one that has it now.
    pub fn begin_maintenance(&mut self, device: &Device, isc: u8, ctx: &mut Ctx<'_>) -> bool {
        let stands = Stands::Lent(device.number);
        let mut all = (0..).zip(&self.subchannels);
        let found = all.find(|(_, place)| {
            matches!(place.kind, Kind::Owned(it, _) if it == stands) && !place.withheld
        });
        let Some((index, _)) = found else {
            return false;
        };
        self.provide(index, stands, device, isc, ctx)
            && self.one_pass_through(index, ctx, |subject, ctx| {
                subject.begin_maintenance(owned(device), ctx)
            }) == Some(true)
    }

    /// Gives a virtual subchannel what passes a device through, if it may have that and has not got it. Returns whether it has.
    fn provide(
        &mut self,
        index: u16,
        stands: Stands,
        device: &Device,
        isc: u8,
        ctx: &mut Ctx<'_>,
    ) -> bool {
        let place = self.subchannels.get(usize::from(index));
        if !self.may_have(stands, device) {
            return false;
        }
        if place.is_some_and(|place| place.subject().is_some()) {
            return true;
        }
        let subject = self.subject(ctx.platform, index, stands, device, isc);
        let place = self.subchannels.get_mut(usize::from(index));
        let (Some(subject), Some(place)) = (subject, place) else {
            return false;
        };
        place.kind = Kind::Owned(stands, Some(Box::new(subject)));
        true
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

/// The number by which a client sees a device.
const fn seen(stands: Stands, number: DeviceNumber) -> u16 {
    match stands {
        Stands::For(_, seen) => seen,
        Stands::Any | Stands::Lent(_) => number.number,
    }
}
