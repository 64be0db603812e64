//! What the other commands ask of the daemon.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use vcss::control::HOST;

use super::{observe, Shared};
use crate::admin::{Answer, Request};
use crate::subchannel::{HostClient, Tracer};

/// How often a trace that is followed is looked at.
const TRACE_TICK: Duration = Duration::from_millis(20);

/// Answers one request.
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
        Request::Trace { follow } => trace(shared, follow, answer),
    }
}

fn trace(shared: &Shared, follow: bool, answer: &mut Answer) -> io::Result<()> {
    let clients = shared.config.clients.iter().map(|it| it.name.clone());
    let clients = clients.chain([HOST.to_owned()]).collect();
    let mut tracer = match Tracer::open(&shared.areas.control, clients) {
        Ok(tracer) => tracer,
        Err(error) => return answer.send::<()>(Err(error.to_string())),
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
