//! The group that the channel paths to a disk are.
//!
//! A storage control that knows which paths lead to the same machine lets them stand in for each other: a reservation holds for all of
//! them, and an operation that was started over one may end over another. So at bring-up each path is told the machine's identifier,
//! where the storage control has the commands (SENSE PATH GROUP ID, SET PATH GROUP ID). A disk without them is driven all the same.
//!
//! # The rule
//!
//! The identifier that a path has already is kept: an earlier life of this machine has given it, and only a reset takes it back.

use super::format::{PathGroup, SENSE_PATH_GROUP, SET_PATH_GROUP};
use crate::css::{each_path, Channel, Platform, ProgramError};
use zerocopy::{FromZeros, IntoBytes};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Group {
    Multipath,
    /// They share reservations only.
    SinglePath,
    /// Each stands for itself.
    None,
}

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
    for path in each_path(mask) {
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
        each_path(mask).try_for_each(|path| {
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
