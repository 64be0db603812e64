//! Whether disks, and what clients are given of them, begin and end where they can.

use std::fs::{self, File};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::OFlags;

use super::Look;
use crate::config::{Config, Export, Format, Part, SECTOR};
use crate::vm::Backing;

/// What QEMU asks for when a file can be read at any byte although uncached.
const SAFE_ALIGNMENT: usize = 4096;

/// What is served already when another configuration is looked at.
#[derive(Clone, Copy, Debug)]
pub struct Served<'a> {
    pub config: &'a Config,
    pub backings: &'a [Option<Backing>],
}

impl Served<'_> {
    /// What is known of a disk of the other configuration, if it is served.
    pub(super) fn disk(&self, new: &Config, number: usize) -> Option<Option<Backing>> {
        let before = self.config.disk_number(&new.disks[number].name)?;
        self.config.same_disk(before, new)?;
        self.backings.get(before).copied()
    }

    /// Whether a client is given the same of the same disk by both.
    fn gives(&self, new: &Config, part: Part) -> bool {
        let client = &new.clients[part.client];
        let place = |config: &Config, export: &Export| {
            let disk = config.disks[export.disk].name.clone();
            (disk, export.start, export.sectors)
        };
        let before = self.config.client(&client.name);
        let before = before.and_then(|before| before.exports.get(part.number));
        let after = client.exports.get(part.number);
        before.map(|it| place(self.config, it)) == after.map(|it| place(new, it))
    }
}

impl Look<'_> {
    /// Whether the disk and its slices consist of whole blocks.
    pub(super) fn blocks(&mut self, index: usize, path: &Path, backing: &Backing) {
        if backing.device {
            let block = (self.block_of)(path);
            return self.slices(index, block, |_| true);
        }
        let Ok(file) = File::open(path) else { return };
        let name = &self.config.disks[index].name;
        if backing.format != Format::Raw || backing.read_only || !backing.direct {
            return;
        }
        let alignment = alignment(path);
        let length = file.metadata().map_or(0, |metadata| metadata.len());
        if !length.is_multiple_of(alignment) {
            let path = path.display();
            let message = format!("disk \"{name}\": {path} has {length} bytes, which is no multiple of the {alignment} that its file system reads and writes at a time");
            let whole = length.next_multiple_of(alignment);
            let help =
                format!("lengthen it: truncate -s {whole} FILE; or set cache = \"writeback\"");
            self.add(self.config.disks[index].place, message, help);
        }
    }

    /// Whether what is given of a disk that is served already, and was not given before, fits on it.
    pub(super) fn slices_beside(
        &mut self,
        served: &Served<'_>,
        index: usize,
        backing: Option<Backing>,
    ) {
        let config = self.config;
        let path = config.disks[index].source.path();
        let Some(backing) = backing.filter(|_| !self.silent.contains(&path)) else {
            return;
        };
        let is_new = |part| !served.gives(config, part);
        if backing.device {
            let block = (self.block_of)(path);
            self.slices(index, block, is_new);
        } else if backing.format == Format::Raw {
            // One that is not there at the moment has its own trouble.
            let length = fs::metadata(path).map_or(u64::MAX, |metadata| metadata.len());
            self.ends(index, length / SECTOR, is_new);
        }
    }

    /// Whether slices of a disk end where it does, or before.
    fn ends(&mut self, index: usize, sectors: u64, is_meant: impl Fn(Part) -> bool) {
        let config = self.config;
        for (part, export) in config.exports() {
            let end = export.start.saturating_add(export.sectors.max(1));
            if export.disk == index && is_meant(part) && end > sectors {
                let (name, client) = (&config.disks[index].name, &config.clients[part.client].name);
                let message = format!(
                    "the slice of client \"{client}\" ends beyond disk \"{name}\", which has {sectors} sectors"
                );
                let help = "choose another slice, or make the image longer first";
                self.add(export.place, message, help);
            }
        }
    }

    /// Whether the slices of a disk begin and end where its blocks do.
    pub(super) fn slices(&mut self, index: usize, block: u64, is_meant: impl Fn(Part) -> bool) {
        let config = self.config;
        for (part, export) in config.exports() {
            if export.disk == index && is_meant(part) && !is_whole(export, block) {
                let message = format!(
                    "the slice of client \"{}\" does not begin and end at a block of disk \"{}\", which has {block} bytes",
                    config.clients[part.client].name, config.disks[index].name
                );
                let help = format!("choose multiples of {} for start and size", block / SECTOR);
                self.add(export.place, message, help);
            }
        }
    }
}

/// How many bytes a block of a device has.
pub(super) fn block_of(path: &Path) -> u64 {
    let block = File::open(path)
        .ok()
        .and_then(|file| rustix::fs::ioctl_blksszget(&file).ok());
    block.map_or(SECTOR, u64::from)
}

const fn is_whole(export: &Export, block: u64) -> bool {
    let per_block = block / SECTOR;
    let whole = export.start.is_multiple_of(per_block);
    per_block <= 1 || whole && export.sectors.is_multiple_of(per_block)
}

/// A buffer at an address that suits all devices.
#[repr(align(4096))]
struct Aligned([u8; SAFE_ALIGNMENT]);

/// The multiple in which an uncached file is read and written, as QEMU finds it out: by trying.
fn alignment(path: &Path) -> u64 {
    let direct = File::options()
        .read(true)
        .custom_flags(OFlags::DIRECT.bits() as i32)
        .open(path);
    let Ok(file) = direct else { return SECTOR };
    let mut buffer = Box::new(Aligned([0; SAFE_ALIGNMENT]));
    let tried = [1, 512, 1024, 2048, SAFE_ALIGNMENT];
    let found = tried
        .into_iter()
        .find(|&length| file.read_at(&mut buffer.0[..length], 0).is_ok());
    match found {
        Some(1) | None => SAFE_ALIGNMENT as u64,
        Some(length) => length as u64,
    }
}
