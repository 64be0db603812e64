//! Which part of an area each type of entry stands in, and how long an entry is.

use crate::client::{
    Command, DeviceState, InFlight, Measurement, Notify, ProgramByte, QueueState, Response,
    SchibPart, Status,
};
use crate::control::{
    Appliance, Client, ClientMemory, Condition, Counters, Device, Disk, Export, Heartbeat,
    HeldBack, Loan, MemoryTaken, Order, Quota,
};
use crate::events::{Event, EventPositions};
use crate::layout::{CapabilityId, Doorbell, Entry};
use crate::trace::TraceEntry;
use crate::underway::Underway;

macro_rules! entries {
    ($($entry:ident: $part:ident, $bytes:literal;)+) => {$(
        impl Entry for $entry {
            const ID: CapabilityId = CapabilityId::$part;
        }
        const _: () = assert!(size_of::<$entry>() == $bytes);
    )+};
}

entries! {
    Doorbell: Doorbell, 256;
    Client: Clients, 128;
    Disk: Disks, 64;
    Export: Exports, 64;
    Quota: Quotas, 32;
    HeldBack: HeldBack, 32;
    Order: Order, 8;
    Loan: Loans, 16;
    Condition: Conditions, 128;
    ClientMemory: ClientMemories, 16;
    MemoryTaken: MemoriesTaken, 8;
    Appliance: Appliance, 128;
    Device: Devices, 64;
    Counters: Counters, 64;
    Underway: Underway, 64;
    TraceEntry: Trace, 64;
    Heartbeat: Heartbeat, 16;
    Command: Commands, 64;
    Response: Responses, 8;
    Status: Statuses, 128;
    SchibPart: Schibs, 64;
    Notify: Notifies, 64;
    Event: Events, 8;
    Measurement: Measurements, 64;
    EventPositions: EventPositions, 64;
    DeviceState: DeviceStates, 32;
    QueueState: QueueStates, 32;
    InFlight: InFlights, 4;
    ProgramByte: Program, 1;
}
