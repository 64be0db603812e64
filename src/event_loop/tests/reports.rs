//! Channel reports: their order, what is lost, storms, and what the channel subsystem says of itself; machine checks.

use channel::model::PathState;
use channel::{
    ChannelSubsystem, Crw, CrwFlags, IoInterruption, RecoveryCode, ReportingSource, SubchannelId,
};
use s390x::machine_check::MachineCheckCode;
use vcss::control::Order;
use vcss::events::EventSink;
use vcss::trace::{Followed, Follower, TraceEvent};

use super::*;
use crate::css::{event, Wake};
use crate::monitor::NoOperator;

/// A channel path of [`GIVEN`].
const CHPID: u8 = 0x30;
const LOST: RecoveryCode = RecoveryCode::PermanentErrorNotInitialized;
const FOUND: RecoveryCode = RecoveryCode::Initialized;

fn of_path(recovery: RecoveryCode) -> Crw {
    Crw::of_channel_path(CHPID, CrwFlags::empty(), recovery)
}

impl Fixture {
    /// With [`GIVEN`] on two paths. What the client heard of that is taken.
    fn on_paths() -> (Self, SubchannelId) {
        let mut fixture = Self::new();
        let id = fixture.machine.attach(0, GIVEN, terminal());
        fixture.machine.set_paths(id, 0xC0);
        fixture.report(id);
        fixture.wants_paths(Client::PATH_REPORTS);
        fixture.heard();
        (fixture, id)
    }

    /// The daemon says whether the client is to hear of paths.
    fn wants_paths(&mut self, flags: u32) {
        let mut entry: Client = self.control.read(0).unwrap();
        entry.flags = flags.into();
        self.control.write(0, &entry).unwrap();
        assert!(self.change(), "at once");
    }

    /// The reports that the client has not taken.
    fn heard(&self) -> Vec<Crw> {
        let area = Area::open(self.shared[0], Kind::Client).unwrap();
        let mut sink = EventSink::open(&area).unwrap();
        core::iter::from_fn(|| sink.take()).collect()
    }

    /// The trace's channel reports and machine checks: event, subchannel and first word.
    fn traced(&self) -> Vec<(TraceEvent, u32, u32)> {
        let mut follower = Follower::open(&self.control).unwrap();
        let all = core::iter::from_fn(|| match follower.follow() {
            Followed::Record(entry) => Some(entry),
            _ => None,
        });
        let all = all.filter_map(|record| {
            let event = TraceEvent::from_number(record.event.get())?;
            Some((event, record.subchannel.get(), record.words[0].get()))
        });
        let wanted = [TraceEvent::Report, TraceEvent::MachineCheck];
        all.filter(|(event, ..)| wanted.contains(event)).collect()
    }
}

#[test]
fn a_client_hears_of_its_path_and_its_device_in_the_order_of_what_happened() {
    let (mut fixture, id) = Fixture::on_paths();
    let reports = &mut fixture.machine.reports;
    reports.extend([of_path(LOST), of_path(FOUND)]);
    // Nobody has enabled it, so it is taken for one that has gone and come back.
    fixture.machine.report(id);
    // Two that say the same, between which something else was said, are two.
    fixture.machine.reports.push_back(of_path(LOST));
    fixture.hear_reports();
    let device = Crw(0x0384_0000);
    let (lost, found) = (of_path(LOST), of_path(FOUND));
    assert_eq!(fixture.heard(), [lost, found, device, device, lost]);
    let traced = fixture.traced();
    let words: Vec<_> = traced.iter().map(|(.., word)| *word).collect();
    let id_word = id.word();
    assert_eq!(
        words[words.len() - 4..],
        [
            of_path(LOST).0,
            of_path(FOUND).0,
            0x0384_0000 | u32::from(id.number()),
            of_path(LOST).0
        ]
    );
    assert_eq!(traced[traced.len() - 2].1, id_word);
}

#[test]
fn a_client_that_wants_no_reports_of_paths_finds_them_in_the_masks() {
    let (mut fixture, id) = Fixture::on_paths();
    fixture.wants_paths(0);
    let commands = fixture.machine.subchannel(id).commands.len();
    fixture
        .machine
        .css
        .set_path(id, 0, CHPID, PathState::Unavailable);
    fixture.machine.reports.push_back(of_path(LOST));
    fixture.hear_reports();
    assert_eq!(fixture.heard(), []);
    assert_eq!(fixture.machine.store(id).unwrap().pmcw.pam, 0x40);
    // And again as it was; it has stayed all the time.
    fixture.wants_paths(Client::PATH_REPORTS);
    fixture
        .machine
        .css
        .set_path(id, 0, CHPID, PathState::Operational);
    fixture.machine.reports.push_back(of_path(FOUND));
    fixture.hear_reports();
    assert_eq!(fixture.heard(), [of_path(FOUND)]);
    assert_eq!(fixture.machine.subchannel(id).commands.len(), commands);
}

