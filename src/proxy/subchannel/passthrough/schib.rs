//! The SCHIB of a pass-through subchannel: which fields are the client's, which the hardware's.
//!
//! | field | STORE shows | MODIFY |
//! |---|---|---|
//! | interruption parameter, ISC | the client's | kept |
//! | enable | the client's | kept, and passed on: a subchannel that is disabled for the client is disabled |
//! | device number, valid | the virtual device's number | |
//! | logical-path mask, multipath mode, POM | the hardware's | passed on |
//! | concurrent sense, extended measurement word | the hardware's | passed on |
//! | timing facility | the hardware's | |
//! | PNOM, LPUM, PIM, PAM, chpids | the hardware's | |
//! | limit mode | 0 | not taken: the limit would be one for the appliance's addresses |
//! | measurement mode, block index, address and format | the client's | kept: the block is in the area |
//! | SCSW | the hardware's, in the client's terms | |
//!
//! A machine without the extended measurement word refuses that bit with an operand exception, and so does MODIFY then; nothing
//! is changed.

use channel::{PmcwCharacteristics, PmcwFlags, Schib};
use zerocopy::big_endian::{U16, U32, U64};

/// PMCW word 6: measurement-block format.
const FORMAT_1_BLOCK: u32 = PmcwCharacteristics::MEASUREMENT_BLOCK_FORMAT_1.bits();
/// PMCW word 6: what is passed on.
const PASSED_ON: u32 = PmcwCharacteristics::CONCURRENT_SENSE
    .union(PmcwCharacteristics::EXTENDED_MEASUREMENT)
    .bits();
/// PMCW flags that are passed on.
const MULTIPATH: u16 = PmcwFlags::MULTIPATH.bits();
/// PMCW flags that are shown as the hardware has them.
const SHOWN: u16 = PmcwFlags::MULTIPATH
    .union(PmcwFlags::TIMING)
    .union(PmcwFlags::DEVICE_NUMBER_VALID)
    .bits();
/// PMCW flags that are the client's own: ISC, measurement mode.
const CLIENTS: u16 = 0x3800 | PmcwFlags::MEASUREMENT_BLOCK.bits() | PmcwFlags::CONNECT_TIME.bits();

/// What of the SCHIB is the client's.
#[derive(Clone, Copy, Debug, Default)]
pub struct Virtual {
    device: U16,
    parameter: U32,
    flags: u16,
    block_index: U16,
    /// [`FORMAT_1_BLOCK`], or not.
    block_format: u32,
    block_address: U64,
}

impl Virtual {
    /// As after a reset: disabled, everything zero.
    pub fn reset(device: u16) -> Self {
        Self {
            device: device.into(),
            ..Self::default()
        }
    }

    pub const fn device(&self) -> u16 {
        self.device.get()
    }

    pub const fn is_enabled(&self) -> bool {
        self.flags & PmcwFlags::ENABLED.bits() != 0
    }

    /// Whether the client wants its instructions counted.
    pub const fn is_measured(&self) -> bool {
        self.flags & PmcwFlags::MEASUREMENT_BLOCK.bits() != 0
    }

    /// The interruption parameter of a START that was accepted.
    pub fn set_parameter(&mut self, parameter: U32) {
        self.parameter = parameter;
    }

    /// Takes over what MODIFY leaves to the client.
    pub fn take(&mut self, wanted: &Schib) {
        let pmcw = &wanted.pmcw;
        self.parameter = pmcw.parameter;
        self.flags = pmcw.flags.get() & (CLIENTS | PmcwFlags::ENABLED.bits());
        self.block_index = pmcw.mbi;
        self.block_format = pmcw.characteristics.get() & FORMAT_1_BLOCK;
        self.block_address = wanted.mba;
    }

    /// What STORE shows, out of what the hardware stored.
    pub fn show(&self, hardware: &Schib) -> Schib {
        let mut shown = *hardware;
        let pmcw = &mut shown.pmcw;
        pmcw.parameter = self.parameter;
        pmcw.flags = U16::new(self.flags | pmcw.flags.get() & SHOWN);
        pmcw.device = self.device;
        pmcw.mbi = self.block_index;
        let others = pmcw.characteristics.get() & !FORMAT_1_BLOCK;
        pmcw.characteristics = U32::new(others | self.block_format);
        shown.mba = self.block_address;
        shown
    }

    /// What STORE shows when there is no device: the number is not valid.
    pub fn show_nothing(&self) -> Schib {
        let mut shown = Schib::default();
        shown.pmcw.device = self.device;
        shown
    }
}

/// What the hardware is given: of the client's SCHIB what is passed on, the rest as it is; the parameter and the ISC are
/// the appliance's.
pub fn for_hardware(hardware: &Schib, wanted: &Schib, parameter: u32, isc: u8) -> Schib {
    let mut schib = *hardware;
    let pmcw = &mut schib.pmcw;
    pmcw.parameter = U32::new(parameter);
    let passed = MULTIPATH | PmcwFlags::ENABLED.bits();
    let valid = PmcwFlags::DEVICE_NUMBER_VALID.bits();
    pmcw.flags = U16::new(pmcw.flags.get() & valid | wanted.pmcw.flags.get() & passed);
    pmcw.set_isc(isc);
    pmcw.lpm = wanted.pmcw.lpm;
    pmcw.pom = wanted.pmcw.pom;
    let kept = pmcw.characteristics.get() & !PASSED_ON;
    pmcw.characteristics = U32::new(kept | wanted.pmcw.characteristics.get() & PASSED_ON);
    schib
}

/// What the hardware is given when its client has gone: disabled, and what was passed on as after a reset. All installed paths
/// are in the logical-path mask, and all paths are operational until found otherwise. (That of QEMU's vfio-ccw begins without any, and programs start all the same.)
pub fn release(schib: &mut Schib) {
    let pmcw = &mut schib.pmcw;
    pmcw.set_flag(PmcwFlags::ENABLED | PmcwFlags::MULTIPATH, false);
    pmcw.lpm = pmcw.pim;
    pmcw.pom = 0xFF;
    pmcw.characteristics = U32::new(pmcw.characteristics.get() & !PASSED_ON);
}
