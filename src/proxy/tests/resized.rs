//! A disk that gets another size while a client works.

use std::vec::Vec;

use vcss::client::{DeviceState, Notify};
use virtio::blk::Config;
use virtio::ccw::Command;
use zerocopy::{FromZeros, IntoBytes};

use super::fixture::{Driver, Fixture, DISK_SECTORS, FEATURES, SLICE_SECTORS};

const DATA: u64 = 0x8_0000;

/// The disk has so many sectors by now.
fn resize(fixture: &mut Fixture, disk: usize, sectors: u64) {
    {
        let mut platter = fixture.platter(disk);
        platter.geometry.sectors = sectors;
        let bytes = (sectors * 512).max(platter.bytes.len() as u64);
        platter.bytes.resize(bytes as usize, 0);
    }
    fixture.attach(disk);
}

fn capacity(fixture: &mut Fixture, number: u16) -> u64 {
    let mut config = Config::new_zeroed();
    fixture.good(number, Command::ReadConfig, config.as_mut_bytes());
    config.capacity.get()
}

/// How often the client was told that the configuration is another one.
fn changes(fixture: &Fixture, number: u32) -> u32 {
    let notify: Notify = fixture.area.read(number).unwrap();
    notify.config.get()
}

fn status_of(fixture: &mut Fixture, driver: &mut Driver, sector: u64) -> u8 {
    driver.read(sector, DATA, 512);
    fixture.settle();
    driver.done().unwrap().1
}

#[test]
fn requests_go_on_and_the_new_end_is_there() {
    let [mut one, mut other] = Fixture::pair();
    let mut driver = one.bring_up(0, FEATURES);
    one.platter(0).stalled = u32::MAX;
    let before: Vec<u16> = (0..4).map(|at| driver.write(at, DATA, 512)).collect();
    one.side.borrow_mut().turn();
    assert_eq!(one.platter(0).waiting.len(), before.len());
    resize(&mut one, 0, 2 * DISK_SECTORS);
    assert_eq!(changes(&one, 0), 1);
    assert_eq!(capacity(&mut one, 0), 2 * DISK_SECTORS);
    assert_eq!(capacity(&mut other, 0), 2 * DISK_SECTORS);
    one.platter(0).stalled = 0;
    one.settle();
    for _ in before {
        assert_eq!(driver.done().unwrap().1, 0);
    }
    assert_eq!(status_of(&mut one, &mut driver, 2 * DISK_SECTORS - 1), 0);
    assert_eq!(status_of(&mut one, &mut driver, 2 * DISK_SECTORS), 1);
    let state: DeviceState = one.area.read(0).unwrap();
    assert_eq!(state.capacity.get(), 2 * DISK_SECTORS);
}

#[test]
fn a_slice_stays_what_it_is() {
    let mut fixture = Fixture::new();
    let mut driver = fixture.bring_up(0, FEATURES);
    resize(&mut fixture, 0, 2 * DISK_SECTORS);
    assert_eq!(changes(&fixture, 0), 0);
    assert_eq!(capacity(&mut fixture, 0), SLICE_SECTORS);
    assert_eq!(status_of(&mut fixture, &mut driver, SLICE_SECTORS), 1);
}

#[test]
fn what_was_cut_off_is_an_error() {
    let [mut one, _other] = Fixture::pair();
    let mut driver = one.bring_up(0, FEATURES);
    resize(&mut one, 0, DISK_SECTORS / 2);
    assert_eq!(capacity(&mut one, 0), DISK_SECTORS / 2);
    assert_eq!(changes(&one, 0), 1);
    assert_eq!(status_of(&mut one, &mut driver, DISK_SECTORS / 2), 1);
    assert_eq!(status_of(&mut one, &mut driver, 0), 0);
}

#[test]
fn the_next_life_tells_whoever_may_not_have_been_told() {
    let mut pair = Fixture::pair();
    let [one, _] = &mut pair;
    let mut driver = one.bring_up(0, FEATURES);
    let known: DeviceState = one.area.read(0).unwrap();
    assert_eq!(known.capacity.get(), DISK_SECTORS);
    resize(one, 0, 2 * DISK_SECTORS);
    let told = changes(one, 0);
    // It dies before anybody was rung for.
    Fixture::restart_pair(&pair);
    let [one, _] = &mut pair;
    assert_ne!(changes(one, 0), told);
    assert_eq!(status_of(one, &mut driver, 2 * DISK_SECTORS - 1), 0);
}
