//! The appliance as the operator's console sees it.
//!
//! # Rule
//!
//! Nothing is changed by looking. The machine is asked for one thing, a subchannel-information block; all else is what the parts know.

use core::cell::RefCell;

use channel::{Schib, SubchannelId};
use log::LevelFilter;
use s390x::clock::Tod;
use vcss::control::{self, ExportKind, Life};
use vcss::trace::TraceEntry;

use super::Appliance;
use crate::boot::program::{Innards, Program};
use crate::control::{Exported, Subject};
use crate::css::Platform;
use crate::driver::block::Operation;
use crate::monitor::view::{Client, Disk, Driver, Export, Queue, Reports, Request, Summary};
use crate::monitor::{Acts, Operator, View};
use crate::proxy::block_service::VirtioBlk;

/// Does what the operator wants, if that is due: a bounded piece of it. Returns whether anything was done.
pub(super) fn attend(
    appliance: &mut Appliance,
    platform: &mut dyn Platform,
    operator: &mut dyn Operator,
) -> bool {
    if operator.due() > platform.now() {
        return false;
    }
    let program = operator.program();
    operator.attend(&mut Live {
        appliance,
        platform: RefCell::new(platform),
        program,
    });
    true
}

/// The appliance while nothing else runs.
struct Live<'a> {
    appliance: &'a Appliance,
    /// STORE SUBCHANNEL wants it whole.
    platform: RefCell<&'a mut dyn Platform>,
    program: &'a dyn Program,
}

impl Live<'_> {
    fn exported(&self, place: usize) -> Option<&Exported> {
        self.appliance.table.exports().get(place)
    }

    /// The device of the virtio-ccw kind that a client is given, if there is one.
    fn device_of(&self, export: &Exported) -> Option<&VirtioBlk> {
        let client = self.appliance.plane.proxy.clients.get(export.slot.client)?;
        client.device(export.slot.index)
    }
}

fn driver(device: Option<&VirtioBlk>) -> Driver {
    match device {
        None => Driver::None,
        Some(device) if device.needs_driver() => Driver::NeedsReset,
        Some(device) if !device.is_ready() => Driver::NoDisk,
        Some(device) if device.is_driven() => Driver::Ready,
        Some(_) => Driver::Absent,
    }
}

impl View for Live<'_> {
    fn now(&self) -> Tod {
        // Nobody has it: one method runs at a time.
        let platform = self.platform.try_borrow();
        platform.map_or(Tod::default(), |platform| platform.now())
    }

    fn summary(&self) -> Summary<'_> {
        let about = *self.appliance.control.published();
        Summary {
            version: env!("CARGO_PKG_VERSION"),
            life: self.appliance.control.life().unwrap_or(Life::Starting),
            up_us: self.program.up_us(),
            about,
            at_disks: self.appliance.plane.proxy.at_disks(),
        }
    }

    fn device(&self, place: u32) -> Option<control::Device> {
        self.appliance.control.listed_device(place)
    }

    fn disk_count(&self) -> usize {
        self.appliance.plane.disks.len()
    }

    fn disk(&self, index: usize) -> Option<Disk<'_>> {
        let disk = self.appliance.plane.disks.get(index);
        let disk = disk.filter(|disk| !disk.is_vacant())?;
        let driver = disk.driver.as_ref();
        Some(Disk {
            name: &disk.name,
            number: disk.number,
            id: disk.id,
            sectors: driver.geometry().sectors,
            block_size: driver.geometry().block_size,
            in_flight: driver.in_flight(),
            is_broken: driver.is_broken(),
            is_own: disk.maintenance.is_own(),
            recoveries: self.appliance.published.recoveries(index).into(),
            reason: self.appliance.conditions.reason(Subject::Disk(index)),
        })
    }

    fn client(&self, place: usize) -> Option<Client<'_>> {
        let table = &self.appliance.table;
        let number = table.clients().nth(place)?;
        let entry = table.client(number)?;
        let client = self.appliance.plane.proxy.clients.get(number);
        let (made, lost, left) = client.map_or((0, 0, 0), |client| client.reports());
        Some(Client {
            number,
            name: entry.name.as_str(),
            memory: client.map_or(0, |client| client.memory()),
            sleeps: client.is_some_and(|client| client.sleeps()),
            is_held: client.is_some_and(|client| client.is_held()),
            reports: Reports { made, lost, left },
            reason: self.appliance.conditions.reason(Subject::Client(number)),
        })
    }

    fn export(&self, place: usize) -> Option<Export<'_>> {
        let export = self.exported(place)?;
        let device = self.device_of(export);
        let conditions = &self.appliance.conditions;
        Some(Export {
            client: export.slot.client,
            index: export.slot.index,
            kind: export.kind,
            device: export.entry.device.get(),
            disk: matches!(export.kind, ExportKind::Block | ExportKind::Lent)
                .then(|| export.disk()),
            driver: driver(device),
            queues: device.map_or(0, VirtioBlk::queue_count),
            counters: device.map(VirtioBlk::counters).unwrap_or_default(),
            held_back: device.map(VirtioBlk::held_back).unwrap_or_default(),
            reason: conditions.reason(Subject::Export(export.index)),
        })
    }

    fn queue(&self, place: usize, number: u16) -> Option<Queue> {
        let device = self.device_of(self.exported(place)?)?;
        let (disk_queue, queue) = device.queue(number)?;
        Some(Queue {
            size: queue.size(),
            next_avail: queue.next_avail(),
            in_flight: queue.in_flight(),
            has_news: device.has_news(number),
            disk_queue,
        })
    }

    fn each_request(&self, act: &mut dyn FnMut(Request)) {
        let proxy = &self.appliance.plane.proxy;
        for request in proxy.requests() {
            let Some((client, index)) = proxy.clients.of_origin(&request.origin) else {
                continue;
            };
            let (operation, sector) = match request.operation() {
                Operation::Read { sector } => ("read", Some(sector)),
                Operation::Write { sector } => ("write", Some(sector)),
                Operation::Flush => ("flush", None),
                Operation::Discard => ("discard", None),
                Operation::WriteZeroes => ("zero", None),
                Operation::GetId => ("get id", None),
            };
            act(Request {
                client,
                index,
                queue: request.origin.queue,
                operation,
                sector,
                bytes: request.bytes(),
            });
        }
    }

    fn newest_traced(&self) -> u32 {
        self.appliance.control.newest_traced()
    }

    fn traced(&self, number: u32) -> Option<TraceEntry> {
        self.appliance.control.traced(number)
    }

    fn each_log_line(&self, act: &mut dyn FnMut(&str)) {
        self.program.each_log_line(act);
    }

    fn schib(&self, id: SubchannelId) -> Option<Schib> {
        self.platform.try_borrow_mut().ok()?.store(id).ok()
    }

    fn innards(&self) -> Innards {
        self.program.innards()
    }

    fn bytes(&self, address: u64, to: &mut [u8]) -> bool {
        let end = address.checked_add(to.len() as u64);
        let own = self.appliance.control.published().private_bytes.get();
        end.is_some_and(|end| end <= own) && self.program.bytes(address, to)
    }
}

impl Acts for Live<'_> {
    fn set_log_level(&mut self, level: LevelFilter) {
        self.program.set_log_level(level);
    }
}
