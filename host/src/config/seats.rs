//! Which place each client and disk has, towards the appliance.
//!
//! # Rules
//!
//! * The appliance knows clients and disks by their places in the control area. Another configuration while it runs leaves everybody who
//!   stays where they are; who comes gets a place that nobody has.
//! * A place that somebody has left is given to nobody as long as what was there may not have gone yet.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::{Client, Config, Disk, Place, Source};

/// So many more of each can come while the appliance runs.
const SPARE_CLIENTS: usize = 16;
const SPARE_DISKS: usize = 16;
/// How many disks or subchannels a client can have that comes; one that is there can be given so many more.
const ROWS: u32 = 8;
const SPARE_ROWS: u32 = 4;

/// Whose a place is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Holder {
    #[default]
    Nobody,
    /// Nobody's any more, but who had it may not have gone yet.
    Leaving,
    Named(String),
}

impl Holder {
    fn is(&self, name: &str) -> bool {
        matches!(self, Self::Named(known) if known == name)
    }
}

/// The place of a client.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seat {
    pub holder: Holder,
    /// How many disks or subchannels its client can have.
    pub rows: u32,
}

/// The places of all clients and disks, by their numbers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seats {
    pub clients: Vec<Seat>,
    pub disks: Vec<Holder>,
}

/// Why there is no place for somebody who comes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoSeat {
    #[error(
        "there is no place for one more client, \"{0}\": {SPARE_CLIENTS} can come while the daemon runs"
    )]
    Client(String),
    #[error(
        "there is no place for one more disk, \"{0}\": {SPARE_DISKS} can come while the daemon runs"
    )]
    Disk(String),
}

impl Seats {
    /// Those of a configuration as it is written, and others for who may come.
    pub fn new(config: &Config) -> Self {
        let clients = config.clients.iter().map(|client| Seat {
            holder: Holder::Named(client.name.clone()),
            rows: client.parts() as u32 + SPARE_ROWS,
        });
        let spare = Seat {
            holder: Holder::Nobody,
            rows: ROWS,
        };
        let clients = clients.chain(std::iter::repeat_n(spare, SPARE_CLIENTS));
        let names = config.disks.iter().map(|disk| disk.name.clone());
        let disks = names.map(Holder::Named);
        let spare = std::iter::repeat_n(Holder::Nobody, SPARE_DISKS);
        Self {
            clients: clients.collect(),
            disks: disks.chain(spare).collect(),
        }
    }

    /// Those of the configuration that follows `old`, as it is written. A disk that is another one under the same name goes and comes.
    pub fn follow(&self, old: &Config, new: &Config) -> Result<Self, NoSeat> {
        let mut next = self.clone();
        for (seat, before) in next.clients.iter_mut().zip(&old.clients) {
            let after = new.client(&before.name);
            let fits = after.is_some_and(|it| {
                it.parts() <= seat.rows as usize
                    && it.is_channel_level() == before.is_channel_level()
            });
            if matches!(seat.holder, Holder::Named(_)) && !fits {
                seat.holder = Holder::Leaving;
            }
        }
        for (disk, holder) in next.disks.iter_mut().enumerate() {
            if matches!(holder, Holder::Named(_)) && old.same_disk(disk, new).is_none() {
                *holder = Holder::Leaving;
            }
        }
        for Client { name, .. } in &new.clients {
            if next.clients.iter().any(|seat| seat.holder.is(name)) {
                continue;
            }
            let parts = new.client(name).map_or(0, Client::parts);
            let is_free = |it: &&mut Seat| it.holder == Holder::Nobody && parts <= it.rows as usize;
            let free = next.clients.iter_mut().find(is_free);
            let seat = free.ok_or_else(|| NoSeat::Client(name.clone()))?;
            seat.holder = Holder::Named(name.clone());
        }
        for Disk { name, .. } in &new.disks {
            if next.disks.iter().any(|holder| holder.is(name)) {
                continue;
            }
            let free = next.disks.iter_mut().find(|it| **it == Holder::Nobody);
            *free.ok_or_else(|| NoSeat::Disk(name.clone()))? = Holder::Named(name.clone());
        }
        Ok(next)
    }
}

