//! Path groups, and PREFIX.

use super::super::format::PathGroup;
use super::super::group::{group, Group};
use super::{cdl, id, machine, Fixture, ISC};
use crate::css::{self, Channel, Platform};
use crate::driver::block::BlockStatus;
use crate::testing::{Groups, StorageControl};
use std::rc::Rc;

fn grouped(volume: StorageControl, mask: u8) -> (Group, StorageControl) {
    let (mut machine, volume) = machine(volume, mask);
    let page = machine.storage(1).unwrap();
    let mut channel = Channel::new(id(), mask, page);
    css::enable(&mut machine, id(), ISC).unwrap();
    let group = group(&mut machine, &mut channel, mask);
    drop(machine);
    (group, Rc::into_inner(volume).unwrap().into_inner())
}

fn told(volume: &StorageControl) -> Vec<(u8, [u8; 11])> {
    let paths = volume.paths.iter();
    paths.map(|(path, group)| (*path, group.id)).collect()
}

#[test]
fn every_path_is_told_the_identifier_of_this_system() {
    let (group, volume) = grouped(cdl(2), 0xA0);
    assert_eq!(group, Group::Multipath);
    let id = *b"this system";
    assert_eq!(told(&volume), [(0x20, id), (0x80, id)]);
}

#[test]
fn a_storage_control_of_single_paths_gets_what_it_takes() {
    let mut volume = cdl(2);
    volume.groups = Groups::SinglePath;
    let (group, volume) = grouped(volume, 0xC0);
    assert_eq!(group, Group::SinglePath);
    assert_eq!(volume.paths.len(), 2);
}

#[test]
fn a_storage_control_without_path_groups_is_driven_all_the_same() {
    let mut volume = cdl(2);
    volume.groups = Groups::Unknown;
    let (group, volume) = grouped(volume, 0xC0);
    assert_eq!(group, Group::None);
    let mut fixture = Fixture::over(volume, 0xC0);
    assert_eq!(fixture.status(true, 5), BlockStatus::Ok);
    assert_eq!(fixture.port().taken, [0x80]);
}

#[test]
fn the_identifier_of_an_earlier_life_is_kept() {
    let mut volume = cdl(2);
    let earlier = PathGroup {
        control: PathGroup::GROUPED,
        id: *b"before this",
    };
    volume.paths.insert(0x40, earlier);
    let (group, volume) = grouped(volume, 0xC0);
    assert_eq!(group, Group::Multipath);
    let id = *b"before this";
    assert_eq!(told(&volume), [(0x40, id), (0x80, id)]);
}

#[test]
fn paths_of_several_groups_are_left_as_they_are() {
    let mut volume = cdl(2);
    for (path, id) in [(0x80, *b"one of them"), (0x40, *b"the other 1")] {
        let control = PathGroup::GROUPED;
        volume.paths.insert(path, PathGroup { control, id });
    }
    let before = told(&volume);
    let (group, volume) = grouped(volume, 0xC0);
    assert_eq!(group, Group::None);
    assert_eq!(told(&volume), before);
}

#[test]
fn where_prefix_is_offered_it_stands_for_two_commands() {
    let mut volume = cdl(6).offering_prefix();
    volume.prefix = true;
    let mut fixture = Fixture::new(volume);
    for token in 0..30 {
        fixture.one(true, 100 + u64::from(token), token);
    }
    for token in 30..40 {
        fixture.one(false, u64::from(token) * 7, token);
    }
    let done = fixture.all();
    assert!(done.iter().all(|one| one.status == BlockStatus::Ok));
    // PREFIX, a domain of 30 blocks, and ten of one each with their LOCATE RECORD.
    assert_eq!(fixture.disk.counters().ccws, 1 + 30 + 10 * 2);
    assert_eq!(fixture.port().starts, 1);
}

#[test]
fn prefix_is_not_tried_where_it_is_not_offered() {
    let mut volume = cdl(6);
    volume.prefix = true;
    let mut fixture = Fixture::new(volume);
    assert_eq!(fixture.status(true, 5), BlockStatus::Ok);
    assert_eq!(fixture.disk.counters().ccws, 3);
}

#[test]
fn prefix_that_is_rejected_is_not_tried_again() {
    let mut fixture = Fixture::new(cdl(6).offering_prefix());
    for token in 0..3 {
        fixture.one(true, u64::from(token) * 5, token);
    }
    let done = fixture.all();
    assert!(done.iter().all(|one| one.status == BlockStatus::Ok));
    assert_eq!(fixture.port().starts, 2, "all together, once each way");
    assert_eq!(fixture.status(false, 5), BlockStatus::Ok);
    assert_eq!(fixture.port().starts, 3);
}
