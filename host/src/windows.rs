//! Clients' memory, and the windows of the appliance that it is laid over.
//!
//! # Purpose
//!
//! A client's VM shares files that are its memory. Each is laid over its place in the client's window, in the appliance's QEMU, so
//! that the appliance and its devices reach the client's own pages; then the appliance is told that there is memory. [`Windows`] knows
//! what is laid, for whom, and lays all of it again in the next QEMU.
//!
//! # Rules
//!
//! * Only memory that cannot shrink is laid: a touch of what is not there any more would be the end of the appliance's QEMU.
//! * Memory is laid before the appliance is told of it, and taken back only when the appliance says that nothing in flight is in it
//!   any more, or when there is no appliance.
//! * The memory of one VM at a time is in a window. A client's disks, which have connections of their own, share it.
//! * To the appliance a window is one piece. Where a VM has no memory between two pieces of it, its lowest piece is laid once more: who
//!   names a place there reaches memory of its own, and nobody else's.

mod former;
mod overlay;
#[cfg(test)]
mod tests;

use std::fs::File;
use std::io;
use std::mem::offset_of;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{bail, Context, Result};
use parking_lot::{Mutex, MutexGuard};
use rustix::fs::fstatfs;
use rustix::io::Errno;
use serde::{Deserialize, Serialize};
use stellwerk_overlay::PAGE;
use vcss::control::{ClientMemory, MemoryTaken};
use vcss::{Area, AreaError, Word};
use zerocopy::big_endian::U32;

use crate::config::Part;
use crate::doorbell::BellHandle;
use crate::layout::{AreaNumber, Span};
use crate::pool::{is_sealed, FileIdentity, Pool};

pub use former::Former;
pub use overlay::{Loaded, Overlay};

use overlay::LayError;

/// How often it is looked whether the appliance has taken a change: after so long first, then after twice as long each time.
const FIRST_LOOK: Duration = Duration::from_micros(20);
const LAST_LOOK: Duration = Duration::from_millis(5);
/// How often at most the lowest piece of a client's memory is laid where the client has none.
const MAX_FILLERS: usize = 256;
/// So many bytes are taken back by one order.
const TAKEN_AT_A_TIME: u64 = 1 << 30;
/// Type of a file system of huge pages.
const HUGETLBFS: i64 = 0x9584_58F6;

/// Why nothing is laid.
const NOBODY_LAYS: &str = "what is loaded into QEMU does not answer: it may have ended, or it may be a program that loads nothing \
     (qemu = \"…\" in [appliance])";

/// Why memory is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Foreign {
    #[error(
        "its memory is no file that cannot shrink: give its QEMU -object memory-backend-memfd,id=ram,size=…,share=on and \
         -machine …,memory-backend=ram, or with libvirt <memoryBacking><source type='memfd'/><access mode='shared'/></memoryBacking>"
    )]
    NotSealed,
    #[error(
        "its memory is in huge pages, of which there may be none when they are needed: leave out hugetlb=on, or with \
         libvirt <hugepages/>"
    )]
    HugePages,
    #[error("its memory is not in whole pages ({bytes:#x} bytes at guest address {guest:#x})")]
    Pages { bytes: u64, guest: u64 },
    #[error(
        "it has more memory ({bytes:#x} bytes at guest address {guest:#x}) than its window of {} MiB: set the client's \
         memory = \"…\" to all that its VM may have",
        room >> 20
    )]
    Size { bytes: u64, guest: u64, room: u64 },
    #[error("its memory's file is shorter than the memory ({bytes:#x} bytes at guest address {guest:#x})")]
    Short { bytes: u64, guest: u64 },
    #[error("its memory is in too many pieces, or these are too far apart")]
    Scattered,
    #[error("another VM is served as this client, and its memory is in the way; when it has ended, this one can be served")]
    Another,
    #[error("it was served by a daemon that has died since, and what it had in flight then is not known: it has to be started again")]
    Earlier,
    #[error("its memory cannot be mapped: {0}")]
    Unmapped(Errno),
    #[error("its memory's file cannot be looked at")]
    Unknown,
}

