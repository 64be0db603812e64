//! What is made for the daemon that goes on with another configuration, and how it is written down.

use std::fs;

use anyhow::{Context, Result};

use super::super::handover::{new_link, Left, LeftExport, LeftLink};
use super::super::{open_run_dir, Shared};
use super::changes::Changes;
use crate::config::{Client, Config, Part, Seats};
use crate::layout::Span;
use crate::pool::Layout;
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
        left.vacated.extend(&made.vacated);
        let unplugged = self.changes.unplugged.iter();
        let ids = unplugged.map(|&index| Pluggable::Subchannel(index).id(self.old));
        left.unplugged.extend(ids);
        // What has come back is not to go.
        let stay = Pluggable::all(self.new).into_iter();
        let stay: Vec<String> = stay.map(|it| it.id(self.new)).collect();
        left.unplugged.retain(|id| !stay.contains(id));
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
    pub fn memories(&self, shared: &Shared, kept: &[Option<Key>]) -> Result<Vec<Option<Key>>> {
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
                shared.pool.blank(self.layout.apart(number))?;
            }
            let memory = shared.pool.provide(self.new, self.layout, number)?;
            let key = memory.map(|memory| shared.handover.keep(memory));
            Ok(key.transpose()?)
        };
        numbers.map(memory).collect()
    }

    pub fn links(
        &self,
        shared: &Shared,
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
                None => new_link(self.new, client, &shared.handover.store)?.1,
            }))
        };
        clients.map(link).collect()
    }

    /// Who is disturbed has the same socket, and no connection.
    pub fn exports(&self, shared: &Shared, kept: &[LeftExport]) -> Result<Vec<LeftExport>> {
        let handover = &shared.handover;
        let export = |(part, _): (Part, _)| {
            let client = self.old.client_number(&self.new.clients[part.client].name);
            let before = client.map(|client| Part { client, ..part });
            let before = before.and_then(|before| kept.iter().find(|it| it.part == before));
            match before {
                Some(left) if self.keeps(part) => Ok(*left),
                Some(left) => handover.blank_export(part, left.listener),
                None => handover.new_export(self.new, part),
            }
        };
        self.new.exports().map(export).collect()
    }

    /// Gives the sockets of clients to the groups that may have them now.
    pub fn regroup(&self) -> Result<()> {
        if self.new.clients.iter().any(|it| it.group.is_some()) {
            open_run_dir(self.new)?;
        }
        for (part, _) in self.new.exports() {
            let client = &self.new.clients[part.client];
            let before = self.old.client(&client.name);
            if before.is_some_and(|before| before.group != client.group) {
                let path = self.new.socket(part);
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

    /// Removes the sockets, and the names of memory, of who is not there any more.
    pub fn remove_names(&self) {
        let names = |config: &Config| {
            let sockets = config.exports().map(|(part, _)| config.socket(part));
            let clients = config.clients.iter().filter(|it| it.is_channel_level());
            let own = clients.flat_map(|it| [config.link_socket(it), config.client_memory(it)]);
            sockets.chain(own).collect::<Vec<_>>()
        };
        let stay = names(self.new);
        for name in names(self.old).iter().filter(|it| !stay.contains(it)) {
            let _ = fs::remove_file(name);
        }
    }
}
