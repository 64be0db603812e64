//! What QEMU has to be told about a disk's image.

use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::{FileExt, FileTypeExt, OpenOptionsExt};
use std::path::Path;

use anyhow::{bail, Context, Result};
use rustix::fs::OFlags;
use serde::{Deserialize, Serialize};

use super::look::Order;
use crate::config::{Aio, Cache, Config, Format, Source, SECTOR};

pub const QCOW2_MAGIC: [u8; 4] = *b"QFI\xFB";
/// As much of a qcow2 header as is looked at.
const QCOW2_HEADER: usize = 80;
/// The low byte of the version.
const VERSION: usize = 7;
const BACKING_FILE: Range<usize> = 8..16;
/// The byte of the incompatible features that holds [`EXTERNAL_DATA_FILE`].
const INCOMPATIBLE_FEATURES: usize = 79;
const EXTERNAL_DATA_FILE: u8 = 1 << 2;

/// A disk's image as it was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Backing {
    pub device: bool,
    pub format: Format,
    /// Whether the page cache is passed by.
    pub direct: bool,
    pub aio: Aio,
    /// Whether nobody writes.
    pub read_only: bool,
}

impl Backing {
    /// How it is looked at again before QEMU is told to open it.
    pub fn order(&self, path: &Path) -> Order {
        Order {
            path: path.to_owned(),
            write: !self.read_only,
            direct: self.direct,
        }
    }

    /// Looks at the image of the disk with this index; `None` for a mediated device.
    pub fn find(config: &Config, index: usize) -> Result<Option<Self>> {
        let disk = &config.disks[index];
        match &disk.source {
            Source::Image {
                path,
                format,
                cache,
                aio,
            } => image(config, index, path, *format, *cache, *aio)
                .with_context(|| format!("disk \"{}\" ({})", disk.name, path.display()))
                .map(Some),
            Source::Mdev(path) => {
                check_mdev(&format!("disk \"{}\"", disk.name), path)?;
                Ok(None)
            }
        }
    }
}

/// Looks whether a mediated device is there.
pub fn check_mdev(whose: &str, path: &Path) -> Result<()> {
    if !path.is_dir() {
        bail!(
            "{whose}: there is no mediated device {}; create it with mdevctl",
            path.display()
        );
    }
    Ok(())
}

fn image(
    config: &Config,
    index: usize,
    path: &Path,
    format: Option<Format>,
    cache: Cache,
    aio: Option<Aio>,
) -> Result<Backing> {
    let read_only = config.is_read_only(index);
    let file = File::options().read(true).write(!read_only).open(path)?;
    let kind = file.metadata()?.file_type();
    let format = match format {
        Some(format) => format,
        None => detect(&file)?,
    };
    if kind.is_file() && format == Format::Raw {
        check_length(config, index, file.metadata()?.len())?;
    }
    let direct = cache == Cache::None && allows_direct(path);
    if cache == Cache::None && !direct {
        tracing::warn!(
            disk = config.disks[index].name,
            "its file system does not allow uncached access: cached"
        );
    }
    let aio = match aio {
        Some(Aio::Native) if !direct => {
            bail!("aio = \"native\" needs uncached access, which is not to be had")
        }
        Some(aio) => aio,
        None if direct => Aio::Native,
        None => Aio::Threads,
    };
    Ok(Backing {
        device: kind.is_block_device(),
        format,
        direct,
        aio,
        read_only,
    })
}

/// Finds the format by its magic number.
///
/// A guest can write such a number, and a whole header, to the start of its raw disk. So a header that
/// names other files counts only when the configuration says that it may.
fn detect(file: &File) -> Result<Format> {
    let mut header = [0; QCOW2_HEADER];
    // A shorter file leaves zeros.
    file.read_at(&mut header, 0)?;
    if !header.starts_with(&QCOW2_MAGIC) {
        return Ok(Format::Raw);
    }
    let version_3 = header[VERSION] >= 3;
    let data_file = version_3 && header[INCOMPATIBLE_FEATURES] & EXTERNAL_DATA_FILE != 0;
    if header[BACKING_FILE].iter().any(|&byte| byte != 0) || data_file {
        bail!("its qcow2 header names another file; write format = \"qcow2\" if that is meant to be, or \"raw\"");
    }
    Ok(Format::Qcow2)
}

