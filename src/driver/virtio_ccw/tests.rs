//! Bring-up against a control unit that is old, unwilling or forgetful.

use super::*;
use crate::css::ProgramError;
use crate::testing::{Disk, Machine, Model, Virtio};
use channel::ChannelSubsystem;

fn machine(change: impl FnOnce(&mut Virtio)) -> (Machine, SubchannelId) {
    let mut virtio = Virtio::new(Model::Disk(Disk::new(64)), 2);
    change(&mut virtio);
    Machine::with(virtio)
}

fn bring_up(
    machine: &mut Machine,
    id: SubchannelId,
    settings: Settings,
) -> Result<Transport, TransportError> {
    let mut transport = Transport::open(machine, id, settings)?;
    transport.negotiate(machine, Features::RING_EVENT_IDX)?;
    transport.queue::<128>(machine, 0)?;
    transport.finish(machine)?;
    Ok(transport)
}

#[test]
fn a_willing_device_is_live_with_adapter_interruptions() {
    let (mut machine, id) = machine(|_| {});
    let transport = bring_up(&mut machine, id, Settings::default()).unwrap();
    assert_eq!(machine.subchannel(id).virtio().revision, Some(2));
    assert_eq!(transport.signalling(), Signalling::Adapter);
    assert_eq!(
        transport.features(),
        Features::VERSION_1 | Features::RING_EVENT_IDX
    );
    let virtio = machine.subchannel(id).virtio();
    assert!(virtio.status.contains(Status::DRIVER_OK));
    assert_eq!(virtio.accepted, transport.features());
    assert_eq!(virtio.adapter.unwrap().isc, 3);
    assert_eq!(virtio.indicators, None);
    assert!(virtio.config_indicators.is_some());
    assert_eq!(virtio.queues[0].info.unwrap().size.get(), 128);
    drop(virtio);
    assert!(
        machine.pending_interruption().is_none(),
        "bring-up leaves no interruption behind"
    );
}

#[test]
fn a_device_of_revision_1_is_driven_without_read_status() {
    let (mut machine, id) = machine(|virtio| virtio.max_revision = 1);
    bring_up(&mut machine, id, Settings::default()).unwrap();
    assert_eq!(machine.subchannel(id).virtio().revision, Some(1));
    let commands = &machine.subchannel(id).commands;
    assert!(!commands.contains(&(Command::ReadStatus as u8)));
}

#[test]
fn a_legacy_device_is_refused() {
    let (mut machine, id) = machine(|virtio| virtio.max_revision = 0);
    let error = bring_up(&mut machine, id, Settings::default()).unwrap_err();
    assert_eq!(error, TransportError::NotModern);
    let (mut machine, id) = super::tests::machine(|virtio| virtio.offered -= Features::VERSION_1);
    let error = bring_up(&mut machine, id, Settings::default()).unwrap_err();
    assert_eq!(error, TransportError::NotModern);
}

#[test]
fn features_that_are_not_accepted_end_the_bring_up() {
    for revision in [1, 2] {
        let (mut machine, id) = machine(|virtio| {
            virtio.refuses_features = true;
            virtio.max_revision = revision;
        });
        let error = bring_up(&mut machine, id, Settings::default()).unwrap_err();
        assert!(matches!(error, TransportError::Features(_)));
    }
}

#[test]
fn classic_indicators_do_when_adapter_interruptions_are_refused_or_switched_off() {
    for (refused, wanted) in [(true, true), (false, false)] {
        let (mut machine, id) = machine(|virtio| virtio.refuses_adapter = refused);
        let settings = Settings {
            adapter: wanted,
            ..Settings::default()
        };
        let transport = bring_up(&mut machine, id, settings).unwrap();
        assert_eq!(transport.signalling(), Signalling::Classic);
        let virtio = &machine.subchannel(id).virtio();
        assert!(virtio.indicators.is_some_and(|address| address % 8 == 0));
        assert_eq!(virtio.adapter, None);
    }
}

#[test]
fn sense_bytes_are_fetched_when_they_do_not_come_by_themselves() {
    let (mut machine, id) = machine(|virtio| virtio.refuses_adapter = true);
    machine.subchannel(id).mishaps.no_concurrent_sense = true;
    let transport = bring_up(&mut machine, id, Settings::default()).unwrap();
    assert_eq!(transport.signalling(), Signalling::Classic);
}

