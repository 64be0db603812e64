//! The pool: what daemon and appliance share, and where all of the appliance VM's memory is.
//!
//! # Purpose
//!
//! [`Layout`] says where everything goes: the appliance's private memory, the control area, the daemon's own area, the
//! clients' areas, and from the next MiB on their windows. [`Pool`] is the control area and the areas: a file without a name, in
//! which each is where the VM has it. Each VM has memory of its own, over which the pool's is laid, and each client's over its window, see
//! [`Windows`](crate::windows::Windows). That of a channel-level
//! client is a file that is made here too; its area is the end of it, where its VM can see it.
//!
//! # Rules
//!
//! * The files have no name, and cannot shrink. Who is not given a descriptor has no way to them.
//! * The daemon maps the areas and nothing else. It cannot touch a block of data.
//! * What the daemon and the appliance write themselves has its memory when the pool, or the VM, is made: later there would be
//!   nobody to tell that there is none, and a touch would be the end. The rest is sparse.

mod plan;
#[cfg(test)]
mod tests;

use std::fmt;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::path::PathBuf;

use anyhow::{bail, ensure, Context, Result};
use memmap2::MmapOptions;
use rustix::fs::{
    fallocate, fcntl_add_seals, fcntl_get_seals, memfd_create, statx, AtFlags, FallocateFlags,
    MemfdFlags, SealFlags, StatxFlags,
};
use serde::{Deserialize, Serialize};
use vcss::layout::PAGE;
use window::Window;

use crate::config::{show_size, Client, Config};
use crate::layout::Span;

pub use self::plan::{client_plan, control_plan, host_plan, Layout};

/// Which file something is, whatever its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileIdentity {
    device: u64,
    inode: u64,
}

impl FileIdentity {
    /// The identity of an open file. It is asked for in a way that no file system has to ask somebody else for: the file
    /// may be a peer's, and the peer may be the one who would answer.
    pub fn of(file: impl AsFd) -> io::Result<Self> {
        let how = AtFlags::EMPTY_PATH | AtFlags::STATX_DONT_SYNC;
        let found = statx(file, c"", how, StatxFlags::INO)?;
        Ok(Self {
            device: u64::from(found.stx_dev_major) << 32 | u64::from(found.stx_dev_minor),
            inode: found.stx_ino,
        })
    }

    /// One as it was written.
    pub fn parse(text: &str) -> Option<Self> {
        let (device, inode) = text.split_once(' ')?;
        Some(Self {
            device: device.parse().ok()?,
            inode: inode.parse().ok()?,
        })
    }
}

impl fmt::Display for FileIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.device, self.inode)
    }
}

/// Whether a file is memory that cannot shrink, and stays as it is: a touch of what was in it once never fails, and what could be
/// mapped once can be mapped again. Only the kernel is asked, whoever's file it is.
pub fn is_sealed(file: impl AsFd) -> bool {
    let wanted = SealFlags::SHRINK | SealFlags::SEAL;
    let wrong = SealFlags::WRITE | SealFlags::FUTURE_WRITE;
    fcntl_get_seals(file).is_ok_and(|seals| seals.contains(wanted) && !seals.intersects(wrong))
}

/// Memory of a size that does not change.
pub fn sealed(name: &str, length: u64) -> io::Result<File> {
    let file = File::from(memfd_create(
        name,
        MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING,
    )?);
    file.set_len(length)?;
    fcntl_add_seals(&file, SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL)?;
    Ok(file)
}

/// The files, with the areas mapped.
#[derive(Debug)]
pub struct Pool {
    layout: Layout,
    file: File,
    /// For each client that is channel-level, its memory.
    memories: Vec<Option<File>>,
    maps: Vec<(Span, *mut u8)>,
}

// SAFETY: the pointers of `maps` are only what `window` makes others of; the mappings behind them are
// never unmapped and no reference to them exists.
unsafe impl Send for Pool {}
// SAFETY: as above; nothing in a `Pool` changes after it was made.
unsafe impl Sync for Pool {}

impl Pool {
    /// Makes the files: all zero, and with memory for all that is not a client's own.
    pub fn create(config: &Config) -> Result<Self> {
        let layout = Layout::of(config);
        let file = sealed("stellwerk-pool", layout.total);
        let file = file.with_context(|| no_memory(layout.total))?;
        let ours = Span {
            offset: layout.control.offset,
            length: layout.host.end() - layout.control.offset,
        };
        take(&file, ours)?;
        let mut memories = Vec::new();
        for client in 0..config.clients.len() {
            memories.push(provide(config, &layout, &file, client)?);
        }
        Self::map(layout, file, memories)
    }

