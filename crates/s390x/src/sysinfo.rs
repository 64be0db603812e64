//! STORE SYSTEM INFORMATION: the machine, the LPAR and the virtual machine one runs in.
//!
//! A [`SystemInformation`] is one 4 KiB block with a typed view for each of the selections that
//! say who and where one is. Text in it is EBCDIC: [`Text`](crate::ebcdic::Text) shows it.
//!
//! **Limits.** Selections 1.2.x (CPU capacities), 2.2.1 and 15.1.x (topology) have no view.
//!
//! Source: *Principles of Operation*, chapter 10, "STORE SYSTEM INFORMATION".

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
    /// Who made it.
    pub manufacturer: [u8; 16],
    /// The machine type, such as `2827`.
    pub machine_type: [u8; 4],
    /// The model-capacity identifier.
    pub model: [u8; 16],
    /// The serial number.
    pub sequence: [u8; 16],
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
}

/// SYSIB 2.2.2: the logical partition.
#[derive(Clone, Copy, Debug)]
pub struct LogicalPartition {
    /// The LPAR number.
    pub number: u16,
    /// Its name.
    pub name: [u8; 8],
}

impl LogicalPartition {
    /// Takes the fields out of such a block.
    pub fn parse(block: &SystemInformation) -> Self {
        Self {
            number: u16::from_be_bytes(block.field(32)),
            name: block.field(44),
        }
    }
}

/// SYSIB 3.2.2: the virtual machine, at the highest of the levels described.
#[derive(Clone, Copy, Debug)]
pub struct VirtualMachine {
    /// The virtual machine's name.
    pub name: [u8; 8],
    /// What runs it, such as `KVM/Linux`.
    pub control_program: [u8; 16],
}

impl VirtualMachine {
    /// Takes the fields out of such a block.
    pub fn parse(block: &SystemInformation) -> Self {
        Self {
            name: block.field(32 + 12),
            control_program: block.field(32 + 24),
        }
    }
}

#[cfg(target_arch = "s390x")]
pub use instructions::*;

#[cfg(target_arch = "s390x")]
mod instructions {
    use super::{Level, LogicalPartition, Machine, SystemInformation, VirtualMachine};
    use crate::cc::{condition_code, ConditionCode};
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
        // SAFETY: stores one page, into a page of ours.
        let cc = unsafe {
            condition_code!(
                dirty 3u64, "stsi 0({block})", block = in(reg_addr) block,
                inout("r0") (u64::from(function & 0xF) << 28) | u64::from(selector_1) => _,
                in("r1") u64::from(selector_2)
            )
        };
        cc == ConditionCode::Cc0
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
    use crate::ebcdic::{Text, CP500};
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
        assert_eq!(Text(&machine.manufacturer).to_string(), "QEMU");
        assert_eq!(Text(&machine.machine_type).to_string(), "2827");
    }

    #[test]
    fn the_virtual_machine_says_what_runs_it() {
        let vm = VirtualMachine::parse(&block(&[(44, "GUEST1  "), (56, "KVM/Linux       ")]));
        assert_eq!(Text(&vm.name).to_string(), "GUEST1");
        assert_eq!(Text(&vm.control_program).to_string(), "KVM/Linux");
    }
}
