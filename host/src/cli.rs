//! Commands, options, and what they print.

mod client_args;
mod commands;
mod lscss;
mod paths;
mod program;
mod reload;
mod status;
pub(crate) mod summary;
#[cfg(test)]
pub(crate) mod tests;
pub(crate) mod trace;
mod upgrade;
pub(crate) mod view;

use std::io::IsTerminal;
use std::process::ExitCode;

use anyhow::{bail, ensure, Result};
use clap::error::{ContextKind, ContextValue};
use clap::Parser;
use dasd_tools::admin::Reservation;
use dasd_tools::dasdfmt::{FormatLine, FormatOrder, Progress, Style};
use dasd_tools::dasdview::{Parts, View};
use dasd_tools::mkipl::{mkipl, Overwrite};
use serde::Serialize;
use tracing::level_filters::LevelFilter;

use self::commands::{Ccw, Cli, Command, Daemon, Dasdfmt, Dasdview, Device, Disk, Reserve};
use self::trace::TraceView;
use self::view::{OutcomeView, SchibView};
use crate::api::{ask, follow, Function, Outcome, OwnedDevice, Program, Request, Status};
use crate::config::Config;
use crate::store::Store;
use crate::sys::print;
use crate::vm::look;
use crate::{check, daemon, keeper};

/// Commands that destroy something. They are not offered to somebody who has mistyped another one.
const DESTROY: [&str; 3] = ["steal", "dasdfmt", "mkipl"];

/// The error of somebody who has mistyped something, without advice that destroys.
fn harmless(mut error: clap::Error) -> clap::Error {
    let suggested = match error.get(ContextKind::SuggestedSubcommand) {
        Some(ContextValue::Strings(names)) => names.clone(),
        Some(ContextValue::String(name)) => vec![name.clone()],
        _ => return error,
    };
    let names = suggested.into_iter();
    let names: Vec<String> = names
        .filter(|name| !DESTROY.contains(&name.as_str()))
        .collect();
    match names.is_empty() {
        true => error.remove(ContextKind::SuggestedSubcommand),
        false => error.insert(
            ContextKind::SuggestedSubcommand,
            ContextValue::Strings(names),
        ),
    };
    error
}

