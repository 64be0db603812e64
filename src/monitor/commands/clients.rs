//! What clients have, and what is done for them.

use vcss::control::{ExportKind, HeldBackBy};

use super::general::count;
use crate::monitor::message;
use crate::monitor::operands::{Operands, Refused};
use crate::monitor::sample::each_queue;
use crate::monitor::view::{Client, Export, Request};
use crate::monitor::{Out, View};

/// By these a log record is known that is about a channel report.
const WORDS: &[u8] = b"channel report";

fn each(view: &dyn View) -> impl Iterator<Item = Client<'_>> {
    (0..).map_while(|place| view.client(place))
}

fn each_export(view: &dyn View) -> impl Iterator<Item = Export<'_>> {
    (0..).map_while(|place| view.export(place))
}

pub fn clients(view: &dyn View, operands: Operands<'_>, out: &mut Out<'_>) -> Result<(), Refused> {
    operands.end()?;
    count(out, message::CLIENTS, each(view).count(), "client");
    for client in each(view) {
        let Client { number, name, .. } = client;
        let state = match (client.reason, client.is_held) {
            (Some(_), _) => "not served",
            (None, true) => "held",
            (None, false) => "served",
        };
        let memory = client.memory >> 20;
        out.line(format_args!("{number:2} {name}: {state}, {memory} MiB"));
        if let Some(reason) = client.reason {
            out.line(format_args!("   {reason}"));
        }
        for export in each_export(view).filter(|export| export.client == number) {
            show(view, &export, out);
        }
    }
    Ok(())
}

fn show(view: &dyn View, export: &Export<'_>, out: &mut Out<'_>) {
    let Export { index, device, .. } = *export;
    let disk = export.disk.and_then(|disk| view.disk(disk));
    let disk = disk.map_or("-", |disk| disk.name);
    let driver = export.driver;
    match export.kind {
        ExportKind::Block => {
            out.line(format_args!(
                "   {index:2} {device:04x} disk {disk}: {driver}"
            ));
        }
        ExportKind::Lent => out.line(format_args!("   {index:2} for the maintenance of {disk}")),
        ExportKind::PassThrough => {
            out.line(format_args!("   {index:2} {device:04x} subchannel"));
        }
        ExportKind::Any => out.line(format_args!("   {index:2} any subchannel")),
        ExportKind::Vacant => out.line(format_args!("   {index:2} of an unknown kind")),
    }
    if let Some(reason) = export.reason {
        out.line(format_args!("      {reason}"));
    }
}

pub fn queues(view: &dyn View, operands: Operands<'_>, out: &mut Out<'_>) -> Result<(), Refused> {
    operands.end()?;
    let mut all = 0;
    each_queue(view, &mut |_| all += 1);
    count(out, message::QUEUES, all, "queue");
    out.line(format_args!(
        "Client Subch. Queue Size Next  In flight News Disk's queue"
    ));
    each_queue(view, &mut |place| {
        let Some(export) = view.export(place.export) else {
            return;
        };
        let (client, index, number) = (export.client, export.index, place.number);
        let (size, next) = (place.queue.size, place.queue.next_avail);
        let (in_flight, disk_queue) = (place.queue.in_flight, place.queue.disk_queue);
        let news = if place.queue.has_news { "yes" } else { "no" };
        out.line(format_args!(
            "{client:6} {index:6} {number:5} {size:4} {next:5} {in_flight:9} {news:4} {disk_queue}"
        ));
    });
    Ok(())
}

pub fn in_flight(
    view: &dyn View,
    operands: Operands<'_>,
    out: &mut Out<'_>,
) -> Result<(), Refused> {
    operands.end()?;
    let mut all = 0;
    view.each_request(&mut |_| all += 1);
    count(out, message::IN_FLIGHT, all, "request");
    out.line(format_args!(
        "Client Subch. Queue Operation    Bytes Sector of the disk"
    ));
    view.each_request(&mut |request| show_request(&request, out));
    Ok(())
}

/// Apart from the closure, which would be there twice.
#[inline(never)]
fn show_request(request: &Request, out: &mut Out<'_>) {
    let (client, index, queue) = (request.client, request.index, request.queue);
    let (operation, bytes) = (request.operation, request.bytes);
    let place = format_args!("{client:6} {index:6} {queue:5} {operation:9}");
    match request.sector {
        Some(sector) => out.line(format_args!("{place} {bytes:8} {sector}")),
        None => out.line(format_args!("{place} {bytes:8}")),
    }
}

pub fn counters(view: &dyn View, operands: Operands<'_>, out: &mut Out<'_>) -> Result<(), Refused> {
    operands.end()?;
    let blocks = || each_export(view).filter(|export| export.kind == ExportKind::Block);
    count(out, message::COUNTERS, blocks().count(), "device");
    for export in blocks() {
        let (client, index, done) = (export.client, export.index, &export.counters);
        let (reads, writes, flushes) = (done.reads.get(), done.writes.get(), done.flushes.get());
        let (discards, errors) = (done.discards.get(), done.errors.get());
        out.line(format_args!(
            "client {client} subchannel {index}: {reads} reads, {writes} writes, {flushes} flushes"
        ));
        let (read, written) = (done.bytes_read.get(), done.bytes_written.get());
        out.line(format_args!("   {read} bytes read, {written} written"));
        out.line(format_args!("   {discards} discards, {errors} errors"));
        let held = &export.held_back;
        let (share, limits) = (held.share_us.get(), held.limits_us.get());
        if share | limits != 0 {
            let now = match HeldBackBy::from_number(held.by.get()) {
                Some(HeldBackBy::Nothing) | None => "",
                Some(HeldBackBy::Share | HeldBackBy::Limits) => ", and is now",
            };
            out.line(format_args!(
                "   held back {share} us for others, {limits} us by limits{now}"
            ));
        }
    }
    for (index, disk) in (0..view.disk_count()).filter_map(|index| Some((index, view.disk(index)?)))
    {
        let done = &disk.recoveries;
        let (retries, paths) = (done.retries.get(), done.other_paths.get());
        let (timeouts, failures) = (done.timeouts.get(), done.failures.get());
        out.line(format_args!(
            "disk {index}: {retries} retries, {paths} on other paths, {timeouts} time-outs, {failures} failed"
        ));
    }
    Ok(())
}

pub fn crw(view: &dyn View, operands: Operands<'_>, out: &mut Out<'_>) -> Result<(), Refused> {
    operands.end()?;
    out.say(
        message::REPORTS,
        format_args!("channel reports to clients, and what the log has of others"),
    );
    for client in each(view) {
        let (number, reports) = (client.number, client.reports);
        let (made, lost, left) = (reports.made, reports.lost, reports.left);
        out.line(format_args!(
            "client {number}: {made} made, {left} not taken, {lost} lost"
        ));
    }
    view.each_log_line(&mut |line| {
        if line.as_bytes().windows(WORDS.len()).any(|it| it == WORDS) {
            out.line(format_args!("{line}"));
        }
    });
    Ok(())
}