#[test]
fn queues_are_as_large_as_the_device_allows() {
    let (mut machine, id) = machine(|virtio| virtio.queue_max = 100);
    let mut transport = Transport::open(&mut machine, id, Settings::default()).unwrap();
    transport
        .negotiate(&mut machine, Features::empty())
        .unwrap();
    assert_eq!(transport.queue::<128>(&mut machine, 1).unwrap().size(), 64);
    let missing = transport.queue::<128>(&mut machine, 2).map(drop);
    assert_eq!(missing, Err(TransportError::NoQueue(2)));
}

#[test]
fn a_device_left_live_by_an_earlier_program_starts_anew() {
    let (mut machine, id) = machine(|_| {});
    bring_up(&mut machine, id, Settings::default()).unwrap();
    bring_up(&mut machine, id, Settings::default()).unwrap();
    assert_eq!(machine.subchannel(id).virtio().revision, Some(2));
}

#[test]
fn a_program_that_hangs_is_cleared_in_time() {
    let (mut machine, id) = machine(|_| {});
    let mut transport = bring_up(&mut machine, id, Settings::default()).unwrap();
    machine.subchannel(id).mishaps.hangs = true;
    let error = transport.needs_reset(&mut machine).unwrap_err();
    assert_eq!(
        error,
        TransportError::Program(Command::ReadStatus, ProgramError::Timeout)
    );
    machine.subchannel(id).mishaps.hangs = false;
    assert_eq!(transport.needs_reset(&mut machine), Ok(false));
}

#[test]
fn a_channel_that_is_stuck_stays_unused() {
    let (mut machine, id) = machine(|_| {});
    let mut transport = bring_up(&mut machine, id, Settings::default()).unwrap();
    machine.subchannel(id).mishaps.hangs = true;
    machine.subchannel(id).mishaps.stuck = true;
    let stuck = Err(TransportError::Program(
        Command::ReadStatus,
        ProgramError::Stuck,
    ));
    assert_eq!(transport.needs_reset(&mut machine), stuck);
    machine.subchannel(id).mishaps.hangs = false;
    let commands = machine.subchannel(id).commands.len();
    assert_eq!(transport.needs_reset(&mut machine), stuck);
    assert_eq!(machine.subchannel(id).commands.len(), commands);
}

#[test]
fn arming_clears_what_the_device_has_set() {
    let (mut machine, id) = machine(|_| {});
    let transport = bring_up(&mut machine, id, Settings::default()).unwrap();
    let area = machine.subchannel(id).virtio().adapter.unwrap();
    let place = |address: u64| ClientAddress::new(address);
    machine
        .window()
        .write(place(area.summary_indicator.get()), &1_u8)
        .unwrap();
    machine
        .window()
        .write(place(area.indicator.get()), &0x80_u8)
        .unwrap();
    transport.arm();
    assert_eq!(
        machine
            .window()
            .read::<u8>(place(area.summary_indicator.get())),
        Ok(0)
    );
    assert_eq!(
        machine.window().read::<u8>(place(area.indicator.get())),
        Ok(0)
    );
}

/// An interruption that is lost here is lost for good: the subchannel stays status pending, and a device that
/// finds it so tells nothing more.
#[test]
fn status_that_comes_when_other_status_is_taken_keeps_its_interruption() {
    let (mut machine, id) = machine(|_| {});
    let settings = Settings {
        adapter: false,
        ..Settings::default()
    };
    let mut transport = bring_up(&mut machine, id, settings).unwrap();
    let told = |machine: &mut Machine| {
        let interruption = machine.pending_interruption().unwrap();
        assert!(matches!(machine.test(id).unwrap(), Tested::Status(_)));
        assert!(machine.pending_interruption().is_none());
        matches!(interruption, IoInterruption::Subchannel { id: of, .. } if of == id)
    };
    machine.change_configuration(id);
    machine.subchannel(id).mishaps.insists = true;
    transport.settle(&mut machine);
    assert!(told(&mut machine), "taken by the driver");
    machine.subchannel(id).mishaps.insists = true;
    transport.needs_reset(&mut machine).unwrap();
    assert!(told(&mut machine), "at the end of a command");
}