pub fn main() -> ExitCode {
    // Before anybody can give its file another name.
    let _ = keeper::program();
    let cli = Cli::try_parse().unwrap_or_else(|error| harmless(error).exit());
    start_log(cli.verbose);
    match run(cli.command) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("stellwerk: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> Result<ExitCode> {
    match command {
        Command::Up(this) => match Store::open()? {
            Some(store) => daemon::up(&this.config, store).map(|()| ExitCode::SUCCESS),
            None => keeper::up(),
        },
        Command::Keep { .. } => keeper::keep(),
        command => carry_out(command).map(|()| ExitCode::SUCCESS),
    }
}

/// The subchannels that the appliance owns.
fn owned(daemon: &Daemon) -> Result<Vec<OwnedDevice>> {
    Ok(ask::<Status>(&daemon.config, &Request::Status)?.devices)
}

fn carry_out(command: Command) -> Result<()> {
    match command {
        Command::Up(_) | Command::Keep { .. } => Ok(()),
        Command::Check(this) => {
            let config = Config::load(&this.config)?;
            check::look(&config)?;
            say(&summary::summary(&config))
        }
        Command::ClientArgs {
            daemon,
            name,
            lines,
            append,
        } => {
            let config = Config::load(&daemon.config)?;
            let args = client_args::client_args(&config, &name, &append)?;
            check::warn_of_old_qemu(&config);
            let separator = if lines { "\n" } else { " " };
            say(&format!("{}\n", client_args::printed(&args, separator)))
        }
        Command::Status(this) => {
            let status: Status = ask(&this.daemon.config, &Request::Status)?;
            show(&status, this.json, || status::table(&status))
        }
        Command::Lscss(this) => {
            let devices = owned(&this.show.daemon)?;
            let columns = lscss::Columns {
                avail: this.avail,
                vpm: this.vpm,
            };
            show(&devices, this.show.json, || lscss::lscss(&devices, columns))
        }
        Command::Lschp(this) => {
            let paths = paths::channel_paths(&owned(&this.daemon)?);
            show(&paths, this.json, || paths::lschp(&paths))
        }
        Command::Lspaths { device: this, json } => {
            let devices = owned(&this.daemon)?;
            let device = paths::find(&devices, &this.device)?;
            show(device, json, || paths::lspaths(device))
        }
        Command::Ccw(this) => ccw(this),
        Command::Schib { device: this, json } => {
            let device = this.device;
            let view = SchibView::new(ask(&this.daemon.config, &Request::Schib { device })?);
            show(&view, json, || view.text())
        }
        Command::Look(order) => say(&serde_json::to_string(&look::look(&order)?)?),
        Command::Reload { daemon, force } => reload::reload(&daemon.config, force),
        Command::Retry { daemon, name } => {
            let came_of_it: String = ask(&daemon.config, &Request::Retry { name })?;
            say(&format!("{came_of_it}\n"))
        }
        Command::Resize { daemon, disk, size } => {
            let request = Request::Resize { disk, bytes: size };
            let came_of_it: String = ask(&daemon.config, &request)?;
            say(&format!("{came_of_it}\n"))
        }
        Command::Upgrade {
            daemon,
            only_daemon,
            appliance,
        } => upgrade::upgrade(&daemon.config, only_daemon, appliance),
        Command::Understands(this) => daemon::understands(&this.config, std::io::stdin()),
        Command::Halt(this) => instruct(this, Function::Halt),
        Command::Clear(this) => instruct(this, Function::Clear),
        Command::Cancel(this) => instruct(this, Function::Cancel),
        Command::Resume(this) => instruct(this, Function::Resume),
        Command::Reserve(this) => reserve(this, Reservation::Reserve),
        Command::Release(this) => reserve(this, Reservation::Release),
        Command::Steal { reserve: this, yes } => {
            ensure!(
                yes,
                "steal takes \"{}\" away from a system that may be writing to it: if that is what you want, add --yes",
                this.disk.disk
            );
            reserve(this, Reservation::Steal)
        }
        Command::Dasdfmt(this) => dasdfmt(this),
        Command::Dasdview(this) => dasdview(this),
        Command::Mkipl {
            image,
            volume,
            append,
            yes,
        } => {
            let overwrite = match yes {
                true => Overwrite::Foreign,
                false => Overwrite::Nothing,
            };
            say(&mkipl(&image, &volume, &append, overwrite)?)
        }
        Command::Trace { daemon, json, once } => {
            let request = Request::Trace { follow: !once };
            follow(&daemon.config, &request, |line| {
                let line = TraceView::new(line);
                let text = match json {
                    true => serde_json::to_string(&line)?,
                    false => line.to_string(),
                };
                print(&format!("{}\n", text.trim_end()))
            })
        }
    }
}

fn ccw(this: Ccw) -> Result<()> {
    let request = Request::Run {
        device: this.device.device,
        program: Program {
            suspend: this.suspend,
            no_prefetch: this.no_prefetch,
            lpm: this.lpm,
            ..program::parse(&this.program)?
        },
        seconds: this.timeout,
    };
    let outcome: Outcome = ask(&this.device.daemon.config, &request)?;
    let trouble = outcome.trouble();
    let failed = trouble.map(|trouble| format!("{}: {trouble}", outcome.device));
    let view = OutcomeView::new(outcome);
    show(&view, this.json, || view.text())?;
    failed.map_or(Ok(()), |failed| bail!(failed))
}

fn instruct(this: Device, function: Function) -> Result<()> {
    let device = this.device;
    ask(&this.daemon.config, &Request::Instruct { device, function })
}

fn reserve(this: Reserve, how: Reservation) -> Result<()> {
    let request = Request::Reserve {
        disk: this.disk.disk,
        how,
        seconds: this.wait,
    };
    ask(&this.disk.daemon.config, &request)
}

fn dasdfmt(this: Dasdfmt) -> Result<()> {
    let Disk { daemon, disk } = this.disk;
    ensure!(
        this.yes,
        "dasdfmt destroys everything on \"{disk}\": if that is what you want, add --yes"
    );
    let order = FormatOrder {
        layout: this.layout,
        block: this.blocksize,
        serial: this.label,
    };
    let mut progress = Progress::new(match std::io::stdout().is_terminal() {
        true => Style::Bar,
        false => Style::Lines,
    });
    let mut complete = false;
    follow(&daemon.config, &Request::Format { disk, order }, |line| {
        complete = matches!(line, FormatLine::Complete { .. });
        print(&progress.text(&line))
    })?;
    ensure!(complete, "broken off; the same command goes on from there");
    Ok(())
}

fn dasdview(this: Dasdview) -> Result<()> {
    let disk = this.disk.disk;
    let view: View = ask(&this.disk.daemon.config, &Request::View { disk })?;
    let all = !(this.info || this.extended || this.label || this.vtoc.is_some());
    let parts = Parts {
        general: this.info || all,
        extended: this.extended,
        label: this.label || all,
        vtoc: this.vtoc.as_deref().or(all.then_some("info")),
    };
    show(&view, this.json, || match this.volser {
        true => format!("{}\n", view.serial),
        false => view.text(parts),
    })
}

fn say(text: &str) -> Result<()> {
    print(text).map(drop)
}

fn show<T: Serialize>(value: &T, json: bool, text: impl FnOnce() -> String) -> Result<()> {
    say(&match json {
        true => format!("{}\n", serde_json::to_string_pretty(value)?),
        false => text(),
    })
}

fn start_log(verbose: u8) {
    let level = match verbose {
        0 => LevelFilter::INFO,
        1 => LevelFilter::DEBUG,
        _ => LevelFilter::TRACE,
    };
    tracing_subscriber::fmt()
        .with_max_level(level)
        .with_target(false)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr)
        .init();
}