#[test]
fn a_path_that_is_lost_without_a_report_is_reported_all_the_same() {
    let (mut fixture, id) = Fixture::on_paths();
    fixture.later(0);
    fixture
        .machine
        .css
        .set_path(id, 0, CHPID, PathState::Unavailable);
    for _ in 0..4 {
        fixture.later(1_000_000);
    }
    let expected = Crw::of_channel_path(CHPID, CrwFlags::ANCILLARY, LOST);
    assert_eq!(fixture.heard(), [expected]);
}

#[test]
fn what_is_said_again_while_it_waits_is_dealt_with_once() {
    let (mut fixture, id) = Fixture::on_paths();
    let before = fixture.machine.subchannel(id).stores;
    for _ in 0..25 {
        fixture.machine.report(id);
        fixture.machine.reports.push_back(of_path(LOST));
    }
    fixture.hear_reports();
    // Once for the client, which has not enabled it: it is asked anew and comes back.
    let path = of_path(LOST);
    assert_eq!(
        fixture.heard().iter().filter(|crw| **crw == path).count(),
        1
    );
    assert!(fixture.machine.subchannel(id).stores - before < 25);
    assert_eq!(fixture.traced().last().unwrap().2, of_path(LOST).0);
}

#[test]
fn a_lost_report_leads_to_a_look_at_all_sets() {
    let mut fixture = Fixture::new();
    // Beyond what one step passes by, and in another set.
    for number in 0..100 {
        fixture.machine.attach(0, 0x1000 + number, disk());
    }
    let id = fixture.machine.attach(2, GIVEN, terminal());
    fixture.machine.pmcw(id).device = GIVEN.into();
    fixture.lose_reports();
    let devices = fixture.appliance.inventory.devices();
    assert_eq!(devices.len(), 2 + 100 + 1);
    assert!(devices.iter().any(|device| device.id == id));
}

#[test]
fn a_chain_that_breaks_off_is_a_loss() {
    let mut fixture = Fixture::new();
    let id = fixture.machine.attach(0, GIVEN, terminal());
    let (first, _) = Crw::of_subchannel(
        SubchannelId::new(1, 7).unwrap(),
        CrwFlags::ANCILLARY,
        RecoveryCode::ParametersInitialized,
    );
    fixture.machine.reports.push_back(first);
    fixture.hear_reports();
    assert_eq!(fixture.listed()[2..], [(GIVEN, id.number(), Some(0))]);
}

#[test]
fn a_storm_of_a_report_a_microsecond_starves_nobody_and_loses_nothing() {
    let mut fixture = Fixture::new();
    let gone = fixture.plug(OTHER);
    let mut number = 0_u16;
    // Of subchannels that are not there, so that each is another one.
    fixture.machine.store_micros = 3;
    fixture.machine.storm(60_000, move || {
        number = number.wrapping_add(1);
        let (source, flags) = (ReportingSource::Subchannel, CrwFlags::ANCILLARY);
        let recovery = RecoveryCode::ParametersInitialized;
        Crw::new(flags, source, recovery, 0x4000 | number & 0x3FFF)
    });
    let mut came = None;
    let mut turns = 0;
    loop {
        let before = fixture.machine.now();
        fixture.appliance.reports(&mut fixture.machine);
        let took = fixture.machine.now().micros_since(before);
        assert!(took <= 2_000, "{took} us in one turn");
        turns += 1;
        // What happens in the midst of it is told of by reports that nobody can read.
        if turns == 20 {
            came = Some(fixture.machine.attach(0, GIVEN, terminal()));
            fixture.machine.subchannel(gone).mishaps.gone = true;
        }
        if !fixture.machine.storms() && !fixture.appliance.reports.is_busy() {
            break;
        }
        assert!(turns < 100_000);
    }
    assert!(turns > 100);
    let came = came.unwrap();
    let listed = fixture.listed();
    assert_eq!(listed[2..], [(GIVEN, came.number(), Some(0))], "{listed:?}");
}

