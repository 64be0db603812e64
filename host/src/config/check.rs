//! From what is written to what can be used.

use std::collections::HashMap;
use std::ops::Range;
use std::path::{absolute, Path, PathBuf};

use toml::Spanned;
use vcss::client::MAX_QUEUES;
use vcss::layout::Name;

use super::memory::{self, MIB};
use super::problem::Problems;
use super::raw::{self, Raw};
use super::subchannels::Book;
use super::{Accel, Appliance, Cache, Client, Config, ConfigError, Disk, Export, Source};

const DEFAULT_PRIVATE: u64 = 16 * MIB;
const LEAST_PRIVATE: u64 = 4 * MIB;
const DEFAULT_POLL_US: u32 = 20;
const MAX_POLL_US: u32 = 1_000_000;
const DEFAULT_DISK_QUEUES: u16 = 4;
const MAX_DISKS: usize = 128;
const MAX_CLIENTS: usize = 128;
const MAX_CLIENT_DISKS: usize = 32;
/// Bytes in the path of a unix socket, with the NUL at its end.
const MAX_SOCKET_PATH: usize = 108;

/// Reads and checks the text of a configuration file.
pub fn config(file: &Path, text: &str) -> Result<Config, ConfigError> {
    let mut problems = Problems::new(file, text);
    match toml::from_str::<Raw>(text) {
        Ok(raw) => {
            let config = Check {
                file,
                problems: &mut problems,
            }
            .config(raw);
            problems.conclude(config)
        }
        Err(error) => {
            problems.add(error.span().unwrap_or(0..0), error.message(), "");
            Err(problems.failed())
        }
    }
}

pub(super) struct Check<'a, 'b> {
    file: &'a Path,
    pub(super) problems: &'a mut Problems<'b>,
}

/// A slice with the place where it was written, for the comparison of slices.
struct Slice {
    span: Range<usize>,
    disk: usize,
    sectors: Range<u64>,
    partition: Option<u8>,
    read_only: bool,
    shared: bool,
    client: String,
}

impl Check<'_, '_> {
    fn config(&mut self, raw: Raw) -> Config {
        let appliance = self.appliance(raw.appliance);
        let mut disks = Vec::new();
        let mut known = HashMap::new();
        if raw.disk.len() > MAX_DISKS {
            let help = format!("at most {MAX_DISKS} disks can be given to one appliance");
            self.problems.add(0..0, "too many disks", help);
        }
        for disk in raw.disk {
            self.name(&disk.name, "disk");
            if known
                .insert(disk.name.get_ref().clone(), disks.len())
                .is_some()
            {
                self.twice(&disk.name, "disk");
            }
            disks.push(self.disk(disk));
        }
        let mut book = Book::default();
        let subchannels = self.subchannels(raw.subchannel, disks.len(), &mut book);
        let mut clients = Vec::new();
        let mut slices = Vec::new();
        let mut names = HashMap::new();
        if raw.client.len() > MAX_CLIENTS {
            let help = format!("at most {MAX_CLIENTS} clients can share one appliance");
            self.problems.add(0..0, "too many clients", help);
        }
        for client in raw.client {
            self.name(&client.name, "client");
            self.not_reserved(&client.name);
            if names.insert(client.name.get_ref().clone(), ()).is_some() {
                self.twice(&client.name, "client");
            }
            self.socket_path(&client.name, &appliance.run_dir);
            clients.push(self.client(client, &known, &mut slices, &mut book));
        }
        self.partitions(&slices, &disks);
        self.overlaps(&slices, &disks);
        Config {
            appliance,
            disks,
            subchannels,
            clients,
        }
    }