    /// Forgets what is in an area of the pool.
    pub fn blank(&self, area: Span) -> Result<()> {
        let how = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        fallocate(&self.file, how, area.offset, area.length).context("the pool")
    }

    /// Gives a client's place its memory, after a change: a file of its own if the client is channel-level.
    pub fn provide(&self, config: &Config, layout: &Layout, client: usize) -> Result<Option<File>> {
        provide(config, layout, &self.file, client)
    }

    /// The files of another daemon, as they are.
    pub fn take_over(
        config: &Config,
        layout: Layout,
        file: File,
        memories: Vec<Option<File>>,
    ) -> Result<Self> {
        let clients = config.clients.iter().map(Client::is_channel_level);
        let given = memories.iter().map(Option::is_some);
        ensure!(clients.eq(given), "a client's memory was not kept");
        Self::map(layout, file, memories)
    }

    fn map(layout: Layout, file: File, memories: Vec<Option<File>>) -> Result<Self> {
        let mut maps = vec![map(&file, layout.together, layout.together.offset)?];
        let places = layout.windows.iter().zip(&layout.areas);
        for (memory, (window, &area)) in memories.iter().zip(places) {
            if let Some(memory) = memory {
                maps.push(map(memory, area, area.offset - window.offset)?);
            }
        }
        Ok(Self {
            layout,
            file,
            memories,
            maps,
        })
    }

    /// New memory for a VM: areas and windows are laid over it, the rest is the appliance's own.
    pub fn vm_memory(&self) -> Result<File> {
        let memory = sealed("stellwerk-memory", self.layout.total);
        let memory = memory.with_context(|| no_memory(self.layout.total))?;
        take(&memory, self.layout.private())?;
        Ok(memory)
    }

    pub const fn layout(&self) -> &Layout {
        &self.layout
    }

    /// By which way somebody who may look into this process has the pool, as a test or a debugger.
    pub fn path(&self) -> PathBuf {
        by_descriptor(&self.file)
    }

    /// The memory of a client, if the client is channel-level.
    pub fn memory(&self, client: usize) -> Option<&File> {
        self.memories.get(client)?.as_ref()
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

/// The way to a file that this process has open.
pub fn by_descriptor(file: &File) -> PathBuf {
    let (process, number) = (std::process::id(), file.as_raw_fd());
    PathBuf::from(format!("/proc/{process}/fd/{number}"))
}

/// Maps a part of a file, for good: what stands at `offset` there is `span` of the appliance's memory.
fn map(file: &File, span: Span, offset: u64) -> Result<(Span, *mut u8)> {
    let map = MmapOptions::new()
        .offset(offset)
        .len(usize::try_from(span.length)?)
        .map_raw(file)
        .context("the areas cannot be mapped")?;
    let start = map.as_mut_ptr();
    // The windows that are made of it live until the process ends.
    std::mem::forget(map);
    Ok((span, start))
}

/// Gives a client's area its memory, which is a file of its own if the client is channel-level. Of a vacant place only the head is ever
/// looked at.
fn provide(config: &Config, layout: &Layout, file: &File, client: usize) -> Result<Option<File>> {
    let places = (config.clients.get(client))
        .zip(layout.areas.get(client).copied())
        .zip(layout.windows.get(client));
    let ((client, area), window) = places.context("no such place")?;
    if !client.is_channel_level() {
        let length = match client.is_vacant() {
            true => PAGE,
            false => area.length,
        };
        return take(file, Span { length, ..area }).map(|()| None);
    }
    let memory = sealed(&format!("stellwerk-{}", client.name), window.length);
    let memory = memory.with_context(|| no_memory(window.length))?;
    let within = Span {
        offset: area.offset - window.offset,
        ..area
    };
    take(&memory, within)?;
    Ok(Some(memory))
}

/// Gives a part of a file its memory.
fn take(file: &File, span: Span) -> Result<()> {
    fallocate(file, FallocateFlags::empty(), span.offset, span.length)
        .with_context(|| no_memory(span.length))
}

fn no_memory(bytes: u64) -> String {
    format!("there is no memory of {} to be had", show_size(bytes))
}