impl Foreign {
    /// Whether the same VM may be served a little later.
    pub const fn passes(&self) -> bool {
        matches!(self, Self::Another)
    }
}

/// A piece of a client's memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Piece {
    /// Where the client has it.
    pub guest: u64,
    pub size: u64,
    /// Where it begins in its file.
    pub offset: u64,
}

impl Piece {
    const fn end(&self) -> u64 {
        self.guest + self.size
    }
}

#[derive(Debug)]
struct Region {
    piece: Piece,
    file: Arc<File>,
    identity: FileIdentity,
    /// How many of the client's connections have it.
    users: usize,
}

/// Whether all memory that is to be laid in another daemon's QEMU is: that may have been about to lay something, or to take it back, when
/// it died.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Laid {
    All,
    Perhaps,
}

/// A client's window.
#[derive(Debug)]
struct Room {
    span: Span,
    /// Held while the client's memory changes.
    change: Mutex<()>,
    /// The generation of its memory that the daemon wants, and the one that the appliance has taken.
    wanted: Word<'static>,
    taken: Word<'static>,
}

#[derive(Debug)]
struct State {
    /// The way into the appliance's QEMU, while one runs.
    overlay: Option<Overlay>,
    /// For each client, what is laid.
    regions: Vec<Vec<Region>>,
}

#[derive(Debug)]
pub struct Windows {
    rooms: Vec<Room>,
    control: Area<'static>,
    /// What of the pool is laid before anything else.
    areas: Span,
    pool: OwnedFd,
    bell: BellHandle,
    former: Former,
    state: Mutex<State>,
}

impl Windows {
    /// With the memory of those clients that are given theirs, and nothing else.
    pub fn new(
        pool: &Pool,
        control: &Area<'static>,
        bell: BellHandle,
        former: Former,
    ) -> Result<Self> {
        let mut rooms = Vec::new();
        let mut regions = Vec::new();
        for (client, &span) in pool.layout().windows.iter().enumerate() {
            rooms.push(Room::new(span, control, client as u32)?);
            let own = pool.memory(client).map(|memory| -> Result<Region> {
                Ok(Region {
                    piece: Piece {
                        guest: 0,
                        size: span.length,
                        offset: 0,
                    },
                    file: Arc::new(memory.try_clone()?),
                    identity: FileIdentity::of(memory)?,
                    users: 1,
                })
            });
            regions.push(
                own.transpose()
                    .context("a client's memory")?
                    .into_iter()
                    .collect(),
            );
        }
        Ok(Self {
            rooms,
            control: control.clone(),
            areas: pool.layout().together,
            pool: pool.as_fd().try_clone_to_owned()?,
            bell,
            former,
            state: Mutex::new(State {
                overlay: None,
                regions,
            }),
        })
    }

    /// Tells the appliance where clients have memory, where it has been told something else.
    pub fn publish_all(&self) {
        let state = self.state.lock();
        for (client, regions) in state.regions.iter().enumerate() {
            let told = self.control.read::<ClientMemory>(client as u32);
            if told.is_ok_and(|told| told.length.get() != end(used(regions))) {
                self.publish(&state, client);
            }
        }
    }

    /// A piece of a client's memory that another daemon has laid: one more connection has it.
    pub fn take_over(&self, client: usize, piece: Piece, file: File) -> io::Result<()> {
        let identity = FileIdentity::of(&file)?;
        let mut state = self.state.lock();
        let regions = state.regions.get_mut(client);
        let regions = regions.ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?;
        let mut there = regions.iter_mut();
        match there.find(|it| it.piece == piece && it.identity == identity) {
            Some(region) => region.users += 1,
            None => regions.push(Region {
                piece,
                file: Arc::new(file),
                identity,
                users: 1,
            }),
        }
        Ok(())
    }

