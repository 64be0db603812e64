//! From the CPU's set-up to a program that can log and allocate; and the orderly end.

use super::cmdline::{Options, WarningKind};
use super::image::image_end;
use super::machine_check::{Survived, Verdict};
use super::report::{self, VERSION};
use super::{entry, logring};
use crate::css::Wake;
use s390x::address::AbsoluteAddress;
use s390x::control::Cr14;
use s390x::cpu::{disabled_wait, stidp, WaitCode};
use s390x::ebcdic::Text;
use s390x::machine_check::MachineCheckCode;
use s390x::sysinfo::{level, LogicalPartition, Machine, SystemInformation, VirtualMachine};
use sclp::{ScpInfo, ScpInfoError};

use s390x::clock::Tod;
use s390x::idle::{self, ExternalCode, Sources};

/// How long a look for a service signal takes, in microseconds.
const LISTEN_US: u64 = 4;

/// What is known of the machine and of the wishes of whoever started it.
#[derive(Debug)]
pub struct Start {
    /// What the command line asks for.
    pub options: Options,
    /// Where storage ends.
    pub memory: u64,
}

/// Brings the console up, takes the command line over, and says who this is. Words that the appliance does not know are given to
/// `also`, as by [`Options::parse`].
pub fn start(
    also: impl FnMut(&'static str, Option<&'static str>) -> Result<(), WarningKind>,
) -> Start {
    let sclp = sclp::bring_up();
    let line = entry::loader_command_line();
    logring::install(log::LevelFilter::Info);
    let options = Options::parse(line, also, |warning| {
        log::warn!(target: "boot", "command line: {warning}");
    });
    logring::install(options.log);
    banner(line, sclp.as_ref());
    let memory = memory_size(sclp.as_ref());
    Start { options, memory }
}

impl Start {
    /// Makes what is free behind the image the heap; storage from `shared` on is not the appliance's own.
    pub fn take_heap(&self, shared: Option<u64>) {
        let heap = image_end();
        let own = shared.unwrap_or(self.memory).min(self.memory);
        let end = self
            .options
            .heap
            .map_or(own, |size| heap.get().saturating_add(size).min(own));
        // SAFETY: storage behind the image and below its end is used by nobody else; a second call changes nothing.
        let size = unsafe { crate::alloc::init(heap, AbsoluteAddress::new(end)) };
        log::info!(target: "boot", "heap {} KiB at {heap}", size >> 10);
    }
}

/// Handles what ended the wait and is nobody else's.
pub fn wake(wake: Wake) {
    match wake {
        Wake::External(external) if external.code == ExternalCode::ServiceSignal => {
            sclp::CONSOLE.note_signal(sclp::Signal::from_parameter(external.parameter));
        }
        Wake::MachineCheck(code) if code.is_fatal() => report::fatal_machine_check(),
        Wake::MachineCheck(code) => machine_check(code),
        Wake::Io | Wake::Deadline | Wake::External(_) => {}
    }
}

/// Tells of a machine check that does not end the program by itself.
fn machine_check(code: MachineCheckCode) {
    static SURVIVED: spin::Mutex<Survived> = spin::Mutex::new(Survived::none());
    if code.contains(MachineCheckCode::WARNING) {
        // The condition can stay until the power fails, and would end every wait.
        // SAFETY: what is not enabled needs no preparation.
        unsafe { Cr14::update(|cr14| cr14.difference(Cr14::WARNING)) };
    }
    let verdict = SURVIVED.lock().note(code);
    match verdict {
        Verdict::GoOn => {}
        Verdict::Tell(times) => {
            let bits = code.bits();
            log::error!(target: "boot", "machine check: {code}, {bits:016x}, {times} times in a row");
        }
        Verdict::Stop => report::fatal_machine_check(),
    }
}

/// For a program that never sleeps: takes a service signal that has come meanwhile. Whoever calls this does so now and then: the wait
/// takes some microseconds, since the clock comparator would go before a signal that is pending as well.
pub fn listen() {
    let soon = Tod::now().plus_micros(LISTEN_US);
    if let idle::Wake::External(external) = idle::wait(Sources::SERVICE_SIGNAL, Some(soon)) {
        wake(Wake::External(external));
    }
}

/// Where storage ends: what the SCLP says, or what the image itself needs if it says nothing.
fn memory_size(sclp: Option<&Result<ScpInfo, ScpInfoError>>) -> u64 {
    sclp.and_then(|info| info.as_ref().ok())
        .map_or(image_end().get(), |info| info.memory_size())
}

/// Say who this is, and where it runs.
fn banner(command_line: &str, sclp: Option<&Result<ScpInfo, ScpInfoError>>) {
    log::info!(target: "boot", "stellwerk {}", VERSION);
    platform();
    match sclp {
        Some(Ok(info)) => log::info!(
            target: "boot",
            "{} MiB of storage, {} CPU(s), image ends at {}",
            info.memory_size() >> 20,
            info.cpu_count(),
            image_end(),
        ),
        Some(Err(error)) => log::error!(target: "boot", "READ SCP INFO: {error}"),
        None => log::error!(target: "boot", "no SCLP"),
    }
    if !command_line.is_empty() {
        log::info!(target: "boot", "command line: {command_line}");
    }
}

/// The machine, and the partition or virtual machine within it.
fn platform() {
    static BLOCK: spin::Mutex<SystemInformation> = spin::Mutex::new(SystemInformation::zeroed());
    let mut block = BLOCK.lock();
    let (id, level) = (stidp(), level());
    log::info!(target: "boot", "CPU {:04x}-{:06x}, {level:?}", id.machine_type(), id.identification());
    if let Some(machine) = Machine::read(&mut block) {
        log::debug!(
            target: "boot",
            "machine {} {} {} {}",
            Text(&machine.manufacturer),
            Text(&machine.machine_type),
            Text(&machine.model),
            Text(&machine.sequence),
        );
    }
    if let Some(partition) = LogicalPartition::read(&mut block) {
        log::debug!(target: "boot", "partition {} {}", partition.number, Text(&partition.name));
    }
    if let Some(vm) = VirtualMachine::read(&mut block) {
        log::debug!(target: "boot", "virtual machine {} of {}", Text(&vm.name), Text(&vm.control_program));
    }
}

/// The orderly end: QEMU and KVM shut the machine down, elsewhere the CPU waits at 0xFFF.
pub fn shut_down() -> ! {
    log::logger().flush();
    disabled_wait(WaitCode::QUIESCED)
}
