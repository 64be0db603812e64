//! The loop itself, from serving to the orderly end.

use core::mem::offset_of;

use channel::{ChannelSubsystem, IoInterruption};
use s390x::machine_check::MachineCheckCode;
use vcss::control::{self, Life, Order};

use super::*;
use crate::css::Wake;
use crate::monitor::NoOperator;

#[test]
fn a_machine_check_goes_before_everything_else_and_the_orderly_end_publishes_the_turns() {
    let mut fixture = Fixture::new();
    fixture.appliance.tuning.linger_us = 0;
    // More than a word has room for.
    let before = u64::from(u32::MAX);
    fixture.appliance.turns = before;
    let check = Wake::MachineCheck(MachineCheckCode::SYSTEM_DAMAGE);
    let interruption = IoInterruption::Adapter { isc: 3 };
    fixture.machine.wakes.push_back((check, interruption));
    let since_wait = fixture.machine.since_wait.clone();
    let at = offset_of!(Order, order);
    let order = fixture.control.word::<Order>(0, at).unwrap();
    let mut wakes = Vec::new();
    let started = fixture.machine.now();
    let machine = &mut fixture.machine;
    let mut nobody = NoOperator(|wake| {
        assert_eq!(since_wait.get(), 0, "nothing has been taken or sent");
        wakes.push(wake);
        order.store(Order::SHUT_DOWN);
    });
    fixture.appliance.run(machine, started, 1, 2, &mut nobody);
    assert_eq!(wakes, [check]);
    assert!(since_wait.get() > 0, "afterwards the interruption is taken");
    assert!(fixture.machine.pending_interruption().is_none());
    let about: control::Appliance = fixture.control.read(0).unwrap();
    assert_eq!(
        Life::from_number(about.life.get()),
        Some(Life::Stopped),
        "{about:?}"
    );
    assert!(about.turns.get() > before);
    assert_eq!(about.turns.get(), fixture.appliance.turns);
    assert_eq!(about.sleeps.get(), 1);
}
