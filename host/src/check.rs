//! What can be known of a configuration before anything is started, by looking at what it names.
//!
//! # Purpose
//!
//! [`look`] comes before `stellwerk up` starts anything, and is all that `stellwerk check` does. It looks at the image, the
//! disks' files and devices, and QEMU's version. All that is wrong is reported at once, each with its
//! place in the configuration and what to do. That includes a file whose file system does not answer: each file is looked at by a
//! process of its own first.
//!
//! # Limits
//!
//! What only a running appliance can know, as the label of a DASD, is found when the disk is opened.

mod slices;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::{FileExt, FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::config::{Config, ConfigError, Format, Place, Problem, Source, SubchannelSource};
use crate::sys::Process;
use crate::vm::look::NO_ANSWER;
use crate::vm::looks::which_answer;
use crate::vm::{self, no_image, Backing};

pub use slices::Served;

/// The first QEMU that runs the appliance, and the first that knows a client's arguments.
const QEMU_FOR_APPLIANCE: (u32, u32) = (8, 1);
const QEMU_FOR_CLIENTS: (u32, u32) = (9, 2);
/// How long files, and QEMU's version, are waited for: a disk may have to spin up.
const PATIENCE: Duration = Duration::from_secs(10);
/// What to do about [`NO_ANSWER`].
const HELP_SILENT: &str = "look whether its server or device is there; this was waited for: 10 s";

/// What was found of the disks' images, beside the configuration's disks.
pub type Backings = Vec<Option<Backing>>;

/// Looks at everything that the configuration names.
pub fn look(config: &Config) -> Result<Backings, ConfigError> {
    look_within(config, None, |paths| which_answer(paths, PATIENCE))
}

/// The same of a configuration that follows the one by which clients are served: what is served already is not looked at again. Whether
/// something is wrong with that shows there.
pub fn look_at_new(config: &Config, served: &Served<'_>) -> Result<Backings, ConfigError> {
    look_within(config, Some(served), |paths| which_answer(paths, PATIENCE))
}

/// The same; `which_answer` says for each file whether its file system answers.
fn look_within(
    config: &Config,
    served: Option<&Served<'_>>,
    which_answer: impl FnOnce(&[&Path]) -> Vec<bool>,
) -> Result<Backings, ConfigError> {
    let image = config.appliance.image.as_path();
    let disks = config.disks.iter().map(|disk| disk.source.path());
    let paths: Vec<&Path> = std::iter::once(image).chain(disks).collect();
    let answers = which_answer(&paths);
    let silent = paths.into_iter().zip(answers);
    let mut look = Look {
        config,
        silent: silent
            .filter(|(_, answers)| !answers)
            .map(|it| it.0)
            .collect(),
        block_of: slices::block_of,
        found: Vec::new(),
    };
    look.image();
    look.qemu();
    for subchannel in &config.subchannels {
        if let SubchannelSource::Mdev(path) = &subchannel.source {
            let what = format!("subchannel \"{}\"", subchannel.name);
            if let Err(error) = vm::check_mdev(&what, path) {
                look.add_error(subchannel.place, &error);
            }
        }
    }
    let backings = (0..config.disks.len())
        .map(|disk| {
            let Some((served, backing)) = served.and_then(|it| Some((it, it.disk(config, disk)?)))
            else {
                return look.disk(disk);
            };
            look.slices_beside(served, disk, backing);
            backing
        })
        .collect();
    look.one_disk_each();
    look.run_dir();
    if look.found.is_empty() {
        return Ok(backings);
    }
    look.found.sort_by_key(|problem| problem.place);
    Err(ConfigError::Wrong(look.found))
}

struct Look<'a> {
    config: &'a Config,
    /// Files that are not to be touched: whoever does may wait for ever.
    silent: Vec<&'a Path>,
    /// How many bytes a block of a device has.
    block_of: fn(&Path) -> u64,
    found: Vec<Problem>,
}

