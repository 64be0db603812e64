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

use core::fmt;

use liballoc::vec::Vec;

use s390x::clock::Tod;
use vcss::underway::{CutOff, Note, Served};

use crate::control::{Conditions, Exported, Subject};

/// So many deaths put something out of service.
const DEATHS: u32 = 2;
/// The pause after these, in microseconds.
const PAUSE_US: u64 = 10_000_000;
const LONGEST_US: u64 = 600_000_000;
/// How long something has to be in service for a death to be forgiven.
const FORGIVE_US: u64 = 3_600_000_000;

#[derive(Debug, Default)]
pub(super) struct Suspects(Vec<Suspect>);

#[derive(Debug)]
struct Suspect {
    of: Subject,
    deaths: Deaths,
    is_withheld: bool,
    /// When it is tried again, or forgiven a death.
    next: Tod,
}

impl Suspects {
    /// Counts the death that the note tells of, and finds all that have any.
    pub(super) fn find(
        exports: &[Exported],
        is_changing: bool,
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
        let disks = (0..usize::from(disks)).map(Subject::Disk);
        let clients = (0..clients).map(Subject::Client);
        let all_exports = exports.iter().map(|export| Subject::Export(export.index));
        let mut all = Vec::new();
        for of in disks.chain(clients).chain(all_exports) {
            let mut deaths = match is_changing {
                // Nobody knows of whom they are.
                true => 0,
                false => conditions.deaths(of),
            };
            if died_serving.is_some() && died_serving == served(of, exports) {
                deaths = deaths.saturating_add(1);
                conditions.set_deaths(of, deaths);
                if let Some((note, _)) = news {
                    note.counted();
                }
            }
            if is_changing {
                conditions.set_deaths(of, deaths);
            }
            if deaths == 0 {
                continue;
            }
            let deaths = Deaths(deaths);
            let is_withheld = deaths.are_too_many();
            let pause = if is_withheld {
                deaths.pause_us()
            } else {
                FORGIVE_US
            };
            all.push(Suspect {
                of,
                deaths,
                is_withheld,
                next: now.plus_micros(pause),
            });
        }
        let this = Self(all);
        for suspect in this.0.iter().filter(|it| it.is_withheld) {
            log::error!(
                "{}: out of service: {}; it is tried again in {} s",
                Name(suspect.of, exports),
                suspect.deaths,
                suspect.deaths.pause_us() / 1_000_000
            );
        }
        this.show(conditions);
        this
    }

    /// How often the appliance has died of something that is out of service for that.
    pub(super) fn withholds(&self, of: Subject) -> Option<Deaths> {
        let mut all = self.0.iter();
        let it = all.find(|it| it.is_withheld && it.of == of)?;
        Some(it.deaths)
    }

    /// It is there no longer: what comes in its place is another one.
    pub(super) fn forget(&mut self, of: Subject) {
        self.0.retain(|it| it.of != of);
    }

    /// Says which are out of service, and why.
    pub(super) fn show(&self, conditions: &mut Conditions) {
        for suspect in self.0.iter().filter(|it| it.is_withheld) {
            conditions.failed(suspect.of, &suspect.deaths);
        }
    }

    /// What is put into service again, being due; forgives what is.
    pub(super) fn take_due(
        &mut self,
        conditions: &mut Conditions,
        exports: &[Exported],
        now: Tod,
    ) -> Vec<Subject> {
        let mut released = Vec::new();
        for suspect in &mut self.0 {
            if suspect.is_withheld {
                if now >= suspect.next || conditions.is_asked(suspect.of) {
                    suspect.is_withheld = false;
                    suspect.next = now.plus_micros(FORGIVE_US);
                    log::warn!(
                        "{}: it is put into service again",
                        Name(suspect.of, exports)
                    );
                    released.push(suspect.of);
                }
            } else if now >= suspect.next {
                suspect.deaths.0 -= 1;
                suspect.next = now.plus_micros(FORGIVE_US);
                conditions.set_deaths(suspect.of, suspect.deaths.0);
            }
        }
        self.0.retain(|suspect| suspect.deaths.0 > 0);
        released
    }
}

fn find(exports: &[Exported], index: usize) -> Option<&Exported> {
    exports.iter().find(|export| export.index == index)
}

/// What the note calls it.
fn served(of: Subject, exports: &[Exported]) -> Option<Served> {
    Some(match of {
        Subject::Disk(index) => Served::Disk(index as u16),
        Subject::Client(number) => Served::Client(number),
        Subject::Export(index) => find(exports, index)?.slot.into(),
    })
}

/// For the log.
struct Name<'a>(Subject, &'a [Exported]);

impl fmt::Display for Name<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Subject::Disk(index) => write!(f, "disk {index}"),
            Subject::Client(number) => write!(f, "client {number}"),
            Subject::Export(index) => find(self.1, index).map_or(Ok(()), |it| it.slot.fmt(f)),
        }
    }
}

/// How often the appliance has died while it did something for something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Deaths(u32);

impl fmt::Display for Deaths {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "the appliance has died {} times while it did something for it",
            self.0
        )
    }
}

impl Deaths {
    const fn are_too_many(self) -> bool {
        self.0 >= DEATHS
    }

    /// How long it is out of service then.
    fn pause_us(self) -> u64 {
        let doubled = self.0.saturating_sub(DEATHS).min(10);
        (PAUSE_US << doubled).min(LONGEST_US)
    }
}
