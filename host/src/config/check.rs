//! From what is written to what can be used.

use std::collections::HashMap;
use std::ops::Range;
use std::os::unix::ffi::OsStrExt;
use std::path::{absolute, Path, PathBuf};

use toml::Spanned;
use vcss::client::MAX_QUEUES;
use vcss::layout::Name;

use super::memory::{self, MIB};
use super::need::Need;
use super::problem::{nearest, Problems};
use super::raw::{self, Raw};
use super::read::read;
use super::slices::Slice;
use super::subchannels::Registry;
use super::{Accel, Appliance, Cache, Client, Config, ConfigError, Disk, Places, Source};

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
    let Some(raw) = read(&mut problems) else {
        return Err(problems.failed());
    };
    let check = Check {
        file,
        problems: &mut problems,
    };
    let config = check.config(raw);
    problems.conclude(config)
}

pub(super) struct Check<'a, 'b> {
    file: &'a Path,
    pub(super) problems: &'a mut Problems<'b>,
}

impl Check<'_, '_> {
    fn config(mut self, raw: Raw) -> Config {
        let mut places = Places {
            file: self.file.to_owned(),
            image: self.problems.place(&raw.appliance.image.span()),
            qemu: {
                let named = raw.appliance.qemu.as_ref();
                let span = named.unwrap_or(&raw.appliance.image).span();
                self.problems.place(&span)
            },
            pool: {
                let named = raw.appliance.pool.as_ref();
                let span = named.unwrap_or(&raw.appliance.image).span();
                self.problems.place(&span)
            },
            run_dir: {
                let named = raw.appliance.run_dir.as_ref();
                let span = named.unwrap_or(&raw.appliance.image).span();
                self.problems.place(&span)
            },
            ..Places::default()
        };
        let memory = raw.appliance.memory.clone();
        let mut appliance = self.appliance(raw.appliance);
        let mut disks = Vec::new();
        let mut known = HashMap::new();
        if let Some(first) = raw.disk.get(MAX_DISKS) {
            let help = format!("at most {MAX_DISKS} disks can be given to one appliance");
            self.problems.add(first.name.span(), "too many disks", help);
        }
        for disk in raw.disk {
            self.name(&disk.name, "disk");
            if known
                .insert(disk.name.get_ref().clone(), disks.len())
                .is_some()
            {
                self.twice(&disk.name, "disk");
            }
            let (disk, span) = self.disk(disk);
            places.disks.push(self.problems.place(&span));
            disks.push(disk);
        }
        let mut registry = Registry::default();
        let subchannels = self.subchannels(raw.subchannel, disks.len(), &mut registry, &mut places);
        let mut clients = Vec::new();
        let mut slices = Vec::new();
        let mut names = HashMap::new();
        if let Some(first) = raw.client.get(MAX_CLIENTS) {
            let help = format!("at most {MAX_CLIENTS} clients can share one appliance");
            self.problems
                .add(first.name.span(), "too many clients", help);
        }
        for client in raw.client {
            self.name(&client.name, "client");
            self.not_reserved(&client.name);
            if names.insert(client.name.get_ref().clone(), ()).is_some() {
                self.twice(&client.name, "client");
            }
            self.socket_path(&client.name, &appliance.run_dir);
            let first = slices.len();
            clients.push(self.client(client, &known, &mut slices, &mut registry));
            let exports = slices[first..].iter();
            let exports = exports.map(|slice: &Slice| self.problems.place(&slice.place));
            places.exports.push(exports.collect());
        }
        self.partitions(&slices, &disks);
        self.overlaps(&slices, &disks);
        self.serials(&clients, &slices, &disks);
        let need = Need::of(&disks, &subchannels, &clients);
        match memory {
            Some(memory) => self.enough(&memory, appliance.private, need),
            None => appliance.private = need.default_size(),
        }
        Config {
            appliance,
            disks,
            subchannels,
            clients,
            places,
        }
    }

