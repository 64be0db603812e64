//! `stellwerk reload`, and SIGHUP: another configuration, while clients are served.
//!
//! # How
//!
//! The daemon finds out what is different, makes what is new, and writes all of it down for the next daemon, at one instant. Then it dies,
//! and the next one goes on as after any death: with the other configuration. What has become vacant is cleared away when the appliance
//! says that it serves by that: see [`Settling`].
//!
//! # Rules
//!
//! * A configuration with an error in it changes nothing.
//! * Whatever is the same has the same place, and whoever has it notices nothing.
//! * Nothing is taken from a VM that is connected, unless that is ordered.

mod changes;
mod next;
mod settling;

use std::io::Read;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{bail, ensure, Context, Result};
use rustix::process::{getpid, kill_process, Signal};
use vcss::control::Life;

use super::{observe, upgrade, Shared};
use crate::api::Reloaded;
use crate::check::Served;
use crate::config::{show_size, Config, Holder, Part, Seats};
use crate::layout::disk_device;
use crate::vm::{Backing, Pluggable};
use crate::{check, descriptors};

use changes::Changes;
use next::{Made, Making, Next};
pub use settling::Settling;

/// How long requests of what goes may take to end.
const DRAIN_LIMIT: Duration = Duration::from_secs(10);
/// How long the appliance is waited for, and how often it is looked.
const TAKING_LIMIT: Duration = Duration::from_secs(1);
const TAKING_TICK: Duration = Duration::from_millis(1);
/// How long the last change may take to be carried out.
const SETTLING_LIMIT: Duration = Duration::from_secs(5);

/// What may be taken from VMs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taking {
    /// Only what no VM has.
    Unused,
    /// Also what a VM has just now: its requests end first.
    Used,
}

/// Takes another configuration whenever the process is told to by SIGHUP.
pub fn heed(shared: &Arc<Shared>, mut hangups: UnixStream) -> Result<()> {
    let shared = Arc::clone(shared);
    let heed = move || {
        while hangups.read(&mut [0; 16]).is_ok_and(|count| count != 0) {
            match reload(&shared, Taking::Unused, |_| {}) {
                Ok(_) => tracing::info!("the configuration has not changed"),
                Err(error) => tracing::error!("the configuration stays what it was: {error:#}"),
            }
        }
    };
    let builder = std::thread::Builder::new().name("hangup".into());
    builder.spawn(heed)?;
    Ok(())
}

/// Ends this daemon so that the next one goes on with what has been written down.
pub fn give_way(shared: &Shared) -> ! {
    shared.handover.store.say("RELOADING=1");
    let _ = kill_process(getpid(), Signal::KILL);
    std::process::abort();
}

