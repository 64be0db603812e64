//! What is in the pool, and where.

use vcss::layout::PAGE;
use vcss::plan::{self, AreaPlan};

use crate::config::{next_good, Client, Config, MIB};
use crate::layout::{Span, HOST_PROGRAM_BYTES, HOST_SUBCHANNELS};

/// The control area for a configuration.
pub fn control_plan(config: &Config) -> AreaPlan {
    let exports = config.clients.iter().map(Client::parts).sum::<usize>() as u32;
    plan::control_area(
        config.clients.len() as u32 + 1,
        config.disks.len() as u32,
        exports + host_subchannels(config),
    )
}

/// A client's area. A channel-level client's programs are in its own memory.
pub fn client_plan(client: &Client) -> AreaPlan {
    let program_bytes = match client.is_channel_level() {
        true => 0,
        false => plan::PROGRAM_BYTES,
    };
    plan::client_area_with(client.parts() as u32, program_bytes)
}

/// The daemon's own area.
pub fn host_plan(config: &Config) -> AreaPlan {
    plan::client_area_with(host_subchannels(config), HOST_PROGRAM_BYTES)
}

fn host_subchannels(config: &Config) -> u32 {
    HOST_SUBCHANNELS + config.disks.len() as u32
}

#[derive(Clone, Debug)]
pub struct Layout {
    /// The control area; the appliance's private memory is what lies before it.
    pub control: Span,
    /// The area whose client is the daemon itself.
    pub host: Span,
    /// Control area, the daemon's and all clients' areas that are not in their own memory, in one piece.
    pub together: Span,
    pub areas: Vec<Span>,
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
        let apart: Vec<Option<Span>> = config
            .clients
            .iter()
            .map(|client| match client.is_channel_level() {
                true => None,
                false => Some(take(client_plan(client).length(), PAGE)),
            })
            .collect();
        let together = Span {
            offset: control.offset,
            length: apart.iter().flatten().last().unwrap_or(&host).end() - control.offset,
        };
        let windows: Vec<Span> = config
            .clients
            .iter()
            .map(|client| take(client.memory, MIB))
            .collect();
        let areas = config
            .clients
            .iter()
            .zip(&apart)
            .zip(&windows)
            .map(|((client, apart), window)| {
                apart.unwrap_or_else(|| window.last(client_plan(client).length()))
            })
            .collect();
        Self {
            control,
            host,
            together,
            areas,
            windows,
            total: next_good(end),
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
