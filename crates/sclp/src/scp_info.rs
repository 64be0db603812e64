//! What READ SCP INFO tells of the machine.

use crate::error::ScpInfoError;
use crate::spec::ScpInfoSccb;

/// The machine, as the SCLP describes it.
///
/// Limits: the memory size is the largest that the configuration can have. Where memory can be
/// hot-plugged, part of it may be absent. The CPU count is that of the entries in the description:
/// Hercules lists every CPU it could have, running or not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ScpInfo {
    memory_size: u64,
    cpu_count: u16,
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
        let memory_size = increments
            .checked_mul(u64::from(increment_mib) * MIB)
            .filter(|&size| size != 0)
            .ok_or(ScpInfoError::BadMemorySize {
                increments,
                increment_mib,
            })?;
        Ok(Self {
            memory_size,
            cpu_count: sccb.entries_cpu.get(),
        })
    }

    /// Memory size in bytes: number of increments × size of an increment. Absolute storage begins
    /// at 0, so this is also the first address behind it.
    pub const fn memory_size(&self) -> u64 {
        self.memory_size
    }

    /// Number of CPUs described.
    pub const fn cpu_count(&self) -> u16 {
        self.cpu_count
    }
}
