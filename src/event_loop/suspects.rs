//! Virtual subchannels for which the appliance did something when it died.
//!
//! # Rules
//!
//! * The note of what was under way says for which one. It may be innocent: somebody may have killed the appliance at that moment. So
//!   the first death costs its client no more than the request that was open.
//! * Where no request to a subchannel was open, it was the one for which something was done last: a request of its queues, for example. That
//!   counts only if the appliance has said that it died of itself, see [`death`](crate::boot::death).
//! * One whose disk's driver died meanwhile may be innocent, too. While it is out of service its requests wait, so whoever it was comes next.
//! * After another one, the virtual subchannel is out of service: to its client it is one without a device, and nobody else gets the device.
//!   It is tried again after a pause, which each further death doubles, and at once when the daemon asks.
//! * A death is forgiven when the virtual subchannel has been in service for an hour without another one.
//! * The count stands in the control area, where it outlives the appliance and no client can change it.

use liballoc::format;
use liballoc::string::String;
use liballoc::vec::Vec;

use s390x::clock::Tod;
use vcss::underway::{CutOff, Note};

use super::{Appliance, Spec};
use crate::control::{Conditions, Exported, Subject};
use crate::css::Platform;

/// So many deaths put a virtual subchannel out of service.
const DEATHS: u32 = 2;
/// The pause after these, in microseconds.
const PAUSE_US: u64 = 10_000_000;
/// The longest pause.
const LONGEST_US: u64 = 600_000_000;
/// How long a virtual subchannel has to be in service for a death to be forgiven.
const FORGIVE_US: u64 = 3_600_000_000;

/// All that are under suspicion.
#[derive(Debug, Default)]
pub(super) struct Suspects(Vec<Suspect>);

#[derive(Debug)]
struct Suspect {
    export: usize,
    /// Client and virtual subchannel.
    place: (u16, u16),
    deaths: u32,
    /// It is out of service.
    is_withheld: bool,
    /// When it is tried again, or forgiven a death.
    next: Tod,
}

impl Suspects {
    /// Counts the death that the note tells of, and finds all that have any.
    pub(super) fn find(
        exports: &[Spec],
        note: Option<&(&'static Note, Option<CutOff>)>,
        conditions: &mut Conditions,
        now: Tod,
    ) -> Self {
        // A request that is noted says it best: it counts even if the appliance was killed.
        let news = note.and_then(|(note, cut)| Some((note, cut.filter(|cut| cut.is_news)?)));
        let died_serving = match news {
            Some((_, cut)) => Some((cut.client, cut.subchannel)),
            None => note.and_then(|(note, _)| note.died_serving()),
        };
        let mut all = Vec::new();
        for (export, spec) in exports.iter().enumerate() {
            let of = Subject::Export(export);
            let mut deaths = conditions.deaths(of);
            let place = (spec.client, spec.place);
            if died_serving == Some(place) {
                deaths = deaths.saturating_add(1);
                conditions.set_deaths(of, deaths);
                if let Some((note, _)) = news {
                    note.counted();
                }
            }
            if deaths == 0 {
                continue;
            }
            let is_withheld = deaths >= DEATHS;
            let pause = if is_withheld {
                pause(deaths)
            } else {
                FORGIVE_US
            };
            all.push(Suspect {
                export,
                place,
                deaths,
                is_withheld,
                next: now.plus_micros(pause),
            });
        }
        let this = Self(all);
        for suspect in this.0.iter().filter(|it| it.is_withheld) {
            let (client, index) = suspect.place;
            log::error!(
                "client {client}, virtual subchannel {index}: out of service: {}; it is tried again in {} s",
                suspect.reason(),
                pause(suspect.deaths) / 1_000_000
            );
        }
        this.show(conditions);
        this
    }

    /// Whether a client's virtual subchannel is out of service.
    pub(super) fn withholds(&self, place: (u16, u16)) -> bool {
        let mut all = self.0.iter();
        all.any(|it| it.is_withheld && it.place == place)
    }

    /// Says which are out of service, and why.
    pub(super) fn show(&self, conditions: &mut Conditions) {
        for suspect in self.0.iter().filter(|it| it.is_withheld) {
            conditions.failed(Subject::Export(suspect.export), &suspect.reason());
        }
    }
}

impl Suspect {
    fn reason(&self) -> String {
        format!(
            "the appliance has died {} times while it did something for it",
            self.deaths
        )
    }
}

/// How long a virtual subchannel is out of service after so many deaths.
fn pause(deaths: u32) -> u64 {
    let doubled = deaths.saturating_sub(DEATHS).min(10);
    (PAUSE_US << doubled).min(LONGEST_US)
}

impl Appliance {
    /// Puts into service again, and forgives, what is due.
    pub(super) fn tend_suspects(&mut self, platform: &mut dyn Platform) {
        if self.suspects.0.is_empty() {
            return;
        }
        let now = platform.now();
        let mut released = Vec::new();
        for suspect in &mut self.suspects.0 {
            let of = Subject::Export(suspect.export);
            let asked = self.conditions.is_asked(of);
            if suspect.is_withheld && (asked || now >= suspect.next) {
                suspect.is_withheld = false;
                suspect.next = now.plus_micros(FORGIVE_US);
                released.push((suspect.export, suspect.place));
            } else if !suspect.is_withheld && now >= suspect.next {
                suspect.deaths -= 1;
                suspect.next = now.plus_micros(FORGIVE_US);
                self.conditions.set_deaths(of, suspect.deaths);
            }
        }
        self.suspects.0.retain(|suspect| suspect.deaths > 0);
        for (export, place) in released {
            log::warn!(
                "client {}, virtual subchannel {}: it is put into service again",
                place.0,
                place.1
            );
            let devices = self.inventory.devices();
            let isc = self.tuning.settings.isc;
            self.proxy.release(platform, place, devices, isc);
            match self.exports.get(export).map(|it| &it.what) {
                Some(Exported::Block(block)) => self.attach_if_there(block.disk),
                _ => self.conditions.good(Subject::Export(export)),
            }
            let all = self.proxy.drivers();
            self.control.show_passed_through(all);
        }
    }
}