/// Reads the configuration, and writes down for the next daemon what it is to go on with. If anything has changed, that is told, and this
/// daemon gives way; it returns if nothing has.
///
/// # Errors
///
/// Says why that cannot be. Nothing has changed.
pub fn reload(shared: &Shared, taking: Taking, tell: impl FnOnce(&Reloaded)) -> Result<Reloaded> {
    let _one = upgrade::begin(shared)?;
    settle(shared)?;
    let left = shared.handover.left();
    let (written, text) = Config::load_text(&shared.file)?;
    let old = &shared.config;
    can_follow(old, &written)?;
    let seats = left.seats.follow(old, &written)?;
    let served = Served {
        config: old,
        backings: &left.backings,
    };
    let found = check::look_at_new(&written, &served)?;
    let new = written.clone().seated(&seats);
    let backings = new.disks.iter().map(|disk| {
        let number = written.disk_number(&disk.name)?;
        found.get(number).copied().flatten()
    });
    let backings: Vec<Option<Backing>> = backings.collect();
    descriptors::prepare(&new)?;
    numbers_differ(&new)?;
    numbers_are_free(old, &new, &seats, &left.unplugged)?;
    let changes = Changes::between(old, &new);
    if changes.is_empty() || text == left.config {
        return Ok(Reloaded::default());
    }
    let moves = |client| changes.moves(&new, client);
    let layout = shared.layout.follow(old, &new, &left.vacated, moves).context(
        "there is no room for so much memory of clients: set room = \"…\" in [appliance], stop the daemon and start it",
    )?;
    nothing_is_reserved(shared, &new)?;
    if taking == Taking::Unused {
        nobody_is_disturbed(shared, &changes)?;
    }
    let next = Next {
        old,
        new: &new,
        layout: &layout,
        changes: &changes,
    };
    let mut making = Making::begin(&shared.handover, &next)?;
    let made = Made {
        memories: next.memories(&shared.pool, &mut making, &left.memories)?,
        links: next.links(&mut making, &left.links)?,
        exports: next.exports(&mut making, &left.exports)?,
        vacated: next.vacated(&shared.layout).collect(),
        text,
        seats,
        backings,
        configuration: left.configuration.wrapping_add(1).max(1),
    };
    // What the next daemon would find by then.
    let mut wanted = shared.handover.left();
    next.write(&made, &mut wanted);
    upgrade::check_successor(shared, &wanted)?;
    next.regroup(&mut making)?;
    end(shared, &changes);
    let written_down = shared.handover.try_change(|left| next.write(&made, left));
    if let Err(error) = written_down {
        tracing::error!(%error, "the configuration stays what it was: what the next daemon is to know cannot be written down");
        drop(making);
        // It opens again what has been ended here.
        give_way(shared);
    }
    making.done();
    for line in changes.lines.iter().chain(&changes.later) {
        tracing::info!("configuration: {line}");
    }
    tell(&Reloaded {
        changes: changes.lines,
        later: changes.later,
        configuration: Some(made.configuration),
    });
    give_way(shared)
}

/// Gives the appliance time to take another configuration, before VMs of clients that have changed can come: what they say is not for the
/// clients of before. It begins at once, and answers none of those any more then; their requests at the disks may take longer to end.
pub fn await_appliance(shared: &Shared, configuration: u32) {
    let until = Instant::now() + TAKING_LIMIT;
    let takes = || {
        let about = shared.areas.appliance();
        shared.areas.life() == Life::Serving
            && about.is_ok_and(|about| about.configuration.get() != configuration)
    };
    while takes() && Instant::now() < until {
        std::thread::sleep(TAKING_TICK);
    }
}

/// Waits until the last change has been carried out, and what it has left is cleared away.
fn settle(shared: &Shared) -> Result<()> {
    let until = Instant::now() + SETTLING_LIMIT;
    while shared.areas.life() == Life::Serving {
        let left = shared.handover.left();
        let served = shared.areas.appliance()?.configuration.get();
        ensure!(
            served != 0,
            "the appliance takes no other configuration while it runs: its image is older than the daemon"
        );
        let is_taken = served == left.configuration;
        // Places, windows and devices that could not be cleared away so long, as by a QEMU that does not hear, stay nobody's.
        if is_taken && (!left.is_unsettled() || Instant::now() > until) {
            break;
        }
        ensure!(
            Instant::now() < until,
            "the appliance is still taking the last change; try again in a moment"
        );
        std::thread::sleep(TAKING_TICK);
    }
    Ok(())
}

/// Whether no subchannel has the device number that a disk gets by its place.
fn numbers_differ(new: &Config) -> Result<()> {
    for (place, disk) in new.disks.iter().enumerate() {
        let number = disk_device(place);
        let mut all = new.subchannels.iter();
        if let Some(other) = all.find(|it| !disk.is_vacant() && it.device == number) {
            bail!(
                "disk \"{}\" would get the device number {number}, which is subchannel \"{}\"'s: give that another one",
                disk.name,
                other.name
            );
        }
    }
    Ok(())
}