    fn appliance(&mut self, raw: raw::Appliance) -> Appliance {
        let stem = stem(self.file);
        let private = match &raw.memory {
            Some(memory) => self.memory(memory),
            None => DEFAULT_PRIVATE,
        };
        if let Some(memory) = raw.memory.filter(|_| private < LEAST_PRIVATE) {
            let message = format!("the appliance cannot run in {}", memory.get_ref());
            let help = format!("give it at least {}", memory::show(LEAST_PRIVATE));
            self.problems.add(memory.span(), message, help);
        }
        let poll_us = raw.daemon_poll_us.as_ref();
        if let Some(poll) = poll_us.filter(|poll| *poll.get_ref() > MAX_POLL_US) {
            let help = format!("at most {MAX_POLL_US} (microseconds)");
            self.problems
                .add(poll.span(), "daemon_poll_us is too large", help);
        }
        let run_dir = match &raw.run_dir {
            Some(dir) => PathBuf::from(dir.get_ref()),
            None => default_run_dir(&stem),
        };
        let pool = raw.pool.map_or_else(|| default_pool(&stem), PathBuf::from);
        Appliance {
            image: whole(raw.image.into()),
            private,
            qemu: raw.qemu.unwrap_or_else(|| "qemu-system-s390x".into()),
            accel: match raw.accel {
                raw::Accel::Kvm => Accel::Kvm,
                raw::Accel::Tcg => Accel::Tcg,
                raw::Accel::Auto => best_accel(),
            },
            append: raw.append,
            qemu_args: raw.qemu_args,
            run_dir: whole(run_dir),
            pool: whole(pool),
            poll_us: poll_us.map_or(DEFAULT_POLL_US, |poll| *poll.get_ref()),
        }
    }

    fn disk(&mut self, raw: raw::Disk) -> Disk {
        let name = raw.name.get_ref().clone();
        let queues = self.queues(raw.queues.as_ref(), DEFAULT_DISK_QUEUES);
        let source = match (raw.image, raw.mdev) {
            (Some(image), None) => Source::Image {
                path: whole(image.into_inner().into()),
                format: raw.format.map(Spanned::into_inner),
                cache: raw.cache.map_or_else(Cache::default, Spanned::into_inner),
                aio: raw.aio.map(Spanned::into_inner),
            },
            (None, Some(mdev)) => {
                let spans = [
                    raw.format.map(|key| key.span()),
                    raw.cache.map(|key| key.span()),
                    raw.aio.map(|key| key.span()),
                ];
                for span in spans.into_iter().flatten() {
                    self.problems.add(
                        span,
                        format!("disk \"{name}\" is a mediated device and has no such setting"),
                        "format, cache and aio belong to a disk with image = \"…\"",
                    );
                }
                Source::Mdev(whole(mdev.into_inner().into()))
            }
            (image, _) => {
                let message = match image {
                    Some(_) => format!("disk \"{name}\" has both image and mdev"),
                    None => format!("disk \"{name}\" has neither image nor mdev"),
                };
                self.problems.add(
                    raw.name.span(),
                    message,
                    "give it one: image = \"FILE or block device\", or mdev = \"/sys/bus/mdev/devices/UUID\"",
                );
                Source::Mdev(PathBuf::new())
            }
        };
        Disk {
            name,
            source,
            queues,
        }
    }

    fn client(
        &mut self,
        raw: raw::Client,
        disks: &HashMap<String, usize>,
        slices: &mut Vec<Slice>,
        book: &mut Book,
    ) -> Client {
        let name = raw.name.get_ref().clone();
        let memory = self.memory(&raw.memory);
        let good = memory::next_good(memory);
        if memory != 0 && good != memory {
            self.problems.add(
                raw.memory.span(),
                format!("no s390x VM can have {} of memory", raw.memory.get_ref()),
                format!(
                    "the next size that it can have is \"{}\"",
                    memory::show(good)
                ),
            );
        }
        if raw.disk.len() > MAX_CLIENT_DISKS {
            let help = format!("a client can have at most {MAX_CLIENT_DISKS}");
            let message = format!("client \"{name}\" has too many disks");
            self.problems.add(raw.name.span(), message, help);
        }
        if !raw.disk.is_empty() && !raw.subchannel.is_empty() {
            self.problems.add(
                raw.name.span(),
                format!("client \"{name}\" has both disks and subchannels"),
                "disks are for stock VMs, subchannels for VMs that do channel I/O by themselves: make two clients of it",
            );
        }
        let subchannels = self.given(raw.subchannel, &name, book);
        let mut exports = Vec::new();
        for disk in raw.disk {
            let Some(&index) = disks.get(disk.disk.get_ref()) else {
                self.unknown_disk(&disk.disk, disks);
                continue;
            };
            let (export, slice) = self.export(disk, index, &name);
            exports.push(export);
            slices.push(slice);
        }
        Client {
            name,
            memory,
            exports,
            subchannels,
        }
    }

