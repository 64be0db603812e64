//! Channel-program translation: from a client's program in its window to one that the hardware runs.
//!
//! # Purpose
//!
//! A client's START names CCWs and address lists in the client's own storage. [`Translator::translate`] copies them
//! once, checks them, and writes a program of the same shape, with the appliance's addresses, into an arena of
//! its own. [`Translator::back`] puts the addresses of the ending back into the client's terms.
//!
//! | module | what it is |
//! |---|---|
//! | `arena` | the storage that the channel fetches from: CCWs and lists |
//! | `ranges` | which client address stands where: slots and segments |
//! | `program` | both, as one |
//! | `follow` | the chain: CCW after CCW, TIC after TIC, with a work list |
//! | `fast_path` | the same for what is ordinary, quickly |
//! | `data` | data addresses: direct, IDAWs |
//! | `midaws` | the same for MIDAWs |
//! | `dirty` | a program that its own device writes: where the chain has to stop |
//! | `arguments` | what commands were given, of those that may be said again |
//! | `replay` | what is said again to a device whose chain was cut |
//! | `live` | a program that the CPU changes while it runs: [`Translator::refresh`] |
//! | `split` | one that its device changes: [`Translator::split`] |
//! | `cycles` | loops that nothing ends |
//! | `back` | endings in the client's terms |
//!
//! # Limits
//!
//! [`MAX_CCWS`] CCWs that chaining reaches and [`MAX_DETOUR`] more that only a status modifier reaches, [`MAX_SEGMENTS`]
//! runs of adjacent CCWs, and address words as far as the arena goes. What exceeds a limit on the cursor of chaining
//! refuses the start, with a program check and the address of the CCW that was one too many. Command mode only.
//!
//! # The rule
//!
//! *Every word of the client's is fetched once, and what was checked is what is used.* Whatever is wrong with a CCW is
//! found by the channel when it gets there, as on real hardware: a CCW that cannot be translated becomes one that gives
//! the same check. No address that is not inside the window or the arena ever reaches the hardware. Nothing
//! recurses, and nothing is allocated after [`Translator::new`].

mod arena;
mod arguments;
mod back;
mod cycles;
mod data;
mod dirty;
mod fast_path;
mod follow;
mod live;
mod midaws;
mod program;
mod ranges;
mod replay;
mod split;
#[cfg(any(test, fuzzing))]
pub mod tests;

use channel::{ActivityControl, Classify, FunctionControl, SubchannelStatus};
use channel::{Orb, OrbFlags, OrbMode, Scsw, StatusControl};
use window::Window;
use zerocopy::big_endian::U32;

pub use split::Split;

use arena::Arena;
use cycles::Cycles;
use follow::ClientChain;
use program::Shape;
use ranges::Transfer;
use replay::Replay;

/// CCWs, transfers in channel included, that one program may chain to.
pub const MAX_CCWS: usize = 4096;
/// Further CCWs that only a status modifier leads to.
pub const MAX_DETOUR: usize = 256;
/// Runs of adjacent CCWs.
pub const MAX_SEGMENTS: usize = 128;
/// An arena in which [`MAX_CCWS`] CCWs have room for 24,000 address words.
pub const ARENA_BYTES: usize = 256 << 10;

/// A page: what a window has to be a multiple of.
const PAGE: u64 = 4096;
/// Bytes of a MIDAW.
const MIDAW: u64 = 16;
/// Where the addresses end that a CCW can hold.
const END_31: u64 = 1 << 31;
/// The same in format 0.
const END_24: u64 = 1 << 24;

/// The start ends at once, with this status for the client.
#[derive(Clone, Copy, Debug)]
pub struct Refused {
    /// Program check, and the CCW address in the client's terms.
    pub scsw: Scsw,
}

/// A CCW at which translation has to end.
#[derive(Clone, Copy, Debug)]
struct Limit(u32);

/// The translator of one owned subchannel: at most one program at a time.
#[derive(Debug)]
pub struct Translator {
    chain: ClientChain,
    replay: Replay,
    /// Slots that were in use when the program, or the rest of it, began.
    translated: usize,
    /// The client's ORB.
    orb: Orb,
    /// MIDAWs may be given to the hardware.
    midaws: bool,
    /// The machine runs programs within START and RESUME SUBCHANNEL.
    within_start: bool,
    /// A program is there.
    live: bool,
}

impl Translator {
    /// A translator with an arena of so many bytes, which has to lie below 2 GiB: in the image all
    /// of the heap does. Storage is allocated here and nowhere else.
    pub fn new(arena_bytes: usize) -> Self {
        Self::with_arenas(Arena::new(arena_bytes), Arena::new(replay::BYTES))
    }

    fn with_arenas(arena: Arena, repeat: Arena) -> Self {
        Self {
            chain: ClientChain::new(arena),
            replay: Replay::new(repeat),
            translated: 0,
            orb: Orb::default(),
            midaws: true,
            within_start: false,
            live: false,
        }
    }

    /// For a channel subsystem without modified indirect data addressing: an ORB that asks for it must
    /// not reach the hardware. MIDAWs are program checks then.
    #[must_use]
    pub const fn without_midaws(mut self) -> Self {
        self.midaws = false;
        self
    }