impl Look<'_> {
    fn add(&mut self, place: Place, message: impl Into<String>, help: impl Into<String>) {
        self.found.push(Problem {
            file: self.config.places.file.clone(),
            place,
            message: message.into(),
            help: help.into(),
        });
    }

    fn image(&mut self) {
        let path = &self.config.appliance.image;
        let at = self.config.places.image;
        if self.silent.contains(&path.as_path()) {
            let message = format!("the appliance's image {}: {NO_ANSWER}", path.display());
            return self.add(at, message, HELP_SILENT);
        }
        let mut head = Vec::new();
        let read = open_file(path).and_then(|file| file.take(20).read_to_end(&mut head));
        let path = path.display();
        if let Err(error) = read {
            let message = format!("the appliance's image {path} cannot be read: {error}");
            let build = "build it with scripts/build.sh image, or name another one";
            self.add(at, message, format!("{build}; {}", relative()));
        } else if let Some(wrong) = no_image(&head) {
            let help = "image is the file stellwerk.elf that scripts/build.sh image makes";
            self.add(at, format!("{path} {wrong}"), help);
        }
    }

    fn qemu(&mut self) {
        let program = &self.config.appliance.qemu;
        let at = self.config.places.qemu;
        let wrong = match qemu_version(program) {
            Err(error) => format!("cannot start {program}: {error}"),
            Ok(None) => {
                return tracing::warn!(%program, "does not say which version of QEMU it is");
            }
            Ok(Some(version)) if version < QEMU_FOR_APPLIANCE => {
                let needed = dotted(QEMU_FOR_APPLIANCE);
                let is = dotted(version);
                format!("{program} is QEMU {is}, and the appliance needs {needed} or newer")
            }
            Ok(Some(_)) if self.config.clients.is_empty() => return,
            Ok(Some(version)) => return warn_if_old(program, version),
        };
        let install = "install QEMU for s390x, or set qemu = \"…\" in [appliance]";
        self.add(at, wrong, install);
    }

    /// An error whose words say what to do behind a semicolon.
    fn add_error(&mut self, place: Place, error: &anyhow::Error) {
        let text = format!("{error:#}");
        let (message, help) = text.split_once("; ").unwrap_or((&text, ""));
        self.add(place, message, help);
    }

    fn disk(&mut self, index: usize) -> Option<Backing> {
        let disk = &self.config.disks[index];
        let before = self.found.len();
        let path = disk.source.path();
        if self.silent.contains(&path) {
            let message = format!("disk \"{}\": {}: {NO_ANSWER}", disk.name, path.display());
            self.add(disk.place, message, HELP_SILENT);
            return None;
        }
        if let Source::Image { path, format, .. } = &disk.source {
            self.file(index, path, *format);
            if self.found.len() != before {
                return None;
            }
        }
        let found = Backing::find(self.config, index);
        let backing = found.unwrap_or_else(|error| {
            self.add_error(disk.place, &error);
            None
        });
        if let Some(backing) = &backing {
            self.blocks(index, path, backing);
        }
        backing
    }

    /// Whether the file is there and what it is said to be.
    fn file(&mut self, index: usize, path: &Path, format: Option<Format>) {
        let name = &self.config.disks[index].name;
        let what = format!("disk \"{name}\": {}", path.display());
        let place = self.config.disks[index].place;
        let is = match fs::metadata(path).map(|metadata| metadata.file_type()) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let make = "make it as large as the disk is to be, as by truncate -s 1G FILE";
                let help = format!("{make}; {}", relative());
                return self.add(place, format!("{what} is not there"), help);
            }
            Err(error) => return self.add(place, format!("{what}: {error}"), relative()),
            Ok(kind) if kind.is_file() || kind.is_block_device() => None,
            Ok(kind) if kind.is_dir() => Some("a directory"),
            // A pipe would hold up whoever opens it.
            Ok(_) => Some("neither a file nor a block device"),
        };
        if let Some(is) = is {
            let help = "name an image file or a block device";
            return self.add(place, format!("{what} is {is}"), help);
        }
        let mut magic = [0; 4];
        let read = File::open(path).and_then(|file| file.read_exact_at(&mut magic, 0));
        if format == Some(Format::Qcow2) && magic != vm::QCOW2_MAGIC {
            let help = match read {
                Ok(()) => "write format = \"raw\" if it holds the sectors themselves",
                Err(_) => "make it with qemu-img create -f qcow2 FILE 1G",
            };
            self.add(place, format!("{what} is no qcow2 image"), help);
        }
    }

    /// Whether the run directory, if it is there, can be one.
    fn run_dir(&mut self) {
        let dir = &self.config.appliance.run_dir;
        let is_wrong = match fs::metadata(dir) {
            Ok(metadata) => !metadata.is_dir(),
            Err(error) => error.kind() == io::ErrorKind::NotADirectory,
        };
        if is_wrong {
            let message = format!("run directory {} is no directory", dir.display());
            let help =
                "set run_dir = \"…\" in [appliance] to a directory, or to a name that is free";
            self.add(self.config.places.run_dir, message, help);
        }
    }

    /// Whether no two disks are the same file or device.
    fn one_disk_each(&mut self) {
        let mut seen: HashMap<(u64, u64), usize> = HashMap::new();
        for (index, disk) in self.config.disks.iter().enumerate() {
            let path = Some(disk.source.path()).filter(|path| !self.silent.contains(path));
            let identity = path.and_then(identity);
            let Some(first) = identity.and_then(|identity| seen.insert(identity, index)) else {
                continue;
            };
            let (name, first) = (&disk.name, &self.config.disks[first].name);
            let message = format!("disk \"{name}\" is the same file or device as disk \"{first}\"");
            let help =
                "make one [[disk]] of them, and give slices of it to the clients (start, size)";
            self.add(disk.place, message, help);
        }
    }
}

