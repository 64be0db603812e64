//! What the appliance owns.

use core::fmt;

use channel::{Schib, SubchannelId};
use vcss::client::Instruction;
use vcss::control::Device;
use vcss::trace::{DriverState, TraceEntry, TraceEvent};

use super::general::count;
use crate::monitor::message;
use crate::monitor::operands::{number_of, Operands, Refused};
use crate::monitor::{Out, View};

fn each<'v>(view: &'v dyn View) -> impl Iterator<Item = Device> + 'v {
    (0..).map_while(|place| view.device(place))
}

/// A subsystem-identification word as it is shown.
struct Subchannel(u32);

impl fmt::Display for Subchannel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match SubchannelId::from_word(self.0) {
            Some(id) => fmt::Display::fmt(&id, f),
            None => write!(f, "{:08x}", self.0),
        }
    }
}

/// The paths of a device that are there, with their masks.
fn chpids(device: &Device) -> impl Iterator<Item = (u8, u8)> + '_ {
    let all = (0..8)
        .zip(device.chpids)
        .map(|(path, chpid)| (0x80_u8 >> path, chpid));
    all.filter(|(mask, _)| device.pim & mask != 0)
}

/// The identifiers of channel paths, one behind the other.
struct Chpids<'a>(&'a Device);

impl fmt::Display for Chpids<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        chpids(self.0).try_for_each(|(_, chpid)| write!(f, " {chpid:02x}"))
    }
}

/// Whose a device is.
struct Use<'a>(&'a Device, &'a dyn View);

impl fmt::Display for Use<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(device, view) = self;
        let (client, disk) = (device.client.get(), usize::from(device.disk.get()));
        if client != Device::NO_CLIENT {
            let state = DriverState::from_number(device.state);
            return match state {
                Some(state) => write!(f, "client {client} {state:?}"),
                None => write!(f, "client {client}"),
            };
        }
        match view.disk(disk) {
            Some(disk) => write!(f, "disk {}", disk.name),
            None => f.write_str("-"),
        }
    }
}

pub fn devs(view: &dyn View, operands: Operands<'_>, out: &mut Out<'_>) -> Result<(), Refused> {
    operands.end()?;
    count(out, message::DEVICES, each(view).count(), "device");
    out.line(format_args!(
        "Device   Subchan.  DevType CU Type PIM PAM POM Use"
    ));
    for device in each(view) {
        let (number, subchannel) = (number_of(&device), Subchannel(device.subchannel.get()));
        let (dev_type, dev_model) = (device.dev_type.get(), device.dev_model);
        let (cu_type, cu_model) = (device.cu_type.get(), device.cu_model);
        let (pim, pam, pom) = (device.pim, device.pam, device.pom);
        out.line(format_args!(
            "{number} {subchannel}  {dev_type:04x}/{dev_model:02x} {cu_type:04x}/{cu_model:02x} {pim:02x}  {pam:02x}  {pom:02x}  {}",
            Use(&device, view)
        ));
    }
    Ok(())
}

pub fn paths(
    view: &dyn View,
    mut operands: Operands<'_>,
    out: &mut Out<'_>,
) -> Result<(), Refused> {
    if operands.is_empty() {
        count(out, message::PATHS, each(view).count(), "device");
        out.line(format_args!("Device   PIM PAM POM CHPIDs"));
        for device in each(view) {
            let (pim, pam, pom) = (device.pim, device.pam, device.pom);
            let (number, chpids) = (number_of(&device), Chpids(&device));
            out.line(format_args!(
                "{number} {pim:02x}  {pam:02x}  {pom:02x} {chpids}"
            ));
        }
        return Ok(());
    }
    let (number, id) = operands.owned(view)?;
    operands.end()?;
    let device = each(view).find(|device| number_of(device) == number);
    let (Some(schib), Some(device)) = (view.schib(id), device) else {
        return Err(Refused::NoSuch("subchannel any more"));
    };
    let pmcw = &schib.pmcw;
    // As it is now, and not as it was when the device was found.
    let device = Device {
        pim: pmcw.pim,
        chpids: pmcw.chpid,
        ..device
    };
    out.say(
        message::PATHS,
        format_args!("device {number}, subchannel {id}"),
    );
    out.line(format_args!(
        "CHPIDs to the device (PIM):    {}",
        Chpids(&device)
    ));
    for (what, mask) in [
        ("Physically available (PAM):", pmcw.pam),
        ("Operational (POM):", pmcw.pom),
        ("Online (LPM):", pmcw.lpm),
        ("Last used (LPUM):", pmcw.lpum),
        ("Not operational (PNOM):", pmcw.pnom),
    ] {
        out.line(format_args!("{what:30} {}", Signs(&device, mask)));
    }
    out.line(format_args!("+ yes - no"));
    Ok(())
}

