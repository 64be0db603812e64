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
//! * What the daemon and the appliance write themselves has its memory when the pool is made: later there would be
//!   nobody to tell that there is none, and a touch would be the end. The windows are sparse.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use anyhow::{bail, Context, Result};
use memmap2::MmapOptions;
use rustix::fs::{
    fallocate, flock, fstatvfs, statx, AtFlags, FallocateFlags, FlockOperation, OFlags, StatxFlags,
};
use rustix::io::Errno;
use vcss::layout::{Extent, PAGE};
use window::Window;

use crate::areas::{client_plan, control_plan, host_plan};
use crate::config::{next_good, Config, MIB};

/// A run of bytes in the pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// From the pool's first byte.
    pub offset: u64,
    /// In bytes.
    pub length: u64,
}

impl Span {
    /// The first offset after it.
    pub const fn end(self) -> u64 {
        self.offset + self.length
    }

    /// The last so many bytes of it, at most all.
    const fn last(self, length: u64) -> Self {
        Self {
            offset: self.end().saturating_sub(length),
            length,
        }
    }

    /// As it is written in an area.
    pub const fn extent(self) -> Extent {
        Extent::new(self.offset, self.length)
    }
}

/// Where everything goes in the pool.
#[derive(Clone, Debug)]
pub struct Layout {
    /// The control area; the appliance's private memory is what lies before it.
    pub control: Span,
    /// The area whose client is the daemon itself.
    pub host: Span,
    /// Each client's area.
    pub areas: Vec<Span>,
    /// Each client's window.
    pub windows: Vec<Span>,
    /// Length of the pool.
    pub total: u64,
}

impl Layout {
    /// The layout for a configuration. The same configuration has the same layout each time.
    pub fn of(config: &Config) -> Self {
        let mut end = config.appliance.private;
        let mut take = |length: u64, alignment: u64| {
            let offset = end.next_multiple_of(alignment);
            end = offset + length;
            Span { offset, length }
        };
        let control = take(control_plan(config).length(), PAGE);
        let host = take(host_plan(config).length(), PAGE);
        let apart: Vec<Option<Span>> = config
            .clients
            .iter()
            .map(|client| match client.is_channel_level() {
                true => None,
                false => Some(take(client_plan(client).length(), PAGE)),
            })
            .collect();
        let windows: Vec<Span> = config
            .clients
            .iter()
            .map(|client| take(client.memory, MIB))
            .collect();
        let areas = config
            .clients
            .iter()
            .zip(&apart)
            .zip(&windows)
            .map(|((client, apart), window)| {
                apart.unwrap_or_else(|| window.last(client_plan(client).length()))
            })
            .collect();
        Self {
            control,
            host,
            areas,
            windows,
            total: next_good(end),
        }
    }

    /// What has its memory from the start: all that is not a client's own.
    fn allocated(&self) -> Vec<Span> {
        let mut spans = self.mapped();
        let private = Span {
            offset: 0,
            length: self.control.offset,
        };
        spans.insert(0, private);
        spans
    }

    /// What the daemon maps: control area and the areas behind it in one piece, and each area that is in a window.
    fn mapped(&self) -> Vec<Span> {
        let first_window = self.windows.iter().map(|window| window.offset).min();
        let in_window = |area: &&Span| first_window.is_some_and(|first| area.offset >= first);
        let apart = self.areas.iter().filter(|area| !in_window(area));
        let end = apart.map(|area| area.end()).max();
        let end = end.unwrap_or(0).max(self.host.end());
        let together = Span {
            offset: self.control.offset,
            length: end - self.control.offset,
        };
        let inside = self.areas.iter().filter(in_window).copied();
        std::iter::once(together).chain(inside).collect()
    }
}

/// Which file something is, whatever its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileIdentity {
    device: u64,
    inode: u64,
}

impl FileIdentity {
    /// The identity of an open file. It is asked for in a way that no file system has to ask somebody else for: the file
    /// may be a peer's, and the peer may be the one who would answer.
    ///
    /// # Errors
    ///
    /// The system does not say.
    pub fn of(file: &File) -> io::Result<Self> {
        let how = AtFlags::EMPTY_PATH | AtFlags::STATX_DONT_SYNC;
        let found = statx(file, c"", how, StatxFlags::INO)?;
        Ok(Self {
            device: u64::from(found.stx_dev_major) << 32 | u64::from(found.stx_dev_minor),
            inode: found.stx_ino,
        })
    }
}

