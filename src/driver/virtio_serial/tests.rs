//! The link against a console of software.

use std::cell::RefMut;

use channel::ChannelSubsystem;

use super::*;
use crate::testing::{Console, Machine, Model, Virtio};

fn machine(names: &[&'static str]) -> (Machine, SubchannelId) {
    Machine::with(Virtio::new(Model::Console(Console::new(names)), 64))
}

fn link(adapter: bool) -> (Machine, SubchannelId, VirtioSerial) {
    let (mut machine, id) = machine(&["", "org.other", LINK_PORT]);
    let settings = Settings {
        adapter,
        ..Settings::default()
    };
    let serial = VirtioSerial::open(&mut machine, id, settings, LINK_PORT).unwrap();
    (machine, id, serial)
}

fn console(machine: &mut Machine, id: SubchannelId) -> RefMut<'_, Console> {
    RefMut::map(machine.subchannel(id).virtio(), Virtio::console)
}

#[test]
fn the_port_is_found_by_its_name_and_opened() {
    let (mut machine, id, mut serial) = link(true);
    assert_eq!(console(&mut machine, id).opened, [2]);
    serial.take_wakes(&mut machine);
    assert!(serial.connected());
    assert!(!serial.is_broken());
}

#[test]
fn bytes_wake_in_both_directions() {
    for adapter in [true, false] {
        let (mut machine, id, mut serial) = link(adapter);
        assert!(!serial.take_wakes(&mut machine));
        for round in 1..100 {
            serial.send_wake(&mut machine);
            assert_eq!(console(&mut machine, id).sent, round);
            while let Some(interruption) = machine.pending_interruption() {
                serial.interruption(&mut machine, &interruption);
            }
            assert!(!serial.arm());
            console(&mut machine, id).host_sends(2, &[b'w'; 3]);
            machine.work(id);
            let interruption = machine.pending_interruption().expect("an interruption");
            assert_eq!(serial.interruption(&mut machine, &interruption), !adapter);
            assert!(serial.arm());
            assert!(serial.take_wakes(&mut machine));
            assert!(!serial.take_wakes(&mut machine), "one burst, one wake-up");
            serial.disarm();
        }
        assert_eq!((serial.unsent(), serial.is_broken()), (0, false));
    }
}

#[test]
fn a_host_that_does_not_read_costs_nothing_but_a_count() {
    let (mut machine, id, mut serial) = link(true);
    console(&mut machine, id).reads = false;
    for _ in 0..100 {
        serial.send_wake(&mut machine);
    }
    assert_eq!((serial.unsent(), serial.is_broken()), (92, false));
    console(&mut machine, id).reads = true;
    machine.work(id);
    serial.send_wake(&mut machine);
    assert_eq!((serial.unsent(), console(&mut machine, id).sent), (92, 9));
}

#[test]
fn the_host_s_end_closes_and_opens() {
    let (mut machine, id, mut serial) = link(true);
    for value in [0, 1] {
        console(&mut machine, id).say(2, ControlEvent::PortOpen, value, "");
        machine.work(id);
        serial.take_wakes(&mut machine);
        assert_eq!(serial.connected(), value == 1);
    }
    console(&mut machine, id).say(2, ControlEvent::DeviceRemove, 1, "");
    machine.work(id);
    serial.take_wakes(&mut machine);
    assert!(!serial.connected());
    serial.send_wake(&mut machine);
    assert_eq!(console(&mut machine, id).sent, 0);
}

#[test]
fn messages_that_make_no_sense_are_passed_over() {
    let (mut machine, id, mut serial) = link(true);
    let mut console = console(&mut machine, id);
    console.say(77, ControlEvent::DeviceAdd, 1, "");
    console.say(u32::MAX, ControlEvent::PortOpen, 1, "");
    console.say(
        1,
        ControlEvent::PortName,
        1,
        "a name that is as long as the buffer has room for it",
    );
    console.say(0, ControlEvent::Resize, 1, "xxxx");
    drop(console);
    machine.work(id);
    serial.take_wakes(&mut machine);
    assert!(!serial.is_broken());
    serial.send_wake(&mut machine);
    assert_eq!(self::console(&mut machine, id).sent, 1);
}

#[test]
fn without_such_a_port_there_is_no_link() {
    let (mut machine, id) = machine(&["org.other"]);
    let error = VirtioSerial::open(&mut machine, id, Settings::default(), LINK_PORT).unwrap_err();
    assert_eq!(error, SerialError::NoSuchPort);
    let (mut machine, id) = super::tests::machine(&[LINK_PORT]);
    machine.subchannel(id).virtio().offered -= Features::MULTIPORT.into();
    let error = VirtioSerial::open(&mut machine, id, Settings::default(), LINK_PORT).unwrap_err();
    assert_eq!(error, SerialError::NotMultiport);
}
