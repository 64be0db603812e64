//! What the other commands ask of the daemon.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use dasd_tools::dasdfmt::{self, DasdfmtError, FormatLine, FormatOrder};
use dasd_tools::dasdview::{self, View};
use serde::Serialize;
use vcss::control::{DeviceLife, HOST};

use super::in_use::in_use;
use super::reload::{self, Taking};
use super::trace::Tracer;
use super::{observe, resize, retry, upgrade, Shared};
use crate::api::{Answer, Reloaded, Request, Upgraded};
use crate::remote::{HostClient, Purpose};

/// How often a trace that is followed is looked at.
const TRACE_TICK: Duration = Duration::from_millis(20);
/// How many such ticks the appliance may take to show that it has given up a disk.
const SHOWN_SOON: u32 = 20;

pub fn answer(
    shared: &Arc<Shared>,
    host: &HostClient,
    request: Request,
    answer: &mut Answer,
) -> io::Result<()> {
    match request {
        Request::Status => answer.send(Ok(observe::status(shared))),
        Request::Schib { device } => answer.send(said(host.schib(&device))),
        Request::Run {
            device,
            program,
            seconds,
        } => {
            let limit = Duration::from_secs(seconds);
            answer.send(said(host.run(&device, &program, limit)))
        }
        Request::Instruct { device, function } => {
            answer.send(said(host.instruct(&device, function)))
        }
        Request::Reserve { disk, how, seconds } => {
            let limit = Duration::from_secs(seconds);
            // Until it is written down, too.
            let turn = upgrade::begin_maintenance(shared);
            let done = match &turn {
                Ok(_) => host.reserve(&shared.reservations, &disk, how, limit),
                Err(error) => return answer.refuse(error),
            };
            let reserved = shared.reservations.ours();
            shared.handover.change(|left| left.reserved = reserved);
            answer.send(said(done))
        }
        Request::Format { disk, order } => format(shared, host, &disk, &order, answer),
        Request::View { disk } => answer.send(said(view(shared, host, &disk))),
        Request::Reload { force } => {
            let taking = match force {
                true => Taking::Used,
                false => Taking::Unused,
            };
            let tell = |done: &Reloaded| drop(answer.send(Ok(done)));
            let done = reload::reload(shared, taking, tell);
            answer.send(said(done))
        }
        Request::Retry { name } => answer.send(said(retry::retry(shared, &name))),
        Request::Resize { disk, bytes } => answer.send(said(resize::resize(shared, &disk, bytes))),
        Request::Upgrade { what } => upgrade(shared, what, answer),
        Request::Trace { follow } => trace(shared, follow, answer),
    }
}

fn upgrade(shared: &Shared, what: Upgraded, answer: &mut Answer) -> io::Result<()> {
    match what {
        Upgraded::Appliance => answer.send(said(upgrade::upgrade_appliance(shared))),
        Upgraded::Daemon => {
            let good = upgrade::begin(shared).and_then(|one| {
                upgrade::check_successor(shared, &shared.handover.left())?;
                Ok(one)
            });
            match good {
                Ok(_one) => {
                    answer.send(Ok(()))?;
                    reload::give_way(shared)
                }
                Err(error) => answer.send::<()>(Err(format!("{error:#}"))),
            }
        }
    }
}

fn view(shared: &Shared, host: &HostClient, name: &str) -> anyhow::Result<View> {
    let _turn = upgrade::begin_maintenance(shared)?;
    let mut disk = host.borrow_disk(name, Purpose::Look)?;
    let device = disk.device();
    Ok(dasdview::look(&mut disk, name, &device)?)
}

/// Formats a disk that no client is connected to.
fn format(
    shared: &Shared,
    host: &HostClient,
    name: &str,
    order: &FormatOrder,
    answer: &mut Answer,
) -> io::Result<()> {
    let _turn = match upgrade::begin_maintenance(shared) {
        Ok(turn) => turn,
        Err(error) => return answer.refuse(&error),
    };
    let used = match in_use(&shared.config, &observe::status(shared), name) {
        Ok(used) => used,
        Err(error) => return answer.refuse(&error),
    };
    let mut disk = match host.borrow_disk(name, Purpose::Format) {
        Ok(disk) => disk,
        Err(error) => return answer.refuse(&error),
    };
    tracing::info!("disk \"{name}\" is being formatted");
    let device = disk.device();
    let mut complete = None;
    let formatted = dasdfmt::format(&mut disk, &device, order, used, |line| match line {
        // Whether the appliance goes on with the disk shows when it has it back.
        FormatLine::Complete { .. } => {
            complete = Some(line);
            Ok(())
        }
        line => answer.send(Ok(line)),
    });
    drop(disk);
    match (formatted, complete) {
        (Err(DasdfmtError::Unheard(error)), _) => {
            tracing::warn!("disk \"{name}\": formatting was broken off");
            Err(error)
        }
        (Err(error), _) => {
            tracing::error!("disk \"{name}\" is not formatted: {error}");
            answer.refuse(&error)
        }
        (Ok(()), Some(FormatLine::Complete { blocks, anew })) => {
            tracing::info!("disk \"{name}\" is formatted");
            let anew = anew || is_given_up(shared, name);
            answer.send(Ok(FormatLine::Complete { blocks, anew }))
        }
        (Ok(()), _) => Ok(()),
    }
}

/// Whether the appliance has given up a disk, which it says soon.
fn is_given_up(shared: &Shared, name: &str) -> bool {
    let mut tries = 0..SHOWN_SOON;
    tries.any(|_| {
        std::thread::sleep(TRACE_TICK);
        let devices = observe::status(shared).devices;
        let disk = devices.iter().find(|it| it.disk.as_deref() == Some(name));
        disk.is_some_and(|disk| disk.state == DeviceLife::Failed)
    })
}

fn trace(shared: &Shared, follow: bool, answer: &mut Answer) -> io::Result<()> {
    let clients = shared.config.clients.iter().map(|it| it.name.clone());
    let clients = clients.chain([HOST.to_owned()]).collect();
    let mut tracer = match Tracer::open(&shared.areas.control, clients) {
        Ok(tracer) => tracer,
        Err(error) => return answer.refuse(&error),
    };
    loop {
        while let Some(line) = tracer.line() {
            answer.send(Ok(line))?;
        }
        if !follow || !answer.is_wanted(TRACE_TICK) {
            return Ok(());
        }
    }
}

fn said<T: Serialize>(outcome: anyhow::Result<T>) -> Result<T, String> {
    outcome.map_err(|error| format!("{error:#}"))
}