/// For each path of a device, whether it is in a mask.
struct Signs<'a>(&'a Device, u8);

impl fmt::Display for Signs<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        chpids(self.0)
            .try_for_each(|(mask, _)| f.write_str(if self.1 & mask != 0 { "  +" } else { "  -" }))
    }
}

pub fn schib(
    view: &dyn View,
    mut operands: Operands<'_>,
    out: &mut Out<'_>,
) -> Result<(), Refused> {
    let (number, id) = operands.owned(view)?;
    operands.end()?;
    let schib = view
        .schib(id)
        .ok_or(Refused::NoSuch("subchannel any more"))?;
    out.say(
        message::SCHIB,
        format_args!("device {number}, subchannel {id}"),
    );
    let Schib {
        pmcw, scsw, mba, ..
    } = &schib;
    let (parameter, flags, isc) = (pmcw.parameter.get(), pmcw.flags.get(), pmcw.isc());
    let has_device = if pmcw.has_device() {
        ""
    } else {
        " (none there)"
    };
    let device = pmcw.device.get();
    out.line(format_args!(
        "parameter {parameter:08x} flags {flags:04x} ISC {isc} device {device:04x}{has_device}"
    ));
    let (lpm, pnom, lpum, pim) = (pmcw.lpm, pmcw.pnom, pmcw.lpum, pmcw.pim);
    let (pom, pam) = (pmcw.pom, pmcw.pam);
    out.line(format_args!(
        "LPM {lpm:02x} PNOM {pnom:02x} LPUM {lpum:02x} PIM {pim:02x} POM {pom:02x} PAM {pam:02x}"
    ));
    let (mbi, characteristics) = (pmcw.mbi.get(), pmcw.characteristics.get());
    out.line(format_args!(
        "MBI {mbi:04x} MBA {:016x} characteristics {characteristics:08x}",
        mba.get()
    ));
    let (control, program, left) = (scsw.control.get(), scsw.program.get(), scsw.count.get());
    let (device_status, status) = (scsw.device_status, scsw.subchannel_status);
    out.line(format_args!(
        "SCSW {control:08x} {program:08x} {device_status:02x} {status:02x} {left:04x}"
    ));
    let (function, activity) = (scsw.function(), scsw.activity());
    let names = [
        Names(&["CLEAR", "HALT", "START"], function.bits()),
        Names(&ACTIVITIES, activity.bits()),
        Names(&STATUS, scsw.status().bits()),
    ];
    let [function, activity, status] = names;
    out.line(format_args!(
        "function {function} activity {activity} status {status}"
    ));
    Ok(())
}

/// What the bits are called, from the lowest one on.
const ACTIVITIES: [&str; 7] = [
    "SUSPENDED",
    "DEVICE-ACTIVE",
    "SUBCHANNEL-ACTIVE",
    "CLEAR-PENDING",
    "HALT-PENDING",
    "START-PENDING",
    "RESUME-PENDING",
];
const STATUS: [&str; 5] = ["PENDING", "SECONDARY", "PRIMARY", "INTERMEDIATE", "ALERT"];

/// The names of the bits that are one, from the lowest one on, or that there is none.
struct Names<'a>(&'a [&'a str], u8);

impl fmt::Display for Names<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut between = "";
        for (bit, name) in self.0.iter().enumerate() {
            if self.1 >> bit & 1 != 0 {
                write!(f, "{between}{name}")?;
                between = "+";
            }
        }
        match between {
            "" => f.write_str("-"),
            _ => Ok(()),
        }
    }
}