/// Opens what is a file. A pipe would hold up whoever opens it.
fn open_file(path: &Path) -> io::Result<File> {
    if !fs::metadata(path)?.is_file() {
        return Err(io::Error::other("it is no file"));
    }
    File::open(path)
}

/// What a file or device is, by whatever name.
fn identity(path: &Path) -> Option<(u64, u64)> {
    let metadata = fs::metadata(path).ok()?;
    // A block device is known by its number, of which there can be several nodes.
    Some(match metadata.rdev() {
        0 => (metadata.dev(), metadata.ino()),
        device => (u64::MAX, device),
    })
}

/// Warns if the configured QEMU is not right for a client. Which one a client will have is not known here; often it is that one.
pub fn warn_of_old_qemu(config: &Config) {
    let program = &config.appliance.qemu;
    if let Ok(Some(version)) = qemu_version(program) {
        warn_if_old(program, version);
    }
}

fn warn_if_old(program: &str, version: (u32, u32)) {
    if version < QEMU_FOR_CLIENTS {
        tracing::warn!(
            "{program} is QEMU {}: clients need {} or newer; an older one does not know reconnect-ms",
            dotted(version),
            dotted(QEMU_FOR_CLIENTS)
        );
    }
}

/// The version of a QEMU program, if it says so.
fn qemu_version(program: &str) -> io::Result<Option<(u32, u32)>> {
    let mut command = Command::new(program);
    command
        .arg("--version")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    let mut process = Process::start(&mut command)?;
    if !process.ends_within(PATIENCE) {
        let _ = process.child.kill();
        let wrong = format!("--version takes longer than {} s", PATIENCE.as_secs());
        return Err(io::Error::new(io::ErrorKind::TimedOut, wrong));
    }
    let output = process.child.wait_with_output()?;
    Ok(version(&String::from_utf8_lossy(&output.stdout)))
}

/// The version in what QEMU prints: `QEMU emulator version 10.0.2 (Debian …)`.
fn version(text: &str) -> Option<(u32, u32)> {
    let (_, rest) = text.lines().next()?.split_once("version ")?;
    let mut numbers = rest.split(|c: char| !c.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

fn dotted((major, minor): (u32, u32)) -> String {
    format!("{major}.{minor}")
}

fn relative() -> String {
    let here = std::env::current_dir().unwrap_or_else(|_| PathBuf::from("."));
    format!(
        "a relative path begins at the current directory, {}",
        here.display()
    )
}