    /// A QEMU has been started, and its VM has not run yet: lays all that is to be laid. What cannot be is its client's loss.
    pub fn lay_all(&self, overlay: Overlay) -> Result<()> {
        let Span { offset, length } = self.areas;
        match overlay.lay(
            offset,
            length.next_multiple_of(PAGE),
            offset,
            self.pool.as_fd(),
        ) {
            Ok(()) => self.lay_again(overlay),
            Err(LayError::Gone) => bail!(NOBODY_LAYS),
            Err(LayError::Refused(error)) => bail!("the areas cannot be laid: {error}"),
        }
    }

    /// The QEMU of another daemon runs. Where it is not known that all is laid, it is laid again, which changes nothing where it is laid
    /// already.
    pub fn runs_already(&self, overlay: Overlay, laid: Laid) -> Result<()> {
        match laid {
            Laid::Perhaps => self.lay_again(overlay),
            Laid::All => {
                self.state.lock().overlay = Some(overlay);
                Ok(())
            }
        }
    }

    fn lay_again(&self, overlay: Overlay) -> Result<()> {
        let mut state = self.state.lock();
        for (client, room) in self.rooms.iter().enumerate() {
            let Some(regions) = state.regions.get_mut(client) else {
                continue;
            };
            let (before, mut is_gone) = (regions.len(), false);
            regions.retain(|region| match room.lay(&overlay, &region.piece, &region.file) {
                Ok(()) => true,
                Err(LayError::Refused(error)) => {
                    tracing::error!(client, %error, "a client's memory cannot be laid over its window again: it is served no more");
                    false
                }
                Err(LayError::Gone) => {
                    is_gone = true;
                    true
                }
            });
            if is_gone || room.fill(&overlay, regions) == Err(LayError::Gone) {
                bail!(NOBODY_LAYS);
            }
            if regions.len() != before {
                self.publish(&state, client);
            }
        }
        state.overlay = Some(overlay);
        Ok(())
    }

    /// Takes back all that may be laid over a window that is nobody's any more.
    pub fn clear(&self, window: Span) {
        let mut state = self.state.lock();
        let mut at = window.offset;
        while let Some(overlay) = state.overlay.as_ref().filter(|_| at < window.end()) {
            let length = (window.end() - at).min(TAKEN_AT_A_TIME);
            match overlay.take_back(at, length) {
                Ok(()) => at += length,
                Err(LayError::Gone) => state.overlay = None,
                Err(LayError::Refused(error)) => {
                    return tracing::error!(%error, "the memory of a client that has gone stays laid over its window");
                }
            }
        }
    }

    /// There is no QEMU any more.
    pub fn has_ended(&self) {
        self.state.lock().overlay = None;
    }