pub fn disks(view: &dyn View, operands: Operands<'_>, out: &mut Out<'_>) -> Result<(), Refused> {
    operands.end()?;
    let all = || (0..view.disk_count()).filter_map(|index| Some((index, view.disk(index)?)));
    count(out, message::DISKS, all().count(), "disk");
    out.line(format_args!(
        "No Device    Size/MiB Block At disk State          Name"
    ));
    for (index, disk) in all() {
        let (number, size, in_flight) = (disk.number, disk.sectors >> 11, disk.in_flight);
        let state = match (disk.reason, disk.is_broken, disk.is_own) {
            (Some(_), ..) => "not served",
            (None, true, _) => "broken",
            (None, false, false) => "in maintenance",
            (None, false, true) => "good",
        };
        let (block, name) = (disk.block_size, disk.name);
        out.line(format_args!(
            "{index:2} {number} {size:10} {block:5} {in_flight:7} {state:14} {name}"
        ));
        if let Some(reason) = disk.reason {
            out.line(format_args!("   {reason}"));
        }
    }
    Ok(())
}

pub fn trace(
    view: &dyn View,
    mut operands: Operands<'_>,
    out: &mut Out<'_>,
) -> Result<(), Refused> {
    let only = match operands.is_empty() {
        true => None,
        false => Some(operands.owned(view)?.1.word()),
    };
    operands.end()?;
    out.say(
        message::TRACE,
        format_args!("the newest first, in microseconds before now"),
    );
    out.line(format_args!(
        "  Before now Subchan. Event, and the state that it led to"
    ));
    let now = view.now();
    let numbers = (1..=view.newest_traced()).rev();
    for entry in numbers.map_while(|number| view.traced(number)) {
        if out.is_full() {
            out.stop();
            break;
        }
        let subchannel = entry.subchannel.get();
        if only.is_some_and(|only| only != subchannel) {
            continue;
        }
        let before = now.micros_since(s390x::clock::Tod::from_units(entry.tod.get()));
        let what = Event(entry.event.get());
        let state = DriverState::from_number(entry.after);
        let (id, states) = (Subchannel(subchannel), StateAfter(state));
        let [first, second, third, ..] = entry.words.map(|word| word.get());
        out.line(format_args!(
            "{before:12} {id} {what} {states} {}",
            Rest(&entry)
        ));
        if first | second | third != 0 {
            out.line(format_args!(
                "             {first:08x} {second:08x} {third:08x}"
            ));
        }
    }
    Ok(())
}

/// What happened.
struct Event(u16);

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whose, what) = match TraceEvent::from_number(self.0) {
            Some(TraceEvent::Request(instruction)) => ("client's ", name(instruction)),
            Some(TraceEvent::Own(instruction)) => ("own ", name(instruction)),
            Some(TraceEvent::Online) => ("", "online"),
            Some(TraceEvent::Offline) => ("", "offline"),
            Some(TraceEvent::Reset) => ("", "reset"),
            Some(TraceEvent::Interruption) => ("", "interruption"),
            Some(TraceEvent::Path) => ("", "path report"),
            Some(TraceEvent::Gone) => ("", "device gone"),
            Some(TraceEvent::Back) => ("", "device back"),
            Some(TraceEvent::TimeOut) => ("", "time-out"),
            Some(TraceEvent::Recovery) => ("", "recovery"),
            Some(TraceEvent::Report) => ("", "channel report"),
            Some(TraceEvent::MachineCheck) => ("", "machine check"),
            None => return write!(f, "event {:04x}", self.0),
        };
        write!(f, "{whose}{what}")
    }
}

const fn name(instruction: Instruction) -> &'static str {
    match instruction {
        Instruction::Start => "SSCH",
        Instruction::Halt => "HSCH",
        Instruction::Clear => "CSCH",
        Instruction::Cancel => "XSCH",
        Instruction::Resume => "RSCH",
        Instruction::Store => "STSCH",
        Instruction::Modify => "MSCH",
        Instruction::Test => "TSCH",
    }
}

/// The state that something has led to.
struct StateAfter(Option<DriverState>);

impl fmt::Display for StateAfter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(state) => write!(f, "-> {state:?}"),
            None => f.write_str("-> ?"),
        }
    }
}

/// Condition code and client, as far as there are any.
struct Rest<'a>(&'a TraceEntry);

impl fmt::Display for Rest<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.condition != TraceEntry::NO_CONDITION {
            write!(f, " cc {}", self.0.condition)?;
        }
        match self.0.client.get() {
            TraceEntry::NO_CLIENT => Ok(()),
            client => write!(f, " client {client}"),
        }
    }
}