impl Seats {
    /// Whether somebody has left who may not have gone yet.
    pub fn is_unsettled(&self) -> bool {
        let clients = self.clients.iter().map(|seat| &seat.holder);
        clients.chain(&self.disks).any(|it| *it == Holder::Leaving)
    }

    /// All who have left have gone.
    pub fn settle(&mut self) {
        let clients = self.clients.iter_mut().map(|seat| &mut seat.holder);
        for holder in clients.chain(&mut self.disks) {
            if *holder == Holder::Leaving {
                *holder = Holder::Nobody;
            }
        }
    }
}

impl Client {
    fn vacant() -> Self {
        Self {
            name: String::new(),
            memory: 0,
            group: None,
            path_reports: false,
            exports: Vec::new(),
            subchannels: Vec::new(),
            rows: 0,
        }
    }

    /// It stands for a place that nobody has.
    pub const fn is_vacant(&self) -> bool {
        self.name.is_empty()
    }
}

impl Disk {
    fn vacant() -> Self {
        Self {
            name: String::new(),
            source: Source::Mdev(PathBuf::new()),
            queues: 0,
            place: Place::default(),
        }
    }

    /// It stands for a place that nobody has.
    pub const fn is_vacant(&self) -> bool {
        self.name.is_empty()
    }
}

impl Config {
    /// Brings clients and disks to their places; whoever has none is left out.
    #[must_use]
    pub fn seated(mut self, seats: &Seats) -> Self {
        let mut clients = std::mem::take(&mut self.clients);
        let mut disks = std::mem::take(&mut self.disks);
        let names: Vec<String> = disks.iter().map(|disk| disk.name.clone()).collect();
        for seat in &seats.clients {
            let found = clients.iter().position(|it| seat.holder.is(&it.name));
            let client = found.map_or_else(Client::vacant, |at| clients.swap_remove(at));
            let rows = seat.rows;
            self.clients.push(Client { rows, ..client });
        }
        for holder in &seats.disks {
            let found = disks.iter().position(|it| holder.is(&it.name));
            self.disks
                .push(found.map_or_else(Disk::vacant, |at| disks.swap_remove(at)));
        }
        for export in self.clients.iter_mut().flat_map(|it| &mut it.exports) {
            let name = names.get(export.disk);
            let place = self.disks.iter().position(|it| Some(&it.name) == name);
            export.disk = place.unwrap_or(export.disk);
        }
        self
    }

    /// The client of this name.
    pub fn client(&self, name: &str) -> Option<&Client> {
        self.clients.get(self.client_number(name)?)
    }

    /// The number of the client of this name.
    pub fn client_number(&self, name: &str) -> Option<usize> {
        let mut clients = self.clients.iter();
        clients.position(|it| !it.is_vacant() && it.name == name)
    }

    /// The number of the disk of this name.
    pub fn disk_number(&self, name: &str) -> Option<usize> {
        let mut disks = self.disks.iter();
        disks.position(|it| !it.is_vacant() && it.name == name)
    }

    /// Whether all who are given a disk may only read. A disk that nobody is given is not written either.
    pub fn is_read_only(&self, disk: usize) -> bool {
        let mut exports = self.exports().filter(|(_, it)| it.disk == disk);
        exports.all(|(.., export)| export.read_only)
    }

