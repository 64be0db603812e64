//! STORE SYSTEM INFORMATION: the machine, the LPAR and the virtual machine one runs in.
//!
//! A [`SystemInformation`] is one 4 KiB block with a typed view for each of the selections that
//! say who and where one is. Text in it is EBCDIC: [`Text`] shows it.
//!
//! **Limits.** Selections 1.2.x (CPU capacities), 2.2.1 and 15.1.x (topology) have no view.
//!
//! Source: *Principles of Operation*, chapter 10, "STORE SYSTEM INFORMATION".

use crate::ebcdic::Text;

/// At which level of the configuration one runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Level {
    /// On the machine itself.
    Machine = 1,
    /// In a logical partition.
    LogicalPartition = 2,
    /// In a virtual machine.
    VirtualMachine = 3,
}

/// A system-information block.
#[repr(C, align(4096))]
pub struct SystemInformation([u8; 4096]);

impl SystemInformation {
    /// A block of zeros.
    pub const fn zeroed() -> Self {
        Self([0; 4096])
    }

    /// A field of `N` bytes; the offset is a constant of this module.
    fn field<const N: usize>(&self, offset: usize) -> [u8; N] {
        let mut bytes = [0; N];
        bytes.copy_from_slice(&self.0[offset..offset + N]);
        bytes
    }
}

impl core::fmt::Debug for SystemInformation {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("SystemInformation { .. }")
    }
}

/// SYSIB 1.1.1: the machine.
#[derive(Clone, Copy, Debug)]
pub struct Machine {
    manufacturer: [u8; 16],
    machine_type: [u8; 4],
    model: [u8; 16],
    sequence: [u8; 16],
}

impl Machine {
    /// Takes the fields out of such a block.
    pub fn parse(block: &SystemInformation) -> Self {
        Self {
            manufacturer: block.field(32),
            machine_type: block.field(48),
            model: block.field(64),
            sequence: block.field(80),
        }
    }

    /// Who made it.
    pub fn manufacturer(&self) -> Text<'_> {
        Text(&self.manufacturer)
    }

    /// The machine type, such as `2827`.
    pub fn machine_type(&self) -> Text<'_> {
        Text(&self.machine_type)
    }

    /// The model-capacity identifier.
    pub fn model(&self) -> Text<'_> {
        Text(&self.model)
    }

    /// The serial number.
    pub fn sequence(&self) -> Text<'_> {
        Text(&self.sequence)
    }
}

/// SYSIB 2.2.2: the logical partition.
#[derive(Clone, Copy, Debug)]
pub struct LogicalPartition {
    /// The LPAR number.
    pub number: u16,
    name: [u8; 8],
}

impl LogicalPartition {
    /// Takes the fields out of such a block.
    pub fn parse(block: &SystemInformation) -> Self {
        Self {
            number: u16::from_be_bytes(block.field(32)),
            name: block.field(44),
        }
    }

    /// Its name.
    pub fn name(&self) -> Text<'_> {
        Text(&self.name)
    }
}

/// SYSIB 3.2.2: the virtual machine, at the highest of the levels described.
#[derive(Clone, Copy, Debug)]
pub struct VirtualMachine {
    name: [u8; 8],
    control_program: [u8; 16],
}

impl VirtualMachine {
    /// Takes the fields out of such a block.
    pub fn parse(block: &SystemInformation) -> Self {
        Self {
            name: block.field(32 + 12),
            control_program: block.field(32 + 24),
        }
    }

    /// The virtual machine's name.
    pub fn name(&self) -> Text<'_> {
        Text(&self.name)
    }

    /// What runs it, such as `KVM/Linux`.
    pub fn control_program(&self) -> Text<'_> {
        Text(&self.control_program)
    }
}

#[cfg(target_arch = "s390x")]
pub use instructions::*;

#[cfg(target_arch = "s390x")]
mod instructions {
    use super::{Level, LogicalPartition, Machine, SystemInformation, VirtualMachine};
    use crate::cc::ConditionCode;
    use core::arch::asm;

    /// The level this CPU runs at (function code 0).
    pub fn level() -> Level {
        let result: u64;
        // SAFETY: with function code 0 nothing is stored.
        unsafe {
            asm!(
                "stsi 0(%r0)",
                inout("r0") 0u64 => result,
                in("r1") 0u64,
                options(nostack),
            );
        }
        match (result >> 28) & 0xF {
            3 => Level::VirtualMachine,
            2 => Level::LogicalPartition,
            _ => Level::Machine,
        }
    }

    /// STORE SYSTEM INFORMATION: fill `block`; whether that selection is available.
    fn stsi(function: u8, selector_1: u8, selector_2: u16, block: &mut SystemInformation) -> bool {
        let ipm: u64;
        // SAFETY: stores one page, into a page of ours.
        unsafe {
            asm!(
                "tmll {cc},3",
                "stsi 0({block})",
                "ipm {cc}",
                cc = inout(reg) 3u64 => ipm,
                block = in(reg_addr) block,
                inout("r0") (u64::from(function & 0xF) << 28) | u64::from(selector_1) => _,
                in("r1") u64::from(selector_2),
                options(nostack),
            );
        }
        ConditionCode::from_ipm(ipm) == ConditionCode::Cc0
    }

    impl Machine {
        /// SYSIB 1.1.1; `block` is scratch space.
        pub fn read(block: &mut SystemInformation) -> Option<Self> {
            stsi(1, 1, 1, block).then(|| Self::parse(block))
        }
    }

    impl LogicalPartition {
        /// SYSIB 2.2.2; `block` is scratch space.
        pub fn read(block: &mut SystemInformation) -> Option<Self> {
            stsi(2, 2, 2, block).then(|| Self::parse(block))
        }
    }

    impl VirtualMachine {
        /// SYSIB 3.2.2; `block` is scratch space.
        pub fn read(block: &mut SystemInformation) -> Option<Self> {
            stsi(3, 2, 2, block).then(|| Self::parse(block))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ebcdic::CP500;
    use std::string::ToString;

    fn block(fields: &[(usize, &str)]) -> SystemInformation {
        let mut bytes = [0u8; 4096];
        for &(offset, text) in fields {
            CP500.encode(text, &mut bytes[offset..offset + text.len()]);
        }
        SystemInformation(bytes)
    }

    #[test]
    fn the_machine_says_its_type() {
        let machine = Machine::parse(&block(&[(32, "QEMU            "), (48, "2827")]));
        assert_eq!(machine.manufacturer().to_string(), "QEMU");
        assert_eq!(machine.machine_type().to_string(), "2827");
    }

    #[test]
    fn the_virtual_machine_says_what_runs_it() {
        let vm = VirtualMachine::parse(&block(&[(44, "GUEST1  "), (56, "KVM/Linux       ")]));
        assert_eq!(vm.name().to_string(), "GUEST1");
        assert_eq!(vm.control_program().to_string(), "KVM/Linux");
    }
}