fn check_length(config: &Config, index: usize, bytes: u64) -> Result<()> {
    let sectors = bytes / SECTOR;
    if sectors == 0 {
        bail!("is empty; make it as large as the disk is to be: truncate -s 1G FILE");
    }
    for (part, export) in config.exports().filter(|(_, it)| it.disk == index) {
        let end = export.start.checked_add(export.sectors.max(1));
        if end.is_none_or(|end| end > sectors) {
            bail!(
                "has {sectors} sectors; the slice of client \"{}\" (start = {}, size = {}) ends beyond them",
                config.clients[part.client].name,
                export.start,
                match export.sectors {
                    0 => "to the end".into(),
                    sectors => sectors.to_string(),
                },
            );
        }
    }
    Ok(())
}

fn allows_direct(path: &Path) -> bool {
    let flags = OFlags::DIRECT.bits() as i32;
    File::options()
        .read(true)
        .custom_flags(flags)
        .open(path)
        .is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn config(dir: &Path, disk: &str, client: &str) -> Config {
        let file = dir.join("c.toml");
        let text = format!(
            "[appliance]\nimage = \"i\"\n[[disk]]\nname = \"d\"\nimage = \"{}\"\n{disk}\n\
             [[client]]\nname = \"c\"\nmemory = \"64M\"\n[[client.disk]]\ndisk = \"d\"\n{client}\n",
            dir.join("image").display()
        );
        std::fs::write(&file, text).unwrap();
        Config::load(&file).unwrap()
    }

    fn fixture(content: &[u8], length: u64) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        let mut image = File::create(dir.path().join("image")).unwrap();
        image.write_all(content).unwrap();
        image.set_len(length).unwrap();
        dir
    }

    #[test]
    fn the_format_is_found_by_its_magic_number() {
        let raw = fixture(b"", 4096);
        let found = Backing::find(&config(raw.path(), "", ""), 0)
            .unwrap()
            .unwrap();
        assert_eq!((found.format, found.read_only), (Format::Raw, false));
        let qcow2 = fixture(b"QFI\xFB", 4096);
        let found = Backing::find(&config(qcow2.path(), "", ""), 0)
            .unwrap()
            .unwrap();
        assert_eq!(found.format, Format::Qcow2);
        let header = *b"QFI\xFB\0\0\0\x03\0\0\0\0\0\0\x02\0";
        let backed = fixture(&header, 4096);
        let refused = Backing::find(&config(backed.path(), "", ""), 0).unwrap_err();
        assert!(
            format!("{refused:#}").contains("another file"),
            "{refused:#}"
        );
        let allowed = config(backed.path(), "format = \"qcow2\"", "");
        assert!(Backing::find(&allowed, 0).is_ok());
        let forced = config(qcow2.path(), "format = \"raw\"", "");
        assert_eq!(
            Backing::find(&forced, 0).unwrap().unwrap().format,
            Format::Raw
        );
    }

    #[test]
    fn a_disk_that_nobody_writes_is_opened_read_only() {
        let dir = fixture(b"", 4096);
        let found = Backing::find(&config(dir.path(), "", "readonly = true"), 0).unwrap();
        assert!(found.unwrap().read_only);
    }

    #[test]
    fn a_cached_image_uses_threads() {
        let dir = fixture(b"", 4096);
        let found = Backing::find(&config(dir.path(), "cache = \"writeback\"", ""), 0)
            .unwrap()
            .unwrap();
        assert_eq!((found.direct, found.aio), (false, Aio::Threads));
        let native = config(dir.path(), "cache = \"writeback\"\naio = \"native\"", "");
        assert!(Backing::find(&native, 0).is_err());
    }

    #[test]
    fn a_slice_beyond_the_end_is_refused_and_so_is_an_empty_or_missing_image() {
        let dir = fixture(b"", 4096);
        assert!(Backing::find(&config(dir.path(), "", "start = 7"), 0).is_ok());
        assert!(Backing::find(&config(dir.path(), "", "start = 8"), 0).is_err());
        assert!(Backing::find(&config(dir.path(), "", "start = 1\nsize = 8"), 0).is_err());
        let config = config(fixture(b"", 0).path(), "", "");
        assert!(Backing::find(&config, 0).is_err(), "the directory is gone");
        let empty = fixture(b"", 0);
        let text = format!(
            "{:#}",
            Backing::find(&self::config(empty.path(), "", ""), 0).unwrap_err()
        );
        assert!(text.contains("truncate"), "{text}");
    }
}
