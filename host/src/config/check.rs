//! From what is written to what can be used: table by table, key by key.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::Gid;
use toml::Spanned;

use super::draft::Draft;
use super::memory::{self, MIB};
use super::need::Need;
use super::problem::{About, Problems};
use super::syntax::{self, Document};
use super::table::Table;
use super::values::{self, AN_MDEV};
use super::{Accel, Aio, Appliance, Cache, Client, Config, ConfigError, Disk, Format};
use super::{Groups, Places, Source};

const LEAST_PRIVATE: u64 = 4 * MIB;
const DEFAULT_POLL: Duration = Duration::from_micros(20);
const MAX_POLL_US: u64 = 1_000_000;
const DEFAULT_HANG_LIMIT: Duration = Duration::from_secs(5);
/// The event loop may wait for a second for a device that does not answer.
const LEAST_HANG_LIMIT: Duration = Duration::from_secs(2);
const MAX_HANG_LIMIT: Duration = Duration::from_secs(600);
const DEFAULT_DISK_QUEUES: u16 = 4;
const MAX_DISKS: usize = 128;
const MAX_CLIENTS: usize = 128;
const MAX_CLIENT_DISKS: usize = 32;
/// Bytes in the path of a unix socket, with the NUL at its end.
const MAX_SOCKET_PATH: usize = 108;

/// The keys of each table.
const TABLES: &str = "appliance disk subchannel client";
const APPLIANCE: &str =
    "image memory room qemu accel append qemu_args sandbox run_dir daemon_poll_us hang_limit";
const DISK: &str = "name image mdev format cache aio queues";
const SUBCHANNEL: &str = "name device qemu mdev plugged";
const CLIENT: &str = "name memory group path_reports disk subchannel";
const CLIENT_DISK: &str = "disk partition start size readonly queues shared weight iops iops_burst bandwidth bandwidth_burst";
const CLIENT_SUBCHANNEL: &str = "subchannel device";

/// As it can be written.
#[derive(Clone, Copy, Debug, Default, strum::EnumString, strum::VariantNames)]
#[strum(serialize_all = "snake_case")]
enum WrittenAccel {
    #[default]
    Auto,
    Kvm,
    Tcg,
}

/// Reads and checks the text of a configuration file. Of some groups it is `known` which they are.
pub fn config(file: &Path, text: &str, known: &Groups) -> Result<Config, ConfigError> {
    let problems = Problems::new(file, text);
    let config = syntax::read(&problems).and_then(|document| {
        let draft = Draft {
            problems: &problems,
            known_groups: known,
            run_dir: PathBuf::new(),
            memory: None,
            room: None,
            places: Places::default(),
            disks: Vec::new(),
            subchannels: Vec::new(),
            clients: Vec::new(),
            slices: Vec::new(),
        };
        draft.document(document)
    });
    problems.conclude(config)
}

impl<'p, 't> Draft<'p, 't> {
    /// The configuration; none if something is wrong with its form.
    fn document(mut self, document: Document<'t>) -> Option<Config> {
        let before = self.problems.of_form();
        let mut root = Table::root(self.problems, TABLES, document.root);
        let appliance = root.table("appliance", APPLIANCE);
        let mut appliance = appliance.map(|table| self.appliance(table));
        if appliance.is_none() {
            let help =
                "begin with two lines: [appliance], and image = \"target/image/stellwerk.elf\"";
            let message = "there is no [appliance]";
            self.problems.add_about(About::Form, 0..0, message, help);
        }
        root.tables("disk", "[[disk]]", DISK, |table| self.disk(table));
        root.tables("subchannel", "[[subchannel]]", SUBCHANNEL, |table| {
            self.subchannel(table);
        });
        root.tables("client", "[[client]]", CLIENT, |table| self.client(table));
        // A header that does not go with another one: that one was named, in nearly every case.
        let misfit = document.misfits.first();
        if let Some((span, header)) = misfit.filter(|_| self.problems.of_form() == before) {
            let message = format!("{header} does not go with a table above it");
            let help = "write [[disk]], [[subchannel]], [[client]], [[client.disk]] and [[client.subchannel]] with two pairs of brackets each";
            self.problems
                .add_about(About::Form, span.clone(), message, help);
        }
        if root.broken || misfit.is_some() {
            return None;
        }
        self.partitions();
        self.overlaps();
        self.serials();
        let need = Need::of(&self.disks, &self.subchannels, &self.clients);
        if let Some(appliance) = &mut appliance {
            match &self.memory {
                Some(memory) => self.enough(memory, appliance.private, need),
                None => appliance.private = need.default_size(),
            }
        }
        self.fit_in_room();
        Some(Config {
            appliance: appliance?,
            disks: self.disks,
            subchannels: self.subchannels,
            clients: self.clients,
            places: self.places,
        })
    }

