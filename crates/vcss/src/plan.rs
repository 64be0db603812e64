//! How a creator lays out the pool and its areas.
//!
//! The pool is one file: the appliance's private memory, then the control area, then the client
//! areas, then room for the windows. Offsets in the pool are the appliance's absolute addresses.

use window::{ClientAddress, OutOfWindow, Window};

use zerocopy::big_endian::{U16, U32, U64};

use crate::client::{
    Command, DeviceState, InFlight, Measurement, Notify, ProgramByte, QueueState, Response,
    SchibPart, Status, MAX_QUEUES, MAX_QUEUE_SIZE,
};
use crate::control::{
    Appliance, Client, ClientMemory, Condition, Counters, Device, Disk, Export, Heartbeat,
    HeldBack, Loan, MemoryTaken, Order, Quota,
};
use crate::events::{Event, EventPositions};
use crate::layout::{
    Capability, CapabilityId, Doorbell, Entry, Header, Kind, CAPABILITY_VERSION, MAGIC, PAGE,
    VERSION_MAJOR, VERSION_MINOR,
};
use crate::trace::TraceEntry;
use crate::underway::Underway;

/// Owned subchannels that the control area has room for.
pub const MAX_DEVICES: u32 = 256;
/// Bytes of program window that each virtual subchannel has in its area.
pub const PROGRAM_BYTES: u32 = 4096;
/// Channel reports that a client's ring holds.
pub const EVENTS: u32 = 64;
/// Records that the trace holds.
pub const TRACE_ENTRIES: u32 = 1024;

const MAX_PARTS: usize = 20;

/// Where the parts of an area go.
#[derive(Clone, Debug)]
pub struct AreaPlan {
    kind: Kind,
    capabilities: [Option<Capability>; MAX_PARTS],
    used: usize,
    end: u64,
}

impl AreaPlan {
    fn new(kind: Kind) -> Self {
        Self {
            kind,
            capabilities: [None; MAX_PARTS],
            used: 0,
            end: (size_of::<Header>() + MAX_PARTS * size_of::<Capability>()) as u64,
        }
    }

    fn with<T: Entry>(self, count: u32) -> Self {
        self.with_aligned::<T>(count, 256)
    }

    fn with_aligned<T: Entry>(mut self, count: u32, alignment: u64) -> Self {
        let offset = self.end.next_multiple_of(alignment);
        if let Some(place) = self.capabilities.get_mut(self.used) {
            *place = Some(Capability {
                id: U16::new(T::ID as u16),
                version: U16::new(CAPABILITY_VERSION),
                offset: U32::new(offset as u32),
                stride: U32::new(size_of::<T>() as u32),
                count: U32::new(count),
            });
            self.used += 1;
            self.end = offset + size_of::<T>() as u64 * u64::from(count);
        }
        self
    }

    /// Length of the area: whole pages.
    pub fn length(&self) -> u64 {
        self.end.next_multiple_of(PAGE)
    }

    /// Where a part begins, from the area's start.
    pub fn offset(&self, id: CapabilityId) -> Option<u64> {
        self.capabilities
            .iter()
            .flatten()
            .find(|capability| capability.id.get() == id as u16)
            .map(|capability| u64::from(capability.offset.get()))
    }

    /// Writes header and capability list. The entries are left as they are: zero in a new pool.
    pub fn write(&self, window: &Window) -> Result<(), OutOfWindow> {
        for (at, capability) in self.capabilities.iter().flatten().enumerate() {
            let offset = size_of::<Header>() + at * size_of::<Capability>();
            window.write(ClientAddress::new(offset as u64), capability)?;
        }
        window.write(
            ClientAddress::new(0),
            &Header {
                magic: MAGIC,
                major: U16::new(VERSION_MAJOR),
                minor: U16::new(VERSION_MINOR),
                kind: U32::new(self.kind as u32),
                length: U64::new(self.length()),
                capabilities: U32::new(size_of::<Header>() as u32),
                capability_count: U32::new(self.used as u32),
                reserved: [0; 32],
            },
        )
    }
}

/// The control area for so many clients, disks and exports.
pub fn control_area(clients: u32, disks: u32, exports: u32) -> AreaPlan {
    AreaPlan::new(Kind::Control)
        .with::<Doorbell>(1)
        .with::<Client>(clients)
        .with::<Disk>(disks)
        .with::<Export>(exports)
        .with::<Order>(1)
        .with::<Loan>(disks)
        .with::<Condition>(disks + clients + exports)
        .with::<ClientMemory>(clients)
        .with::<MemoryTaken>(clients)
        .with::<Appliance>(1)
        .with::<Device>(MAX_DEVICES)
        .with::<Counters>(exports)
        .with::<Underway>(1)
        .with::<TraceEntry>(TRACE_ENTRIES)
        .with::<Heartbeat>(1)
        .with::<Quota>(exports)
        .with::<HeldBack>(exports)
}

/// A client's area for so many virtual subchannels, with [`PROGRAM_BYTES`] of program window each.
pub fn client_area(subchannels: u32) -> AreaPlan {
    client_area_with(subchannels, PROGRAM_BYTES)
}

/// A client's area for so many virtual subchannels, with so many bytes of program window each.
pub fn client_area_with(subchannels: u32, program_bytes: u32) -> AreaPlan {
    let queues = subchannels * MAX_QUEUES as u32;
    AreaPlan::new(Kind::Client)
        .with::<Doorbell>(1)
        .with::<Command>(subchannels)
        .with::<Response>(subchannels)
        .with::<Status>(subchannels)
        .with::<SchibPart>(subchannels)
        .with::<Notify>(subchannels)
        .with::<Event>(EVENTS)
        .with::<Measurement>(subchannels)
        .with::<EventPositions>(1)
        .with::<DeviceState>(subchannels)
        .with::<QueueState>(queues)
        .with::<InFlight>(queues * MAX_QUEUE_SIZE as u32)
        .with_aligned::<ProgramByte>(subchannels * program_bytes, PAGE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_do_not_overlap() {
        for plan in [control_area(3, 2, 5), client_area(4)] {
            let mut end = 0;
            for part in plan.capabilities.iter().flatten() {
                assert!(part.offset.get() >= end, "{part:?}");
                end = part.offset.get() + part.stride.get() * part.count.get();
            }
            assert!(u64::from(end) <= plan.length());
            assert_eq!(plan.length() % PAGE, 0);
        }
    }

    #[test]
    fn every_part_is_in_one_kind_of_area() {
        let (control, client) = (control_area(1, 1, 1), client_area(1));
        for id in (0..0x100).filter_map(CapabilityId::from_number) {
            let found = control.offset(id).is_some() as u8 + client.offset(id).is_some() as u8;
            assert_eq!(found, 1 + (id == CapabilityId::Doorbell) as u8, "{id:?}");
        }
    }
}
