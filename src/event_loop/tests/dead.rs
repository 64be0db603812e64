//! Devices that do not answer: how long the others wait for them.

use super::*;

/// A device that does not answer any program.
fn dead(fixture: &mut Fixture, number: u16) -> SubchannelId {
    let id = fixture.machine.attach(0, number, disk());
    fixture.machine.subchannel(id).mishaps.hangs = true;
    id
}

#[test]
fn dead_disks_hold_the_bring_up_of_the_others_up_for_some_seconds_altogether() {
    // Those that cannot even be cleared keep the storage that they were asked with, and do not keep the link from being found.
    for (dead, stuck) in [(20, false), (40, true)] {
        let mut machine = Machine::new();
        for number in 1..=dead {
            let id = machine.attach(0, number, disk());
            machine.subchannel(id).mishaps.hangs = true;
            machine.subchannel(id).mishaps.stuck = stuck;
        }
        let link = machine.attach(
            0,
            0x80,
            Virtio::new(Model::Console(Console::new(&[LINK_PORT])), 64),
        );
        machine.attach(0, DISK, disk());
        let inventory = Inventory::discover(&mut machine).unwrap();
        let found = machine.now().as_micros();
        assert!(found < 15_000_000, "{found} us");
        let numbers: Vec<u16> = (1..=dead).chain([DISK]).collect();
        let mut given = export(ExportKind::Block, 0);
        given.disk = dead.into();
        let (control, _, storage) = areas(1, &numbers, &[given]);
        let tuning = Tuning::default();
        let appliance = Appliance::bring_up(&mut machine, inventory, storage, tuning).unwrap();
        let took = machine.now().as_micros() - found;
        assert!(took < 10_000_000, "{took} us");
        assert_eq!(appliance.link.id(), link);
        let mut fixture = Fixture {
            machine,
            control,
            shared: Vec::new(),
            storage,
            appliance,
        };
        fixture.later(0);
        let dead = usize::from(dead);
        assert_eq!(fixture.conditions()[dead], Ok(()));
        assert!(fixture.conditions()[..dead].iter().all(Result::is_err));
    }
}

#[test]
fn a_try_of_a_dead_disk_takes_a_moment_and_little_of_the_time_altogether() {
    let given = [export(ExportKind::Block, 1)];
    let mut fixture = Fixture::with(2, &[DISK, 0x101], &[0x101], &given, |_, _| {});
    let id = dead(&mut fixture, DISK);
    // Its identity is known from before; or nobody knows what it is.
    for known in [true, false] {
        fixture.machine.subchannel(id).mishaps.hangs = !known;
        fixture.report(id);
        fixture.machine.subchannel(id).mishaps.hangs = true;
        let began = fixture.machine.now();
        let mut waited = 0;
        let until = began.plus_micros(60_000_000);
        while fixture.machine.now() < until {
            let before = fixture.machine.now();
            fixture.appliance.keep_house(&mut fixture.machine);
            let took = fixture.machine.now().micros_since(before);
            assert!(took <= 1_500_000, "{took} us");
            waited += took;
            fixture.later(100_000);
        }
        assert!(waited < 6_000_000, "{waited} us of a minute");
        assert_eq!(fixture.conditions()[1], Ok(()));
    }
}
