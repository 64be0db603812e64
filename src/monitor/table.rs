//! All commands, and what is said of them.

use super::commands::{clients, devices, diagnosis, general, storage};
use super::message;
use super::operands::{Operands, Refused};
use super::out::Out;
use super::sample::Sample;
use super::view::{Acts, View};

/// A command that only looks.
pub type Look = fn(&dyn View, Operands<'_>, &mut Out<'_>) -> Result<(), Refused>;
/// One that compares with what was a second ago.
pub type Compare = fn(&dyn View, &Sample, &mut Out<'_>);
/// One that changes something.
pub type Act = fn(&mut dyn Acts, Operands<'_>, &mut Out<'_>) -> Result<(), Refused>;

#[derive(Clone, Copy, Debug)]
pub enum Run {
    Look(Look),
    Compare(Compare),
    /// Without operands the first, with some the second.
    LookOrAct(Look, Act),
}

impl Run {
    /// Whether it changes something with these operands.
    pub fn changes(self, operands: &Operands<'_>) -> bool {
        match self {
            Self::Look(_) | Self::Compare(_) => false,
            Self::LookOrAct(..) => !operands.is_empty(),
        }
    }
}

#[derive(Clone, Copy, Debug)]
pub struct Command {
    pub name: &'static str,
    /// So many letters of the name are enough.
    pub least: usize,
    pub operands: &'static str,
    /// One line.
    pub help: &'static str,
    pub run: Run,
}

const fn look(
    name: &'static str,
    least: usize,
    operands: &'static str,
    help: &'static str,
    look: Look,
) -> Command {
    Command {
        name,
        least,
        operands,
        help,
        run: Run::Look(look),
    }
}

#[rustfmt::skip]
pub const COMMANDS: &[Command] = &[
    look("help", 1, "[COMMAND]", "the commands, or how one is used", help),
    look("version", 1, "", "which image this is", general::version),
    look("status", 1, "", "how the appliance fares", general::status),
    Command {
        name: "diag", least: 3, operands: "", help: "what looks wrong, in words; looks for a second",
        run: Run::Compare(diagnosis::diag),
    },
    look("devs", 2, "", "the owned devices, in the columns of lscss", devices::devs),
    look("paths", 1, "[DEV]", "the channel paths of all devices, or of one", devices::paths),
    look("schib", 2, "DEV", "the subchannel-information block of a device", devices::schib),
    look("clients", 2, "", "the clients, and what they are given", clients::clients),
    look("disks", 3, "", "the disks, and why one is not served", devices::disks),
    look("queues", 1, "", "the clients' virtqueues", clients::queues),
    look("inflight", 2, "", "the requests at the disks", clients::in_flight),
    look("counters", 2, "", "what was done for clients, and by drivers", clients::counters),
    look("trace", 1, "[DEV]", "what happened to the subchannels, newest first", devices::trace),
    Command {
        name: "log", least: 1, operands: "[LEVEL]",
        help: "the last log records; LEVEL: which are shown",
        run: Run::LookOrAct(general::log, general::log_level),
    },
    look("mem", 1, "ADDR[,LEN]", "storage of the appliance's own, in hexadecimal", storage::mem),
    look("irq", 2, "", "how the appliance is woken", general::irq),
    look("crw", 2, "", "channel reports", clients::crw),
    look("stack", 4, "", "the stack, and how much of it was used", storage::stack),
];

/// What a word can stand for.
#[derive(Clone, Copy, Debug)]
pub enum Found {
    One(&'static Command),
    None,
    Several,
}

/// Whether a word is an abbreviation of the name, long enough or not.
pub fn begins(command: &Command, word: &str) -> bool {
    let start = command.name.as_bytes().get(..word.len());
    start.is_some_and(|start| start.eq_ignore_ascii_case(word.as_bytes()))
}

/// The command with this name, or that this is long enough to be an abbreviation of.
pub fn find(word: &str) -> Found {
    let mut all = COMMANDS.iter().filter(|command| begins(command, word));
    let (first, second) = (all.next(), all.next());
    let long_enough = COMMANDS
        .iter()
        .find(|command| begins(command, word) && word.len() >= command.least);
    match (long_enough, first, second) {
        (Some(command), ..) | (None, Some(command), None) => Found::One(command),
        (None, None, _) => Found::None,
        (None, Some(_), Some(_)) => Found::Several,
    }
}

fn help(_: &dyn View, mut operands: Operands<'_>, out: &mut Out<'_>) -> Result<(), Refused> {
    let Some(word) = operands.word() else {
        let text = format_args!("commands; what stands before the - is enough");
        out.say(message::HELP, text);
        for command in COMMANDS {
            let (least, rest) = command.name.split_at(command.least);
            let dash = if rest.is_empty() { "" } else { "-" };
            let name = format_args!("{least}{dash}{rest}");
            // A `fmt::Arguments` knows no width.
            let blanks = 10_usize.saturating_sub(command.name.len() + dash.len());
            out.line(format_args!(
                "{name}{:blanks$} {:11} {}",
                "", command.operands, command.help
            ));
        }
        return Ok(());
    };
    operands.end()?;
    let Found::One(command) = find(word) else {
        return Err(Refused::NoSuch("command"));
    };
    let usage = format_args!("{} {}: {}", command.name, command.operands, command.help);
    out.say(message::HELP, usage);
    if let Run::LookOrAct(..) = command.run {
        out.line(format_args!(
            "with an operand it changes something: see monitor="
        ));
    }
    Ok(())
}