    /// Whether there is room for the memory of all clients.
    fn fit_in_room(&self) {
        let needed: u64 = self.clients.iter().map(|client| client.memory).sum();
        let Some(room) = &self.room else { return };
        let bytes = memory::parse(room.get_ref()).unwrap_or(needed);
        if bytes < needed {
            let (has, needs) = (memory::show(bytes), memory::show(needed));
            let message = format!("there is room for {has}, and the clients have {needs}");
            let help = format!(
                "set room = \"{needs}\" or more, or leave it out: then there is more than enough"
            );
            self.problems.add(room.span(), message, help);
        }
    }

    /// Whether the appliance's memory is enough for what it is given to do.
    fn enough(&self, memory: &Spanned<String>, private: u64, need: Need) {
        // What is no size, or too small for anything, was found before.
        if (LEAST_PRIVATE..need.size()).contains(&private) {
            let (has, needs) = (memory::show(private), memory::show(need.size()));
            self.problems.add(
                memory.span(),
                format!("the appliance has {has}, and needs {needs} for {need}"),
                format!("set memory = \"{needs}\" or more, or leave it out: the default grows with the configuration"),
            );
        }
    }

    fn appliance(&mut self, mut table: Table<'p, 't>) -> Appliance {
        let image = table.needed("image", "\"target/image/stellwerk.elf\"");
        let memory = table.size("memory");
        let room = table.size("room");
        let qemu = table.text("qemu", "\"qemu-system-s390x\"");
        let accel = table.word("accel");
        let append = table.text("append", "\"log=debug\"");
        let qemu_args = table.texts("qemu_args");
        let sandbox = table.flag_or("sandbox", true);
        let run_dir = table.text("run_dir", "\"/run/stellwerk/demo\"");
        let poll_us = table.number("daemon_poll_us", 20);
        let hang_limit = table.seconds_or_off("hang_limit");

        let problems = self.problems;
        let place = |named: &Option<Spanned<String>>| {
            problems.place(&named.as_ref().unwrap_or(&image).span())
        };
        self.places = Places {
            file: problems.file.to_owned(),
            image: place(&None),
            qemu: place(&qemu),
            run_dir: place(&run_dir),
        };
        let private = values::memory(problems, memory.as_ref());
        if let Some(memory) = memory
            .as_ref()
            .filter(|_| (1..LEAST_PRIVATE).contains(&private))
        {
            let message = format!("the appliance cannot run in {}", memory.get_ref());
            let help = format!("give it at least {}", memory::show(LEAST_PRIVATE));
            problems.add(memory.span(), message, help);
        }
        self.memory = memory;
        self.room.clone_from(&room);
        let bytes = room
            .as_ref()
            .map(|room| values::memory(problems, Some(room)));
        let too_large = |poll: &&Spanned<u64>| *poll.get_ref() > MAX_POLL_US;
        if let Some(poll) = poll_us.as_ref().filter(too_large) {
            let help = format!("at most {MAX_POLL_US} (microseconds)");
            problems.add(poll.span(), "daemon_poll_us is too large", help);
        }
        let limits = LEAST_HANG_LIMIT..=MAX_HANG_LIMIT;
        let wrong = |limit: &&Spanned<Option<Duration>>| {
            limit
                .get_ref()
                .is_some_and(|limit| !limits.contains(&limit))
        };
        if let Some(limit) = hang_limit.as_ref().filter(wrong) {
            let help = format!(
                "write {} to {} seconds, or \"off\"",
                LEAST_HANG_LIMIT.as_secs(),
                MAX_HANG_LIMIT.as_secs()
            );
            problems.add(limit.span(), "hang_limit is too short, or too long", help);
        }
        let stem = values::instance(problems.file);
        self.run_dir = run_dir.map_or_else(|| values::default_run_dir(&stem), values::path);
        Appliance {
            image: values::path(image),
            private,
            room: bytes,
            qemu: qemu.map_or_else(|| "qemu-system-s390x".into(), Spanned::into_inner),
            accel: match accel.map(Spanned::into_inner).unwrap_or_default() {
                WrittenAccel::Kvm => Accel::Kvm,
                WrittenAccel::Tcg => Accel::Tcg,
                WrittenAccel::Auto => values::best_accel(),
            },
            append: append.map_or_else(String::new, Spanned::into_inner),
            qemu_args,
            sandbox,
            run_dir: self.run_dir.clone(),
            poll: poll_us.map_or(DEFAULT_POLL, |us| Duration::from_micros(us.into_inner())),
            hang_limit: hang_limit.map_or(Some(DEFAULT_HANG_LIMIT), Spanned::into_inner),
        }
    }

