//! Disks that are lent to the client that administers them, whenever they come.

use core::mem::offset_of;

use vcss::control::{Loan, LoanState, Order};
use vcss::Bell;

use super::*;

/// A client to which the disk can be lent.
fn administrator(client: u16) -> Export {
    let mut export = export(ExportKind::Lent, client);
    export.disk = 0.into();
    export
}

/// A count-key-data disk that cannot be brought up, as one that is not formatted.
fn blank() -> Virtio {
    disk().of_type(0x3990)
}

impl Fixture {
    fn blank(given: &[Export], there: bool) -> Self {
        let mut fixture = Self::with(1, &[DISK], &[], given, |_, _| {});
        if there {
            fixture.plug_blank();
        }
        fixture
    }

    fn plug_blank(&mut self) -> SubchannelId {
        let id = self.machine.attach(0, DISK, blank());
        self.report(id);
        self.later(4_000_000);
        id
    }

    fn want(&mut self, wanted: u32) -> LoanState {
        let word = |at| self.control.word::<Loan>(0, at).unwrap();
        word(offset_of!(Loan, wanted)).store(wanted);
        let shown = word(offset_of!(Loan, state));
        self.later(0);
        LoanState::from_number(shown.load()).unwrap()
    }

    /// The device number that the client finds, if it has the disk.
    fn client_has(&self) -> Option<(u16, SubchannelId)> {
        let mut all = self.appliance.plane.proxy.clients.passed_through();
        let (_, _, subject) = all.find(|(_, _, subject)| !subject.is_gone())?;
        Some((subject.device().number, subject.id()))
    }
}

#[test]
fn a_disk_that_comes_after_the_bring_up_can_be_lent_wherever_it_is() {
    let mut fixture = Fixture::blank(&[administrator(0)], false);
    for _ in 0..2 {
        let id = fixture.plug_blank();
        assert!(fixture.conditions()[0].is_err(), "it is not formatted");
        for _ in 0..2 {
            assert_eq!(fixture.want(Loan::FORMAT), LoanState::Lent);
            assert_eq!(fixture.client_has(), Some((DISK, id)));
            assert_eq!(fixture.want(Loan::NONE), LoanState::Own);
            assert_eq!(fixture.client_has(), None);
        }
        // It goes, and comes back on another subchannel.
        fixture.machine.subchannel(id).mishaps.gone = true;
        fixture.report(id);
        fixture.later(4_000_000);
    }
}

#[test]
fn a_disk_that_is_not_there_is_refused_until_it_comes() {
    let mut fixture = Fixture::blank(&[administrator(0)], false);
    assert_eq!(fixture.want(Loan::WANTED), LoanState::Refused);
    assert_eq!(fixture.want(Loan::WANTED), LoanState::Refused);
    assert_eq!(fixture.want(Loan::NONE), LoanState::Own);
    let id = fixture.plug_blank();
    assert_eq!(fixture.want(Loan::WANTED), LoanState::Lent);
    assert_eq!(fixture.client_has(), Some((DISK, id)));
}

#[test]
fn a_disk_that_goes_before_anybody_hears_of_it_is_refused() {
    let mut fixture = Fixture::blank(&[administrator(0)], true);
    let id = SubchannelId::new(0, 1).unwrap();
    fixture.machine.subchannel(id).mishaps.gone = true;
    assert_eq!(fixture.want(Loan::WANTED), LoanState::Refused);
    assert_eq!(fixture.client_has(), None);
}

#[test]
fn a_disk_that_no_client_can_have_is_refused_and_stays_with_its_driver() {
    let given = [export(ExportKind::Any, 0)];
    let mut fixture = Fixture::blank(&given, true);
    assert_eq!(fixture.want(Loan::WANTED), LoanState::Refused);
    assert!(fixture.appliance.plane.disks[0].maintenance.is_own());
    assert_eq!(fixture.client_has(), None);
    // A virtio disk has none that could be lent.
    let mut fixture = Fixture::with(1, &[DISK], &[DISK], &[administrator(0)], |_, _| {});
    assert_eq!(fixture.want(Loan::WANTED), LoanState::Refused);
    assert_eq!(fixture.conditions()[0], Ok(()));
}

/// The daemon orders the end, and rings.
fn order_the_end(fixture: &Fixture, bell: &mut Bell<'static>) {
    let at = offset_of!(Order, order);
    let order = fixture.control.word::<Order>(0, at).unwrap();
    order.store(Order::SHUT_DOWN);
    let _ = bell.ring();
}

#[test]
fn an_order_behind_a_loan_is_not_missed() {
    let mut fixture = Fixture::blank(&[administrator(0)], true);
    let mut bell = Bell::of_client(&fixture.control).unwrap();
    let word = |at| fixture.control.word::<Loan>(0, at).unwrap();
    let wanted = word(offset_of!(Loan, wanted));
    let state = word(offset_of!(Loan, state));
    wanted.store(Loan::WANTED);
    let _ = bell.ring();
    order_the_end(&fixture, &mut bell);
    assert!(fixture.appliance.keep_house(&mut fixture.machine));
    assert_eq!(state.load(), LoanState::Lent as u32);
}

#[test]
fn a_loan_that_is_wanted_while_the_house_is_kept_keeps_it_from_sleeping() {
    let mut fixture = Fixture::blank(&[administrator(0)], true);
    let mut bell = Bell::of_client(&fixture.control).unwrap();
    let word = |at| fixture.control.word::<Loan>(0, at).unwrap();
    let wanted = word(offset_of!(Loan, wanted));
    let state = word(offset_of!(Loan, state));
    // The disk is tried once more, which is behind the look at loans.
    let then = fixture.machine.now().plus_micros(4_000_000);
    fixture.machine.pause(then);
    fixture.machine.meanwhile = Some(Box::new(move || {
        wanted.store(Loan::WANTED);
        let _ = bell.ring();
    }));
    assert!(!fixture.appliance.keep_house(&mut fixture.machine));
    assert!(fixture.machine.meanwhile.is_none());
    assert_eq!(state.load(), LoanState::Own as u32);
    assert!(fixture.appliance.control.arm_wakeup(), "it may not sleep");
    fixture.appliance.control.disarm_wakeup();
    assert!(!fixture.appliance.keep_house(&mut fixture.machine));
    assert_eq!(state.load(), LoanState::Lent as u32);
    assert!(!fixture.appliance.control.arm_wakeup());
}

#[test]
fn an_order_that_comes_while_the_house_is_kept_keeps_it_from_sleeping() {
    let mut fixture = Fixture::blank(&[administrator(0)], true);
    let mut bell = Bell::of_client(&fixture.control).unwrap();
    let _ = bell.ring();
    fixture.later(0);
    assert!(!fixture.appliance.control.arm_wakeup(), "it has heard that");
    fixture.appliance.control.disarm_wakeup();
    // As at the beginning of a round in which the order is not seen any more.
    let _ = bell.ring();
    fixture.appliance.control.poll_requests();
    assert!(!fixture.appliance.control.is_to_stop());
    order_the_end(&fixture, &mut bell);
    assert!(fixture.appliance.control.arm_wakeup(), "it may not sleep");
    assert!(fixture.appliance.keep_house(&mut fixture.machine));
}