    /// Whether the appliance's memory is enough for what it is given to do.
    fn enough(&mut self, memory: &Spanned<String>, private: u64, need: Need) {
        // What is no size, or too small for anything, was found before.
        if (LEAST_PRIVATE..need.size()).contains(&private) {
            self.problems.add(
                memory.span(),
                format!("the appliance has {}, and needs {} for {need}", memory::show(private), memory::show(need.size())),
                format!(
                    "set memory = \"{}\" or more, or leave it out: the default grows with the configuration",
                    memory::show(need.size())
                ),
            );
        }
    }

    fn appliance(&mut self, raw: raw::Appliance) -> Appliance {
        let stem = instance(self.file);
        let private = raw.memory.as_ref().map_or(0, |memory| self.memory(memory));
        if let Some(memory) = raw.memory.filter(|_| (1..LEAST_PRIVATE).contains(&private)) {
            let message = format!("the appliance cannot run in {}", memory.get_ref());
            let help = format!("give it at least {}", memory::show(LEAST_PRIVATE));
            self.problems.add(memory.span(), message, help);
        }
        let poll_us = raw.daemon_poll_us.as_ref();
        if let Some(poll) = poll_us.filter(|poll| *poll.get_ref() > u64::from(MAX_POLL_US)) {
            let help = format!("at most {MAX_POLL_US} (microseconds)");
            self.problems
                .add(poll.span(), "daemon_poll_us is too large", help);
        }
        let run_dir = match &raw.run_dir {
            Some(dir) => PathBuf::from(dir.get_ref()),
            None => default_run_dir(&stem),
        };
        let pool = match &raw.pool {
            Some(pool) => PathBuf::from(pool.get_ref()),
            None => default_pool(&stem),
        };
        Appliance {
            image: whole(raw.image.get_ref().into()),
            private,
            qemu: raw
                .qemu
                .map_or_else(|| "qemu-system-s390x".into(), Spanned::into_inner),
            accel: match raw.accel {
                raw::Accel::Kvm => Accel::Kvm,
                raw::Accel::Tcg => Accel::Tcg,
                raw::Accel::Auto => best_accel(),
            },
            append: raw.append,
            qemu_args: raw.qemu_args,
            run_dir: whole(run_dir),
            pool: whole(pool),
            poll_us: poll_us.map_or(DEFAULT_POLL_US, |poll| *poll.get_ref() as u32),
        }
    }

    /// The disk, and where its file or device is named.
    fn disk(&mut self, raw: raw::Disk) -> (Disk, Range<usize>) {
        let name = raw.name.get_ref().clone();
        let named = raw.image.as_ref().or(raw.mdev.as_ref());
        let span = named.unwrap_or(&raw.name).span();
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
            (None, None) if raw.doubtful => Source::Mdev(PathBuf::new()),
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
        let disk = Disk {
            name,
            source,
            queues,
        };
        (disk, span)
    }