    fn export(&mut self, raw: raw::ClientDisk, disk: usize, client: &str) -> (Export, Slice) {
        let queues = self.queues(raw.queues.as_ref(), 1);
        if let Some(size) = raw.size.as_ref().filter(|size| *size.get_ref() == 0) {
            let help = "leave size out to reach to the end of the disk";
            self.problems.add(size.span(), "a slice of 0 sectors", help);
        }
        let partition = self.partition(&raw);
        let sectors = raw.size.map(Spanned::into_inner);
        let end = sectors.map_or(Some(u64::MAX), |sectors| raw.start.checked_add(sectors));
        if end.is_none() {
            let help = "start and size are sectors of 512 bytes";
            let message = "the slice ends beyond any disk";
            self.problems.add(raw.disk.span(), message, help);
        }
        let slice = Slice {
            span: raw.disk.span(),
            disk,
            sectors: raw.start..end.unwrap_or(u64::MAX),
            partition,
            read_only: raw.readonly,
            shared: raw.shared,
            client: client.to_owned(),
        };
        let export = Export {
            disk,
            partition,
            start: raw.start,
            sectors,
            read_only: raw.readonly,
            queues,
        };
        (export, slice)
    }

    fn partition(&mut self, raw: &raw::ClientDisk) -> Option<u8> {
        let partition = raw.partition.as_ref()?;
        if *partition.get_ref() == 0 {
            let help = "a volume's partitions are numbered from 1";
            self.problems.add(partition.span(), "partition 0", help);
        }
        if raw.start != 0 || raw.size.is_some() {
            let help = "leave start and size out: the volume says where its partition is";
            let message = "a partition and a slice of it";
            self.problems.add(partition.span(), message, help);
        }
        Some(*partition.get_ref())
    }

    fn partitions(&mut self, slices: &[Slice], disks: &[Disk]) {
        for slice in slices.iter().filter(|slice| slice.partition.is_some()) {
            let disk = disks.get(slice.disk);
            if let Some(disk) = disk.filter(|disk| matches!(disk.source, Source::Image { .. })) {
                self.problems.add(
                    slice.span.clone(),
                    format!("a partition of \"{}\", which is an image", disk.name),
                    "only DASD have partitions here: choose start and size",
                );
            }
        }
    }

    fn overlaps(&mut self, slices: &[Slice], disks: &[Disk]) {
        for (at, second) in slices.iter().enumerate() {
            let clash = slices[..at].iter().find(|first| {
                first.disk == second.disk
                    && first.sectors.start < second.sectors.end
                    && second.sectors.start < first.sectors.end
                    // Where partitions are is not known here: they lie apart from each other, and nowhere else.
                    && (first.partition.is_none() || second.partition.is_none() || first.partition == second.partition)
                    && !(first.read_only && second.read_only)
                    && !(first.shared && second.shared)
            });
            let Some(first) = clash else { continue };
            let disk = disks.get(second.disk).map_or("", |disk| &disk.name);
            let message = if first.client == second.client {
                format!(
                    "client \"{}\" is given the same sectors of disk \"{disk}\" twice",
                    first.client
                )
            } else {
                format!(
                    "clients \"{}\" and \"{}\" are given the same sectors of disk \"{disk}\", and not both read-only",
                    first.client, second.client
                )
            };
            self.problems.add(
                second.span.clone(),
                message,
                "choose start and size so that they do not overlap, or mark both with shared = true if their \
                 file system is made for it",
            );
        }
    }

