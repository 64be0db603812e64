//! Disks' subchannels, lent to the daemon for what administrators do: reserving, looking, formatting.
//!
//! # The rules
//!
//! * Of a disk's driver and the proxy, one at most uses the subchannel. It changes hands only when the one that has it says that
//!   nothing of its own is in progress there.
//! * Nothing waits here: what takes time is looked at again in the next turn.

use liballoc::boxed::Box;
use liballoc::vec::Vec;

use channel::DeviceNumber;
use vcss::control::{Loan, LoanState};
use vcss::Word;

use crate::css::Device;
use crate::css::{while_serving, Platform};
use crate::driver::block::BlockDevice;
use crate::proxy::Proxy;

/// All disks' loans, in the order of the disks.
#[derive(Debug)]
pub struct Loans {
    all: Vec<One>,
    isc: u8,
}

#[derive(Debug)]
struct One {
    wanted: Word<'static>,
    shown: Word<'static>,
    state: LoanState,
    /// The volume may be another one.
    changed: bool,
}

impl Loans {
    /// Nothing is lent. Returned disks have their interruptions in subclass `isc`.
    pub fn new(words: Vec<(Word<'static>, Word<'static>)>, isc: u8) -> Self {
        let all = words.into_iter().map(|(wanted, shown)| {
            shown.store(LoanState::Own as u32);
            One {
                wanted,
                shown,
                state: LoanState::Own,
                changed: false,
            }
        });
        Self {
            all: all.collect(),
            isc,
        }
    }

    /// Whether the disk with this index is its driver's.
    pub fn is_own(&self, index: usize) -> bool {
        let one = self.all.get(index);
        one.is_none_or(|one| matches!(one.state, LoanState::Own | LoanState::Refused))
    }

    /// Looks what is wanted, and does what can be done. Returns the index of a
    /// disk that has come back.
    pub fn turn<'a>(
        &mut self,
        disks: &mut [Box<dyn BlockDevice>],
        owned: impl Fn(usize) -> Option<(DeviceNumber, Option<&'a Device>)>,
        proxy: &mut Proxy,
        platform: &mut dyn Platform,
    ) -> Option<usize> {
        let mut back = None;
        for (number, (one, disk)) in self.all.iter_mut().zip(disks).enumerate() {
            let wanted = one.wanted.load();
            let is_wanted = wanted != Loan::NONE;
            one.changed |= wanted == Loan::FORMAT;
            if matches!(
                (one.state, is_wanted),
                (LoanState::Own, false) | (LoanState::Lent | LoanState::Refused, true)
            ) {
                continue;
            }
            let Some((of, device)) = owned(number) else {
                continue;
            };
            let next = match (one.state, is_wanted) {
                (LoanState::Lent | LoanState::Refused, true) => one.state,
                (LoanState::Own | LoanState::Changing, true) => match (device, disk.lend()) {
                    (_, Some(false)) => LoanState::Changing,
                    (Some(device), Some(true)) if proxy.lend(platform, device, self.isc) => {
                        log::info!("disk {number} ({of}): lent");
                        LoanState::Lent
                    }
                    (_, Some(true)) => {
                        log::error!("disk {number} ({of}): not lent: its device is not there, or no client can have it");
                        take_back(disk.as_mut(), platform, self.isc, false);
                        LoanState::Refused
                    }
                    (_, None) => LoanState::Refused,
                },
                (LoanState::Own | LoanState::Refused, false) => LoanState::Own,
                (LoanState::Lent | LoanState::Changing, false) => {
                    if proxy.take_back(platform, of) {
                        let changed = core::mem::take(&mut one.changed);
                        take_back(disk.as_mut(), platform, self.isc, changed);
                        log::info!("disk {number} ({of}): back");
                        back = Some(number);
                        LoanState::Own
                    } else {
                        LoanState::Changing
                    }
                }
            };
            one.state = next;
            one.shown.store(next as u32);
        }
        back
    }
}

/// Gives a disk its subchannel back. It may have to be brought up again.
fn take_back(disk: &mut dyn BlockDevice, platform: &mut dyn Platform, isc: u8, changed: bool) {
    while_serving(platform, |platform| disk.take_back(platform, isc, changed));
}
