//! What READ SCP INFO tells of the machine.

use crate::ebcdic::to_ascii;
use crate::error::ScpInfoError;
use crate::spec::{Facilities, ScpInfoSccb};
use core::fmt;
use s390x::ebcdic::CP500;

/// The machine, as the SCLP describes it.
///
/// Limits: the memory size is the largest that the configuration can have. Where memory can be
/// hot-plugged, part of it may be absent. The CPU count is that of the entries in the description:
/// Hercules lists every CPU it could have, running or not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ScpInfo {
    increments: u64,
    increment_size: u64,
    memory_size: u64,
    cpu_count: u16,
    facilities: Facilities,
    loadparm: LoadParm,
}

impl ScpInfo {
    pub(crate) fn from_sccb(sccb: &ScpInfoSccb) -> Result<Self, ScpInfoError> {
        const MIB: u64 = 1 << 20;
        let increments = match sccb.rnmax.get() {
            0 => sccb.rnmax2.get(),
            count => u64::from(count),
        };
        let increment_mib = match sccb.rnsize {
            0 => sccb.rnsize2.get(),
            size => u32::from(size),
        };
        let increment_size = u64::from(increment_mib) * MIB;
        let memory_size = increments
            .checked_mul(increment_size)
            .filter(|&size| size != 0)
            .ok_or(ScpInfoError::BadMemorySize {
                increments,
                increment_mib,
            })?;
        Ok(Self {
            increments,
            increment_size,
            memory_size,
            cpu_count: sccb.entries_cpu.get(),
            facilities: Facilities::from_bits_retain(sccb.facilities.get()),
            loadparm: LoadParm::from_ebcdic(sccb.loadparm),
        })
    }

    /// Memory size in bytes: number of increments × size of an increment. Absolute storage begins
    /// at 0, so this is also the first address behind it.
    pub const fn memory_size(&self) -> u64 {
        self.memory_size
    }

    /// Size of a storage increment in bytes.
    pub const fn increment_size(&self) -> u64 {
        self.increment_size
    }

    /// Number of storage increments.
    pub const fn increments(&self) -> u64 {
        self.increments
    }

    /// Number of CPUs described.
    pub const fn cpu_count(&self) -> u16 {
        self.cpu_count
    }

    /// Installed SCLP facilities.
    pub const fn facilities(&self) -> Facilities {
        self.facilities
    }

    /// The operator's load parameter.
    pub const fn loadparm(&self) -> &LoadParm {
        &self.loadparm
    }
}

/// The load parameter: up to eight characters that the operator gave at IPL, in ASCII.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct LoadParm([u8; 8]);

impl LoadParm {
    /// What is not printable, such as the zeros of a machine that gives none, becomes a blank.
    fn from_ebcdic(ebcdic: [u8; 8]) -> Self {
        Self(ebcdic.map(|byte| match to_ascii(&CP500, byte) {
            printable @ 0x21..=0x7E => printable,
            _ => b' ',
        }))
    }

    /// The load parameter without trailing blanks; empty if none was given.
    pub fn as_str(&self) -> &str {
        // The bytes are printable ASCII by construction.
        core::str::from_utf8(&self.0).unwrap_or_default().trim_end()
    }
}

impl fmt::Debug for LoadParm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

impl fmt::Display for LoadParm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}
