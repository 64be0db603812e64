//! What is in the pool, and where.

use anyhow::{ensure, Result};
use serde::{Deserialize, Serialize};
use vcss::layout::PAGE;
use vcss::plan::{self, AreaPlan};

use crate::config::{next_good, Client, Config, MIB};
use crate::layout::{Span, HOST_PROGRAM_BYTES, HOST_SUBCHANNELS};

/// For the memory of clients that come while the appliance runs, if nothing is written about it. What is not used costs nothing.
const MORE_ROOM: u64 = 32 << 30;

/// The control area for a configuration.
pub fn control_plan(config: &Config) -> AreaPlan {
    let exports = config.clients.iter().map(|it| it.rows).sum::<u32>();
    plan::control_area(
        config.clients.len() as u32 + 1,
        config.disks.len() as u32,
        exports + host_subchannels(config),
    )
}

/// A client's area. A channel-level client's programs are in its own memory, and its VM has to know how long the area is.
pub fn client_plan(client: &Client) -> AreaPlan {
    match client.is_channel_level() {
        true => plan::client_area_with(client.parts() as u32, 0),
        false => plan::client_area(client.rows),
    }
}

/// The daemon's own area.
pub fn host_plan(config: &Config) -> AreaPlan {
    plan::client_area_with(host_subchannels(config), HOST_PROGRAM_BYTES)
}

fn host_subchannels(config: &Config) -> u32 {
    HOST_SUBCHANNELS + config.disks.len() as u32
}

/// What is where, in bytes from the pool's first one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Layout {
    /// The control area; the appliance's private memory is what lies before it.
    pub control: Span,
    /// The area whose client is the daemon itself.
    pub host: Span,
    /// Control area, the daemon's and all clients' areas that are not in their own memory, in one piece.
    pub together: Span,
    /// The area in there that is for each client, if it is not in its own memory.
    apart: Vec<Span>,
    pub areas: Vec<Span>,
    /// A vacant place has none.
    pub windows: Vec<Span>,
    /// Length of the appliance's memory.
    pub total: u64,
}

impl Layout {
    /// The layout for a configuration. The same configuration has the same layout each time.
    pub fn of(config: &Config) -> Self {
        let mut end = config.appliance.private;
        let mut take = |length: u64, alignment: u64| {
            let offset = end.next_multiple_of(alignment);
            end = offset + length;
            Span { offset, length }
        };
        let control = take(control_plan(config).length(), PAGE);
        let host = take(host_plan(config).length(), PAGE);
        let rows = config.clients.iter().map(|client| client.rows);
        let apart: Vec<Span> = rows
            .map(|rows| take(plan::client_area(rows).length(), PAGE))
            .collect();
        let together = Span {
            offset: control.offset,
            length: apart.last().unwrap_or(&host).end() - control.offset,
        };
        let windows: Vec<Span> = config
            .clients
            .iter()
            .map(|client| match client.memory {
                0 => Span::NONE,
                memory => take(memory, MIB),
            })
            .collect();
        let needed: u64 = windows.iter().map(|window| window.length).sum();
        let room = config.appliance.room.unwrap_or(needed + MORE_ROOM);
        let start = together.end().next_multiple_of(MIB);
        Self {
            control,
            host,
            together,
            areas: areas(config, &apart, &windows),
            apart,
            windows,
            total: next_good(end.max(start + room)),
        }
    }

    /// Whether this program has the same areas for a configuration whose layout this is: it may be another version's.
    ///
    /// # Errors
    ///
    /// It has not.
    pub fn check(&self, config: &Config) -> Result<()> {
        let same = Self::of(config);
        ensure!(
            (same.control, same.host, same.together, &same.apart)
                == (self.control, self.host, self.together, &self.apart)
                && self.windows.len() == config.clients.len(),
            "it has another layout of the pool"
        );
        Ok(())
    }

    /// The layout for a configuration that follows another one, whose layout this is: who stays has the same window, and who comes
    /// another one, which is none of those that are vacated and still to be cleared. `None` if there is no room for that.
    /// So does a client that `moves`.
    pub fn follow(
        &self,
        old: &Config,
        new: &Config,
        vacated: &[Span],
        moves: impl Fn(usize) -> bool,
    ) -> Option<Self> {
        let clients = old.clients.iter().zip(&new.clients).enumerate();
        let stays = clients.map(|(number, (before, after))| {
            before.name == after.name
                && before.memory == after.memory
                && !after.is_vacant()
                && !moves(number)
        });
        let stays: Vec<bool> = stays.collect();
        // A window that somebody leaves now is not free before it has been cleared, either.
        let mut taken: Vec<Span> = [&self.windows, vacated].concat();
        let mut windows = Vec::new();
        for ((client, &window), stays) in new.clients.iter().zip(&self.windows).zip(stays) {
            windows.push(match (stays, client.memory) {
                (true, _) => window,
                (false, 0) => Span::NONE,
                (false, memory) => {
                    let free = self.free(&taken, memory)?;
                    taken.push(free);
                    free
                }
            });
        }
        Some(Self {
            areas: areas(new, &self.apart, &windows),
            windows,
            ..self.clone()
        })
    }

    /// The area in the pool that a place has, whoever has that.
    pub fn apart(&self, client: usize) -> Span {
        self.apart.get(client).copied().unwrap_or(Span::NONE)
    }

    /// The first place in the room in which there is so much beside these.
    fn free(&self, taken: &[Span], length: u64) -> Option<Span> {
        let room = self.room();
        let ends = taken.iter().map(|span| span.end());
        let starts = std::iter::once(room.offset).chain(ends);
        let places = starts.map(|start| Span {
            offset: start.max(room.offset).next_multiple_of(MIB),
            length,
        });
        let is_free = |place: &Span| {
            let mut others = taken.iter();
            place.end() <= room.end() && !others.any(|other| other.meets(*place))
        };
        places.filter(is_free).min_by_key(|place| place.offset)
    }

    /// The appliance's own memory.
    pub const fn private(&self) -> Span {
        Span {
            offset: 0,
            length: self.control.offset,
        }
    }

    /// Where areas and windows are.
    pub const fn shared(&self) -> Span {
        Span {
            offset: self.together.offset,
            length: self.total - self.together.offset,
        }
    }

    /// Where the room for windows is.
    pub const fn room(&self) -> Span {
        let start = self.together.end();
        Span {
            offset: start,
            length: self.total - start,
        }
    }
}

/// Where the area of each client is: apart, or at the end of its own memory.
fn areas(config: &Config, apart: &[Span], windows: &[Span]) -> Vec<Span> {
    let places = apart.iter().zip(windows);
    let areas = config.clients.iter().zip(places);
    areas
        .map(
            |(client, (&apart, window))| match client.is_channel_level() {
                true => window.last(client_plan(client).length()),
                false => apart,
            },
        )
        .collect()
}