    /// Lays a piece of a client's memory, unless that is done already, and tells the appliance.
    pub fn add(&self, client: usize, piece: Piece, file: &File) -> Result<(), Foreign> {
        let room = self.rooms.get(client).ok_or(Foreign::Unknown)?;
        room.check(&piece)?;
        if !is_sealed(file) {
            return Err(Foreign::NotSealed);
        }
        if fstatfs(file).is_ok_and(|about| about.f_type == HUGETLBFS) {
            return Err(Foreign::HugePages);
        }
        let length = file.metadata().map_or(0, |about| about.len());
        if piece.offset.saturating_add(piece.size) > length {
            let (bytes, guest) = (piece.size, piece.guest);
            return Err(Foreign::Short { bytes, guest });
        }
        let identity = FileIdentity::of(file).map_err(|_| Foreign::Unknown)?;
        if self.former.has(identity) {
            return Err(Foreign::Earlier);
        }
        let _one = room.change.lock();
        let mut state = self.state.lock();
        let State { overlay, regions } = &mut *state;
        let regions = regions.get_mut(client).ok_or(Foreign::Unknown)?;
        let mut there = regions.iter_mut();
        if let Some(region) = there.find(|it| it.piece == piece && it.identity == identity) {
            region.users += 1;
            return Ok(());
        }
        let meets = |it: &Region| it.piece.guest < piece.end() && piece.guest < it.piece.end();
        if regions.iter().any(meets) {
            return Err(Foreign::Another);
        }
        let file = Arc::new(file.try_clone().map_err(|_| Foreign::Unknown)?);
        regions.push(Region {
            piece,
            file: Arc::clone(&file),
            identity,
            users: 1,
        });
        let mut laid = match fillers(regions).len() > MAX_FILLERS {
            true => Err(Foreign::Scattered),
            false => self.former.note(identity).map_err(|_| Foreign::Unknown),
        };
        if let (Some(there), Ok(())) = (&overlay, laid) {
            let done = room.lay(there, &piece, &file);
            match done.and_then(|()| room.fill(there, regions)) {
                Ok(()) => {}
                // The next QEMU has it laid before its VM runs.
                Err(LayError::Gone) => *overlay = None,
                Err(LayError::Refused(error)) => laid = Err(Foreign::Unmapped(error)),
            }
        }
        if laid.is_err() {
            // What may have been laid is beyond what the appliance is told of, or between pieces that are there.
            regions.pop();
            if !regions.iter().any(|it| it.identity == identity) {
                self.former.forget(identity);
            }
            return laid;
        }
        self.publish(&state, client);
        drop(state);
        self.wait(room);
        Ok(())
    }

    /// A disk has left queues behind: a later daemon is not to take this memory of its for clean.
    pub fn mark(&self, disk: Part, memory: FileIdentity) {
        self.former.mark(disk, memory);
    }

    /// Nothing of a disk is in flight any more, not even in memory that it has left behind.
    pub fn unmark(&self, disk: Part) {
        for memory in self.former.unmark(disk) {
            let state = self.state.lock();
            if !state
                .regions
                .iter()
                .flatten()
                .any(|it| it.identity == memory)
            {
                self.former.forget(memory);
            }
        }
    }

    /// One connection less has this piece. After the last one it is taken back, when nothing in flight is in it any more.
    pub fn remove(&self, client: usize, piece: &Piece, identity: FileIdentity) {
        let Some(room) = self.rooms.get(client) else {
            return;
        };
        let _one = room.change.lock();
        let is_it = |it: &Region| it.piece == *piece && it.identity == identity;
        {
            let mut state = self.state.lock();
            let regions = state.regions.get_mut(client);
            let Some(region) = regions.and_then(|all| all.iter_mut().find(|it| is_it(it))) else {
                return;
            };
            region.users = region.users.saturating_sub(1);
            if region.users > 0 {
                return;
            }
            self.publish(&state, client);
        }
        let is_taken = self.wait(room);
        let mut state = self.state.lock();
        let State { overlay, regions } = &mut *state;
        let Some(regions) = regions.get_mut(client) else {
            return;
        };
        let before = end(regions.iter());
        // Its file may be the last of a large memory, whose end takes time: that comes when nobody waits any more.
        let gone: Vec<Region> = regions.extract_if(.., |region| is_it(region)).collect();
        let after = end(regions.iter());
        if is_taken && !regions.iter().any(|it| it.identity == identity) {
            self.former.forget(identity);
        }
        if let Some(there) = overlay {
            let taken = room.take_back(there, after, before);
            match taken.and_then(|()| room.fill(there, regions)) {
                Ok(()) => {}
                Err(LayError::Gone) => *overlay = None,
                Err(LayError::Refused(error)) => {
                    tracing::error!(%error, "the memory of a client that has gone stays laid over its window");
                }
            }
        }
        drop(state);
        drop(gone);
    }

