//! From the first instruction to a place where Rust can live, and from a crash to a report.
//!
//! | part | what it does |
//! |---|---|
//! | [`entry`] | the first instructions, for every way of loading the image; the CPU's set-up |
//! | [`cmdline`] | what the loader's command line says |
//! | [`logring`] | log records: to the console, and the last ones kept for a report |
//! | [`report`] | what is printed when something ends this program that should not |
//! | [`symbols`] | addresses to names and frames, for the report |
//!
//! **The way in.** `kmain` is called on the boot CPU with everything disabled, a stack of 56 KiB
//! with a guard, and the vectors set. Nearly from the first instruction on, a program interruption
//! ends in a report and not in a loop.
//!
//! **The way out.** [`shut_down`] ends the machine in order; a panic or an unexpected interruption
//! ends in [`report`], with its own disabled-wait code for each kind ([`report::Stop`]).
//!
//! **Limits.** One CPU. Nothing here starts a second one.

pub mod cmdline;
pub mod entry;
pub mod logring;
pub mod report;
pub mod symbols;

pub use entry::{first_instruction, image_end, image_size, loader_command_line};

use core::time::Duration;
use s390x::clock::Tod;
use s390x::cpu::{disabled_wait, stidp, WaitCode};
use s390x::sysinfo::{level, LogicalPartition, Machine, SystemInformation, VirtualMachine};
use sclp::BringUp;

/// The time since the first instruction.
#[must_use]
pub fn uptime() -> Duration {
    Tod::now().since(first_instruction())
}

/// Where storage ends: what the SCLP says, or what the image itself needs if it says nothing.
#[must_use]
pub fn memory_size(sclp: Option<&BringUp>) -> u64 {
    sclp.and_then(|sclp| sclp.info.as_ref().ok())
        .map_or(image_end().get(), |info| info.memory_size())
}

/// Say who this is, and where it runs.
pub fn banner(command_line: &str, sclp: Option<&BringUp>) {
    log::info!(target: "boot", "stellwerk {}", crate::VERSION);
    platform();
    match sclp.map(|sclp| &sclp.info) {
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
            machine.manufacturer(),
            machine.machine_type(),
            machine.model(),
            machine.sequence(),
        );
    }
    if let Some(partition) = LogicalPartition::read(&mut block) {
        log::debug!(target: "boot", "partition {} {}", partition.number, partition.name());
    }
    if let Some(vm) = VirtualMachine::read(&mut block) {
        log::debug!(target: "boot", "virtual machine {} of {}", vm.name(), vm.control_program());
    }
}

/// The orderly end: QEMU and KVM shut the machine down, elsewhere the CPU waits at 0xFFF.
pub fn shut_down() -> ! {
    log::logger().flush();
    disabled_wait(WaitCode::QUIESCED)
}
