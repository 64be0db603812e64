//! `stellwerk resize`: a disk is made longer while it is served.
//!
//! # How
//!
//! Whoever asks hands the supervisor a [`Growth`], and waits. The supervisor has the file looked at, twice, with a pause, and tells
//! QEMU, which makes the image as long as it is told. The appliance sees its device's new size, and says so in the control area.
//!
//! # Rules
//!
//! * Nothing is made shorter. QEMU would do that, so it is never told a size that is less than what anybody knows of.
//! * QEMU *sets* the length of a raw file. Somebody may be adding to the file at that moment, so it has to be as long at the second
//!   look as at the first one, and no longer than what QEMU is told.
//! * A file system that does not answer holds up nobody but whoever asked; see `plugging`.
//!
//! # Limits
//!
//! What is added to a raw file between the second look and QEMU's own command, some milliseconds, is cut off.

use std::sync::mpsc::{sync_channel, RecvTimeoutError};
use std::time::{Duration, Instant};

use anyhow::{anyhow, bail, Result};

use super::plugged::Growth;
use super::{observe, upgrade, Shared};
use crate::config::{show_size, Format, SECTOR};
use crate::vm::look::{Found, LookError};
use crate::vm::{Backing, Pluggable};

/// Between the two looks.
const PAUSE: Duration = Duration::from_secs(1);
/// How long it may take until QEMU is told, and until it has answered.
const BEGINNING: Duration = Duration::from_secs(20);
const PATIENCE: Duration = Duration::from_secs(40);
/// How long the appliance may take to see it.
const TAKEN: Duration = Duration::from_secs(15);
const TICK: Duration = Duration::from_millis(20);

impl Growth {
    pub fn done(self, bytes: u64) {
        let _ = self.answer.send(Ok(bytes));
    }

    pub fn refuse(self, trouble: String) {
        let _ = self.answer.send(Err(trouble));
    }
}

/// What a disk is to become.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plan {
    wanted: Option<u64>,
    /// It has so many bytes, or may have.
    pub least: u64,
    is_raw: bool,
}

/// What is to be done about a disk whose QEMU has this behind it, and that the appliance takes for so long.
pub fn plan(
    backing: Option<Backing>,
    trouble: Option<String>,
    sectors: Option<u64>,
    wanted: Option<u64>,
) -> Result<Plan, String> {
    let Some(backing) = backing else {
        return Err("it is no image: its size is its device's own".into());
    };
    if let Some(trouble) = trouble {
        return Err(trouble);
    }
    let Some(sectors) = sectors else {
        return Err("the appliance does not serve it; `stellwerk status` says why".into());
    };
    let is_raw = backing.format == Format::Raw;
    if wanted.is_none() && !is_raw {
        return Err("its file does not say how long it is to be: give a size".into());
    }
    if wanted.is_some_and(|bytes| !bytes.is_multiple_of(SECTOR)) {
        return Err(format!("a size is a multiple of {SECTOR} bytes"));
    }
    let plan = Plan {
        wanted,
        least: sectors * SECTOR,
        is_raw,
    };
    plan.check(wanted.unwrap_or(plan.least)).map(|_| plan)
}

impl Plan {
    /// A size that QEMU may be told.
    fn check(self, bytes: u64) -> Result<u64, String> {
        if bytes < self.least {
            let least = show_size(self.least);
            return Err(format!("it has {least}, and nothing is made shorter"));
        }
        Ok(bytes)
    }

    /// What QEMU is to be told when the file has been as long at both looks.
    fn size(self, file: u64) -> Result<u64, String> {
        if !self.is_raw {
            return self.check(self.wanted.unwrap_or(0));
        }
        // Of what does not fill a sector nothing is cut off: the file is filled up.
        let file = file.next_multiple_of(SECTOR);
        let bytes = self.check(self.wanted.unwrap_or(file))?;
        if bytes < file {
            let file = show_size(file);
            return Err(format!(
                "its file has {file}, and nothing is made shorter; without a size the disk becomes as long"
            ));
        }
        Ok(bytes)
    }
}

/// Disks that are being made longer.
#[derive(Debug, Default)]
pub struct Growing(Vec<UnderWay>);

#[derive(Debug)]
struct UnderWay {
    what: Pluggable,
    plan: Plan,
    growth: Growth,
    /// How long the file was at the first look, and when there is the second one.
    first: Option<(u64, Instant)>,
    is_looked_at: bool,
}

/// What comes next.
#[derive(Debug)]
pub enum Step {
    /// Nothing, or nothing for now.
    Rest,
    /// QEMU is told this size.
    Grow(Growth, u64),
}