    /// Tells the appliance where a client has memory.
    fn publish(&self, state: &MutexGuard<'_, State>, client: usize) {
        let (Some(room), Some(regions)) = (self.rooms.get(client), state.regions.get(client))
        else {
            return;
        };
        let entry = ClientMemory {
            length: end(used(regions)).into(),
            generation: room.wanted.load().into(),
            reserved: U32::ZERO,
        };
        if let Err(error) = self.control.write(client as u32, &entry) {
            tracing::error!(%error, "control area");
        }
        room.wanted.store(room.wanted.load().wrapping_add(1));
        self.bell.ring(AreaNumber::CONTROL);
    }

    /// Waits until the appliance has taken a change, or there is none that could use what was before. Whether it has taken it.
    fn wait(&self, room: &Room) -> bool {
        let mut pause = FIRST_LOOK;
        let is_taken = || room.taken.load() == room.wanted.load();
        let is_over = || self.bell.is_abandoned() || self.state.lock().overlay.is_none();
        while !is_taken() && !is_over() {
            std::thread::sleep(pause);
            pause = (pause * 2).min(LAST_LOOK);
        }
        is_taken()
    }
}

impl Room {
    fn new(span: Span, control: &Area<'static>, client: u32) -> Result<Self, AreaError> {
        let wanted = offset_of!(ClientMemory, generation);
        let taken = offset_of!(MemoryTaken, generation);
        Ok(Self {
            span,
            change: Mutex::new(()),
            wanted: control.word::<ClientMemory>(client, wanted)?,
            taken: control.word::<MemoryTaken>(client, taken)?,
        })
    }

    fn check(&self, piece: &Piece) -> Result<(), Foreign> {
        let (guest, bytes) = (piece.guest, piece.size);
        let end = guest.checked_add(bytes);
        if end.is_none_or(|end| end > self.span.length) {
            let room = self.span.length;
            return Err(Foreign::Size { bytes, guest, room });
        }
        if bytes == 0 || !(guest | bytes | piece.offset).is_multiple_of(PAGE) {
            return Err(Foreign::Pages { bytes, guest });
        }
        Ok(())
    }

    fn lay(&self, overlay: &Overlay, piece: &Piece, file: &File) -> Result<(), LayError> {
        let place = self.span.offset + piece.guest;
        overlay.lay(place, piece.size, piece.offset, file.as_fd())
    }

    /// Takes back what is laid from one place on to another, piece by piece: each takes its time.
    fn take_back(&self, overlay: &Overlay, from: u64, to: u64) -> Result<(), LayError> {
        let mut at = from;
        while at < to {
            let length = (to - at).min(TAKEN_AT_A_TIME);
            overlay.take_back(self.span.offset + at, length)?;
            at += length;
        }
        Ok(())
    }

    /// Lays what is between pieces.
    fn fill(&self, overlay: &Overlay, regions: &[Region]) -> Result<(), LayError> {
        fillers(regions)
            .iter()
            .try_for_each(|(piece, file)| self.lay(overlay, piece, file))
    }
}

/// Those that a connection has.
fn used(regions: &[Region]) -> impl Iterator<Item = &Region> {
    regions.iter().filter(|region| region.users > 0)
}

/// How far a client's memory reaches.
fn end<'a>(regions: impl Iterator<Item = &'a Region>) -> u64 {
    regions
        .map(|region| region.piece.end())
        .max()
        .unwrap_or_default()
}

/// What is laid between pieces of a client's memory: of the lowest piece, again and again, as much as there is room for.
fn fillers(regions: &[Region]) -> Vec<(Piece, &File)> {
    let mut pieces: Vec<&Region> = regions.iter().collect();
    pieces.sort_by_key(|region| region.piece.guest);
    let mut all = Vec::new();
    let Some(lowest) = pieces.first() else {
        return all;
    };
    let mut at = 0;
    for Region { piece, .. } in &pieces {
        while at < piece.guest && all.len() <= MAX_FILLERS {
            let size = lowest.piece.size.min(piece.guest - at);
            let offset = lowest.piece.offset;
            let filler = Piece {
                guest: at,
                size,
                offset,
            };
            all.push((filler, &*lowest.file));
            at += size;
        }
        at = piece.end();
    }
    all
}
