//! What is made for the daemon that goes on with another configuration, and how it is written down.

use std::path::PathBuf;

use anyhow::{Context, Result};
use rustix::fs::Gid;

use super::super::handover::{new_link, Handover, Left, LeftExport, LeftLink};
use super::super::open_run_dir;
use super::changes::Changes;
use crate::config::{Client, Config, Part, Seats};
use crate::layout::Span;
use crate::pool::{Layout, Pool};
use crate::store::Key;
use crate::sys;
use crate::vm::{Backing, Pluggable};

/// The way from one configuration to the next; both have their places.
pub struct Next<'a> {
    pub old: &'a Config,
    pub new: &'a Config,
    pub layout: &'a Layout,
    pub changes: &'a Changes,
}

/// What is made for the next daemon, and what else of its record is another one.
#[derive(Debug)]
pub struct Made {
    pub text: String,
    pub seats: Seats,
    pub configuration: u32,
    pub backings: Vec<Option<Backing>>,
    pub memories: Vec<Option<Key>>,
    pub links: Vec<Option<LeftLink>>,
    pub exports: Vec<LeftExport>,
    pub vacated: Vec<Span>,
}

impl Next<'_> {
    /// Writes the record that the next daemon goes on with. What has happened since all of this was made stays in it: a VM may have come
    /// or gone.
    pub fn write(&self, made: &Made, left: &mut Left) {
        left.config.clone_from(&made.text);
        left.groups = self.new.groups();
        left.vacated.extend(&made.vacated);
        let unplugged = self.changes.unplugged.iter();
        let ids = unplugged.map(|&index| Pluggable::Subchannel(index).id(self.old));
        left.unplugged.extend(ids);
        // What has come back is not to go.
        let stay = Pluggable::all(self.new).into_iter();
        let stay: Vec<String> = stay.map(|it| it.id(self.new)).collect();
        left.unplugged.retain(|id| !stay.contains(id));
        left.held_back.extend(self.held_back());
        left.held_back.retain(|id| stay.contains(id));
        left.names = Self::names(self.old, self.new);
        left.seats = made.seats.clone();
        left.layout = self.layout.clone();
        left.configuration = made.configuration;
        left.backings.clone_from(&made.backings);
        left.memories.clone_from(&made.memories);
        let links = made.links.iter().enumerate().map(|(number, link)| {
            let now = left.links.get(number).copied().flatten();
            now.filter(|_| self.stays(number)).or(*link)
        });
        left.links = links.collect();
        let exports = made.exports.iter().map(|export| {
            let now = left.export(export.part);
            now.filter(|_| self.keeps(export.part)).unwrap_or(*export)
        });
        left.exports = exports.collect();
    }

    /// Whether a client has the same place, and what is there is still the same one's.
    fn stays(&self, number: usize) -> bool {
        let (before, after) = (&self.old.clients[number], &self.new.clients[number]);
        let moves = self.changes.moves(self.new, number);
        before.name == after.name && before.memory == after.memory && !moves
    }

    /// Whether a part of a client's is the same as before, with its connection.
    fn keeps(&self, part: Part) -> bool {
        let name = |config: &Config| config.clients[part.client].name.clone();
        name(self.old) == name(self.new)
            && part.number < self.old.clients[part.client].exports.len()
            && !self.changes.disturbed.contains(&part)
    }

    /// Memory for who comes: a file of its own for a channel-level client, and an area in the pool for others.
    pub fn memories(
        &self,
        pool: &Pool,
        making: &mut Making<'_>,
        kept: &[Option<Key>],
    ) -> Result<Vec<Option<Key>>> {
        let numbers = 0..self.new.clients.len();
        let memory = |number: usize| {
            if self.stays(number) {
                return Ok(kept.get(number).copied().flatten());
            }
            // One that leaves may be served until the next daemon goes by this.
            if self.new.clients[number].is_vacant() {
                return Ok(None);
            }
            let is_newcomer = self.old.clients[number].name != self.new.clients[number].name;
            if is_newcomer {
                // Whoever had it before is no concern of who comes.
                pool.blank(self.layout.apart(number))?;
            }
            let memory = pool.provide(self.new, self.layout, number)?;
            let key = memory
                .map(|memory| making.handover.keep(memory))
                .transpose()?;
            making.keys.extend(key);
            Ok(key)
        };
        numbers.map(memory).collect()
    }

    pub fn links(
        &self,
        making: &mut Making<'_>,
        kept: &[Option<LeftLink>],
    ) -> Result<Vec<Option<LeftLink>>> {
        let clients = self.new.clients.iter().enumerate();
        let link = |(number, client): (usize, &Client)| {
            if !client.is_channel_level() {
                return Ok(None);
            }
            let before = self.old.client_number(&client.name);
            let before = before.and_then(|before| kept.get(before).copied().flatten());
            Ok(Some(match before {
                Some(link) if self.stays(number) => link,
                Some(LeftLink { listener, .. }) => LeftLink {
                    listener,
                    link: None,
                },
                None => {
                    let (_, link) = new_link(self.new, client, &making.handover.store)?;
                    making.keys.push(link.listener);
                    link
                }
            }))
        };
        clients.map(link).collect()
    }

    /// Who is disturbed has the same socket, and no connection.
    pub fn exports(&self, making: &mut Making<'_>, kept: &[LeftExport]) -> Result<Vec<LeftExport>> {
        let export = |(part, _): (Part, _)| {
            let client = self.old.client_number(&self.new.clients[part.client].name);
            let before = client.map(|client| Part { client, ..part });
            let before = before.and_then(|before| kept.iter().find(|it| it.part == before));
            let made = match before {
                Some(left) if self.keeps(part) => return Ok(*left),
                Some(left) => making.handover.blank_export(part, left.listener)?,
                None => making.handover.new_export(self.new, part)?,
            };
            making.keys.extend(made.keys());
            Ok(made)
        };
        self.new.exports().map(export).collect()
    }

    /// Gives the sockets of clients to the groups that may have them now.
    pub fn regroup(&self, making: &mut Making<'_>) -> Result<()> {
        if self.new.clients.iter().any(|it| it.group.is_some()) {
            open_run_dir(self.new)?;
        }
        for (part, _) in self.new.exports() {
            let client = &self.new.clients[part.client];
            let before = self.old.client(&client.name);
            if let Some(before) = before.filter(|before| before.group != client.group) {
                let path = self.new.socket(part);
                making.regrouped.push((path.clone(), before.group));
                sys::give_to(&path, client.group)
                    .with_context(|| format!("socket {}", path.display()))?;
            }
        }
        Ok(())
    }

    /// Windows that are nobody's any more.
    pub fn vacated<'w>(&'w self, before: &'w Layout) -> impl Iterator<Item = Span> + 'w {
        let windows = before.windows.iter().zip(&self.layout.windows);
        // In a window that stays, what is new is laid over what was there.
        let left = windows.filter(|(before, after)| before.length != 0 && before != after);
        left.map(|(&before, _)| before)
    }

    /// Devices by their names in QEMU that are, for QEMU, the same as others that go: it has one of them at a time.
    fn held_back(&self) -> Vec<String> {
        let those = |these: &Config, others: &Config| -> Vec<Pluggable> {
            let stay = Pluggable::all(others).into_iter().map(|it| it.id(others));
            let stay: Vec<String> = stay.collect();
            let mut all = Pluggable::all(these);
            all.retain(|it| !stay.contains(&it.id(these)));
            all
        };
        let (go, mut come) = (those(self.old, self.new), those(self.new, self.old));
        come.retain(|it| {
            let mut go = go.iter();
            go.any(|other| other.collides(self.old, *it, self.new))
        });
        come.iter().map(|it| it.id(self.new)).collect()
    }

    /// Names in the run directory that are there by the first, and not by the second.
    fn names(these: &Config, others: &Config) -> Vec<PathBuf> {
        let stay = others.names();
        let names = these.names().into_iter();
        names.filter(|name| !stay.contains(name)).collect()
    }
}

