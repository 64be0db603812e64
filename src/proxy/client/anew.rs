//! A client that leaves, and one that comes to where something else has been.
//!
//! # Rules
//!
//! * One that leaves is as one whose appliance has died, but that nothing of its is in flight: its area stays as it is, and whoever is put
//!   together from that goes on there.
//! * What another device has left in the place of a virtual subchannel is nobody's: it is cleared, and the client hears of it.

use liballoc::boxed::Box;
use liballoc::vec::Vec;

use vcss::client::{
    DeviceState, InFlight, Measurement, QueueState, SchibPart, Status, MAX_QUEUES, MAX_QUEUE_SIZE,
};
use vcss::control::{Counters, ExportKind};
use vcss::layout::Entry;
use vcss::Area;
use zerocopy::{FromZeros, Immutable, IntoBytes};

use super::place::{Kind, Virtual};
use super::Client;
use crate::proxy::block_service::VirtioBlk;
use crate::proxy::ctx::Ctx;
use crate::proxy::subchannel::passthrough::{initialised, PassThrough};

impl Client {
    /// Takes nothing of it from now on. What passes its devices through is the caller's: the client is not told what becomes of that.
    pub(in crate::proxy) fn begin_leaving(&mut self) -> Vec<Box<PassThrough>> {
        self.spent = usize::MAX;
        let all = self.subchannels.iter_mut();
        all.filter_map(Virtual::take_subject).collect()
    }

    pub(in crate::proxy) const fn is_leaving(&self) -> bool {
        self.spent != 0
    }

    /// Whether nothing of its is in flight, so that it can go.
    pub(in crate::proxy) fn is_at_rest(&self) -> bool {
        !self.devices.iter().any(VirtioBlk::is_at_disk)
            && !self.subchannels.iter().any(Virtual::is_active)
    }

    /// Says which device is in the place of a virtual subchannel, before that is [added](Self::add). If another one was there, what it has
    /// left is cleared, and the client hears that.
    pub fn claim(&mut self, index: u16, identity: u32) {
        let Ok(state) = self.area.read::<DeviceState>(index.into()) else {
            return;
        };
        let before = state.identity.get();
        if before == identity {
            return;
        }
        if before != 0 {
            clear(&self.area, index);
            self.announce(index);
        }
        let now = DeviceState {
            identity: identity.into(),
            ..self.area.read(index.into()).unwrap_or_default()
        };
        let _ = self.area.write(index.into(), &now);
    }

    /// Clears what is left in the places behind the last virtual subchannel.
    pub fn clear_rest(&self) {
        for index in self.subchannels.len() as u32..self.area.count::<DeviceState>() {
            let state = self.area.read::<DeviceState>(index);
            if state.is_ok_and(|state| state.identity.get() != 0) {
                clear(&self.area, index as u16);
            }
        }
    }

    /// There is another device, or one for the first time.
    pub fn announce(&mut self, index: u16) {
        if let Some(events) = &mut self.events {
            events.report(initialised(index));
            self.ring = true;
        }
    }

    /// A virtual subchannel was there before, and may be given something else now: it goes on counting, and the client hears that the
    /// configuration may be another one.
    pub fn go_on(&mut self, index: u16, counters: Counters, has_changed: bool) {
        let place = self.subchannels.get(usize::from(index));
        let Some(Kind::Virtio(_, device)) = place.map(|place| &place.kind) else {
            return;
        };
        if let Some(device) = self.devices.get_mut(*device) {
            device.count_on(counters);
            if has_changed {
                device.tell_of_change();
            }
        }
    }

    /// A disk is not there any more: what has passed it through for maintenance is the caller's.
    pub(in crate::proxy) fn forget_disk(
        &mut self,
        disk: usize,
        ctx: &mut Ctx<'_>,
    ) -> Option<Box<PassThrough>> {
        let mut all = self.subchannels.iter_mut();
        let place = all.find(|place| match &place.kind {
            Kind::Owned(export, _) => export.kind == ExportKind::Lent && export.disk() == disk,
            Kind::Virtio(..) => false,
        })?;
        let subject = place.take_subject();
        place.show(ctx);
        place.tell(&mut self.events, ctx);
        subject
    }
}

/// Clears what is left of a virtual subchannel in the area.
fn clear(area: &Area<'static>, index: u16) {
    const QUEUES: u32 = MAX_QUEUES as u32;
    const HEADS: u32 = QUEUES * MAX_QUEUE_SIZE as u32;
    fn entries<T: Entry + FromZeros + IntoBytes + Immutable>(
        area: &Area<'static>,
        index: u16,
        each: u32,
    ) {
        let first = u32::from(index) * each;
        for entry in first..first + each {
            let _ = area.write(entry, &T::new_zeroed());
        }
    }
    // As long as the first is there, all of this is done again.
    entries::<QueueState>(area, index, QUEUES);
    entries::<InFlight>(area, index, HEADS);
    entries::<SchibPart>(area, index, 1);
    entries::<Status>(area, index, 1);
    entries::<Measurement>(area, index, 1);
    entries::<DeviceState>(area, index, 1);
}