impl Growing {
    /// Begins with one, of which a look is under way.
    pub fn add(&mut self, what: Pluggable, plan: Plan, growth: Growth) {
        let now = Instant::now();
        self.0.retain(|it| now < it.growth.until);
        if self.0.iter().any(|it| it.what == what) {
            return growth.refuse("it is being made longer already".into());
        }
        self.0.push(UnderWay {
            what,
            plan,
            growth,
            first: None,
            is_looked_at: true,
        });
    }

    pub fn is_looked_at(&self, what: Pluggable) -> bool {
        self.0.iter().any(|it| it.what == what && it.is_looked_at)
    }

    /// When something is due.
    pub fn next(&self) -> Option<Instant> {
        let waiting = self.0.iter().filter(|it| !it.is_looked_at);
        waiting.filter_map(|it| it.first).map(|(_, at)| at).min()
    }

    /// Those that are to be looked at again, which whoever asks this has done.
    pub fn due(&mut self, now: Instant) -> Vec<Pluggable> {
        let waiting = self.0.iter_mut().filter(|it| !it.is_looked_at);
        let due = waiting.filter(|it| it.first.is_some_and(|(_, at)| now >= at));
        let begun = due.map(|it| {
            it.is_looked_at = true;
            it.what
        });
        begun.collect()
    }

    /// One has been looked at.
    pub fn looked(
        &mut self,
        what: Pluggable,
        found: Result<Option<Found>, LookError>,
        now: Instant,
    ) -> Step {
        let Some(place) = self.0.iter().position(|it| it.what == what) else {
            return Step::Rest;
        };
        let mut it = self.0.swap_remove(place);
        let file = match found {
            Ok(found) => found.map_or(0, |found| found.bytes),
            Err(error) => {
                it.growth.refuse(error.to_string());
                return Step::Rest;
            }
        };
        let size = match it.first {
            _ if now >= it.growth.until => Err("it took too long to look at its file".into()),
            None => {
                it.first = Some((file, now + PAUSE));
                it.is_looked_at = false;
                self.0.push(it);
                return Step::Rest;
            }
            // The tables of other formats grow as they like.
            Some((before, _)) if it.plan.is_raw && before != file => Err(
                "its file is changing its length just now: try again when whoever does that is done"
                    .into(),
            ),
            Some(_) => it.plan.size(file),
        };
        match size {
            Ok(bytes) => Step::Grow(it.growth, bytes),
            Err(trouble) => {
                it.growth.refuse(trouble);
                Step::Rest
            }
        }
    }

    /// Nothing comes of these, nor of those that are under way.
    pub fn refuse_all(&mut self, asked: Vec<(Pluggable, Growth)>, why: &str) {
        let under_way = self.0.drain(..).map(|it| it.growth);
        let asked = asked.into_iter().map(|(_, growth)| growth);
        under_way
            .chain(asked)
            .for_each(|growth| growth.refuse(why.into()));
    }
}