    /// The number of the same disk in a configuration that follows this one. A disk that is read another way is another one: QEMU has to
    /// open it anew.
    pub fn same_disk(&self, disk: usize, next: &Self) -> Option<usize> {
        let before = self.disks.get(disk).filter(|it| !it.is_vacant())?;
        let number = next.disk_number(&before.name)?;
        let after = &next.disks[number];
        let is_same = before.source == after.source && before.queues == after.queues;
        let same_way = self.is_read_only(disk) == next.is_read_only(number);
        (is_same && same_way).then_some(number)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    /// Disks by name and image; clients by name, and names of their disks.
    fn config(disks: &[(&str, &str)], clients: &[(&str, &[&str])]) -> Config {
        let mut text = "[appliance]\nimage = \"i\"\nrun_dir = \"/run/x\"\n".to_owned();
        for (name, image) in disks {
            text += &format!("[[disk]]\nname = \"{name}\"\nimage = \"{image}\"\n");
        }
        for (name, disks) in clients {
            text += &format!("[[client]]\nname = \"{name}\"\nmemory = \"64M\"\n");
            for disk in *disks {
                text += &format!("[[client.disk]]\ndisk = \"{disk}\"\nshared = true\n");
            }
        }
        Config::parse(Path::new("c.toml"), &text).unwrap()
    }

    fn named(seats: &Seats) -> (Vec<&str>, Vec<&str>) {
        let name = |holder: &'_ Holder| match holder {
            Holder::Nobody => None,
            Holder::Leaving => Some("-".to_owned()),
            Holder::Named(name) => Some(name.clone()),
        };
        let leak = |name: String| -> &'static str { name.leak() };
        let clients = seats.clients.iter().filter_map(|it| name(&it.holder));
        let disks = seats.disks.iter().filter_map(name);
        (clients.map(leak).collect(), disks.map(leak).collect())
    }

    #[test]
    fn who_stays_has_the_same_place_and_who_comes_another_one() {
        let old = config(
            &[("a", "a.img"), ("b", "b.img"), ("c", "c.img")],
            &[("one", &["a"]), ("two", &["b", "c"])],
        );
        let seats = Seats::new(&old);
        let old = old.seated(&seats);
        assert_eq!(old.clients.len(), 2 + SPARE_CLIENTS);
        assert_eq!(old.disks.len(), 3 + SPARE_DISKS);
        assert_eq!(
            old.export_number(super::super::Part {
                client: 1,
                number: 0
            }),
            5
        );
        // One goes, another disk has the same name, and the order is another one.
        let new = config(
            &[("d", "d.img"), ("c", "c.img"), ("b", "other.img")],
            &[("three", &["d"]), ("two", &["c", "b"])],
        );
        let next = seats.follow(&old, &new).unwrap();
        assert_eq!(
            named(&next),
            (vec!["-", "two", "three"], vec!["-", "-", "c", "d", "b"])
        );
        let new = new.seated(&next);
        let two = new.client("two").unwrap();
        let disks: Vec<usize> = two.exports.iter().map(|it| it.disk).collect();
        assert_eq!(disks, [2, 4]);
        assert!(new.client("").is_none());
        assert!(new.clients[0].is_vacant() && new.disks[1].is_vacant());
    }

    #[test]
    fn a_place_is_used_again_when_it_is_nobodys() {
        let old = config(&[("a", "a")], &[("one", &["a"])]);
        let seats = Seats::new(&old);
        let mut last = (seats.clone(), old.seated(&seats));
        for turn in 0..100 {
            let name = format!("client{turn}");
            let new = config(&[("a", &name)], &[(&name, &["a"])]);
            let next = last.0.follow(&last.1, &new);
            let mut next = match next {
                Ok(next) => next,
                Err(error) => panic!("{error} after {turn}"),
            };
            assert!(next.is_unsettled());
            next.settle();
            last = (next.clone(), new.seated(&next));
        }
    }

    #[test]
    fn one_too_many_is_named() {
        let old = config(&[("a", "a")], &[("one", &["a"])]);
        let seats = Seats::new(&old);
        let names: Vec<String> = (0..=SPARE_CLIENTS).map(|n| format!("more{n}")).collect();
        let more: Vec<(&str, &[&str])> = names.iter().map(|it| (&**it, &["a"][..])).collect();
        let new = config(&[("a", "a")], &[&[("one", &["a"][..])], &more[..]].concat());
        let refused = seats.follow(&old.seated(&seats), &new).unwrap_err();
        assert_eq!(refused, NoSeat::Client("more16".into()));
    }
}
