//! Which of a VM's memory is its window in the pool.

use std::fs::File;

use vhost::vhost_user::message::VhostUserMemoryRegion;

use crate::layout::Span;
use crate::pool::FileIdentity;

pub const MAX_REGIONS: usize = 32;

/// Why a region is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Foreign {
    #[error("its memory is not in the pool")]
    File,
    /// It is the pool, but not the client's window.
    #[error(
        "its memory is in the pool, but not where this client's window is (offset {found:#x} for guest \
         address {guest:#x}, expected {expected:#x})"
    )]
    Offset {
        found: u64,
        expected: u64,
        guest: u64,
    },
    #[error("it has more memory ({bytes:#x} bytes at guest address {guest:#x}) than its window")]
    Size { bytes: u64, guest: u64 },
    #[error("its memory's file cannot be looked at")]
    Unknown,
    #[error("it shares more than {MAX_REGIONS} regions of memory")]
    TooMany,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Region {
    guest: u64,
    size: u64,
    user: u64,
}

/// The regions that a VM has shared, all of them in its window.
#[derive(Debug)]
pub struct Memory {
    pool: FileIdentity,
    window: Span,
    regions: Vec<Region>,
}

impl Memory {
    /// None yet, for the client with this window.
    pub const fn new(pool: FileIdentity, window: Span) -> Self {
        Self {
            pool,
            window,
            regions: Vec::new(),
        }
    }

    /// The file that regions have to be in.
    pub const fn pool(&self) -> FileIdentity {
        self.pool
    }

    pub fn clear(&mut self) {
        self.regions.clear();
    }

    pub fn add(&mut self, region: &VhostUserMemoryRegion, file: &File) -> Result<(), Foreign> {
        let VhostUserMemoryRegion {
            guest_phys_addr: guest,
            memory_size: size,
            user_addr: user,
            mmap_offset,
        } = *region;
        let identity = FileIdentity::of(file).map_err(|_| Foreign::Unknown)?;
        if identity != self.pool {
            return Err(Foreign::File);
        }
        let expected = self.window.offset.wrapping_add(guest);
        if mmap_offset != expected {
            return Err(Foreign::Offset {
                found: mmap_offset,
                expected,
                guest,
            });
        }
        let fits = guest
            .checked_add(size)
            .is_some_and(|end| end <= self.window.length);
        if !fits || user.checked_add(size).is_none() {
            return Err(Foreign::Size { bytes: size, guest });
        }
        if self.regions.len() >= MAX_REGIONS {
            return Err(Foreign::TooMany);
        }
        self.regions.push(Region { guest, size, user });
        Ok(())
    }

    pub fn remove(&mut self, region: &VhostUserMemoryRegion) {
        let (guest, user) = (region.guest_phys_addr, region.user_addr);
        self.regions
            .retain(|known| known.guest != guest || known.user != user);
    }

    /// The client's address of what lies at `user` in its QEMU's address space.
    pub fn client_address(&self, user: u64) -> Option<u64> {
        self.regions.iter().find_map(|region| {
            let offset = user.checked_sub(region.user)?;
            (offset < region.size).then(|| region.guest + offset)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WINDOW: Span = Span {
        offset: 0x20_0000,
        length: 0x10_0000,
    };

    fn memory() -> (Memory, File) {
        let file = tempfile::tempfile().unwrap();
        (Memory::new(FileIdentity::of(&file).unwrap(), WINDOW), file)
    }

    fn region(guest: u64, size: u64, user: u64, offset: u64) -> VhostUserMemoryRegion {
        VhostUserMemoryRegion::new(guest, size, user, offset)
    }

    #[test]
    fn the_window_is_taken_whole_or_in_pieces() {
        let (mut memory, file) = memory();
        let (low, high) = (
            region(0, 0x8_0000, 0x7000_0000, 0x20_0000),
            region(0x8_0000, 0x8_0000, 0x9000_0000, 0x28_0000),
        );
        memory.add(&low, &file).unwrap();
        memory.add(&high, &file).unwrap();
        assert_eq!(memory.client_address(0x7000_1000), Some(0x1000));
        assert_eq!(memory.client_address(0x9000_1000), Some(0x8_1000));
        assert_eq!(memory.client_address(0x7008_0000), None);
        assert_eq!(memory.client_address(0), None);
        memory.remove(&low);
        assert_eq!(memory.client_address(0x7000_1000), None);
    }

    #[test]
    fn memory_elsewhere_is_refused() {
        let (mut memory, file) = memory();
        let other = tempfile::tempfile().unwrap();
        let good = region(0, 0x1000, 0x7000_0000, 0x20_0000);
        assert_eq!(memory.add(&good, &other), Err(Foreign::File));
        let neighbour = region(0, 0x1000, 0x7000_0000, 0x30_0000);
        assert!(matches!(
            memory.add(&neighbour, &file),
            Err(Foreign::Offset { .. })
        ));
        let too_long = region(0, 0x10_0001, 0x7000_0000, 0x20_0000);
        assert!(matches!(
            memory.add(&too_long, &file),
            Err(Foreign::Size { .. })
        ));
        let wrapping = region(u64::MAX - 0xFFF, 0x1000, 0, 0x1F_F000);
        assert!(matches!(
            memory.add(&wrapping, &file),
            Err(Foreign::Size { .. })
        ));
    }

    proptest::proptest! {
        #[test]
        fn no_region_reaches_out_of_the_window(
            guest: u64, size in 1u64.., user: u64, offset: u64, probe: u64,
        ) {
            let (mut memory, file) = memory();
            let sensible = WINDOW.offset.wrapping_add(guest);
            for offset in [offset, sensible] {
                let _ = memory.add(&region(guest, size, user, offset), &file);
            }
            for probe in [probe, user, user.wrapping_add(size - 1)] {
                assert!(memory.client_address(probe).is_none_or(|address| address < WINDOW.length));
            }
        }
    }
}
