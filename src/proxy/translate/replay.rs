//! The chain before a cut, once more.
//!
//! To the device a second start is another chain, and what a disk's control unit keeps for the length of a chain would be
//! gone: the record it has come to, the file mask, the extent, the domain. So what was executed before the cut is put in front of the second
//! start: positioning and searching with the arguments that they had, reading with the skip flag on, so that nothing is stored twice.
//! The device comes to the same place by the same cursor, and goes on from there in one chain.
//!
//! That is right for commands that change nothing but this state, and for programs that have gone one cursor only: forward, and around
//! loops that a search leaves by its status modifier. The device says by its [`Classify`] which commands these are. Of all other
//! programs nothing is repeated, and the chain begins behind the cut.
//!
//! # Limits
//!
//! 64 CCWs before the last cut, arguments of 64 bytes. Arguments that are not what they were when the program was started, MIDAWs in them,
//! a CCW with the suspend flag, and a program that the CPU has changed: not repeated.

use channel::{Ccw1, CcwFlags, CommandClass, CommandCode};
use window::Window;

use super::arena::{is_transfer_in_channel, is_valid_transfer, transfer_to, Arena, INVALID};
use super::arguments::{ARGUMENT, MOST};
use super::follow::ClientChain;
use super::ranges::{Slot, SlotKind, Transfer};
use super::split::Cut;
use super::END_31;

/// Words behind the CCWs: what leads to the program, and what a status modifier that was not there before would lead to.
const BEHIND: usize = 2;
/// The storage for all of it.
pub(super) const BYTES: usize = 2048;

/// What is put in front of a start.
#[derive(Debug)]
pub(super) struct Replay {
    pub(super) arena: Arena,
    /// The client's address of each CCW.
    clients: heapless::Vec<u32, MOST>,
    /// Words from here on are arguments.
    arguments: usize,
}

impl Replay {
    pub(super) fn new(arena: Arena) -> Self {
        Self {
            arguments: arena.room(),
            arena,
            clients: heapless::Vec::new(),
        }
    }

    /// Whether nothing is put in front of a start.
    pub(super) fn is_empty(&self) -> bool {
        self.clients.is_empty()
    }

    pub(super) fn clear(&mut self) {
        self.clients.clear();
        self.arguments = self.arena.room();
    }

    /// The client's address of the CCW at an address.
    pub(super) fn client_address(&self, address: u32) -> Option<u32> {
        self.clients.get(self.arena.index_of(address)?).copied()
    }

    /// Appends a CCW, and says where it stands.
    fn push(&mut self, ccw: Ccw1, client: u32) -> Option<usize> {
        let place = self.clients.len();
        if place + BEHIND >= self.arguments {
            return None;
        }
        self.clients.push(client).ok()?;
        self.arena.set_ccw(place, ccw);
        Some(place)
    }

    /// Stores an argument, and says where.
    fn keep(&mut self, bytes: &[u8]) -> Option<u32> {
        let first = self.arguments.checked_sub(bytes.len().div_ceil(8))?;
        if first < self.clients.len() + BEHIND {
            return None;
        }
        for (index, part) in (first..).zip(bytes.chunks(8)) {
            let mut word = [0; 8];
            word.iter_mut().zip(part).for_each(|(to, from)| *to = *from);
            self.arena.set(index, u64::from_be_bytes(word));
        }
        self.arguments = first;
        Some(self.arena.address_of(first))
    }

    /// Lets what there is lead to `program`, and says where a start has to begin.
    pub(super) fn lead_to(&self, program: u32) -> u32 {
        if self.is_empty() {
            return program;
        }
        self.arena.set_ccw(self.clients.len(), transfer_to(program));
        self.arena.set_ccw(self.clients.len() + 1, INVALID);
        self.arena.address_of(0)
    }
}

/// Where the walk along the executed program is.
struct Walk {
    slot: usize,
    /// What the command does whose data chaining has led here.
    chained: Option<CommandClass>,
    /// The CCW before is a search.
    searched: bool,
    /// Which slots have been repeated, and where.
    places: heapless::Vec<(usize, usize), MOST>,
}