    fn client(
        &mut self,
        raw: raw::Client,
        disks: &HashMap<String, usize>,
        slices: &mut Vec<Slice>,
        registry: &mut Registry,
    ) -> Client {
        let name = raw.name.get_ref().clone();
        let memory = raw.memory.as_ref().map_or(0, |memory| self.memory(memory));
        let good = memory::next_good(memory);
        if let Some(text) = raw.memory.filter(|_| memory != 0 && good != memory) {
            self.problems.add(
                text.span(),
                format!("no s390x VM can have {} of memory", text.get_ref()),
                format!(
                    "the next size that it can have is \"{}\"",
                    memory::show(good)
                ),
            );
        }
        if raw.disk.is_empty() && raw.subchannel.is_empty() {
            self.problems.add(
                raw.name.span(),
                format!("client \"{name}\" has neither a disk nor a subchannel"),
                "give it one, below it: [[client.disk]], and disk = \"NAME\" of a [[disk]]",
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
        let subchannels = self.given(raw.subchannel, &name, registry);
        let mut exports = Vec::new();
        for disk in raw.disk {
            // Without a name of a disk, it has been reported.
            let Some(wanted) = &disk.disk else { continue };
            let Some(&index) = disks.get(wanted.get_ref()) else {
                self.unknown_disk(wanted, disks);
                continue;
            };
            let span = wanted.span();
            let (export, slice) = self.export(disk, span, index, &name);
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

    pub(super) fn name(&mut self, name: &Spanned<String>, what: &str) {
        let text = name.get_ref();
        let good = |c: char| c.is_ascii_alphanumeric() || "_.-".contains(c);
        if text.is_empty() {
            return; // It has been reported.
        }
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
        if name.get_ref().is_empty() {
            return;
        }
        let message = format!("there are two {what}s named \"{}\"", name.get_ref());
        let help = format!("give each {what} a name of its own");
        self.problems.add(name.span(), message, help);
    }

    fn unknown_disk(&mut self, name: &Spanned<String>, disks: &HashMap<String, usize>) {
        if disks.contains_key("") {
            return; // It may be the one whose name is missing.
        }
        let help = known_names(name.get_ref(), disks.keys(), "disk");
        let message = format!("there is no disk named \"{}\"", name.get_ref());
        self.problems.add(name.span(), message, help);
    }

    pub(super) fn queues(&mut self, queues: Option<&Spanned<u64>>, default: u16) -> u16 {
        let Some(queues) = queues else { return default };
        let number = *queues.get_ref();
        if !(1..=MAX_QUEUES as u64).contains(&number) {
            let help = format!("a disk has 1 to {MAX_QUEUES} queues");
            self.problems
                .add(queues.span(), format!("{number} queues"), help);
            return default;
        }
        number as u16
    }

    fn memory(&mut self, text: &Spanned<String>) -> u64 {
        match memory::parse(text.get_ref()) {
            Some(bytes) if bytes != 0 && bytes.is_multiple_of(MIB) && bytes <= memory::MAX => bytes,
            _ => {
                let help = match memory::meant(text.get_ref()) {
                    Some(meant) => format!("did you mean \"{meant}\"?"),
                    None => "write whole MiB or GiB with their unit: \"16M\", \"1G\"".to_owned(),
                };
                let message = format!("\"{}\" is no size of memory", text.get_ref());
                self.problems.add(text.span(), message, help);
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

/// For a name that nobody has: the one that was probably meant, or all that there are.
pub(super) fn known_names<'n>(
    name: &str,
    known: impl Iterator<Item = &'n String>,
    what: &str,
) -> String {
    let mut known: Vec<&str> = known.map(String::as_str).collect();
    known.sort_unstable();
    match nearest(name, &known) {
        _ if known.is_empty() => format!("there is no [[{what}]] at all: add one"),
        Some(near) if known.len() > 1 => {
            format!(
                "did you mean \"{near}\"? The {what}s are: {}",
                known.join(", ")
            )
        }
        _ => format!("the {what}s are: {}", known.join(", ")),
    }
}

/// What tells the daemon of this configuration from all others, fit to be part of names: the file's name without its ending, and a
/// number made of its whole path, since there are files of one name in several directories.
fn instance(file: &Path) -> String {
    let stem = file.file_stem().unwrap_or_default().to_string_lossy();
    let fit = |c: char| {
        if c.is_ascii_alphanumeric() || "_.-".contains(c) {
            c
        } else {
            '_'
        }
    };
    let stem: String = stem.chars().map(fit).collect();
    let path = std::fs::canonicalize(file).unwrap_or_else(|_| whole(file.to_owned()));
    // FNV-1a: the same today and tomorrow, in each version of this program.
    let hash = path
        .as_os_str()
        .as_bytes()
        .iter()
        .fold(0x811c_9dc5_u32, |hash, &byte| {
            (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)
        });
    format!("{stem}-{hash:08x}")
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
