//! The memory that a VM has shared over one connection.

use std::fs::File;
use std::io;
use std::sync::Arc;

use vhost::vhost_user::message::VhostUserMemoryRegion;

use super::state::RegionState;
use crate::config::Part;
use crate::pool::FileIdentity;
use crate::store::{Key, Store};
use crate::windows::{Foreign, Piece, Windows};

/// Regions that a VM may share.
pub const MAX_REGIONS: usize = 32;

/// Whether a connection that ends has left queues behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Queues {
    Released,
    Unknown,
}

/// The regions that a VM has shared, all of them laid over the client's window.
#[derive(Debug)]
pub struct Memory {
    windows: Arc<Windows>,
    /// The disk that it is shared for.
    disk: Part,
    regions: Vec<RegionState>,
}

impl Memory {
    /// None yet.
    pub const fn new(windows: Arc<Windows>, disk: Part) -> Self {
        Self {
            windows,
            disk,
            regions: Vec::new(),
        }
    }

    /// The connection ends.
    pub fn clear(&mut self, queues: Queues) {
        if queues == Queues::Unknown {
            for region in &self.regions {
                self.windows.mark(self.disk, region.identity);
            }
        }
        for region in std::mem::take(&mut self.regions) {
            self.take_back(&region);
        }
    }

    /// Nothing of the disk is in flight, not even in memory that it has left behind.
    pub fn unmark(&self) {
        self.windows.unmark(self.disk);
    }

    fn take_back(&self, region: &RegionState) {
        let RegionState {
            piece, identity, ..
        } = region;
        self.windows.remove(self.disk.client, piece, *identity);
    }

    /// These are all regions from now on.
    pub fn replace(
        &mut self,
        regions: &[(VhostUserMemoryRegion, (&File, Key))],
    ) -> Result<(), Foreign> {
        let is_kept = |known: &RegionState| {
            let mut all = regions.iter();
            all.any(|&(region, (file, key))| {
                RegionState::new(&region, file, key).is_ok_and(|it| it.is_same(known))
            })
        };
        let (kept, gone): (_, Vec<_>) = self.regions.drain(..).partition(is_kept);
        self.regions = kept;
        gone.iter().for_each(|region| self.take_back(region));
        regions
            .iter()
            .try_for_each(|&(region, (file, key))| self.add(&region, file, key))
    }

    pub fn add(
        &mut self,
        region: &VhostUserMemoryRegion,
        file: &File,
        key: Key,
    ) -> Result<(), Foreign> {
        let region = RegionState::new(region, file, key)?;
        if self.regions.iter().any(|known| known.is_same(&region)) {
            return Ok(());
        }
        if self.regions.len() >= MAX_REGIONS {
            return Err(Foreign::Scattered);
        }
        self.windows.add(self.disk.client, region.piece, file)?;
        self.regions.push(region);
        Ok(())
    }

    pub fn remove(&mut self, region: &VhostUserMemoryRegion) {
        let (guest, user) = (region.guest_phys_addr, region.user_addr);
        let is_it = |it: &RegionState| it.piece.guest == guest && it.user == user;
        let Some(at) = self.regions.iter().position(is_it) else {
            return;
        };
        let region = self.regions.remove(at);
        self.take_back(&region);
    }

    pub fn state(&self) -> Vec<RegionState> {
        self.regions.clone()
    }

    /// Goes on with what another daemon has laid.
    pub fn restore(&mut self, regions: &[RegionState], store: &Store) -> io::Result<()> {
        for region in regions {
            let file = File::from(store.get(region.file)?);
            let client = self.disk.client;
            self.windows.take_over(client, region.piece, file)?;
            self.regions.push(*region);
        }
        Ok(())
    }

    /// The client's address of what lies at `user` in its QEMU's address space.
    pub fn client_address(&self, user: u64) -> Option<u64> {
        self.regions.iter().find_map(|region| {
            let offset = user.checked_sub(region.user)?;
            (offset < region.piece.size).then(|| region.piece.guest + offset)
        })
    }
}

impl RegionState {
    fn new(region: &VhostUserMemoryRegion, file: &File, key: Key) -> Result<Self, Foreign> {
        let VhostUserMemoryRegion {
            guest_phys_addr: guest,
            memory_size: size,
            user_addr: user,
            mmap_offset: offset,
        } = *region;
        if user.checked_add(size).is_none() {
            return Err(Foreign::Pages { bytes: size, guest });
        }
        Ok(Self {
            piece: Piece {
                guest,
                size,
                offset,
            },
            identity: FileIdentity::of(file).map_err(|_| Foreign::Unknown)?,
            user,
            file: key,
        })
    }

    /// Whether it is the same memory at the same place, wherever it is kept.
    fn is_same(&self, other: &Self) -> bool {
        let file = self.file;
        *self == Self { file, ..*other }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Fixture;

    const DISK: Part = Part {
        client: 0,
        number: 0,
    };

    fn region(guest: u64, size: u64, user: u64) -> VhostUserMemoryRegion {
        VhostUserMemoryRegion::new(guest, size, user, guest)
    }

    #[test]
    fn a_ring_is_found_in_whatever_region_it_is() {
        let fixture = Fixture::new();
        let mut memory = Memory::new(Arc::clone(&fixture.windows), DISK);
        let file = fixture.memory();
        let (low, high) = (
            region(0, 0x8_0000, 0x7000_0000),
            region(0x8_0000, 0x8_0000, 0x9000_0000),
        );
        memory.add(&low, &file, Key(1)).unwrap();
        memory.add(&high, &file, Key(1)).unwrap();
        assert_eq!(memory.client_address(0x7000_1000), Some(0x1000));
        assert_eq!(memory.client_address(0x9000_1000), Some(0x8_1000));
        assert_eq!(memory.client_address(0x7008_0000), None);
        assert_eq!(memory.client_address(0), None);
        memory.remove(&low);
        assert_eq!(memory.client_address(0x7000_1000), None);
        let copy = || file.try_clone().unwrap();
        memory.replace(&[(low, (&copy(), Key(2)))]).unwrap();
        assert_eq!(memory.client_address(0x7000_1000), Some(0x1000));
        assert_eq!(memory.client_address(0x9000_1000), None);
        memory.clear(Queues::Released);
        assert_eq!(memory.client_address(0x7000_1000), None);
    }

    proptest::proptest! {
        #[test]
        fn no_region_reaches_out_of_the_window(guest: u64, size in 1u64.., user: u64, probe: u64) {
            let fixture = Fixture::new();
            let window = fixture.pool.layout().windows[0];
            let mut memory = Memory::new(Arc::clone(&fixture.windows), DISK);
            for guest in [guest, (guest % window.length) & !0xFFF] {
                let _ = memory.add(&region(guest, size, user), &fixture.memory(), Key(1));
                let _ = memory.add(&region(guest, size & 0xF_F000, user), &fixture.memory(), Key(1));
            }
            for probe in [probe, user, user.wrapping_add(size - 1)] {
                let found = memory.client_address(probe);
                assert!(found.is_none_or(|address| address < window.length));
            }
        }
    }
}