/// Whether no device gets the number of another one that is there until it is unplugged: the appliance tells devices apart by their
/// numbers, and would take the one for the other. The places are those of the new configuration.
fn numbers_are_free(old: &Config, new: &Config, seats: &Seats, unplugged: &[String]) -> Result<()> {
    let taken = |number, own: &str| {
        let unplugged = unplugged.iter().filter(|id| *id != own);
        let mut unplugged = unplugged.filter_map(|id| Pluggable::number_of(id));
        let mut places = seats.disks.iter().enumerate();
        unplugged.any(|it| it == number)
            || places.any(|(place, it)| *it == Holder::Leaving && disk_device(place) == number)
    };
    let refuse = |what: String, number| {
        bail!(
            "{what} would get the device number {number} of another device, which is there until it has been unplugged: take that out first, \
             and this in by another reload"
        )
    };
    for (index, after) in new.subchannels.iter().enumerate() {
        let (number, id) = (after.device, Pluggable::Subchannel(index).id(new));
        let mut same = old.subchannels.iter().filter(|it| it.device == number);
        let is_there = same.clone().any(|it| it.source == after.source);
        if !is_there && (same.next().is_some() || taken(number, &id)) {
            return refuse(format!("subchannel \"{}\"", after.name), number);
        }
    }
    for (place, after) in new.disks.iter().enumerate() {
        let number = disk_device(place);
        let is_new = !after.is_vacant() && old.disks[place].name != after.name;
        let mut subchannels = old.subchannels.iter();
        if is_new && (subchannels.any(|it| it.device == number) || taken(number, "")) {
            return refuse(format!("disk \"{}\"", after.name), number);
        }
    }
    Ok(())
}

/// Whether this daemon can go on with a configuration at all.
fn can_follow(old: &Config, new: &Config) -> Result<()> {
    let (is, will_be) = (&old.appliance.run_dir, &new.appliance.run_dir);
    ensure!(
        is == will_be,
        "run_dir cannot change while the daemon runs: it is {}, and would be {}",
        is.display(),
        will_be.display()
    );
    let (has, needs) = (old.appliance.private, new.needed());
    ensure!(
        needs <= has,
        "the appliance has {}, and would need {}: set memory = \"…\" in [appliance], stop the daemon and start it",
        show_size(has),
        show_size(needs)
    );
    Ok(())
}

/// Whether no VM has anything of what goes.
fn nobody_is_disturbed(shared: &Shared, changes: &Changes) -> Result<()> {
    let status = observe::status(shared);
    let config = &shared.config;
    let has = |part: &&Part| {
        let name = &config.clients[part.client].name;
        let client = status.clients.iter().find(|it| it.name == *name);
        client.is_some_and(|client| match client.disks.get(part.number) {
            Some(disk) => disk.connected,
            None => client.connected,
        })
    };
    let mut users: Vec<&str> = changes
        .disturbed
        .iter()
        .filter(has)
        .map(|part| config.clients[part.client].name.as_str())
        .collect();
    users.dedup();
    ensure!(
        users.is_empty(),
        "the VM of {} is connected, and would lose what it has: end it first, or add --force",
        users.join(", ")
    );
    Ok(())
}

/// Whether no disk that goes, or is opened anew, is reserved: nobody would release it.
fn nothing_is_reserved(shared: &Shared, new: &Config) -> Result<()> {
    let old = &shared.config;
    for name in shared.reservations.ours() {
        let goes = |disk| old.same_disk(disk, new).is_none();
        ensure!(
            !old.disk_number(&name).is_some_and(goes),
            "disk \"{name}\" is reserved: release it first (stellwerk release)"
        );
    }
    Ok(())
}

