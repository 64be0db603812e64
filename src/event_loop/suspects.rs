//! What the appliance did something for when it died: virtual subchannels, clients, disks.
//!
//! # Rules
//!
//! * The note of what was under way says for which one. It may be innocent: somebody may have killed the appliance at that moment. So
//!   the first death costs its client no more than the request that was open.
//! * Where no request to a subchannel was open, it was what something was done for last: a request of a virtual subchannel's queues, a
//!   client that was put together from what it has written into its area, a disk that was opened with what is written on it. That
//!   counts only if the appliance has said that it died of itself, see [`death`](crate::boot::death).
//! * One whose disk's driver died meanwhile may be innocent, too. While it is out of service its requests wait, so whoever it was comes next.
//! * After another one, it is out of service. A virtual subchannel is to its client one without a device, and nobody else gets the device;
//!   a client is not put together, and a disk is not opened.
//!   It is tried again after a pause, which each further death doubles, and at once when the daemon asks.
//! * A death is forgiven when it has been in service for an hour without another one.
//! * The count stands in the control area, where it outlives the appliance and no client can change it.

use liballoc::format;
use liballoc::string::String;
use liballoc::vec::Vec;

use s390x::clock::Tod;
use vcss::underway::{CutOff, Note, Served};

use super::{Appliance, Spec};
use crate::control::{Conditions, Exported, Subject};
use crate::css::Platform;

/// So many deaths put something out of service.
const DEATHS: u32 = 2;
/// The pause after these, in microseconds.
const PAUSE_US: u64 = 10_000_000;
/// The longest pause.
const LONGEST_US: u64 = 600_000_000;
/// How long something has to be in service for a death to be forgiven.
const FORGIVE_US: u64 = 3_600_000_000;

/// All that are under suspicion.
#[derive(Debug, Default)]
pub(super) struct Suspects(Vec<Suspect>);

#[derive(Debug)]
struct Suspect {
    of: Subject,
    what: Served,
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
            Some((_, cut)) => Some(Served::Subchannel(cut.client, cut.subchannel)),
            None => note.and_then(|(note, _)| note.died_serving()),
        };
        let (disks, clients) = conditions.counts();
        let disks = (0..disks).map(|disk| (Subject::Disk(usize::from(disk)), Served::Disk(disk)));
        let clients = (0..clients).map(|client| (Subject::Client(client), Served::Client(client)));
        let exports = exports.iter().enumerate().map(|(export, spec)| {
            let what = Served::Subchannel(spec.client, spec.place);
            (Subject::Export(export), what)
        });
        let mut all = Vec::new();
        for (of, what) in disks.chain(clients).chain(exports) {
            let mut deaths = conditions.deaths(of);
            if died_serving == Some(what) {
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
                of,
                what,
                deaths,
                is_withheld,
                next: now.plus_micros(pause),
            });
        }
        let this = Self(all);
        for suspect in this.0.iter().filter(|it| it.is_withheld) {
            log::error!(
                "{}: out of service: {}; it is tried again in {} s",
                Name(suspect.what),
                suspect.reason(),
                pause(suspect.deaths) / 1_000_000
            );
        }
        this.show(conditions);
        this
    }

    /// Whether a client's virtual subchannel is out of service.
    pub(super) fn withholds_subchannel(&self, client: u16, place: u16) -> bool {
        let what = Served::Subchannel(client, place);
        let mut all = self.0.iter();
        all.any(|it| it.is_withheld && it.what == what)
    }

    /// Why something is out of service, if it is.
    pub(super) fn withholds(&self, of: Subject) -> Option<String> {
        let mut all = self.0.iter();
        let it = all.find(|it| it.is_withheld && it.of == of)?;
        Some(it.reason())
    }

    /// Says which are out of service, and why.
    pub(super) fn show(&self, conditions: &mut Conditions) {
        for suspect in self.0.iter().filter(|it| it.is_withheld) {
            conditions.failed(suspect.of, &suspect.reason());
        }
    }
}

/// For the log.
struct Name(Served);

impl core::fmt::Display for Name {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self.0 {
            Served::Subchannel(client, index) => {
                write!(f, "client {client}, virtual subchannel {index}")
            }
            Served::Client(client) => write!(f, "client {client}"),
            Served::Disk(index) => write!(f, "disk {index}"),
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

/// How long something is out of service after so many deaths.
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
            if suspect.is_withheld {
                if now >= suspect.next || self.conditions.is_asked(suspect.of) {
                    suspect.is_withheld = false;
                    suspect.next = now.plus_micros(FORGIVE_US);
                    released.push((suspect.of, suspect.what));
                }
            } else if now >= suspect.next {
                suspect.deaths -= 1;
                suspect.next = now.plus_micros(FORGIVE_US);
                self.conditions.set_deaths(suspect.of, suspect.deaths);
            }
        }
        self.suspects.0.retain(|suspect| suspect.deaths > 0);
        for (of, what) in released {
            log::warn!("{}: it is put into service again", Name(what));
            match (of, what) {
                (Subject::Disk(index), _) => self.try_disk_soon(index, now),
                (Subject::Client(number), _) => self.try_client_soon(number),
                (Subject::Export(export), Served::Subchannel(client, place)) => {
                    self.release(platform, export, (client, place));
                }
                (Subject::Export(_), _) => {}
            }
        }
    }

    /// Puts a virtual subchannel into service again.
    fn release(&mut self, platform: &mut dyn Platform, export: usize, place: (u16, u16)) {
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
