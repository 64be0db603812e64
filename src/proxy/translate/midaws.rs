//! The client's MIDAWs.
//!
//! A MIDAW names data on one page, and the channel checks that; so whichever cursor the data goes, it lies in the window if its
//! address does. A list has all that its CCW can transfer, or ends with one that is a program check. Since a MIDAW has two words, which
//! the channel may fetch at different times, a list is never changed: other MIDAWs are another list, and a CCW that leads to it.

use channel::{Midaw, MidawFlags};
use window::{ClientAddress, Window};
use zerocopy::transmute;

use super::arena::List;
use super::data::Area;
use super::program::TranslatedProgram;
use super::ranges::{Transfer, RESERVE};
use super::{MIDAW, PAGE};

/// MIDAWs that fit on a page.
const MIDAWS: usize = 256;

/// A MIDAW that is a program check.
const NOWHERE: Midaw = Midaw {
    reserved: [0x7F, 0xFF, 0xFF, 0xFF, 0xFF],
    flags: MidawFlags::LAST.bits(),
    count: zerocopy::big_endian::U16::ZERO,
    address: zerocopy::big_endian::U64::MAX_VALUE,
};

impl Area {
    /// MIDAWs that can be needed: on the page where the list begins, and one to say that there are no more.
    fn midaws(&self) -> usize {
        let on_page = (PAGE - self.address % PAGE) / MIDAW;
        ((on_page + 1).min(self.count) as usize).min(MIDAWS)
    }
}

impl TranslatedProgram {
    /// The client's MIDAWs, at a multiple of their size.
    #[inline(never)]
    pub(super) fn copy_midaws(&mut self, area: &Area, window: &Window) -> Option<List> {
        // Room for as many as there can be; what was not needed is given back.
        let most = area.midaws();
        let ccws = self.ranges.used() + RESERVE;
        let first = self.arena.take(2 * most, ccws, true)?;
        let used = self.fill_midaws(area, first, most, window);
        let first = self.arena.give_back(first, 2 * most, 2 * used);
        List::new(first, 2 * used)
    }

    /// Stores MIDAWs up to the last one, the one that completes the count, or the end of the page, and says how
    /// many.
    fn fill_midaws(&mut self, area: &Area, first: usize, most: usize, window: &Window) -> usize {
        let mut left = area.count;
        for number in 0..most {
            let midaw = self.midaw(area, number, window);
            let [low, high]: [[u8; 8]; 2] = transmute!(midaw);
            let index = first + 2 * number;
            self.arena.set(index, u64::from_be_bytes(low));
            self.arena.set(index + 1, u64::from_be_bytes(high));
            left = left.saturating_sub(u64::from(midaw.count.get()));
            if left == 0 || midaw.flags().contains(MidawFlags::LAST) {
                return number + 1;
            }
        }
        most
    }

    /// Whether a list holds what the client's MIDAWs are now.
    pub(super) fn has_midaws(&mut self, area: &Area, list: List, window: &Window) -> bool {
        let first = list.first as usize;
        (0..list.length() / 2).all(|number| {
            let index = first + 2 * number;
            let there = [self.arena.get(index), self.arena.get(index + 1)];
            let midaw: [[u8; 8]; 2] = transmute!(self.midaw(area, number, window));
            midaw.map(u64::from_be_bytes) == there
        })
    }

    /// One of the client's MIDAWs in the appliance's addresses.
    fn midaw(&mut self, area: &Area, number: usize, window: &Window) -> Midaw {
        let at = area.address + number as u64 * MIDAW;
        let on_page = number == 0 || !at.is_multiple_of(PAGE);
        if !on_page || at + MIDAW > self.shape.limit {
            return NOWHERE;
        }
        self.fetched(at, MIDAW);
        let midaw = window.read::<Midaw>(ClientAddress::new(at)).ok();
        midaw
            .and_then(|midaw| self.translated_midaw(area, &midaw))
            .unwrap_or(NOWHERE)
    }

    fn translated_midaw(&mut self, area: &Area, midaw: &Midaw) -> Option<Midaw> {
        let (count, address) = (u64::from(midaw.count.get()), midaw.address.get());
        let within = address % PAGE;
        let skip = midaw.flags().contains(MidawFlags::SKIP);
        let on_page = match area.transfer {
            Transfer::Backward => count <= within + 1,
            Transfer::None | Transfer::Output | Transfer::Input => within + count <= PAGE,
        };
        if !midaw.is_well_formed() {
            return None;
        }
        let mut placed = *midaw;
        let there = address < self.shape.wide_limit && on_page;
        let unused = skip && area.transfer != Transfer::Output;
        if !there && !unused {
            return None;
        }
        if !unused {
            self.note(area, area.transfer.span(address, count));
        }
        // One that is not used may not be seen either. But a status modifier may lead into a data chain, to a command that writes.
        let address = if there { address } else { 0 };
        placed.address = (self.shape.base + address).into();
        Some(placed)
    }
}
