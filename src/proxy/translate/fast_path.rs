//! The straight cursor: what nearly every program is made of, in a short loop.
//!
//! A CCW goes the straight cursor if the program cannot change, the CCW has format 1, begins a command that does not read backward,
//! does not chain data, and its data is where a direct address may be, or in IDAWs. That is a part of what
//! [`ClientChain::follow`] does, and comes to the same; whatever else there is stays for it, already fetched.

use channel::{Ccw1, CcwFlags};
use window::{ClientAddress, Window};

use super::data::Area;
use super::follow::ClientChain;
use super::ranges::{Slot, Transfer};
use super::{END_31, MAX_CCWS};

/// How far the straight cursor led.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct FastPath {
    /// CCWs that have been translated.
    pub(super) done: u32,
    /// The last one of them chains commands.
    pub(super) chains: bool,
    /// The one behind them, if it has been fetched.
    pub(super) next: Option<Ccw1>,
}

impl ClientChain {
    /// Translates CCWs from `at` on, where a command begins, up to the client address `border` at most.
    #[inline(never)]
    pub(super) fn fast_path(&mut self, at: u32, border: u32, window: &Window) -> FastPath {
        let mut straight = FastPath::default();
        if self.program.shape.changeable || !self.program.shape.format_1 {
            return straight;
        }
        // Both are below 2 GiB, but for a border that is not there.
        let end = u64::from(border).min(self.program.shape.limit) as u32;
        let most =
            (MAX_CCWS.saturating_sub(self.program.ranges.chained)).min(self.program.ranges.room());
        let bytes = (end.saturating_sub(at) & !7).min(8 * most as u32);
        let first = self.program.ranges.used();
        let place = ClientAddress::new(u64::from(at));
        let Ok(ccws) = window.slice(place, bytes) else {
            return straight;
        };
        let mut area = Area {
            address: 0,
            count: 0,
            transfer: Transfer::None,
            skip: false,
            start: 0,
        };
        ccws.each(|ccw: Ccw1| {
            if self.place_straight(ccw, &mut area, window).is_none() {
                straight.next = Some(ccw);
                return false;
            }
            straight.chains = ccw.flags().contains(CcwFlags::CC);
            straight.chains
        });
        straight.done = (self.program.ranges.used() - first) as u32;
        self.program.ranges.lengthen(straight.done);
        self.program.ranges.chained += straight.done as usize;
        straight
    }

    /// Appends a CCW, if it is one for the straight cursor. Else nothing has been changed.
    #[inline(always)]
    fn place_straight(&mut self, ccw: Ccw1, area: &mut Area, window: &Window) -> Option<()> {
        let flags = ccw.flags();
        let ordinary = !flags.intersects(CcwFlags::CD | CcwFlags::MIDA);
        let transfer = Transfer::of(ccw.command);
        let forward = matches!(transfer, Transfer::Output | Transfer::Input);
        if !ordinary || !forward || !self.program.ranges.fits(self.program.arena.room()) {
            return None;
        }
        let address = u64::from(ccw.address.get());
        let count = u64::from(ccw.count.get()).max(1);
        let mut slot = Slot {
            client: ccw,
            transfer,
            ..Slot::default()
        };
        let mut placed = ccw;
        if flags.contains(CcwFlags::IDA) {
            if address >= END_31 {
                return None;
            }
            (area.address, area.count, area.transfer) = (address, count, transfer);
            let list = self.program.copy_idaws(area, window)?;
            slot.list = Some(list);
            placed.address = self.program.list_address(list).into();
        } else {
            let end = address + count;
            if end > self.program.shape.limit || self.program.shape.base + end > END_31 {
                return None;
            }
            placed.address = ((self.program.shape.base + address) as u32).into();
        }
        self.program
            .arena
            .set_ccw(self.program.ranges.used(), placed);
        self.program.ranges.append(slot);
        Some(())
    }
}
