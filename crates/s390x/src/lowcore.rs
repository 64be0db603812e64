//! The lowcore, or prefix area: the first 8 KiB of real storage, where CPU and program meet.
//!
//! An interruption stores the current PSW as that class's *old* PSW and why it came, and loads that
//! class's *new* PSW; all of it has assigned places here. With a nonzero prefix, each CPU has its
//! own.
//!
//! The rule this module lives by: nobody else spells one of these offsets in Rust. (Assembly has
//! them as operands of `const offset_of!`.)
//!
//! The lowcore begins at address 0, where no Rust reference may point: it is read and written by
//! field, through [`read`] and [`write()`], with the offset from [`core::mem::offset_of`].
//!
//! Source: *Principles of Operation*, chapter 3, "Assigned Storage Locations".

use crate::psw::Psw;
use core::mem::offset_of;

/// The assigned storage locations.
///
/// Locations 0-511 and 4096-4607 are those that low-address protection covers.
#[derive(Debug)]
#[repr(C, align(8192))]
#[allow(
    missing_docs,
    reason = "the _reserved fields; every named one is documented"
)]
pub struct Lowcore {
    pub _reserved_000: [u8; 0x80],
    /// 128: external-interruption parameter.
    pub external_parameter: u32,
    pub _reserved_084: [u8; 2],
    /// 134: external-interruption code.
    pub external_code: u16,
    pub _reserved_088: [u8; 2],
    /// 138: supervisor-call number.
    pub svc_code: u16,
    /// 140: length of the instruction that a program interruption belongs to (bits 13-14).
    pub program_ilc: u16,
    /// 142: program-interruption code.
    pub program_code: u16,
    pub _reserved_090: [u8; 0xA8 - 0x90],
    /// 168: translation-exception identification; for a protection exception, where it happened
    /// (with the enhanced suppression-on-protection facility).
    pub translation_exception_id: u64,
    pub _reserved_0b0: [u8; 8],
    /// 184: subsystem-identification word of an I/O interruption.
    pub subsystem_id_word: u32,
    /// 188: I/O-interruption parameter.
    pub io_parameter: u32,
    /// 192: I/O-interruption-identification word.
    pub io_id_word: u32,
    pub _reserved_0c4: [u8; 0xE8 - 0xC4],
    /// 232: machine-check-interruption code.
    pub machine_check_code: u64,
    pub _reserved_0f0: [u8; 4],
    /// 244: external-damage code.
    pub external_damage_code: u32,
    /// 248: failing-storage address.
    pub failing_storage_address: u64,
    pub _reserved_100: [u8; 16],
    /// 272: breaking-event address.
    pub breaking_event_address: u64,
    pub _reserved_118: [u8; 8],
    /// 288: restart old PSW.
    pub restart_old: Psw,
    /// 304: external old PSW.
    pub external_old: Psw,
    /// 320: supervisor-call old PSW.
    pub svc_old: Psw,
    /// 336: program old PSW.
    pub program_old: Psw,
    /// 352: machine-check old PSW.
    pub machine_check_old: Psw,
    /// 368: I/O old PSW.
    pub io_old: Psw,
    pub _reserved_180: [u8; 0x1A0 - 0x180],
    /// 416: restart new PSW.
    pub restart_new: Psw,
    /// 432: external new PSW.
    pub external_new: Psw,
    /// 448: supervisor-call new PSW.
    pub svc_new: Psw,
    /// 464: program new PSW.
    pub program_new: Psw,
    /// 480: machine-check new PSW.
    pub machine_check_new: Psw,
    /// 496: I/O new PSW.
    pub io_new: Psw,

    /// 512, for the program's use: where [`crate::idle`] goes on with an external interruption
    /// that came from no wait.
    pub unexpected_external: Psw,
    /// 528, for the program's use: likewise, machine check.
    pub unexpected_machine_check: Psw,
    /// 544, for the program's use: likewise, I/O.
    pub unexpected_io: Psw,
    pub _reserved_230: [u8; 0x300 - 0x230],
    /// 768, for the program's use: where the handler of what must not happen saves registers
    /// first, having none to address anything with.
    pub report_registers: [u64; 16],
    pub _reserved_380: [u8; 0x2000 - 0x380],
}

/// Checks offsets against the manual's, when this is compiled.
macro_rules! assert_offsets {
    ($($field:ident = $offset:literal),* $(,)?) => {
        $(const _: () = assert!(offset_of!(Lowcore, $field) == $offset);)*
    };
}

assert_offsets! {
    external_parameter = 0x80, external_code = 0x86,
    svc_code = 0x8A, program_ilc = 0x8C, program_code = 0x8E,
    translation_exception_id = 0xA8, subsystem_id_word = 0xB8, io_parameter = 0xBC,
    io_id_word = 0xC0, machine_check_code = 0xE8,
    external_damage_code = 0xF4, failing_storage_address = 0xF8, breaking_event_address = 0x110,
    restart_old = 0x120, external_old = 0x130, svc_old = 0x140, program_old = 0x150,
    machine_check_old = 0x160, io_old = 0x170,
    restart_new = 0x1A0, external_new = 0x1B0, svc_new = 0x1C0, program_new = 0x1D0,
    machine_check_new = 0x1E0, io_new = 0x1F0,
    unexpected_external = 0x200, report_registers = 0x300,
}

const _: () = assert!(size_of::<Lowcore>() == 8192);

#[cfg(target_arch = "s390x")]
pub use access::*;

#[cfg(target_arch = "s390x")]
mod access {
    use crate::control::Cr0;

    /// Read the field at `offset` of this CPU's lowcore.
    ///
    /// # Safety
    /// `offset` is that of a field of type `T`, and not 0.
    #[inline]
    pub unsafe fn read<T: Copy>(offset: usize) -> T {
        // SAFETY: the lowcore is always there; the caller vouches for the type.
        unsafe { core::ptr::with_exposed_provenance::<T>(offset).read_volatile() }
    }

    /// Write the field at `offset` of this CPU's lowcore, low-address protection or not.
    ///
    /// # Safety
    /// `offset` is that of a field of type `T`, and not 0; and the CPU must be able to go on with
    /// what is written there (a new PSW decides what runs at an interruption).
    pub unsafe fn write<T: Copy>(offset: usize, value: T) {
        // SAFETY: less protection for the length of one store.
        let cr0 = unsafe { Cr0::update(|cr0| cr0 - Cr0::LOW_ADDRESS_PROTECTION) };
        // SAFETY: the lowcore is always there; the caller vouches for type and meaning.
        unsafe { core::ptr::with_exposed_provenance_mut::<T>(offset).write_volatile(value) };
        // SAFETY: as it was before.
        unsafe { cr0.write() };
    }
}
