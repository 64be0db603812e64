//! What is saved of an appliance that hangs, before it is ended.
//!
//! A dump is two files in the run directory: `dump-TIME.memory`, the appliance's own memory with the control area behind it, in which
//! a place is an absolute address; and `dump-TIME.txt`, which says why, of what, and which contents the registers had.
//!
//! # Rules
//!
//! * No memory of a client's is in it, nor an area of one.
//! * There are at most [`KEPT`] of them, none of more than [`MOST`] bytes; what is zero takes no room.
//! * Whatever goes wrong costs the dump, and nothing else.

use std::fmt::{Display, Write as _};
use std::fs::{self, File, OpenOptions};
use std::io;
use std::ops::Range;
use std::os::fd::AsFd;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use chrono::DateTime;

use super::Shared;
use crate::config::MIB;
use crate::vm::MonitorError;

/// Dumps that are kept, the new one among them.
const KEPT: usize = 3;
/// Bytes of memory that are saved, at most.
const MOST: u64 = 256 * MIB;
const PAGE: usize = 4096;
/// How the names begin.
const PREFIX: &str = "dump-";

/// Saves a dump, and removes older ones; the file with the memory. `registers` are those that QEMU has told, if it was asked.
pub fn save(
    shared: &Shared,
    why: &dyn Display,
    registers: Option<Result<String, MonitorError>>,
) -> Result<PathBuf> {
    let since = SystemTime::now().duration_since(UNIX_EPOCH)?;
    let now = DateTime::from_timestamp(since.as_secs() as i64, 0).context("no such time")?;
    let name = format!("{PREFIX}{}", now.format("%Y%m%dT%H%M%SZ"));
    let config = &shared.config;
    let run_dir = &config.appliance.run_dir;
    let length = shared.layout.control.end().min(MOST);

    let mut about = String::new();
    let run = *shared.run.lock();
    let version = shared.areas.appliance();
    let version = version.as_ref().map_or("", |said| said.version.as_str());
    writeln!(about, "{why}")?;
    writeln!(about, "time:      {}", now.format("%F %T UTC"))?;
    writeln!(about, "daemon:    {}", env!("CARGO_PKG_VERSION"))?;
    writeln!(about, "appliance: {version}, process {}", run.pid)?;
    writeln!(about, "image:     {}", config.appliance.image.display())?;
    writeln!(
        about,
        "memory:    {name}.memory: {length:#x} bytes, its own and, from {:#x} on, the control area",
        shared.layout.control.offset
    )?;
    match registers {
        Some(Ok(text)) => writeln!(about, "registers:\n{}", text.replace('\r', ""))?,
        Some(Err(error)) => writeln!(about, "registers: {error}")?,
        None => writeln!(about, "registers: QEMU does not answer")?,
    }

    remove_old(run_dir, KEPT - 1);
    let (text, memory) = (
        run_dir.join(format!("{name}.txt")),
        run_dir.join(format!("{name}.memory")),
    );
    let saved = write(&text, |file| file.write_all_at(about.as_bytes(), 0))
        .and_then(|()| write(&memory, |file| copy_parts(shared, length, file)));
    if saved.is_err() {
        // Half of it is of no use.
        let _ = fs::remove_file(&text);
        let _ = fs::remove_file(&memory);
    }
    saved.map(|()| memory)
}

/// A new file, for its owner only.
fn write(path: &Path, write: impl FnOnce(&File) -> io::Result<()>) -> Result<()> {
    let mut options = OpenOptions::new();
    let file = options.write(true).create_new(true).mode(0o600).open(path);
    file.and_then(|file| write(&file))
        .with_context(|| path.display().to_string())
}

/// Copies so many bytes: of the VM's own memory, and behind it of the pool.
fn copy_parts(shared: &Shared, length: u64, to: &File) -> io::Result<()> {
    to.set_len(length)?;
    let private = shared.layout.private().end().min(length);
    if let Some(memory) = &*shared.vm_memory.lock() {
        copy(memory, 0..private, to)?;
    }
    copy(&shared.pool, private..length, to)
}

/// Copies a part of a file to the same place of another one, but for pages that are zero.
fn copy(from: impl AsFd, part: Range<u64>, to: &File) -> io::Result<()> {
    let mut buffer = vec![0; MIB as usize];
    let mut at = part.start;
    while at < part.end {
        let wanted = (part.end - at).min(MIB) as usize;
        let got = rustix::io::pread(&from, &mut buffer[..wanted], at)?;
        if got == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        for (page, place) in buffer[..got].chunks(PAGE).zip((at..).step_by(PAGE)) {
            if page.iter().any(|&byte| byte != 0) {
                to.write_all_at(page, place)?;
            }
        }
        at += got as u64;
    }
    Ok(())
}

/// Removes the oldest dumps until there are at most so many.
fn remove_old(run_dir: &Path, keep: usize) {
    let names = fs::read_dir(run_dir).into_iter().flatten().flatten();
    let names = names.filter_map(|entry| entry.file_name().into_string().ok());
    let mut files: Vec<String> = names.filter(|name| name.starts_with(PREFIX)).collect();
    files.sort_unstable();
    let of = |file: &str| file.split('.').next().unwrap_or_default().to_owned();
    let mut dumps: Vec<String> = files.iter().map(|file| of(file)).collect();
    dumps.dedup();
    let old = &dumps[..dumps.len().saturating_sub(keep)];
    for file in files.iter().filter(|file| old.contains(&of(file))) {
        let _ = fs::remove_file(run_dir.join(file));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pool::sealed;

    #[test]
    fn what_lies_behind_the_length_is_not_copied_and_zeroes_take_no_room() {
        let pool = sealed("pool", 16 * MIB).unwrap();
        pool.write_all_at(b"ours", 2 * MIB + 5000).unwrap();
        pool.write_all_at(b"theirs", 9 * MIB).unwrap();
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("memory");
        let length = 8 * MIB + PAGE as u64;
        let copied = |file: &File| {
            file.set_len(length)?;
            copy(&pool, 0..length, file)
        };
        write(&path, copied).unwrap();
        let saved = fs::read(&path).unwrap();
        assert_eq!(saved.len() as u64, length);
        assert_eq!(&saved[2 * MIB as usize + 5000..][..4], b"ours");
        assert_eq!(saved.iter().filter(|&&byte| byte != 0).count(), 4);
        let about = fs::metadata(&path).unwrap();
        use std::os::unix::fs::{MetadataExt, PermissionsExt};
        assert!(about.blocks() * 512 < MIB, "{} blocks", about.blocks());
        assert_eq!(about.permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn the_oldest_dumps_go_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let times = ["20260101T000000Z", "20260102T000000Z", "20260103T000000Z"];
        for time in times {
            for ending in ["txt", "memory"] {
                fs::write(dir.path().join(format!("dump-{time}.{ending}")), "").unwrap();
            }
        }
        fs::write(dir.path().join("console.log"), "").unwrap();
        remove_old(dir.path(), 2);
        let left = fs::read_dir(dir.path()).unwrap();
        let left = left.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut left: Vec<String> = left.collect();
        left.sort();
        assert_eq!(
            left,
            [
                "console.log",
                "dump-20260102T000000Z.memory",
                "dump-20260102T000000Z.txt",
                "dump-20260103T000000Z.memory",
                "dump-20260103T000000Z.txt"
            ]
        );
        remove_old(dir.path(), 0);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}
