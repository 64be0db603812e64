//! READ SCP INFO against an SCLP in software.

use sclp::mock::{Machine, ScriptedSclp};
use sclp::spec::Command;
use sclp::{SccbPage, Sclp, ScpInfo, ScpInfoError};

const MIB: u64 = 1 << 20;

fn read(machine: &ScriptedSclp) -> Result<ScpInfo, ScpInfoError> {
    Sclp::new(machine.clone(), &mut SccbPage::new()).read_scp_info()
}

fn qemu(edit: impl FnOnce(&mut [u8])) -> Result<ScpInfo, ScpInfoError> {
    let machine = ScriptedSclp::new(Machine::QemuAscii);
    machine.edit_scp_info(edit);
    read(&machine)
}

#[test]
fn memory_is_increments_times_their_size() {
    let info = qemu(|sccb| sccb[8..11].copy_from_slice(&[0x02, 0x00, 4])).expect("info");
    assert_eq!(info.memory_size(), 2048 * MIB);
}

#[test]
fn zero_means_look_at_the_second_form() {
    let info = qemu(|sccb| {
        sccb[8..11].copy_from_slice(&[0, 0, 0]);
        sccb[100..104].copy_from_slice(&512u32.to_be_bytes());
        sccb[104..112].copy_from_slice(&0x10000u64.to_be_bytes());
    })
    .expect("info");
    assert_eq!(info.memory_size(), 0x10000 * 512 * MIB);
}

#[test]
fn each_of_the_two_numbers_has_a_second_form_of_its_own() {
    let info = qemu(|sccb| {
        sccb[10] = 0;
        sccb[100..104].copy_from_slice(&256u32.to_be_bytes());
        sccb[104..112].copy_from_slice(&7u64.to_be_bytes());
    })
    .expect("info");
    assert_eq!(info.memory_size(), 64 * 256 * MIB);
}

#[test]
fn no_memory_or_too_much_is_an_error() {
    let none = qemu(|sccb| sccb[8..11].copy_from_slice(&[0; 3]));
    assert_eq!(
        none,
        Err(ScpInfoError::BadMemorySize {
            increments: 0,
            increment_mib: 0
        })
    );
    let too_much = qemu(|sccb| {
        sccb[8..11].copy_from_slice(&[0, 0, 2]);
        sccb[104..112].copy_from_slice(&u64::MAX.to_be_bytes());
    });
    assert_eq!(
        too_much,
        Err(ScpInfoError::BadMemorySize {
            increments: u64::MAX,
            increment_mib: 2
        })
    );
}

#[test]
fn the_number_of_cpus_is_told() {
    let info = qemu(|sccb| sccb[17] = 3).expect("info");
    assert_eq!(info.cpu_count(), 3);
}

#[test]
fn a_machine_without_the_forced_form_is_asked_in_the_other() {
    let machine = ScriptedSclp::new(Machine::Hercules);
    assert_eq!(read(&machine).expect("info").memory_size(), 64 * MIB);
    let commands: Vec<_> = machine.calls().iter().map(|call| call.command).collect();
    assert_eq!(commands, [Command::ReadScpInfoForced, Command::ReadScpInfo]);
}

#[test]
fn a_machine_without_a_console_still_tells_what_it_is() {
    let machine = ScriptedSclp::new(Machine::Nothing);
    assert_eq!(read(&machine).expect("info").cpu_count(), 1);
}