/// The pool file, locked and with its areas mapped.
#[derive(Debug)]
pub struct Pool {
    path: PathBuf,
    identity: FileIdentity,
    layout: Layout,
    maps: Vec<(Span, *mut u8)>,
    /// Holds the lock.
    _file: File,
}

// SAFETY: the pointers of `maps` are only what `window` makes others of; the mappings behind them are
// never unmapped and no reference to them exists.
unsafe impl Send for Pool {}
// SAFETY: as above; nothing in a `Pool` changes after it was made.
unsafe impl Sync for Pool {}

impl Pool {
    /// Makes the file: all zero, for its owner only, and with memory for all that is not a client's own.
    ///
    /// # Errors
    ///
    /// Another daemon uses it, there is not enough memory, or the system refuses.
    pub fn create(path: &Path, layout: Layout) -> Result<Self> {
        let at = || format!("pool {}", path.display());
        let file = new_file(path)?;
        let fresh = Fresh { path, kept: false };
        file.set_len(layout.total)
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
        fresh.keep();
        Ok(Self {
            path: path.to_owned(),
            identity,
            layout,
            maps,
            _file: file,
        })
    }

    /// Where everything is.
    pub const fn layout(&self) -> &Layout {
        &self.layout
    }

    /// Which file it is.
    pub const fn identity(&self) -> FileIdentity {
        self.identity
    }

    /// A view of the control area or of a client's area, for as long as the process lives.
    ///
    /// # Errors
    ///
    /// The span is not in the part that is mapped.
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

impl Drop for Pool {
    fn drop(&mut self) {
        let ours = File::open(&self.path).and_then(|file| FileIdentity::of(&file));
        if ours.is_ok_and(|file| file == self.identity) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// A file that is removed again unless it is kept.
struct Fresh<'a> {
    path: &'a Path,
    kept: bool,
}

impl Fresh<'_> {
    fn keep(mut self) {
        self.kept = true;
    }
}

impl Drop for Fresh<'_> {
    fn drop(&mut self) {
        if !self.kept {
            let _ = fs::remove_file(self.path);
        }
    }
}

/// A new, empty, locked file of this name. What a dead daemon has left behind is removed.
///
/// The name may change hands at any moment before the lock is held, and does not any more afterwards: so the lock comes first.
fn new_file(path: &Path) -> Result<File> {
    let at = || format!("pool {}", path.display());
    loop {
        let file = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .custom_flags((OFlags::NOFOLLOW | OFlags::NONBLOCK).bits() as i32)
            .open(path)
            .with_context(at)?;
        let metadata = file.metadata().with_context(at)?;
        if !metadata.is_file() {
            bail!("{} is there already and is no file", at());
        }
        if flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
            bail!(
                "{} is in use: another `stellwerk up` runs with this configuration, or with one of the same \
                 name (set pool = \"…\" in [appliance] to keep them apart)",
                at()
            );
        }
        // Whoever had the lock before may have removed or replaced the file meanwhile.
        let named = fs::symlink_metadata(path).ok();
        if named.is_none_or(|named| (named.dev(), named.ino()) != (metadata.dev(), metadata.ino()))
        {
            continue;
        }
        // Written to by nobody yet, and by nobody but us.
        let length = file.metadata().with_context(at)?.len();
        let ours = metadata.uid() == rustix::process::geteuid().as_raw() && metadata.nlink() == 1;
        if length == 0 && ours {
            file.set_permissions(fs::Permissions::from_mode(0o600))
                .with_context(at)?;
            return Ok(file);
        }
        tracing::warn!(pool = %path.display(), "removing the pool of a daemon that did not end in order");
        fs::remove_file(path).with_context(at)?;
    }
}