/// What has been made so far, outside of the record. It is cleared away again unless the record leads to it in the end.
#[derive(Debug)]
pub struct Making<'a> {
    handover: &'a Handover,
    old: &'a Config,
    keys: Vec<Key>,
    /// Sockets that have been given to another group, and whose they were.
    regrouped: Vec<(PathBuf, Option<Gid>)>,
}

impl<'a> Making<'a> {
    /// What has a name is written down first: who dies while it is made clears nothing away.
    pub fn begin(handover: &'a Handover, next: &Next<'a>) -> Result<Self> {
        let names = Next::names(next.new, next.old);
        handover.try_change(|left| left.names = names)?;
        Ok(Self {
            handover,
            old: next.old,
            keys: Vec::new(),
            regrouped: Vec::new(),
        })
    }

    /// The record leads to all of it.
    pub fn done(self) {
        std::mem::forget(self);
    }
}

impl Drop for Making<'_> {
    fn drop(&mut self) {
        let left = self.handover.left();
        let kept: Vec<Key> = left.keys().collect();
        for &key in self.keys.iter().filter(|key| !kept.contains(key)) {
            self.handover.store.forget(key);
        }
        for (path, group) in &self.regrouped {
            if let Err(error) = sys::give_to(path, *group) {
                tracing::error!(%error, "socket {}", path.display());
            }
        }
        self.handover.remove_names(self.old);
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;
    use std::sync::Arc;

    use window::ClientAddress;

    use super::*;
    use crate::daemon::handover::Resources;
    use crate::store::Store;
    use crate::testing::image;

    const DISK: &str = "[[client.disk]]\ndisk = \"data\"\nshared = true\n";
    const BARE: &str = "[[client]]\nname = \"bare\"\nmemory = \"16M\"\n[[client.subchannel]]\nsubchannel = \"t\"\n";

    fn text(dir: &Path, clients: &[&str]) -> String {
        let mut text = format!(
            "[appliance]\nimage = \"{0}/image\"\nmemory = \"4M\"\nrun_dir = \"{0}\"\n[[disk]]\nname = \"data\"\nimage = \"data.img\"\n\
             [[subchannel]]\nname = \"t\"\ndevice = \"0.0.3270\"\nqemu = \"x-terminal3270,chardev=t\"\n",
            dir.display()
        );
        for name in clients {
            text += &format!("[[client]]\nname = \"{name}\"\nmemory = \"1M\"\n{DISK}");
        }
        text
    }

    /// A daemon's resources that serves one client, and its run directory.
    fn serving_one() -> (tempfile::TempDir, Resources) {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("image"), image()).unwrap();
        let text = text(dir.path(), &["one"]);
        let config = Config::parse(Path::new("c.toml"), &text).unwrap();
        let seats = Seats::new(&config);
        let config = config.seated(&seats);
        let pool = Pool::create(&config).unwrap();
        let lock = fs::File::open(dir.path()).unwrap().into();
        let store = Arc::new(Store::unkept());
        let made = Resources::keep(config, text, seats, pool, Vec::new(), lock, store).unwrap();
        for (part, _) in made.config.exports() {
            made.handover.export(&made.config, part).unwrap();
        }
        (dir, made)
    }

    /// What all of these configurations have in common comes first.
    struct Scene {
        dir: tempfile::TempDir,
        serving: Resources,
        text: String,
        seats: Seats,
        new: Config,
        layout: Layout,
        changes: Changes,
    }

    impl Scene {
        fn new(clients: &[&str], more: &str) -> Self {
            let (dir, serving) = serving_one();
            let text = text(dir.path(), clients) + more;
            let written = Config::parse(Path::new("c.toml"), &text).unwrap();
            let (old, left) = (&serving.config, serving.handover.left());
            let seats = left.seats.follow(old, &written).unwrap();
            let new = written.seated(&seats);
            let changes = Changes::between(old, &new);
            let layout = left.layout.follow(old, &new, &[], |_| false).unwrap();
            Self {
                dir,
                serving,
                text,
                seats,
                new,
                layout,
                changes,
            }
        }

        fn next(&self) -> Next<'_> {
            Next {
                old: &self.serving.config,
                new: &self.new,
                layout: &self.layout,
                changes: &self.changes,
            }
        }

        fn make(&self, making: &mut Making<'_>) -> Made {
            let (next, left) = (self.next(), self.serving.handover.left());
            Made {
                memories: (next.memories(&self.serving.pool, making, &left.memories)).unwrap(),
                links: next.links(making, &left.links).unwrap(),
                exports: next.exports(making, &left.exports).unwrap(),
                vacated: next.vacated(&left.layout).collect(),
                text: self.text.clone(),
                seats: self.seats.clone(),
                backings: Vec::new(),
                configuration: left.configuration + 1,
            }
        }

        /// Names in the run directory, but for the image.
        fn names(&self) -> Vec<String> {
            let names = fs::read_dir(self.dir.path()).unwrap();
            let names = names.map(|it| it.unwrap().file_name().into_string().unwrap());
            let mut names: Vec<String> = names.filter(|it| it != "image").collect();
            names.sort();
            names
        }
    }

    #[test]
    fn what_was_made_for_a_change_that_is_not_is_cleared_away() {
        let scene = Scene::new(&["one", "two"], BARE);
        let (handover, next) = (&scene.serving.handover, scene.next());
        let mut making = Making::begin(handover, &next).unwrap();
        let made = scene.make(&mut making);
        let all = ["bare.link.sock", "one.0.sock", "two.0.sock"];
        assert_eq!(scene.names(), all);
        let mut wanted = handover.left();
        next.write(&made, &mut wanted);
        let new: Vec<Key> = wanted.keys().collect();
        assert!(new.iter().all(|&key| handover.get(key).is_ok()));
        drop(making);
        assert_eq!(scene.names(), all[1..2]);
        let left = handover.left();
        assert!(left.names.is_empty());
        let old: Vec<Key> = left.keys().collect();
        let gone = new.iter().filter(|key| !old.contains(key));
        assert_eq!(
            gone.clone().count(),
            5,
            "memory, link, socket and its two records"
        );
        assert!(gone.into_iter().all(|&key| handover.get(key).is_err()));
        assert!(old.iter().all(|&key| handover.get(key).is_ok()));
    }

    #[test]
    fn who_dies_while_it_is_made_leaves_no_names_and_who_dies_afterwards_neither() {
        let scene = Scene::new(&["two"], BARE);
        let (handover, next) = (&scene.serving.handover, scene.next());
        let mut making = Making::begin(handover, &next).unwrap();
        let made = scene.make(&mut making);
        // It dies here.
        std::mem::forget(making);
        assert_eq!(scene.names().len(), 3);
        handover.remove_names(&scene.serving.config);
        assert_eq!(scene.names(), ["one.0.sock"]);
        // Or here, where the record is written.
        let mut making = Making::begin(handover, &next).unwrap();
        let made = Made {
            text: made.text,
            ..scene.make(&mut making)
        };
        handover.try_change(|left| next.write(&made, left)).unwrap();
        making.done();
        handover.remove_names(&scene.new);
        assert_eq!(scene.names(), ["bare.link.sock", "two.0.sock"]);
        assert!(handover.left().names.is_empty());
    }

    #[test]
    fn who_is_asked_whether_it_can_follow_is_asked_about_what_comes() {
        let scene = Scene::new(&["one", "two"], "");
        let (handover, next) = (&scene.serving.handover, scene.next());
        let mut making = Making::begin(handover, &next).unwrap();
        let made = scene.make(&mut making);
        let mut wanted = handover.left();
        next.write(&made, &mut wanted);
        let file = Path::new("c.toml");
        handover.succession(&wanted).unwrap().check(file).unwrap();
        wanted.exports.pop();
        assert!(handover.succession(&wanted).unwrap().check(file).is_err());
    }

    #[test]
    fn what_was_left_is_cleared_away_by_whoever_has_left_it() {
        let scene = Scene::new(&["two"], BARE);
        let (handover, next) = (&scene.serving.handover, scene.next());
        let mut making = Making::begin(handover, &next).unwrap();
        let made = scene.make(&mut making);
        let mut left = handover.left();
        next.write(&made, &mut left);
        left.unplugged.push("given-subchannel".into());
        assert!(left.is_unsettled());
        // Who looks late at a change of before clears nothing of this one.
        left.clear_windows(made.configuration - 1);
        left.settle(made.configuration - 1);
        assert_eq!(left.vacated, made.vacated);
        assert!(
            !made.vacated.is_empty() && !left.unplugged.is_empty() && left.seats.is_unsettled()
        );
        // Windows need no QEMU that hears.
        left.clear_windows(made.configuration);
        assert!(left.vacated.is_empty() && left.is_unsettled());
        left.settle(made.configuration);
        assert!(!left.is_unsettled());
    }

    #[test]
    fn the_area_of_who_leaves_is_left_alone_and_who_comes_finds_nothing_of_anybodys() {
        let scene = Scene::new(&["two"], "");
        let pool = &scene.serving.pool;
        let used = [0, 1].map(|place| pool.window(scene.layout.apart(place)).unwrap());
        let at = ClientAddress::new(vcss::layout::PAGE);
        for area in used {
            area.write_bytes(at, &[0x5A; 8]).unwrap();
        }
        let next = scene.next();
        let mut making = Making::begin(&scene.serving.handover, &next).unwrap();
        scene.make(&mut making);
        let content = used.map(|area| {
            let mut bytes = [1; 8];
            area.read_bytes(at, &mut bytes).unwrap();
            bytes
        });
        assert!(scene.new.clients[0].is_vacant() && scene.new.clients[1].name == "two");
        assert_eq!(content, [[0x5A; 8], [0; 8]]);
    }

    #[test]
    fn what_qemu_has_once_comes_when_the_former_one_is_unplugged() {
        let parse = |text: &str| {
            let head = "[appliance]\nimage = \"i\"\nrun_dir = \"/run/x\"\n";
            Config::parse(Path::new("c.toml"), &format!("{head}{text}")).unwrap()
        };
        let held_back = |old: &str, new: &str| {
            let (old, new) = (parse(old), parse(new));
            let seats = Seats::new(&old);
            let old = old.seated(&seats);
            let new = new.clone().seated(&seats.follow(&old, &new).unwrap());
            let layout = Layout::of(&old);
            let changes = Changes::default();
            let next = Next {
                old: &old,
                new: &new,
                layout: &layout,
                changes: &changes,
            };
            next.held_back()
        };
        let disk = |name: &str, source: &str| format!("[[disk]]\nname = \"{name}\"\n{source}\n");
        let (a, b) = (
            disk("a", "image = \"a.img\""),
            disk("b", "image = \"b.img\""),
        );
        assert_eq!(held_back(&a, &format!("{a}{b}")), [""; 0]);
        // Of the same name or not, opened another way or not: the file is the same.
        for same in [
            disk("a", "image = \"a.img\"\ncache = \"writeback\""),
            disk("c", "image = \"a.img\""),
        ] {
            assert_eq!(held_back(&a, &format!("{same}{b}")), ["given-disk1"]);
        }
        let tape = |device: &str, mdev: &str| {
            format!("[[subchannel]]\nname = \"t\"\ndevice = \"{device}\"\nmdev = \"/m/{mdev}\"\n")
        };
        let old = tape("0.0.0181", "one");
        let id = |device: &str, mdev: &str| [format!("given-subchannel-0-{device}-{mdev}")];
        assert_eq!(held_back(&old, &tape("0.0.0181", "two")), id("0181", "two"));
        assert_eq!(held_back(&old, &tape("0.0.0182", "one")), id("0182", "one"));
        assert_eq!(held_back(&old, &tape("0.0.0182", "two")), [""; 0]);
        let as_disk = disk("d", "mdev = \"/m/one\"");
        assert_eq!(held_back(&old, &as_disk), ["given-disk0"]);
    }
}
