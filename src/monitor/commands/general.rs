//! The appliance as a whole.

use core::fmt;

use log::LevelFilter;

use crate::monitor::message::{self, Message};
use crate::monitor::operands::{Operands, Refused};
use crate::monitor::{Acts, Out, View};

/// A time in microseconds, as seconds.
#[derive(Clone, Copy, Debug)]
pub struct Seconds(pub u64);

impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:03} s", self.0 / 1_000_000, self.0 / 1000 % 1000)
    }
}

/// The line before a table: how many lines are behind it, and what they are.
pub fn count(out: &mut Out<'_>, message: Message, count: usize, what: &str) {
    let plural = if count == 1 { "" } else { "s" };
    out.say(message, format_args!("{count} {what}{plural}"));
}

pub fn version(view: &dyn View, operands: Operands<'_>, out: &mut Out<'_>) -> Result<(), Refused> {
    operands.end()?;
    let summary = view.summary();
    let image = summary.about.image_bytes.get();
    let text = format_args!(
        "stellwerk {}, image of {} KiB",
        summary.version,
        image >> 10
    );
    out.say(message::VERSION, text);
    Ok(())
}

pub fn status(view: &dyn View, operands: Operands<'_>, out: &mut Out<'_>) -> Result<(), Refused> {
    operands.end()?;
    let summary = view.summary();
    let about = &summary.about;
    out.say(
        message::STATUS,
        format_args!("{:?}, up {}", summary.life, Seconds(summary.up_us)),
    );
    let disks = (0..view.disk_count()).filter_map(|index| view.disk(index));
    let (mut all, mut failed) = (0, 0);
    for disk in disks {
        all += 1;
        failed += usize::from(disk.reason.is_some() || disk.is_broken);
    }
    out.line(format_args!("disks    {all}, of which {failed} not served"));
    let (mut all, mut failed) = (0, 0);
    for client in (0..).map_while(|place| view.client(place)) {
        all += 1;
        failed += usize::from(client.reason.is_some());
    }
    out.line(format_args!("clients  {all}, of which {failed} not served"));
    let devices = (0..).map_while(|place| view.device(place)).count();
    out.line(format_args!("devices  {devices}"));
    out.line(format_args!("requests {} at the disks", summary.at_disks));
    let (turns, sleeps) = (about.turns.get(), about.sleeps.get());
    let (wakes, healed) = (about.wakes_sent.get(), about.healed.get());
    out.line(format_args!("loop     {turns} turns, {sleeps} sleeps"));
    out.line(format_args!("wakes    {wakes} sent, {healed} lost"));
    let heap = view.innards().heap;
    let (used, size) = (heap.used >> 10, heap.size >> 10);
    out.line(format_args!("heap     {used} of {size} KiB"));
    let configuration = about.configuration.get();
    out.line(format_args!("configuration {configuration}"));
    Ok(())
}

pub fn log(view: &dyn View, operands: Operands<'_>, out: &mut Out<'_>) -> Result<(), Refused> {
    operands.end()?;
    let mut lines = 0;
    view.each_log_line(&mut |_| lines += 1);
    count(out, message::LOG, lines, "log record");
    view.each_log_line(&mut |line| out.line(format_args!("{line}")));
    Ok(())
}

pub fn log_level(
    state: &mut dyn Acts,
    mut operands: Operands<'_>,
    out: &mut Out<'_>,
) -> Result<(), Refused> {
    let level = operands.word().and_then(|word| word.parse().ok());
    let level: LevelFilter = level.ok_or(Refused::Usage)?;
    operands.end()?;
    state.set_log_level(level);
    out.say(message::LOG_LEVEL, format_args!("log={level}"));
    Ok(())
}

pub fn irq(view: &dyn View, operands: Operands<'_>, out: &mut Out<'_>) -> Result<(), Refused> {
    operands.end()?;
    let about = view.summary().about;
    let [cr0, cr6, cr14] = view.innards().controls;
    // CR 6, bits 32 to 39: one for each subclass.
    let subclasses = (cr6 >> 24) as u8;
    out.say(
        message::INTERRUPTIONS,
        format_args!("I/O subclasses {subclasses:08b} (0 to 7)"),
    );
    out.line(format_args!(
        "cr0 {cr0:016x} cr6 {cr6:016x} cr14 {cr14:016x}"
    ));
    let (sleeps, healed) = (about.sleeps.get(), about.healed.get());
    out.line(format_args!(
        "{sleeps} sleeps, of which {healed} were ended by the slow timer with work"
    ));
    out.line(format_args!(
        "{} wake-up bytes sent to the host",
        about.wakes_sent.get()
    ));
    let mut asleep = 0;
    for client in (0..).map_while(|place| view.client(place)) {
        asleep += usize::from(client.sleeps);
    }
    out.line(format_args!("{asleep} clients wait to be rung"));
    Ok(())
}
