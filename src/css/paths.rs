//! The channel paths to a device, as STORE SUBCHANNEL says them.
//!
//! # Limits
//!
//! What is kept is as of the last look; the mask of the last path used, above all, is soon another one.

use channel::{Pmcw, RecoveryCode, Schib};

/// The masks of a subchannel, a bit for each path, and the channel-path identifiers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PathMasks {
    /// Path-installed mask.
    pub pim: u8,
    /// Path-available mask.
    pub pam: u8,
    /// Path-operational mask.
    pub pom: u8,
    /// Logical-path mask.
    pub lpm: u8,
    /// Last-path-used mask.
    pub lpum: u8,
    /// Path-not-operational mask.
    pub pnom: u8,
    /// The status that was there said *path not operational*.
    pub pno: bool,
    pub chpids: [u8; 8],
}

impl PathMasks {
    pub const fn of(schib: &Schib) -> Self {
        let Pmcw {
            lpm,
            pnom,
            lpum,
            pim,
            pom,
            pam,
            chpid: chpids,
            ..
        } = schib.pmcw;
        Self {
            pim,
            pam,
            pom,
            lpm,
            lpum,
            pnom,
            pno: schib.scsw.path_not_operational(),
            chpids,
        }
    }

    /// The installed paths with this identifier: one, or none.
    pub fn of_chpid(&self, chpid: u8) -> u8 {
        let mut found = 0;
        for (mask, _) in self.each(self.pim).filter(|(_, id)| *id == chpid) {
            found |= mask;
        }
        found
    }

    /// The paths that were lost or found since `before`: the identifier of each, and what a channel report says of it.
    pub fn changes(&self, before: &Self) -> impl Iterator<Item = (u8, RecoveryCode)> + '_ {
        let (lost, found) = (before.pam & !self.pam, self.pam & !before.pam);
        self.each(lost | found).map(move |(mask, chpid)| {
            let recovery = match lost & mask {
                0 => RecoveryCode::Initialized,
                _ => RecoveryCode::PermanentErrorNotInitialized,
            };
            (chpid, recovery)
        })
    }

    /// Logs which paths have come and gone since `before`.
    pub(super) fn log_changes(&self, before: &Self, device: impl core::fmt::Display) {
        for (chpid, recovery) in self.changes(before) {
            match recovery {
                RecoveryCode::Initialized => {
                    log::info!("{device}: path {chpid:02x} is available again");
                }
                _ => log::warn!("{device}: path {chpid:02x} is not available any more"),
            }
        }
        for (_, chpid) in self.each(self.pnom & !before.pnom) {
            log::warn!("{device}: path {chpid:02x} is not operational");
        }
        if self.usable() == 0 && before.usable() != 0 {
            log::error!("{device}: no path is left");
        }
    }

    /// The paths that programs can be started over.
    pub const fn usable(&self) -> u8 {
        self.pam & self.lpm
    }

    /// The paths of a mask, each with its identifier.
    fn each(&self, mask: u8) -> impl Iterator<Item = (u8, u8)> + '_ {
        let all = (0..8).map(Pmcw::path_bit).zip(self.chpids);
        all.filter(move |(path, _)| mask & path != 0)
    }
}

/// The paths of a mask, one by one.
pub fn each_path(mask: u8) -> impl Iterator<Item = u8> {
    let all = (0..8).map(Pmcw::path_bit);
    all.filter(move |path| mask & path != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_mask_is_the_one_of_its_name_and_a_chpid_has_its_path() {
        let mut schib = Schib::default();
        schib.pmcw = Pmcw {
            lpm: 1,
            pnom: 2,
            lpum: 3,
            pim: 0xE0,
            pom: 5,
            pam: 6,
            chpid: [0x30, 0x31, 0x32, 0, 0, 0, 0, 0],
            ..schib.pmcw
        };
        schib.scsw.set_path_not_operational(true);
        let masks = PathMasks::of(&schib);
        let all = [masks.lpm, masks.pnom, masks.lpum, masks.pom, masks.pam];
        assert_eq!((all, masks.pim, masks.pno), ([1, 2, 3, 5, 6], 0xE0, true));
        let found = [0x30, 0x31, 0x32, 0x33, 0].map(|chpid| masks.of_chpid(chpid));
        assert_eq!(found, [0x80, 0x40, 0x20, 0, 0], "0 is that of no path here");
    }
}
