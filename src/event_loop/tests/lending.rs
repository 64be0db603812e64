//! Disks that are lent to the client that administers them, whenever they come.

use core::mem::offset_of;

use vcss::control::{Loan, LoanState};

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

impl Scene {
    fn blank(given: &[Export], there: bool) -> Self {
        let mut scene = Self::with(1, &[DISK], &[], given, |_, _| {});
        if there {
            scene.plug_blank();
        }
        scene
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
        let mut all = self.appliance.proxy.passed_through();
        let (_, _, subject) = all.find(|(_, _, subject)| !subject.is_gone())?;
        Some((subject.device().number, subject.id()))
    }
}

#[test]
fn a_disk_that_comes_after_the_bring_up_can_be_lent_wherever_it_is() {
    let mut scene = Scene::blank(&[administrator(0)], false);
    for _ in 0..2 {
        let id = scene.plug_blank();
        assert!(scene.conditions()[0].is_err(), "it is not formatted");
        for _ in 0..2 {
            assert_eq!(scene.want(Loan::FORMAT), LoanState::Lent);
            assert_eq!(scene.client_has(), Some((DISK, id)));
            assert_eq!(scene.want(Loan::NONE), LoanState::Own);
            assert_eq!(scene.client_has(), None);
        }
        // It goes, and comes back on another subchannel.
        scene.machine.subchannel(id).mishaps.gone = true;
        scene.report(id);
        scene.later(4_000_000);
    }
}

#[test]
fn a_disk_that_is_not_there_is_refused_until_it_comes() {
    let mut scene = Scene::blank(&[administrator(0)], false);
    assert_eq!(scene.want(Loan::WANTED), LoanState::Refused);
    assert_eq!(scene.want(Loan::WANTED), LoanState::Refused);
    assert_eq!(scene.want(Loan::NONE), LoanState::Own);
    let id = scene.plug_blank();
    assert_eq!(scene.want(Loan::WANTED), LoanState::Lent);
    assert_eq!(scene.client_has(), Some((DISK, id)));
}

#[test]
fn a_disk_that_goes_before_anybody_hears_of_it_is_refused() {
    let mut scene = Scene::blank(&[administrator(0)], true);
    let id = SubchannelId::new(0, 1).unwrap();
    scene.machine.subchannel(id).mishaps.gone = true;
    assert_eq!(scene.want(Loan::WANTED), LoanState::Refused);
    assert_eq!(scene.client_has(), None);
}

#[test]
fn a_disk_that_no_client_can_have_is_refused_and_stays_with_its_driver() {
    let given = [export(ExportKind::Any, 0)];
    let mut scene = Scene::blank(&given, true);
    assert_eq!(scene.want(Loan::WANTED), LoanState::Refused);
    assert!(scene.appliance.loans.is_own(0));
    assert_eq!(scene.client_has(), None);
    // A virtio disk has none that could be lent.
    let mut scene = Scene::with(1, &[DISK], &[DISK], &[administrator(0)], |_, _| {});
    assert_eq!(scene.want(Loan::WANTED), LoanState::Refused);
    assert_eq!(scene.conditions()[0], Ok(()));
}