    /// From now on, no program being there, it is for a device to which these commands can be said again: a chain that is cut goes on as
    /// the same chain there.
    pub const fn set_classify(&mut self, classify: Classify) {
        self.chain.classify = classify;
    }

    /// From now on, the machine runs the programs of this device within START SUBCHANNEL, or does not: see `cycles`.
    pub const fn set_within_start(&mut self, within_start: bool) {
        self.within_start = within_start;
    }

    /// CCWs of the last program, in the arena.
    pub const fn ccws(&self) -> usize {
        self.chain.program.ranges.used()
    }

    /// Whether the program may change while it runs, because its ORB does not allow prefetching: to be
    /// [refreshed](Self::refresh) again and again until it ends.
    pub const fn is_modifiable(&self) -> bool {
        self.live && self.chain.program.shape.modifiable
    }

    /// Translates the program that a client's ORB names. The answer is the ORB for the hardware: same
    /// interruption parameter, paths, priorities and controls; key 0, format-1 CCWs, format-2 IDAWs, no address limit.
    ///
    /// The program before has to have been released.
    ///
    /// # Errors
    ///
    /// [`Refused`]: an ORB that the hardware would not take, a first CCW that fails at once, or
    /// a program beyond the limits.
    pub fn translate(&mut self, orb: &Orb, window: &Window) -> Result<Orb, Refused> {
        debug_assert!(!self.live, "the program before is still in use");
        self.orb = *orb;
        self.replay.clear();
        if orb.check() != Ok(OrbMode::Command) {
            return Err(self.refuse(orb.program.get()));
        }
        self.begin(orb.program.get(), Transfer::None, window)
    }

    /// Compares the client's program with what was translated, and translates again what has changed, which is so many CCWs: see `live`.
    pub fn refresh(&mut self, window: &Window) -> u32 {
        if !self.live || !self.chain.program.shape.changeable {
            return 0;
        }
        self.chain.refresh(window)
    }

    /// Where the machine runs programs within START and RESUME SUBCHANNEL, makes loops that nothing ends invalid where they close.
    /// To be called whenever the program has changed.
    pub fn end_cycles(&mut self) {
        if self.within_start && self.live {
            let suspends = self.orb.flags().contains(OrbFlags::SUSPEND_CONTROL);
            let classify = self.chain.classify;
            let program = &mut self.chain.program;
            let mut cycles = Cycles {
                program,
                classify,
                suspends,
            };
            cycles.end();
        }
    }

    /// Frees the program: its final status has been taken.
    pub fn release(&mut self) {
        self.live = false;
    }

    /// Translates anew, from a first CCW on, which is reached in the course of `entry`.
    fn begin(&mut self, first: u32, entry: Transfer, window: &Window) -> Result<Orb, Refused> {
        let shape = Shape::new(&self.orb, window, self.midaws);
        self.chain.begin(shape, entry);
        let reachable =
            first.is_multiple_of(8) && u64::from(first) < self.chain.program.shape.limit;
        let alone = self.replay.is_empty();
        if alone && !reachable {
            return Err(self.refuse(first));
        }
        if let Err(Limit(at)) = self.chain.follow_all(first, window) {
            return Err(self.refuse(at));
        }
        // A transfer in channel may not be the first CCW, and an invalid CCW is written as one.
        if alone && arena::is_transfer_in_channel(self.chain.program.arena.ccw(0)) {
            return Err(self.refuse(first));
        }
        self.live = true;
        self.translated = self.chain.program.ranges.used();
        if self.chain.program.ranges.joined {
            self.end_cycles();
        }
        Ok(self.hardware_orb())
    }

    fn refuse(&self, ccw: u32) -> Refused {
        let mut scsw = Scsw::of_start(&self.orb);
        scsw.set_controls(
            FunctionControl::START,
            ActivityControl::empty(),
            StatusControl::ALERT
                | StatusControl::PRIMARY
                | StatusControl::SECONDARY
                | StatusControl::PENDING,
        );
        scsw.program = U32::new(ccw.wrapping_add(8) & 0x7FFF_FFFF);
        scsw.subchannel_status = SubchannelStatus::PROGRAM_CHECK.bits();
        Refused { scsw }
    }

    fn hardware_orb(&self) -> Orb {
        let client = self.orb.flags();
        let mut flags = client | OrbFlags::FORMAT_1 | OrbFlags::FORMAT_2_IDAW;
        flags.remove(OrbFlags::ADDRESS_LIMIT);
        flags.set(
            OrbFlags::IDAW_2K,
            self.chain.program.shape.block_mask == 2047,
        );
        flags.set(OrbFlags::MIDAW, self.chain.program.shape.midaws);
        if !self.chain.program.shape.format_1 {
            // In format 0, an immediate operation never shows an incorrect length.
            flags |= OrbFlags::LENGTH_SUPPRESSION;
        }
        let mut orb = self.orb;
        orb.set_key(0);
        orb.set_flags(flags);
        orb.program = U32::new(self.chain.program.arena.address_of(0));
        orb
    }
}
