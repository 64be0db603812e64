//! Disks that are borrowed, against a stand-in for the appliance that lends a volume in memory.

use dasd_tools::admin::{self, Reservation};
use dasd_tools::format::{serial, Format, Layout};
use dasd_tools::program::Program;
use dasd_tools::reserve::{Holder, Reservations};
use dasd_tools::runner::{Fault, Runner};
use dasd_tools::{dasdfmt, dasdview};
use vcss::control::{Condition, ConditionState, Loan, LoanState};
use zerocopy::FromZeros;

use super::*;
use crate::layout::HOST_SUBCHANNELS;

const DISK: &str = "data";

/// Runs a program of the area on a volume.
pub(super) fn run(client: &ClientArea, volume: &Mutex<Volume>, orb: &Orb) -> Irb {
    let base = program_offset(&client.area);
    let place = |at: u32| ClientAddress::new(base + u64::from(at));
    let mut program = Program::default();
    let mut ccws: Vec<Ccw1> = Vec::new();
    let mut at = orb.program.get();
    loop {
        let ccw: Ccw1 = client.window.read(place(at)).unwrap();
        at += 8;
        let mut data = vec![0; ccw.count.get().into()];
        let address = place(ccw.address.get());
        client.window.read_bytes(address, &mut data).unwrap();
        program.send(CommandCode(ccw.command), &data);
        ccws.push(ccw);
        assert!(ccw.flags().contains(CcwFlags::SLI));
        if !ccw.flags().contains(CcwFlags::CC) {
            break;
        }
    }
    let outcome = volume.lock().unwrap().run(&mut program);
    for (number, ccw) in ccws.iter().enumerate() {
        if CommandCode(ccw.command).reads() {
            let address = place(ccw.address.get());
            let data = program.data(number);
            client.window.write_bytes(address, data).unwrap();
        }
    }
    let fine = DeviceStatus::CHANNEL_END | DeviceStatus::DEVICE_END;
    let start = FunctionControl::START;
    match outcome {
        Ok(()) => super::ended(start, fine, at, 0),
        Err(Fault::Busy) => super::ended(start, DeviceStatus::BUSY, at, 0),
        Err(Fault::UnitCheck(sense)) => {
            let mut irb = super::ended(start, fine | DeviceStatus::UNIT_CHECK, at, 0);
            irb.set_concurrent_sense(&sense);
            irb
        }
        Err(Fault::Other(error)) => panic!("{error}"),
    }
}

impl Terminal {
    /// Lends what is wanted.
    pub(super) fn lend(&self) {
        let Some((_, control)) = &self.disk else {
            return;
        };
        let loan: Loan = control.read(0).unwrap();
        let state = match loan.wanted.get() {
            Loan::NONE => LoanState::Own,
            _ => LoanState::Lent,
        };
        if loan.state.get() != state as u32 {
            let word = control.word::<Loan>(0, offset_of!(Loan, state));
            word.unwrap().store(state as u32);
        }
    }
}

struct Lender {
    stage: Stage,
    volume: Arc<Mutex<Volume>>,
}

impl Lender {
    fn new(volume: Volume) -> Self {
        let mut stage = super::stage();
        stage.end();
        let volume = Arc::new(Mutex::new(volume));
        let terminal = Terminal {
            client: stage.fixture.areas.host.clone(),
            place: HOST_SUBCHANNELS,
            disk: Some((Arc::clone(&volume), stage.fixture.areas.control.clone())),
            stop: Arc::clone(&stage.stop),
            schib: Schib::default(),
            runs: Arc::clone(&stage.runs),
            pending: None,
        };
        stage.stop.store(false, Ordering::Relaxed);
        stage.thread = Some(std::thread::spawn(move || terminal.serve()));
        Self { stage, volume }
    }

    fn volume(&self) -> std::sync::MutexGuard<'_, Volume> {
        self.volume.lock().unwrap()
    }

    fn state(&self) -> LoanState {
        self.stage.fixture.areas.maintenance(0).unwrap()
    }
}

#[test]
fn a_borrowed_disk_runs_the_programs_and_goes_back() {
    let lender = Lender::new(Volume::new(3));
    let mut disk = lender.stage.host.borrow_disk(DISK, Purpose::Look).unwrap();
    assert_eq!(lender.state(), LoanState::Lent);
    assert_eq!(disk.device(), "0.0.0100");
    let about = admin::characteristics(&mut disk).unwrap();
    assert_eq!(about, lender.volume().about);
    drop(disk);
    assert_eq!(lender.state(), LoanState::Own);
}