/// Gives all that is not a client's own its memory, and warns when there is not enough for what is.
fn allocate(file: &File, path: &Path, layout: &Layout) -> Result<()> {
    let at = || format!("pool {}", path.display());
    let needed = layout.allocated().iter().map(|span| span.length).sum();
    let before = free(file);
    for span in layout.allocated() {
        let allocated = match fallocate(file, FallocateFlags::empty(), span.offset, span.length) {
            // Not every file system knows how to; each knows how to be written to.
            Err(Errno::OPNOTSUPP) => write_zeros(file, span),
            other => other.map_err(io::Error::from),
        };
        allocated.with_context(|| {
            format!(
                "{}: its file system has no room for the appliance and the areas of its clients: {} are needed and {} \
                 are free",
                at(),
                bytes(needed),
                before.map_or_else(|| "an unknown number".into(), bytes)
            )
        })?;
    }
    let windows = layout.windows.iter().map(|window| window.length).sum();
    match free(file) {
        Some(left) if left < windows => tracing::warn!(
            "{}: the memory of its clients is {} in all, and its file system has {} free; when that is used up, a VM that \
             touches memory for the first time is killed, and the appliance's may be the one",
            at(),
            bytes(windows),
            bytes(left)
        ),
        _ => {}
    }
    Ok(())
}

/// Bytes that a file's file system has left, if it says so.
fn free(file: &File) -> Option<u64> {
    let system = fstatvfs(file).ok()?;
    // One without a limit has none of either.
    (system.f_blocks != 0).then(|| system.f_bavail.saturating_mul(system.f_frsize))
}

fn bytes(count: u64) -> String {
    format!("{count} bytes ({} MiB)", count / MIB)
}