/// Lets the requests of what goes end, and its connections.
fn end(shared: &Shared, changes: &Changes) {
    let parts = shared.config.exports().map(|(part, _)| part);
    let mut servers = shared.servers.lock();
    let mut ending = Vec::new();
    for (part, server) in parts.zip(servers.iter_mut()) {
        if changes.disturbed.contains(&part) {
            server.stop();
            ending.push(server);
        }
    }
    let deadline = Instant::now() + DRAIN_LIMIT;
    ending.retain_mut(|server| !server.join_until(deadline));
    if !ending.is_empty() {
        tracing::warn!(
            "{} disks of clients that go still have requests in flight",
            ending.len()
        );
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use channel::DeviceNumber;

    use super::*;

    #[test]
    fn a_subchannel_that_has_the_number_which_a_disk_gets_by_its_place_is_refused() {
        let config = |disks: &[&str], device: &str| {
            let mut text = "[appliance]\nimage = \"i\"\nrun_dir = \"/run/x\"\n".to_owned();
            for name in disks {
                text += &format!("[[disk]]\nname = \"{name}\"\nimage = \"{name}.img\"\n");
            }
            text +=
                &format!("[[subchannel]]\nname = \"tape\"\ndevice = \"{device}\"\nmdev = \"/m\"\n");
            Config::parse(Path::new("c.toml"), &text).unwrap()
        };
        // Once the place of `b` was somebody's, `c` gets the third, though it is the second of two in the file.
        let third = disk_device(2).to_string();
        let old = config(&["a", "b"], "0.0.7777");
        let seats = Seats::new(&old);
        let old = old.seated(&seats);
        let new = config(&["a", "c"], &third);
        let next = seats.follow(&old, &new).unwrap();
        let refused = numbers_differ(&new.seated(&next)).unwrap_err().to_string();
        assert!(
            refused.contains("disk \"c\" would get the device number"),
            "{refused}"
        );
        assert!(
            refused.contains(&third) && refused.contains("\"tape\""),
            "{refused}"
        );
        // A number of a place that nobody has is free.
        let new = config(&["a"], &third);
        let next = seats.follow(&old, &new).unwrap();
        assert!(numbers_differ(&new.seated(&next)).is_ok());
    }

    #[test]
    fn a_device_number_does_not_change_hands_in_one_reload() {
        let parse = |text: &str| {
            let head = "[appliance]\nimage = \"i\"\nrun_dir = \"/run/x\"\n";
            Config::parse(Path::new("c.toml"), &format!("{head}{text}")).unwrap()
        };
        let disk = |name: &str| format!("[[disk]]\nname = \"{name}\"\nmdev = \"/m/{name}\"\n");
        let tape = |device: DeviceNumber, mdev: &str| {
            format!("[[subchannel]]\nname = \"t\"\ndevice = \"{device}\"\nmdev = \"/m/{mdev}\"\n")
        };
        let check = |old: &str, new: &str, unplugged: &[String]| {
            let (old, new) = (parse(old), parse(new));
            let seats = Seats::new(&old);
            let old = old.seated(&seats);
            let next = seats.follow(&old, &new).unwrap();
            numbers_are_free(&old, &new.seated(&next), &next, unplugged)
        };
        let refuses = |old: &str, new: &str, what: &str| {
            let said = check(old, new, &[]).unwrap_err().to_string();
            assert!(said.starts_with(what), "{said}");
        };
        let (a, b) = (disk("a"), disk("b"));
        let free = DeviceNumber {
            set: 0,
            number: 0x7777,
        };
        // Another device at the same subchannel; a disk's that goes; and a subchannel's that goes.
        refuses(&tape(free, "one"), &tape(free, "two"), "subchannel \"t\"");
        let second = disk_device(1);
        refuses(
            &format!("{a}{b}"),
            &format!("{a}{}", tape(second, "one")),
            "subchannel \"t\"",
        );
        refuses(
            &format!("{a}{}", tape(second, "one")),
            &format!("{a}{b}"),
            "disk \"b\"",
        );
        // In two reloads it may, once the first one is through.
        let one = tape(free, "one");
        let mut unplugged = vec![Pluggable::Subchannel(0).id(&parse(&one))];
        assert!(check("", &tape(free, "two"), &unplugged).is_err());
        assert!(check("", &one, &unplugged).is_ok(), "it is the same one");
        unplugged.clear();
        assert!(check("", &tape(free, "two"), &unplugged).is_ok());
        // Who stays has its number.
        assert!(check(&format!("{a}{one}"), &format!("{a}{one}{b}"), &[]).is_ok());
    }
}