#[test]
fn a_storm_of_losses_keeps_no_look_at_its_beginning() {
    let mut fixture = Fixture::new();
    for number in 0..200 {
        fixture.machine.attach(0, 0x1000 + number, disk());
    }
    let last = fixture.machine.attach(0, GIVEN, terminal());
    let lost = Crw::of_channel_path(0x77, CrwFlags::OVERFLOW, LOST);
    fixture.machine.storm(u64::MAX, move || lost);
    for _ in 0..100 {
        fixture.appliance.reports(&mut fixture.machine);
    }
    assert!(fixture.appliance.reports.is_busy(), "it goes on");
    let devices = fixture.appliance.inventory.devices();
    assert!(devices.iter().any(|device| device.id == last));
    // It ends, and so does all that it has caused.
    fixture.machine.storm = None;
    fixture.hear_reports();
}

#[test]
fn event_information_is_read_to_its_end_and_what_changes_something_is_looked_for() {
    let mut fixture = Fixture::new();
    let id = fixture.machine.attach(0, GIVEN, terminal());
    let source = ReportingSource::ChannelSubsystem;
    let pending = Crw::new(CrwFlags::empty(), source, RecoveryCode::EventInformation, 0);
    let (link_incident, accessibility) = (1, 2);
    fixture.machine.events.push_back(event(0, link_incident, 0));
    fixture.machine.reports.push_back(pending);
    fixture.hear_reports();
    assert_eq!(fixture.listed().len(), 2, "that changes nothing");
    let more = [(0x80, link_incident), (0, accessibility)];
    let more = more.map(|(flags, content)| event(flags, content, 0x41));
    fixture.machine.events.extend(more);
    fixture.machine.reports.push_back(pending);
    fixture.hear_reports();
    assert!(fixture.machine.events.is_empty());
    assert_eq!(fixture.listed()[2..], [(GIVEN, id.number(), Some(0))]);
    // One that has more for ever is not listened to for ever.
    let endless = core::iter::repeat_n(event(0x80, link_incident, 0), 1000);
    fixture.machine.events.extend(endless);
    fixture.machine.reports.push_back(pending);
    fixture.hear_reports();
    assert!(fixture.machine.events.len() > 900);
}

#[test]
fn reports_of_the_other_sources_are_traced_and_change_nothing_else() {
    let mut fixture = Fixture::new();
    fixture.machine.attach(0, GIVEN, terminal());
    let sources = [
        ReportingSource::Monitoring,
        ReportingSource::ConfigurationAlert,
        ReportingSource::Other(15),
    ];
    for source in sources {
        let report = Crw::new(CrwFlags::empty(), source, RecoveryCode::Terminal, 0);
        fixture.machine.reports.push_back(report);
        fixture.hear_reports();
        let traced = fixture.traced();
        assert_eq!(traced.last().unwrap(), &(TraceEvent::Report, 0, report.0));
    }
    assert_eq!(fixture.listed().len(), 2);
    // The channel subsystem itself: nothing of it is as before.
    let source = ReportingSource::ChannelSubsystem;
    let report = Crw::new(CrwFlags::empty(), source, RecoveryCode::Initialized, 0);
    fixture.machine.reports.push_back(report);
    fixture.hear_reports();
    assert_eq!(fixture.listed().len(), 3);
}

#[test]
fn a_machine_check_that_is_survived_is_traced_and_the_reports_with_it_are_read() {
    let mut fixture = Fixture::new();
    fixture.appliance.tuning.linger_us = 0;
    let id = fixture.machine.attach(0, GIVEN, terminal());
    let valid = MachineCheckCode::from_bits_retain(0x0F1D_4033_0000);
    let both = MachineCheckCode::SYSTEM_RECOVERY | MachineCheckCode::CHANNEL_REPORT_PENDING;
    let code = valid | both;
    let interruption = IoInterruption::Adapter { isc: 3 };
    for code in [code, valid | MachineCheckCode::CHANNEL_REPORT_PENDING] {
        let wake = Wake::MachineCheck(code);
        fixture.machine.wakes.push_back((wake, interruption));
    }
    fixture.machine.report(id);
    let at = core::mem::offset_of!(Order, order);
    let order = fixture.control.word::<Order>(0, at).unwrap();
    let mut wakes = 0;
    let started = fixture.machine.now();
    let machine = &mut fixture.machine;
    let mut nobody = NoOperator(|_| {
        wakes += 1;
        if wakes == 2 {
            order.store(Order::SHUT_DOWN);
        }
    });
    fixture.appliance.run(machine, started, 1, 2, &mut nobody);
    let traced = fixture.traced();
    let checks = traced.iter().filter(|it| it.0 == TraceEvent::MachineCheck);
    let checks: Vec<_> = checks.copied().collect();
    let word = (code.bits() >> 32) as u32;
    assert_eq!(checks, [(TraceEvent::MachineCheck, 0, word)]);
    assert!(traced.iter().any(|it| it.1 == id.word()));
    assert!(fixture.machine.store(id).is_ok());
}
