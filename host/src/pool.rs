//! The pool: one shared file that is the appliance's whole memory, and its clients' memory with it.
//!
//! # Purpose
//!
//! [`Layout`] says where everything goes: the appliance's private memory, the control area, the clients'
//! areas, and from the next MiB on their windows. [`Pool`] is the file.
//!
//! # Rules
//!
//! * The daemon maps the areas and nothing else. It cannot touch a block of data.
//! * The file is locked while its daemon lives. A pool that nobody locks is left over from a dead daemon; it
//!   is unlinked, never truncated, because a client VM may still run in it.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use anyhow::{bail, Context, Result};
use memmap2::MmapOptions;
use rustix::fs::{flock, FlockOperation};
use vcss::layout::{Extent, PAGE};
use vcss::plan;
use window::Window;

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
        let exports = |client: &crate::config::Client| client.exports.len() as u32;
        let clients = config.clients.len() as u32;
        let disks = config.disks.len() as u32;
        let all_exports = config.clients.iter().map(exports).sum();
        let mut end = config.appliance.private;
        let mut take = |length: u64, alignment: u64| {
            let offset = end.next_multiple_of(alignment);
            end = offset + length;
            Span { offset, length }
        };
        let control = take(
            plan::control_area(clients, disks, all_exports).length(),
            PAGE,
        );
        let areas = config
            .clients
            .iter()
            .map(|client| take(plan::client_area(exports(client)).length(), PAGE))
            .collect();
        let windows = config
            .clients
            .iter()
            .map(|client| take(client.memory, MIB))
            .collect();
        Self {
            control,
            areas,
            windows,
            total: next_good(end),
        }
    }

    /// Control area and client areas together: what the daemon maps.
    fn mapped(&self) -> Span {
        let end = self
            .areas
            .last()
            .map_or(self.control.end(), |area| area.end());
        Span {
            offset: self.control.offset,
            length: end - self.control.offset,
        }
    }
}

/// Which file something is, whatever its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileIdentity {
    device: u64,
    inode: u64,
}

impl FileIdentity {
    /// The identity of an open file.
    ///
    /// # Errors
    ///
    /// The system does not say.
    pub fn of(file: &File) -> io::Result<Self> {
        file.metadata().map(|metadata| Self {
            device: metadata.dev(),
            inode: metadata.ino(),
        })
    }
}

/// The pool file, locked and with its areas mapped.
#[derive(Debug)]
pub struct Pool {
    path: PathBuf,
    identity: FileIdentity,
    layout: Layout,
    base: *mut u8,
    /// Holds the lock.
    _file: File,
}

// SAFETY: `base` is only the number from which `window` makes pointers; the mapping behind it is
// never unmapped and no reference to it exists.
unsafe impl Send for Pool {}
// SAFETY: as above; nothing in a `Pool` changes after it was made.
unsafe impl Sync for Pool {}

impl Pool {
    /// Makes the file: sparse, all zero, for its owner only.
    ///
    /// # Errors
    ///
    /// Another daemon uses it, or the system refuses.
    pub fn create(path: &Path, layout: Layout) -> Result<Self> {
        let at = || format!("pool {}", path.display());
        remove_stale(path)?;
        let file = File::options()
            .read(true)
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(path)
            .with_context(at)?;
        flock(&file, FlockOperation::NonBlockingLockExclusive).with_context(at)?;
        file.set_len(layout.total)
            .with_context(|| format!("{}: cannot make it {} bytes long", at(), layout.total))?;
        let mapped = layout.mapped();
        let map = MmapOptions::new()
            .offset(mapped.offset)
            .len(usize::try_from(mapped.length)?)
            .map_raw(&file)
            .with_context(|| format!("{}: cannot map its areas", at()))?;
        let base = map.as_mut_ptr();
        // Never unmapped: the windows that are made of it live until the process ends.
        std::mem::forget(map);
        Ok(Self {
            path: path.to_owned(),
            identity: FileIdentity::of(&file).with_context(at)?,
            layout,
            base,
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
        let mapped = self.layout.mapped();
        if span.offset < mapped.offset || span.end() > mapped.end() {
            bail!("{span:x?} is not among the pool's areas");
        }
        let from = (span.offset - mapped.offset) as usize;
        // SAFETY: the span was just found inside the mapping, which `create` made readable and writable and
        // which is never unmapped. It belongs to the areas; this program reaches them by windows only.
        let window = unsafe { Window::new(self.base.add(from), span.length, span.offset) };
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

/// Removes what a dead daemon has left behind.
fn remove_stale(path: &Path) -> Result<()> {
    let file = match File::options().read(true).write(true).open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => {
            return Err(error).with_context(|| format!("pool {} is there already", path.display()))
        }
    };
    if !file.metadata()?.is_file() {
        bail!("pool {} is there already and is no file", path.display());
    }
    if flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
        bail!(
            "pool {} is in use: another `stellwerk up` runs with this configuration, or with one of the same \
             name (set pool = \"…\" in [appliance] to keep them apart)",
            path.display()
        );
    }
    tracing::warn!(pool = %path.display(), "removing the pool of a daemon that did not end in order");
    fs::remove_file(path).with_context(|| format!("pool {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Accel, Appliance, Client, Export};

    fn config(private: u64, clients: &[(u64, usize)]) -> Config {
        let export = || Export {
            disk: 0,
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
            clients: clients
                .iter()
                .map(|&(memory, exports)| Client {
                    name: "c".into(),
                    memory: memory * MIB,
                    exports: (0..exports).map(|_| export()).collect(),
                })
                .collect(),
        }
    }

    proptest::proptest! {
        #[test]
        fn nothing_overlaps_and_all_is_aligned(
            private in 4..64u64,
            clients in proptest::collection::vec((1..5000u64, 0..9usize), 0..9),
        ) {
            let layout = Layout::of(&config(private, &clients));
            let mut spans = vec![layout.control];
            spans.extend(&layout.areas);
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
    fn a_pool_is_sparse_private_and_gone_at_its_end() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("pool");
        let pool = Pool::create(&path, Layout::of(&config(16, &[(256, 1)]))).unwrap();
        let metadata = fs::metadata(&path).unwrap();
        assert_eq!(metadata.len(), pool.layout().total);
        assert_eq!(metadata.mode() & 0o777, 0o600);
        assert!(metadata.blocks() * 512 < MIB);
        assert!(pool.window(pool.layout().areas[0]).is_ok());
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
}