    fn disk(&mut self, mut table: Table<'p, 't>) {
        let name = table.needed("name", "\"data\"");
        let image = table.text("image", "\"data.img\"");
        let mdev = table.text("mdev", AN_MDEV);
        let format = table.word::<Format>("format");
        let cache = table.word::<Cache>("cache");
        let aio = table.word::<Aio>("aio");
        let queues = table.number("queues", DEFAULT_DISK_QUEUES.into());
        let doubtful = table.is_doubtful();

        let others = self.disks.iter().map(|disk| &disk.name);
        let most = (MAX_DISKS, "disks can be given to one appliance");
        values::name(self.problems, &name, "disk", others, most);
        let named = image.as_ref().or(mdev.as_ref()).unwrap_or(&name);
        let place = self.problems.place(&named.span());
        let queues = values::queues(self.problems, queues.as_ref(), DEFAULT_DISK_QUEUES);
        let source = match (image, mdev) {
            (Some(image), None) => Source::Image {
                path: values::path(image),
                format: format.map(Spanned::into_inner),
                cache: cache.map_or_else(Cache::default, Spanned::into_inner),
                aio: aio.map(Spanned::into_inner),
            },
            (None, Some(mdev)) => {
                let spans = [
                    format.map(|key| key.span()),
                    cache.map(|key| key.span()),
                    aio.map(|key| key.span()),
                ];
                for span in spans.into_iter().flatten() {
                    let name = name.get_ref();
                    self.problems.add(
                        span,
                        format!("disk \"{name}\" is a mediated device and has no such setting"),
                        "format, cache and aio belong to a disk with image = \"…\"",
                    );
                }
                Source::Mdev(values::path(mdev))
            }
            (None, None) if doubtful => Source::Mdev(PathBuf::new()),
            (image, _) => {
                let has = match image {
                    Some(_) => "both image and mdev",
                    None => "neither image nor mdev",
                };
                let message = format!("disk \"{}\" has {has}", name.get_ref());
                let help =
                    format!("give it one: image = \"FILE or block device\", or mdev = {AN_MDEV}");
                self.problems.add(name.span(), message, help);
                Source::Mdev(PathBuf::new())
            }
        };
        self.disks.push(Disk {
            name: name.into_inner(),
            source,
            queues,
            place,
        });
    }