impl Replay {
    /// Appends what has been executed since the last start to what is repeated. `None`: that cannot be.
    pub(super) fn repeat(&mut self, chain: &ClientChain, cut: &Cut, window: &Window) -> Option<()> {
        let mut walk = Walk {
            slot: 0,
            chained: (chain.began != Transfer::None).then_some(CommandClass::Reads),
            searched: false,
            places: heapless::Vec::new(),
        };
        for _ in 0..2 * MOST {
            let slot = chain.program.ranges.slot(walk.slot);
            let last = cut.is_behind(walk.slot);
            if cut.is_before(walk.slot) {
                return Some(());
            }
            match slot.kind {
                SlotKind::Link => self.repeat_transfer(chain, &slot, cut, &mut walk)?,
                SlotKind::Plain if is_transfer_in_channel(slot.client) => {
                    self.repeat_transfer(chain, &slot, cut, &mut walk)?;
                }
                SlotKind::Plain | SlotKind::Cut | SlotKind::CutData
                    if last || slot.kind == SlotKind::Plain =>
                {
                    self.repeat_command(chain, &slot, &mut walk, last, window)?;
                    if last {
                        return Some(());
                    }
                }
                _ => return None,
            }
        }
        None
    }

    /// A transfer in channel, the client's or a link, is gone along. It stands for itself only where it closes the loop of a search.
    fn repeat_transfer(
        &mut self,
        chain: &ClientChain,
        slot: &Slot,
        cut: &Cut,
        walk: &mut Walk,
    ) -> Option<()> {
        let to = led_to(chain, slot, cut, walk.slot)?;
        let client = |slot| chain.program.ranges.client_address(slot);
        let is_there = |place: &&(usize, usize)| client(place.0) == client(to);
        match (walk.places.iter().find(is_there), walk.searched) {
            (Some(&(_, place)), true) => {
                let ccw = transfer_to(self.arena.address_of(place));
                self.push(ccw, client(walk.slot)?)?;
                walk.searched = false;
                walk.slot += 1;
            }
            (None, false) => walk.slot = to,
            (Some(_), false) | (None, true) => return None,
        }
        Some(())
    }

    fn repeat_command(
        &mut self,
        chain: &ClientChain,
        slot: &Slot,
        walk: &mut Walk,
        last: bool,
        window: &Window,
    ) -> Option<()> {
        let ccw = slot.client;
        let flags = ccw.flags();
        let chaining = flags & (CcwFlags::CC | CcwFlags::CD);
        let class = match walk.chained {
            Some(class) => class,
            None => (chain.classify)(CommandCode(ccw.command))?,
        };
        let searches = class == CommandClass::Searches;
        if walk.searched || flags.contains(CcwFlags::SUSPEND) || chaining.is_empty() {
            return None;
        }
        // After a search it is its status modifier that tells where the program has gone.
        if last && searches {
            return None;
        }
        let mut placed = ccw;
        placed.flags = (chaining | flags & CcwFlags::SLI).bits();
        if class == CommandClass::Reads {
            placed.flags |= CcwFlags::SKIP.bits();
            placed.address = self.unused_address(chain, ccw.count.get()).into();
        } else {
            let mut bytes = [0; ARGUMENT];
            let bytes = bytes.get_mut(..usize::from(ccw.count.get()))?;
            if class != CommandClass::Nothing {
                chain.program.gather(slot, bytes, window)?;
                chain.arguments.are(walk.slot, bytes).then_some(())?;
            }
            placed.address = self.keep(bytes)?.into();
        }
        let place = self.push(placed, chain.program.ranges.client_address(walk.slot)?)?;
        walk.places.push((walk.slot, place)).ok()?;
        let in_data = flags.contains(CcwFlags::CD);
        walk.chained = in_data.then_some(class);
        walk.searched = searches && !in_data;
        walk.slot += 1;
        Some(())
    }

    /// The data address of a CCW that skips. The channel does not use it. Should something below take it all the same, what is
    /// read had better go into the client's window, if a direct address can name that.
    fn unused_address(&self, chain: &ClientChain, count: u16) -> u32 {
        let count = u64::from(count);
        let direct = chain.program.shape.base.saturating_add(count) <= END_31;
        if direct && count <= chain.program.shape.limit {
            chain.program.shape.base as u32
        } else {
            self.arena.address_of(0)
        }
    }
}

/// Where a transfer in channel has led, before it was perhaps made to lead to a stop.
fn led_to(chain: &ClientChain, slot: &Slot, cut: &Cut, at: usize) -> Option<usize> {
    let ccw = chain.program.arena.ccw(at);
    let to = chain.program.arena.index_of(ccw.address.get());
    let to = to.filter(|_| is_valid_transfer(ccw))?;
    let stops = matches!(
        chain.program.ranges.slot(to).kind,
        SlotKind::Stop | SlotKind::StopTransferred
    );
    if stops && !cut.is_before(to) {
        let target = if slot.kind == SlotKind::Link {
            chain.program.ranges.client_address(at)?
        } else {
            chain.program.target(slot.client)?
        };
        return chain.program.ranges.find_translated(target, slot.entry);
    }
    Some(to)
}