    pub(super) fn name(&mut self, name: &Spanned<String>, what: &str) {
        let text = name.get_ref();
        let good = |c: char| c.is_ascii_alphanumeric() || "_.-".contains(c);
        let fits = (1..=Name::MAX).contains(&text.len()) && text.chars().all(good);
        if !fits || text.starts_with(['.', '-']) {
            let help = format!(
                "a name has 1 to {} letters, digits, '_', '.' and '-', and begins with none of the last two",
                Name::MAX
            );
            let message = format!("\"{text}\" is no name for a {what}");
            self.problems.add(name.span(), message, help);
        }
    }

    pub(super) fn twice(&mut self, name: &Spanned<String>, what: &str) {
        let message = format!("there are two {what}s named \"{}\"", name.get_ref());
        let help = format!("give each {what} a name of its own");
        self.problems.add(name.span(), message, help);
    }

    fn unknown_disk(&mut self, name: &Spanned<String>, disks: &HashMap<String, usize>) {
        let mut known: Vec<&str> = disks.keys().map(String::as_str).collect();
        known.sort_unstable();
        let help = if known.is_empty() {
            "there is no [[disk]] at all: add one".to_owned()
        } else {
            format!("the disks are: {}", known.join(", "))
        };
        let message = format!("there is no disk named \"{}\"", name.get_ref());
        self.problems.add(name.span(), message, help);
    }

    fn queues(&mut self, queues: Option<&Spanned<u16>>, default: u16) -> u16 {
        let Some(queues) = queues else { return default };
        let number = *queues.get_ref();
        if !(1..=MAX_QUEUES as u16).contains(&number) {
            let help = format!("a disk has 1 to {MAX_QUEUES} queues");
            self.problems
                .add(queues.span(), format!("{number} queues"), help);
            return default;
        }
        number
    }

    fn memory(&mut self, text: &Spanned<String>) -> u64 {
        match memory::parse(text.get_ref()) {
            Some(bytes) if bytes != 0 && bytes.is_multiple_of(MIB) && bytes <= memory::MAX => bytes,
            _ => {
                self.problems.add(
                    text.span(),
                    format!("\"{}\" is no size of memory", text.get_ref()),
                    "write whole MiB or GiB with their unit: \"16M\", \"1G\"",
                );
                0
            }
        }
    }

    fn socket_path(&mut self, client: &Spanned<String>, run_dir: &Path) {
        let longest = format!("{}.{MAX_CLIENT_DISKS}.sock", client.get_ref());
        let length = run_dir.join(longest).as_os_str().len();
        if length >= MAX_SOCKET_PATH {
            self.problems.add(
                client.span(),
                format!(
                    "the sockets of client \"{}\" would have too long a path",
                    client.get_ref()
                ),
                format!(
                    "set run_dir in [appliance] to something shorter than {}",
                    run_dir.display()
                ),
            );
        }
    }
}

/// The configuration file's name without its ending, fit to be part of other names.
fn stem(file: &Path) -> String {
    let stem = file.file_stem().unwrap_or_default().to_string_lossy();
    let fit = |c: char| {
        if c.is_ascii_alphanumeric() || "_.-".contains(c) {
            c
        } else {
            '_'
        }
    };
    stem.chars().map(fit).collect()
}

fn default_run_dir(stem: &str) -> PathBuf {
    let uid = rustix::process::getuid();
    if uid.is_root() {
        return Path::new("/run/stellwerk").join(stem);
    }
    match std::env::var_os("XDG_RUNTIME_DIR") {
        Some(dir) if !dir.is_empty() => Path::new(&dir).join("stellwerk").join(stem),
        _ => PathBuf::from(format!("/run/user/{}/stellwerk/{stem}", uid.as_raw())),
    }
}

fn default_pool(stem: &str) -> PathBuf {
    let uid = rustix::process::getuid().as_raw();
    PathBuf::from(format!("/dev/shm/stellwerk-{stem}-{uid}"))
}

pub(super) fn whole(path: PathBuf) -> PathBuf {
    absolute(&path).unwrap_or(path)
}

fn best_accel() -> Accel {
    use rustix::fs::{access, Access};
    let usable = access("/dev/kvm", Access::READ_OK | Access::WRITE_OK).is_ok();
    if cfg!(target_arch = "s390x") && usable {
        Accel::Kvm
    } else {
        Accel::Tcg
    }
}