    fn client(&mut self, mut table: Table<'p, 't>) {
        let name = table.needed("name", "\"linux1\"");
        table.require("memory", "\"512M\"");
        let size = table.size("memory");
        let group = table.text("group", "\"kvm\"");
        let path_reports = table.flag("path_reports");

        let others = self.clients.iter().map(|client| &client.name);
        let most = (MAX_CLIENTS, "clients can share one appliance");
        values::name(self.problems, &name, "client", others, most);
        self.not_reserved(&name);
        self.socket_path(&name);
        let memory = values::memory(self.problems, size.as_ref());
        let good = memory::next_good(memory);
        if let Some(text) = size.filter(|_| memory != 0 && good != memory) {
            let message = format!("no s390x VM can have {} of memory", text.get_ref());
            let good = memory::show(good);
            let help = format!("the next size that it can have is \"{good}\"");
            self.problems.add(text.span(), message, help);
        }
        let mut exports = Vec::new();
        let disks = table.tables("disk", "[[client.disk]]", CLIENT_DISK, |table| {
            let slice = self.slice(table);
            exports.extend(slice.iter().map(|slice| slice.export));
            self.slices.extend(slice);
        });
        let mut given = Vec::new();
        let of_client = CLIENT_SUBCHANNEL;
        let subchannels = table.tables("subchannel", "[[client.subchannel]]", of_client, |table| {
            self.given(table, name.get_ref(), &mut given);
        });
        let wrong = |message: String, help: String| self.problems.add(name.span(), message, help);
        let client = name.get_ref();
        if disks == 0 && subchannels == 0 {
            wrong(
                format!("client \"{client}\" has neither a disk nor a subchannel"),
                "give it one, below it: [[client.disk]], and disk = \"NAME\" of a [[disk]]".into(),
            );
        }
        if disks > MAX_CLIENT_DISKS {
            wrong(
                format!("client \"{client}\" has too many disks"),
                format!("a client can have at most {MAX_CLIENT_DISKS}"),
            );
        }
        if path_reports && subchannels == 0 {
            wrong(
                format!("client \"{client}\" has no subchannels, and cannot have path_reports"),
                "the paths of disks are the appliance's: leave it out".into(),
            );
        }
        if disks != 0 && subchannels != 0 {
            wrong(
                format!("client \"{client}\" has both disks and subchannels"),
                "disks are for stock VMs, subchannels for VMs that do channel I/O by themselves: make two clients of it".into(),
            );
        }
        if let Some(group) = group.as_ref().filter(|_| subchannels != 0) {
            let message = format!("client \"{client}\" has subchannels, and cannot have a group");
            let help = "its memory is the daemon's, and its QEMU has to run as the daemon's user: leave it out";
            self.problems.add(group.span(), message, help);
        }
        let known = self.known_groups.get(client).copied().map(Gid::from_raw);
        let group = values::group(self.problems, group.as_ref(), known);
        self.clients.push(Client {
            name: name.into_inner(),
            memory,
            group,
            path_reports,
            rows: (exports.len() + given.len()) as u32,
            exports,
            subchannels: given,
        });
    }

    pub(super) fn find_disk(&self, name: &Spanned<String>) -> Option<usize> {
        let names = || self.disks.iter().map(|disk| disk.name.as_str());
        let found = names().position(|known| known == name.get_ref());
        // Without that, it may be the one whose name is missing.
        if found.is_none() && !names().any(str::is_empty) {
            let help = values::known_names(name.get_ref(), names(), "disk");
            let message = format!("there is no disk named \"{}\"", name.get_ref());
            self.problems.add(name.span(), message, help);
        }
        found
    }

    fn socket_path(&self, client: &Spanned<String>) {
        let name = client.get_ref();
        let longest = self.run_dir.join(format!("{name}.{MAX_CLIENT_DISKS}.sock"));
        if longest.as_os_str().len() >= MAX_SOCKET_PATH {
            let message = format!("the sockets of client \"{name}\" would have too long a path");
            let run_dir = self.run_dir.display();
            let help = format!("set run_dir in [appliance] to something shorter than {run_dir}");
            self.problems.add(client.span(), message, help);
        }
    }
}
