//! How the file is made: locked first, marked as a pool, and with memory for what is not a client's own.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

use anyhow::{bail, Context, Result};
use rustix::fs::{
    fallocate, flock, fstatvfs, seek, FallocateFlags, FlockOperation, OFlags, SeekFrom,
};
use rustix::io::Errno;
use vcss::layout::PAGE;

use super::Layout;
use crate::config::MIB;
use crate::layout::Span;

/// What the last page of a pool begins with. It lies behind the appliance's memory.
const MARK: &[u8; 16] = b"stellwerk pool 1";

/// A new, empty, locked file of this name. What a dead daemon has left behind is removed; what is no pool is not touched.
///
/// The name may change hands at any moment before the lock is held, and does not any more afterwards: so the lock comes first.
pub(super) fn new_file(path: &Path, layout: &Layout) -> Result<File> {
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
        let metadata = file.metadata().with_context(at)?;
        let ours = metadata.uid() == rustix::process::geteuid().as_raw() && metadata.nlink() == 1;
        if metadata.len() == 0 && ours {
            file.set_permissions(fs::Permissions::from_mode(0o600))
                .with_context(at)?;
            return Ok(file);
        }
        if !is_replaceable(&file, layout) {
            bail!("{} {NO_POOL}; {NO_POOL_HELP}", at());
        }
        tracing::warn!(pool = %path.display(), "removing the pool of a daemon that did not end in order");
        fs::remove_file(path).with_context(at)?;
    }
}

/// What is wrong with a file that is there and is no pool, and what to do.
pub(super) const NO_POOL: &str =
    "is there already and is no pool of Stellwerk; it is left as it is";
pub(super) const NO_POOL_HELP: &str =
    "set pool = \"…\" in [appliance] to a file that is not there, or remove this one if nobody needs it";

/// Makes the file as long as it has to be, and marks it as a pool in the same step: it never has content without the mark.
pub(super) fn mark(file: &File, layout: &Layout) -> io::Result<()> {
    let mut last = [0; PAGE as usize];
    last[..MARK.len()].copy_from_slice(MARK);
    file.write_all_at(&last, layout.total)
}

/// Whether a file may be replaced by a new pool: it is marked as one, or a client's QEMU has made it.
pub(super) fn is_replaceable(file: &File, layout: &Layout) -> bool {
    let Ok(length) = file.metadata().map(|metadata| metadata.len()) else {
        return false;
    };
    let mut mark = [0; MARK.len()];
    let last = length.checked_sub(PAGE);
    let marked = last.is_some_and(|last| file.read_exact_at(&mut mark, last).is_ok());
    marked && mark == *MARK || is_early_client(file, length, layout)
}

/// Whether a client's QEMU has made the file, because it was started before the daemon: it ends with the client's window, and
/// nothing was ever written before that.
fn is_early_client(file: &File, length: u64, layout: &Layout) -> bool {
    let mut windows = layout.windows.iter();
    let Some(window) = windows.find(|window| window.end() == length) else {
        return false;
    };
    match seek(file, SeekFrom::Data(0)) {
        Ok(first) => first >= window.offset,
        Err(error) => error == Errno::NXIO,
    }
}

/// Gives all that is not a client's own its memory, and warns when there is not enough for what is.
pub(super) fn allocate(file: &File, path: &Path, layout: &Layout) -> Result<()> {
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