/// Makes a disk so long, or as long as its file is, and says what came of it.
pub fn resize(shared: &Shared, name: &str, wanted: Option<u64>) -> Result<String> {
    let _turn = upgrade::begin_maintenance(shared)?;
    let mut disks = shared.config.disks.iter();
    let Some(disk) = disks.position(|disk| disk.name == name) else {
        bail!("there is no disk \"{name}\"");
    };
    let (answer, answered) = sync_channel(1);
    let growth = Growth {
        wanted,
        answer,
        until: Instant::now() + BEGINNING,
    };
    shared.plugged.ask_to_grow(Pluggable::Disk(disk), growth);
    let refused = |why: String| anyhow!("disk \"{name}\": {why}");
    let bytes = match answered.recv_timeout(PATIENCE) {
        Ok(done) => done.map_err(refused)?,
        Err(RecvTimeoutError::Timeout) => {
            return Err(refused("QEMU or its supervisor is held up".into()))
        }
        Err(RecvTimeoutError::Disconnected) => {
            return Err(refused("nothing came of it; try again".into()))
        }
    };
    let until = Instant::now() + TAKEN;
    while observe::sectors(shared, disk) != Some(bytes / SECTOR) {
        if Instant::now() >= until {
            return Err(refused(format!(
                "QEMU has made it {}, but the appliance does not see that",
                show_size(bytes)
            )));
        }
        std::thread::sleep(TICK);
    }
    let sectors = bytes / SECTOR;
    Ok(format!(
        "disk \"{name}\" has {} now ({sectors} sectors)",
        show_size(bytes)
    ))
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::Receiver;

    use super::*;
    use crate::config::Aio;

    const DISK: Pluggable = Pluggable::Disk(0);

    fn image(format: Format) -> Option<Backing> {
        Some(Backing {
            device: false,
            format,
            direct: true,
            aio: Aio::Native,
            read_only: false,
        })
    }

    fn growth(wanted: Option<u64>) -> (Growth, Receiver<Result<u64, String>>) {
        let (answer, answered) = sync_channel(1);
        let until = Instant::now() + BEGINNING;
        let growth = Growth {
            wanted,
            answer,
            until,
        };
        (growth, answered)
    }

    /// What QEMU is told, or why it is told nothing, of a disk of 8 sectors whose file is so long at the two looks.
    fn told(format: Format, wanted: Option<u64>, looks: [u64; 2]) -> Result<u64, String> {
        let plan = plan(image(format), None, Some(8), wanted)?;
        let (mut growing, now) = (Growing::default(), Instant::now());
        let (growth, answered) = growth(wanted);
        growing.add(DISK, plan, growth);
        let found = |bytes| {
            Ok(Some(Found {
                device: false,
                bytes,
            }))
        };
        assert!(growing.is_looked_at(DISK) && growing.due(now).is_empty());
        assert!(matches!(
            growing.looked(DISK, found(looks[0]), now),
            Step::Rest
        ));
        assert!(!growing.is_looked_at(DISK) && growing.due(now).is_empty());
        let later = growing.next().unwrap();
        assert_eq!((growing.due(later), growing.next()), (vec![DISK], None));
        match growing.looked(DISK, found(looks[1]), later) {
            Step::Grow(_, bytes) => Ok(bytes),
            Step::Rest => Err(answered.recv().unwrap().unwrap_err()),
        }
    }

    fn refused(outcome: Result<u64, String>, words: &str) {
        let why = outcome.unwrap_err();
        assert!(why.contains(words), "{why}");
    }

    #[test]
    fn a_raw_disk_becomes_as_long_as_it_is_told_or_as_its_file_is() {
        assert_eq!(told(Format::Raw, Some(8192), [4096; 2]), Ok(8192));
        assert_eq!(told(Format::Raw, Some(8192), [8192; 2]), Ok(8192));
        assert_eq!(told(Format::Raw, None, [8192; 2]), Ok(8192));
        // What does not fill a sector is not cut off.
        assert_eq!(told(Format::Raw, None, [8193; 2]), Ok(8704));
        assert_eq!(told(Format::Raw, None, [4096; 2]), Ok(4096), "nothing new");
    }

    #[test]
    fn nothing_is_made_shorter() {
        refused(told(Format::Raw, Some(2048), [4096; 2]), "shorter");
        refused(told(Format::Qcow2, Some(2048), [4096; 2]), "shorter");
        // The disk knows nothing yet of what has been added to the file.
        refused(told(Format::Raw, Some(8192), [8704; 2]), "its file has");
        refused(told(Format::Raw, None, [2048; 2]), "shorter");
    }

    #[test]
    fn a_file_that_somebody_is_writing_is_left_alone() {
        for wanted in [None, Some(1 << 20)] {
            refused(told(Format::Raw, wanted, [8192, 8704]), "changing");
        }
    }

    #[test]
    fn the_file_of_another_format_says_nothing() {
        assert_eq!(told(Format::Qcow2, Some(8192), [70_000, 80_000]), Ok(8192));
        refused(told(Format::Qcow2, None, [4096; 2]), "give a size");
    }

    #[test]
    fn what_cannot_be_resized_is_not_begun_with() {
        let raw = image(Format::Raw);
        let of = |backing, trouble: Option<&str>, sectors, wanted| {
            plan(backing, trouble.map(Into::into), sectors, wanted).map(|plan| plan.least)
        };
        refused(of(None, None, Some(8), None), "no image");
        refused(of(raw, Some("gone"), Some(8), None), "gone");
        refused(of(raw, None, None, None), "does not serve");
        refused(of(raw, None, Some(8), Some(5000)), "multiple");
        assert_eq!(of(raw, None, Some(8), None), Ok(4096));
    }

    #[test]
    fn one_at_a_time_and_not_for_ever() {
        let plan = plan(image(Format::Raw), None, Some(8), None).unwrap();
        let mut growing = Growing::default();
        let ((first, first_told), (second, second_told)) = (growth(None), growth(None));
        let late = first.until;
        growing.add(DISK, plan, first);
        growing.add(DISK, plan, second);
        assert!(second_told.recv().unwrap().is_err());
        let step = growing.looked(DISK, Ok(None), late);
        assert!(matches!(step, Step::Rest) && first_told.recv().unwrap().is_err());
        assert!(!growing.is_looked_at(DISK));
        let ((first, first_told), (second, second_told)) = (growth(None), growth(None));
        growing.add(DISK, plan, first);
        growing.refuse_all(vec![(DISK, second)], "no");
        for told in [first_told, second_told] {
            assert_eq!(told.recv().unwrap(), Err("no".into()));
        }
    }
}