fn write_zeros(file: &File, span: Span) -> io::Result<()> {
    let zeros = vec![0; MIB as usize];
    let mut at = span.offset;
    while at < span.end() {
        let length = (span.end() - at).min(MIB);
        let some = zeros.get(..length as usize).unwrap_or(&zeros);
        file.write_all_at(some, at)?;
        at += length;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Accel, Appliance, Client, Export, Given, Subchannel, SubchannelSource};
    use channel::DeviceNumber;

    const GIVEN: Given = Given {
        subchannel: 0,
        device: 1,
    };

    /// Clients by MiB, disks and subchannels.
    fn config(private: u64, clients: &[(u64, usize, usize)]) -> Config {
        let export = || Export {
            disk: 0,
            partition: None,
            start: 0,
            sectors: None,
            read_only: false,
            queues: 1,
        };
        Config {
            appliance: Appliance {
                image: "i".into(),
                private: private * MIB,
                qemu: "q".into(),
                accel: Accel::Tcg,
                append: String::new(),
                qemu_args: vec![],
                run_dir: "/r".into(),
                pool: "/p".into(),
                poll_us: 0,
            },
            disks: vec![],
            subchannels: vec![Subchannel {
                name: "s".into(),
                device: DeviceNumber { set: 0, number: 1 },
                source: SubchannelSource::Qemu("x".into()),
            }],
            clients: clients
                .iter()
                .map(|&(memory, exports, subchannels)| Client {
                    name: "c".into(),
                    memory: memory * MIB,
                    exports: (0..exports).map(|_| export()).collect(),
                    subchannels: vec![GIVEN; subchannels],
                })
                .collect(),
        }
    }

    proptest::proptest! {
        #[test]
        fn nothing_overlaps_and_all_is_aligned(
            private in 4..64u64,
            clients in proptest::collection::vec((1..5000u64, 0..9usize, 0..2usize), 0..9),
        ) {
            let layout = Layout::of(&config(private, &clients));
            let mut spans = vec![layout.control, layout.host];
            for ((area, window), client) in layout.areas.iter().zip(&layout.windows).zip(&clients) {
                if client.2 == 0 {
                    spans.push(*area);
                } else {
                    assert_eq!(area.end(), window.end(), "in the window");
                    assert!(area.offset > window.offset);
                }
            }
            spans.extend(&layout.windows);
            let mut end = private * MIB;
            for span in spans {
                assert!(span.offset >= end, "{span:?}");
                assert_eq!(span.offset % PAGE, 0);
                end = span.end();
            }
            for (window, client) in layout.windows.iter().zip(&clients) {
                assert_eq!(window.offset % MIB, 0);
                assert_eq!(window.length, client.0 * MIB);
            }
            assert!(layout.total >= end);
            assert_eq!(layout.total, next_good(layout.total));
        }
    }

    #[test]
    fn a_pool_is_private_and_gone_at_its_end_and_only_its_windows_are_sparse() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("pool");
        let pool =
            Pool::create(&path, Layout::of(&config(16, &[(256, 1, 0), (64, 0, 1)]))).unwrap();
        let metadata = fs::metadata(&path).unwrap();
        assert_eq!(metadata.len(), pool.layout().total);
        assert_eq!(metadata.mode() & 0o777, 0o600);
        let layout = pool.layout();
        let own: u64 = layout.allocated().iter().map(|span| span.length).sum();
        assert!(own >= layout.host.end() + layout.areas[1].length);
        assert!(metadata.blocks() * 512 >= own, "ours has its memory");
        assert!(
            metadata.blocks() * 512 < own + MIB,
            "the clients' has none yet"
        );
        assert!(pool.window(pool.layout().areas[0]).is_ok());
        assert!(pool.window(pool.layout().areas[1]).is_ok());
        assert!(pool.window(pool.layout().host).is_ok());
        assert!(
            pool.window(pool.layout().windows[0]).is_err(),
            "data is out of reach"
        );
        drop(pool);
        assert!(!path.exists());
    }

    #[test]
    fn a_living_daemons_pool_is_left_alone_and_a_dead_ones_is_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("pool");
        let layout = Layout::of(&config(16, &[]));
        let pool = Pool::create(&path, layout.clone()).unwrap();
        let refused = Pool::create(&path, layout.clone()).unwrap_err();
        assert!(refused.to_string().contains("in use"), "{refused:#}");
        let first = pool.identity();
        std::mem::forget(File::open(&path).unwrap()); // keeps the inode number from being used again
        let Pool { _file: lock, .. } = &pool;
        flock(lock, FlockOperation::Unlock).unwrap();
        let second = Pool::create(&path, layout).unwrap();
        assert_ne!(second.identity(), first);
        drop(pool);
        assert!(path.exists(), "the new pool is not the old one's to remove");
    }

    #[test]
    fn what_has_no_room_is_said_when_the_pool_is_made() {
        // Nothing has room for as much, and nothing is left behind.
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("pool");
        let refused = Pool::create(&path, Layout::of(&config(1 << 30, &[]))).unwrap_err();
        let refused = format!("{refused:#}");
        assert!(refused.contains(&path.display().to_string()), "{refused}");
        assert!(!path.exists());
    }

    #[test]
    fn a_file_system_that_is_full_is_said_with_what_is_needed_and_what_is_free() {
        let dir = tempfile::tempdir_in("/dev/shm").unwrap();
        let size = fstatvfs(File::open(dir.path()).unwrap()).unwrap();
        let twice = 2 * size.f_blocks * size.f_frsize;
        if twice == 0 {
            return; // It has no limit here.
        }
        let path = dir.path().join("pool");
        let refused = Pool::create(&path, Layout::of(&config(twice / MIB, &[]))).unwrap_err();
        let refused = format!("{refused:#}");
        for part in [
            &*path.to_string_lossy(),
            "bytes",
            "are needed and",
            "are free",
        ] {
            assert!(refused.contains(part), "{refused}");
        }
        assert!(!path.exists());
    }

    #[test]
    fn of_two_that_begin_at_once_one_gets_the_pool() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("pool");
        for left_behind in [None, Some(4096)] {
            if let Some(length) = left_behind {
                File::create(&path).unwrap().set_len(length).unwrap();
            }
            let layout = Layout::of(&config(16, &[]));
            let made: Vec<Result<Pool>> = std::thread::scope(|scope| {
                let one = || scope.spawn(|| Pool::create(&path, layout.clone()));
                let threads = [one(), one(), one(), one()];
                threads.map(|thread| thread.join().unwrap()).into()
            });
            let got: Vec<&Pool> = made.iter().flatten().collect();
            assert_eq!(got.len(), 1);
            let named = FileIdentity::of(&File::open(&path).unwrap()).unwrap();
            assert_eq!(
                got[0].identity(),
                named,
                "it is the one that bears the name"
            );
        }
    }

    #[test]
    fn a_link_or_a_folder_is_no_pool() {
        let dir = tempfile::tempdir().unwrap();
        let layout = || Layout::of(&config(16, &[]));
        let folder = dir.path().join("folder");
        fs::create_dir(&folder).unwrap();
        assert!(Pool::create(&folder, layout()).is_err());
        let (target, link) = (dir.path().join("target"), dir.path().join("link"));
        File::create(&target).unwrap();
        std::os::unix::fs::symlink(&target, &link).unwrap();
        assert!(Pool::create(&link, layout()).is_err());
        assert_eq!(fs::metadata(&target).unwrap().len(), 0);
    }
}