#[test]
fn a_disk_is_lent_to_one_at_a_time() {
    let lender = Lender::new(Volume::new(3));
    let host = &lender.stage.host;
    let disk = host.borrow_disk(DISK, Purpose::Look).unwrap();
    let refused = host
        .borrow_disk(DISK, Purpose::Look)
        .unwrap_err()
        .to_string();
    assert!(
        refused.contains("is being administered already"),
        "{refused}"
    );
    drop(disk);
    host.borrow_disk(DISK, Purpose::Format).unwrap();
}

#[test]
fn what_is_no_disk_is_not_lent() {
    let lender = Lender::new(Volume::new(3));
    for name in ["dta", "0.0.0100", "0.0.3271"] {
        assert!(
            lender.stage.host.borrow_disk(name, Purpose::Look).is_err(),
            "{name}"
        );
    }
}

#[test]
fn a_disk_that_cannot_be_lent_is_no_dasd() {
    let stage = super::stage();
    let at = offset_of!(Loan, state);
    let state = stage.fixture.areas.control.word::<Loan>(0, at).unwrap();
    state.store(LoanState::Refused as u32);
    let refused = stage
        .host
        .borrow_disk(DISK, Purpose::Look)
        .unwrap_err()
        .to_string();
    assert!(refused.contains("is no DASD"), "{refused}");
    let loan: Loan = stage.fixture.areas.control.read(0).unwrap();
    assert_eq!(loan.wanted.get(), Loan::NONE);
}

#[test]
fn a_disk_that_is_not_there_is_refused_with_the_reason_and_without_a_wait() {
    let stage = super::stage();
    let control = &stage.fixture.areas.control;
    let state = control.word::<Loan>(0, offset_of!(Loan, state)).unwrap();
    state.store(LoanState::Refused as u32);
    let mut failed = Condition::new_zeroed();
    let reason = b"there is no device 0.0.0100";
    failed.state = (ConditionState::Failed as u32).into();
    failed.reason[..reason.len()].copy_from_slice(reason);
    control.write(0, &failed).unwrap();
    let lent = stage.host.borrow_disk(DISK, Purpose::Look);
    let refused = lent.unwrap_err().to_string();
    let wanted = "disk \"data\" cannot be administered now: there is no device 0.0.0100; the appliance's console says more";
    assert_eq!(refused, wanted);
}

#[test]
fn a_disk_is_formatted_and_shown_through_the_area() {
    let lender = Lender::new(Volume::new(3));
    let order = dasdfmt::FormatOrder {
        layout: Layout::Cdl,
        block: 4096,
        serial: None,
    };
    let used = dasdfmt::Use {
        sectors: None,
        exported: 0,
    };
    let mut disk = lender
        .stage
        .host
        .borrow_disk(DISK, Purpose::Format)
        .unwrap();
    let device = disk.device();
    let formatted = dasdfmt::format(&mut disk, &device, &order, used, |_| Ok(()));
    formatted.unwrap();
    let shown = dasdview::look(&mut disk, DISK, &device).unwrap();
    assert_eq!((shown.serial.as_str(), shown.vtoc.len()), ("0X0100", 2));
    let serial = serial("0X0100").unwrap();
    let format = Format::new(lender.volume().about, Layout::Cdl, 4096, serial);
    assert!(lender.volume().tracks == Volume::of(&format.unwrap()));
}

#[test]
fn reservations_are_released_at_the_end() {
    let lender = Lender::new(Volume::new(3));
    let (book, host) = (Reservations::default(), &lender.stage.host);
    let reserve = |how| host.reserve(&book, DISK, how, Duration::ZERO);
    reserve(Reservation::Reserve).unwrap();
    assert!(lender.volume().reserved.is_some());
    assert_eq!(book.entries()[DISK], Holder::Us);
    assert_eq!(book.ours(), [DISK]);
    reserve(Reservation::Release).unwrap();
    assert_eq!(lender.volume().reserved, None);
    assert!(book.entries().is_empty());
    lender.volume().reserved = Some(dasd_tools::model::Owner::Other);
    let refused = reserve(Reservation::Reserve).unwrap_err().to_string();
    assert!(refused.contains("reserved by another system"), "{refused}");
    // That is not ours to release.
    assert!(book.ours().is_empty());
    assert_eq!(
        lender.volume().reserved,
        Some(dasd_tools::model::Owner::Other)
    );
    reserve(Reservation::Steal).unwrap();
    assert_eq!(lender.volume().reserved, Some(dasd_tools::model::Owner::Us));
}

#[test]
fn an_appliance_that_does_not_serve_lends_nothing() {
    let lender = Lender::new(Volume::new(3));
    lender.stage.fixture.areas.forget_life();
    let refused = lender
        .stage
        .host
        .borrow_disk(DISK, Purpose::Look)
        .unwrap_err();
    assert!(refused.to_string().contains("does not serve"), "{refused}");
}
