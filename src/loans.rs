//! Disks' subchannels, lent to the daemon for what administrators do: reserving, looking, formatting.
//!
//! # The rules
//!
//! * Of a disk's driver and the proxy, one at most uses the subchannel. It changes hands only when the one that has it says that
//!   nothing of its own is in progress there.
//! * Nothing waits here: what takes time is looked at again in the next turn.

use alloc::boxed::Box;
use alloc::vec::Vec;

use channel::SubchannelId;
use vcss::control::{Loan, LoanState};
use vcss::Word;

use crate::driver::block::BlockDevice;
use crate::driver::{while_serving, Platform};
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
    pub fn turn(
        &mut self,
        disks: &mut [Box<dyn BlockDevice>],
        id: impl Fn(usize) -> Option<SubchannelId>,
        proxy: &mut Proxy,
        platform: &mut dyn Platform,
    ) -> Option<usize> {
        let mut back = None;
        for (number, (one, disk)) in self.all.iter_mut().zip(disks).enumerate() {
            let wanted = one.wanted.load();
            let is_wanted = wanted != Loan::NONE;
            one.changed |= wanted == Loan::FORMAT;
            let next = match (one.state, is_wanted) {
                (LoanState::Own, false) | (LoanState::Lent | LoanState::Refused, true) => continue,
                (LoanState::Own | LoanState::Changing, true) => match (disk.lend(), id(number)) {
                    (None, _) | (_, None) => LoanState::Refused,
                    (Some(false), _) => LoanState::Changing,
                    (Some(true), Some(id)) => {
                        proxy.lend(platform, id, true);
                        log::info!("disk {number} ({id}): lent");
                        LoanState::Lent
                    }
                },
                (LoanState::Refused, false) => LoanState::Own,
                (LoanState::Lent | LoanState::Changing, false) => {
                    if id(number).is_none_or(|id| proxy.lend(platform, id, false)) {
                        let changed = core::mem::take(&mut one.changed);
                        // It may have to be brought up again.
                        while_serving(platform, |platform| {
                            disk.take_back(platform, self.isc, changed);
                        });
                        log::info!("disk {number}: back");
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
