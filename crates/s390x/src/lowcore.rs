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
    /// 0: the short PSW that IPL loads.
    pub ipl_psw: u64,
    /// 8: the rest of what IPL reads.
    pub ipl_ccws: [u64; 2],
    pub _reserved_018: [u8; 0x80 - 0x18],
    /// 128: external-interruption parameter.
    pub external_parameter: u32,
    /// 132: address of the CPU an external interruption comes from.
    pub external_cpu_address: u16,
    /// 134: external-interruption code.
    pub external_code: u16,
    /// 136: length of the SUPERVISOR CALL instruction (bits 13-14).
    pub svc_ilc: u16,
    /// 138: supervisor-call number.
    pub svc_code: u16,
    /// 140: length of the instruction that a program interruption belongs to (bits 13-14).
    pub program_ilc: u16,
    /// 142: program-interruption code.
    pub program_code: u16,
    /// 144: data-exception code or vector-exception code.
    pub data_exception_code: u32,
    /// 148: monitor-class number.
    pub monitor_class: u16,
    /// 150: PER code and ATMID.
    pub per_code: u16,
    /// 152: PER address.
    pub per_address: u64,
    /// 160: exception-access identification.
    pub exception_access_id: u8,
    /// 161: PER-access identification.
    pub per_access_id: u8,
    /// 162: operand-access identification.
    pub operand_access_id: u8,
    /// 163: architectural-mode identification (1: z/Architecture).
    pub architectural_mode_id: u8,
    pub _reserved_0a4: [u8; 4],
    /// 168: translation-exception identification; for a protection exception, where it happened
    /// (with the enhanced suppression-on-protection facility).
    pub translation_exception_id: u64,
    /// 176: monitor code.
    pub monitor_code: u64,
    /// 184: subsystem-identification word of an I/O interruption.
    pub subsystem_id_word: u32,
    /// 188: I/O-interruption parameter.
    pub io_parameter: u32,
    /// 192: I/O-interruption-identification word.
    pub io_id_word: u32,
    pub _reserved_0c4: [u8; 4],
    /// 200: facility list as STFL stores it.
    pub stfl_facilities: u32,
    pub _reserved_0cc: [u8; 0xE8 - 0xCC],
    /// 232: machine-check-interruption code.
    pub machine_check_code: u64,
    pub _reserved_0f0: [u8; 4],
    /// 244: external-damage code.
    pub external_damage_code: u32,
    /// 248: failing-storage address.
    pub failing_storage_address: u64,
    /// 256: enhanced-monitor counters: origin, size, exception count.
    pub enhanced_monitor: [u64; 2],
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
    pub _reserved_380: [u8; 0x11B0 - 0x380],

    /// 4528: machine-check extended save area, address.
    pub machine_check_extended_save: u64,
    /// 4536: external-interruption parameter of 64 bits.
    pub external_parameter_2: u64,
    pub _reserved_11c0: [u8; 0x1200 - 0x11C0],
    /// 4608: save area, floating-point registers.
    pub save_floating_point: [u64; 16],
    /// 4736: save area, general registers.
    pub save_general: [u64; 16],
    /// 4864: save area, PSW (store status only).
    pub save_psw: Psw,
    pub _reserved_1310: [u8; 8],
    /// 4888: save area, prefix (store status only).
    pub save_prefix: u32,
    /// 4892: save area, floating-point control.
    pub save_floating_point_control: u32,
    pub _reserved_1320: [u8; 4],
    /// 4900: save area, TOD programmable register.
    pub save_tod_programmable: u32,
    /// 4904: save area, CPU timer.
    pub save_cpu_timer: u64,
    /// 4912: save area, clock comparator.
    pub save_clock_comparator: u64,
    pub _reserved_1338: [u8; 8],
    /// 4928: save area, access registers.
    pub save_access: [u32; 16],
    /// 4992: save area, control registers.
    pub save_control: [u64; 16],
    pub _reserved_1400: [u8; 0x2000 - 0x1400],
}

/// Checks offsets against the manual's, when this is compiled.
macro_rules! assert_offsets {
    ($($field:ident = $offset:literal),* $(,)?) => {
        $(const _: () = assert!(offset_of!(Lowcore, $field) == $offset);)*
    };
}

assert_offsets! {
    external_parameter = 0x80, external_cpu_address = 0x84, external_code = 0x86,
    svc_code = 0x8A, program_ilc = 0x8C, program_code = 0x8E, data_exception_code = 0x90,
    per_address = 0x98, exception_access_id = 0xA0, architectural_mode_id = 0xA3,
    translation_exception_id = 0xA8, subsystem_id_word = 0xB8, io_parameter = 0xBC,
    io_id_word = 0xC0, stfl_facilities = 0xC8, machine_check_code = 0xE8,
    external_damage_code = 0xF4, failing_storage_address = 0xF8, breaking_event_address = 0x110,
    restart_old = 0x120, external_old = 0x130, svc_old = 0x140, program_old = 0x150,
    machine_check_old = 0x160, io_old = 0x170,
    restart_new = 0x1A0, external_new = 0x1B0, svc_new = 0x1C0, program_new = 0x1D0,
    machine_check_new = 0x1E0, io_new = 0x1F0,
    unexpected_external = 0x200, report_registers = 0x300,
    machine_check_extended_save = 0x11B0, external_parameter_2 = 0x11B8,
    save_floating_point = 0x1200, save_general = 0x1280, save_psw = 0x1300, save_prefix = 0x1318,
    save_cpu_timer = 0x1328, save_clock_comparator = 0x1330, save_access = 0x1340,
    save_control = 0x1380,
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
    #[must_use]
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
