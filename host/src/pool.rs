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
//!   is unlinked, never truncated, because a client VM may still run in it.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use anyhow::{bail, Context, Result};
use memmap2::MmapOptions;
use rustix::fs::{flock, FlockOperation};
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
        Ok(Self {
            path: path.to_owned(),
            identity: FileIdentity::of(&file).with_context(at)?,
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
    use crate::config::{
        Accel, Appliance, Client, Export, Given, Places, Subchannel, SubchannelSource,
    };
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
            places: Places::default(),
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
    fn a_pool_is_sparse_private_and_gone_at_its_end() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("pool");
        let pool =
            Pool::create(&path, Layout::of(&config(16, &[(256, 1, 0), (64, 0, 1)]))).unwrap();
        let metadata = fs::metadata(&path).unwrap();
        assert_eq!(metadata.len(), pool.layout().total);
        assert_eq!(metadata.mode() & 0o777, 0o600);
        assert!(metadata.blocks() * 512 < MIB);
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
}
