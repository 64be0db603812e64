//! The channel paths to a disk: which of them are used, and the group that they are.
//!
//! # The group
//!
//! A storage control that knows which paths lead to the same machine lets them stand in for each other: a reservation holds for all of
//! them, and an operation that was started over one may end over another. So at bring-up each path is told the machine's identifier,
//! where the storage control has the commands (SENSE PATH GROUP ID, SET PATH GROUP ID). A disk without them is driven all the same.
//!
//! # The rule
//!
//! The identifier that a path has already is kept: an earlier life of this machine has given it, and only a reset takes it back.

use super::super::{Channel, Platform, ProgramError};
use super::format::{PathGroup, SENSE_PATH_GROUP, SET_PATH_GROUP};
use s390x::clock::Tod;
use zerocopy::{FromZeros, IntoBytes};

/// How long a path on which something went wrong is left out, in microseconds.
const LEFT_OUT_US: u64 = 60_000_000;

/// The paths of a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Paths {
    all: u8,
    /// Those that programs are started over, and until when the others are left out.
    now: u8,
    until: Tod,
}

impl Paths {
    /// These, all in use.
    pub const fn new(all: u8) -> Self {
        Self {
            all,
            now: all,
            until: Tod::NEVER,
        }
    }

    /// The logical-path mask for the next program.
    #[inline]
    pub fn mask(&mut self, platform: &dyn Platform) -> u8 {
        if !self.is_whole() && platform.now() >= self.until {
            self.reset();
        }
        self.now
    }

    /// The logical-path mask of the last program, or of the next one.
    pub const fn current(&self) -> u8 {
        self.now
    }

    /// Whether none is left out.
    pub const fn is_whole(&self) -> bool {
        self.now == self.all
    }

    /// Leaves out the path that was used last, the first one if nobody knows which that was. `false`: there is no other one
    /// that was not left out yet, so all are in use again.
    pub fn leave(&mut self, used: u8, now: Tod) -> bool {
        let used = match used & self.now {
            0 => 0x80_u8.checked_shr(self.now.leading_zeros()).unwrap_or(0),
            used => used,
        };
        self.now &= !used;
        self.until = now.plus_micros(LEFT_OUT_US);
        if self.now == 0 {
            self.reset();
            return false;
        }
        true
    }

    /// Uses all of them again.
    pub const fn reset(&mut self) {
        self.now = self.all;
    }
}

/// What the paths are to the storage control.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Group {
    /// They stand in for each other.
    Multipath,
    /// They share reservations only.
    SinglePath,
    /// Each stands for itself.
    None,
}

/// Makes a group of the paths in `mask`.
pub fn group(platform: &mut dyn Platform, channel: &mut Channel, mask: u8) -> Group {
    let grouped = try_group(platform, channel, mask);
    channel.set_path_mask(mask);
    match grouped {
        Ok(group) => {
            log::debug!("{}: paths {mask:02x}: {group:?}", channel.id());
            group
        }
        Err(error) => {
            log::debug!("{}: no path group: {error}", channel.id());
            Group::None
        }
    }
}

fn try_group(
    platform: &mut dyn Platform,
    channel: &mut Channel,
    mask: u8,
) -> Result<Group, ProgramError> {
    let mut id = None;
    for path in each(mask) {
        channel.set_path_mask(path);
        let mut sensed = PathGroup::new_zeroed();
        channel.read(platform, SENSE_PATH_GROUP, sensed.as_mut_bytes())?;
        if sensed.control & PathGroup::GROUPED != PathGroup::GROUPED {
            continue;
        }
        if *id.get_or_insert(sensed.id) != sensed.id {
            log::warn!("{}: its paths are of several groups", channel.id());
            return Ok(Group::None);
        }
    }
    let id = id.unwrap_or_else(|| platform.path_group());
    let mut set = |control| {
        each(mask).try_for_each(|path| {
            channel.set_path_mask(path);
            let group = PathGroup { control, id };
            channel.write(platform, SET_PATH_GROUP, group.as_bytes())
        })
    };
    match set(PathGroup::MULTIPATH) {
        Ok(()) => Ok(Group::Multipath),
        Err(ProgramError::UnitCheck(sense)) if sense.is_command_reject() => {
            set(PathGroup::SINGLE_PATH).map(|()| Group::SinglePath)
        }
        Err(error) => Err(error),
    }
}

/// The paths of a mask, one by one.
fn each(mask: u8) -> impl Iterator<Item = u8> {
    (0..8)
        .map(|number| 0x80 >> number)
        .filter(move |path| mask & path != 0)
}
