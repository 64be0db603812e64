//! The pool: one shared file that is the appliance's whole memory, and its clients' memory with it.
//!
//! # Purpose
//!
//! [`Layout`] says where everything goes: the appliance's private memory, the control area, the daemon's own area, the
//! clients' areas, and from the next MiB on their windows. A channel-level client's area is the end of its window,
//! where its VM can see it. [`Pool`] is the file.
//!
//! # Rules
//!
//! * The daemon maps the areas and nothing else. It cannot touch a block of data.
//! * The file is locked while its daemon lives. A pool that nobody locks is left over from a dead daemon; it
//!   is unlinked, never truncated, because a client VM may still run in it. Only who holds the lock of the file that bears
//!   the name unlinks it.
//! * A pool bears a mark in its last page. A file that is no pool is not touched, whoever named it.
//! * What the daemon and the appliance write themselves has its memory when the pool is made: later there would be
//!   nobody to tell that there is none, and a touch would be the end. The windows are sparse.

mod make;
mod plan;
#[cfg(test)]
mod tests;

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::{bail, Context, Result};
use memmap2::MmapOptions;
use rustix::fs::{statx, AtFlags, OFlags, StatxFlags};
use window::Window;

use self::make::{allocate, is_replaceable, mark, new_file, NO_POOL, NO_POOL_HELP};
use crate::layout::Span;

pub use self::plan::{client_plan, control_plan, host_plan, Layout};

/// Which file something is, whatever its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileIdentity {
    device: u64,
    inode: u64,
}

impl FileIdentity {
    /// The identity of an open file. It is asked for in a way that no file system has to ask somebody else for: the file
    /// may be a peer's, and the peer may be the one who would answer.
    pub fn of(file: &File) -> io::Result<Self> {
        let how = AtFlags::EMPTY_PATH | AtFlags::STATX_DONT_SYNC;
        let found = statx(file, c"", how, StatxFlags::INO)?;
        Ok(Self {
            device: u64::from(found.stx_dev_major) << 32 | u64::from(found.stx_dev_minor),
            inode: found.stx_ino,
        })
    }
}

/// Why a pool of this name cannot be made, and what to do, as far as looking at the file tells.
pub fn obstacle(path: &Path, layout: &Layout) -> Option<(&'static str, &'static str)> {
    let how = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits() as i32;
    let file = File::options()
        .read(true)
        .custom_flags(how)
        .open(path)
        .ok()?;
    let metadata = file.metadata().ok()?;
    let good = metadata.is_file() && (metadata.len() == 0 || is_replaceable(&file, layout));
    (!good).then_some((NO_POOL, NO_POOL_HELP))
}

/// The pool file, locked and with its areas mapped.
#[derive(Debug)]
pub struct Pool {
    path: PathBuf,
    identity: FileIdentity,
    layout: Layout,
    maps: Vec<(Span, *mut u8)>,
    /// Holds the lock.
    file: File,
}

// SAFETY: the pointers of `maps` are only what `window` makes others of; the mappings behind them are
// never unmapped and no reference to them exists.
unsafe impl Send for Pool {}
// SAFETY: as above; nothing in a `Pool` changes after it was made.
unsafe impl Sync for Pool {}

impl Pool {
    /// Makes the file: all zero, for its owner only, and with memory for all that is not a client's own.
    pub fn create(path: &Path, layout: Layout) -> Result<Self> {
        // Its lock lasts until the name is gone, if that has to go.
        let locked = new_file(path, &layout)?;
        let file = locked.try_clone().context("the pool's file");
        let made = file.and_then(|file| Self::furnish(path, layout, file));
        if made.is_err() {
            let _ = fs::remove_file(path);
        }
        made
    }

    fn furnish(path: &Path, layout: Layout, file: File) -> Result<Self> {
        let at = || format!("pool {}", path.display());
        mark(&file, &layout)
            .with_context(|| format!("{}: cannot make it {} bytes long", at(), layout.total))?;
        allocate(&file, path, &layout)?;
        let mut maps = Vec::new();
        for span in layout.mapped() {
            let map = MmapOptions::new()
                .offset(span.offset)
                .len(usize::try_from(span.length)?)
                .map_raw(&file)
                .with_context(|| format!("{}: cannot map its areas", at()))?;
            maps.push((span, map.as_mut_ptr()));
            // Never unmapped: the windows that are made of it live until the process ends.
            std::mem::forget(map);
        }
        let identity = FileIdentity::of(&file).with_context(at)?;
        Ok(Self {
            path: path.to_owned(),
            identity,
            layout,
            maps,
            file,
        })
    }

    pub const fn layout(&self) -> &Layout {
        &self.layout
    }

    pub const fn identity(&self) -> FileIdentity {
        self.identity
    }

    /// A view of the control area or of a client's area, for as long as the process lives.
    pub fn window(&self, span: Span) -> Result<&'static Window> {
        let inside = |(map, _): &&(Span, _)| span.offset >= map.offset && span.end() <= map.end();
        let Some(&(map, base)) = self.maps.iter().find(inside) else {
            bail!("{span:x?} is not among the pool's areas");
        };
        let from = (span.offset - map.offset) as usize;
        // SAFETY: the span was just found inside the mapping, which `create` made readable and writable and
        // which is never unmapped. It belongs to the areas; this program reaches them by windows only.
        let window = unsafe { Window::new(base.add(from), span.length, span.offset) };
        Ok(Box::leak(Box::new(window)))
    }
}

impl AsFd for Pool {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        let ours = File::open(&self.path).and_then(|file| FileIdentity::of(&file));
        if ours.is_ok_and(|file| file == self.identity) {
            let _ = fs::remove_file(&self.path);
        }
    }
}
