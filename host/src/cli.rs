//! Commands, options, and what they print.

mod client_args;
mod lscss;
mod program;
mod status;
#[cfg(test)]
pub(crate) mod tests;
pub(crate) mod trace;
pub(crate) mod view;

use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{bail, ensure, Result};
use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::error::{ContextKind, ContextValue};
use clap::{ArgAction, Args, Parser, Subcommand};
use dasd_tools::admin::Reservation;
use dasd_tools::dasdfmt::{FormatLine, FormatOrder, Progress, Style};
use dasd_tools::dasdview::{Parts, View};
use dasd_tools::format::Layout;
use dasd_tools::mkipl::{mkipl, Overwrite};
use serde::Serialize;
use tracing::level_filters::LevelFilter;

use self::trace::TraceView;
use self::view::{OutcomeView, SchibView};
use crate::api::{ask, follow, Function, Outcome, Program, Request, Status, StoredSchib};
use crate::config::Config;
use crate::sys::print;
use crate::vm::look::{self, Order};
use crate::{check, daemon};

/// Storage driver domain for KVM on s390x: runs the appliance and connects clients to it.
#[derive(Debug, Parser)]
#[command(version, about, propagate_version = true)]
struct Cli {
    /// Say more; twice for everything
    #[arg(short, long, global = true, action = ArgAction::Count)]
    verbose: u8,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Start the appliance and serve its clients until interrupted
    Up {
        /// The configuration (TOML); relative paths in it are relative to the current directory
        config: PathBuf,
    },
    /// Say what is wrong with a configuration, or what it would serve; starts nothing
    Check {
        /// The configuration (TOML); relative paths in it are relative to the current directory
        config: PathBuf,
    },
    /// Print the QEMU arguments that a client's VM needs, ready for a shell
    ClientArgs {
        /// The configuration that the daemon runs with
        config: PathBuf,
        /// The client's name
        name: String,
        /// One option per line
        #[arg(long)]
        lines: bool,
        /// More words for the command line of a client that has subchannels
        #[arg(long, default_value = "", hide_default_value = true)]
        append: String,
    },
    /// Show the appliance, its subchannels, clients and counters
    Status {
        /// The configuration that the daemon runs with
        config: PathBuf,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Look at the file of a disk: what the daemon starts so that it is not held up itself
    #[command(hide = true, name = look::COMMAND)]
    Look {
        /// The file
        path: PathBuf,
        /// It will be written
        #[arg(long)]
        write: bool,
        /// It will be opened past the page cache
        #[arg(long)]
        direct: bool,
    },
    /// Try at once what has failed: a disk, client or subchannel
    Retry {
        /// The configuration that the daemon runs with
        config: PathBuf,
        /// Its name in the configuration
        name: String,
    },
    /// List the appliance's subchannels, in the columns of lscss, and who has them
    Lscss {
        /// The configuration that the daemon runs with
        config: PathBuf,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Run a channel program on a subchannel that no client has
    Ccw {
        /// The configuration that the daemon runs with
        config: PathBuf,
        /// The device number, as 0.0.3270
        device: String,
        /// nop, sense, sense-id, read:CMD:COUNT, write:CMD:HEX, or format-1 CCWs of 16 hexadecimal digits (address 0: the
        /// daemon finds room; TIC: an offset in the program)
        #[arg(required = true)]
        program: Vec<String>,
        /// Seconds that the program may take; then it is cleared
        #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=86_400))]
        timeout: u64,
        /// Let CCWs have the suspend flag (ORB bit S)
        #[arg(long)]
        suspend: bool,
        /// Do not let the channel fetch ahead (ORB bit P zero)
        #[arg(long)]
        no_prefetch: bool,
        /// Logical-path mask, hexadecimal
        #[arg(long, value_parser = path_mask)]
        lpm: Option<u8>,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Show a subchannel-information block
    Schib {
        /// The configuration that the daemon runs with
        config: PathBuf,
        /// The device number, as 0.0.3270
        device: String,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// HALT SUBCHANNEL
    Halt(Instruct),
    /// CLEAR SUBCHANNEL
    Clear(Instruct),
    /// CANCEL SUBCHANNEL
    Cancel(Instruct),
    /// RESUME SUBCHANNEL
    Resume(Instruct),
    /// Reserve a disk for this system: no other one gets at it
    Reserve(Reserve),
    /// Release a disk that was reserved
    Release(Reserve),
    /// Reserve a disk that another system has reserved (UNCONDITIONAL RESERVE)
    Steal {
        #[command(flatten)]
        reserve: Reserve,
        /// Really take it away: make sure that the other system is gone
        #[arg(long)]
        yes: bool,
    },
    /// Format a DASD: everything on it is lost
    Dasdfmt {
        /// The configuration that the daemon runs with
        config: PathBuf,
        /// A disk of the configuration, or the number of a device that nobody has
        disk: String,
        /// Compatible or Linux disk layout
        #[arg(long, value_parser = PossibleValuesParser::new(["cdl", "ldl"]).map(layout), default_value = "cdl")]
        layout: Layout,
        /// Bytes of a block: 512, 1024, 2048 or 4096
        #[arg(long, default_value_t = 4096)]
        blocksize: u16,
        /// Volume serial [default: 0X and the device number]
        #[arg(long)]
        label: Option<String>,
        /// Really format it
        #[arg(long)]
        yes: bool,
    },
    /// Show a DASD: characteristics, volume label, VTOC
    Dasdview {
        /// The configuration that the daemon runs with
        config: PathBuf,
        /// A disk of the configuration, or the number of a device that nobody has
        disk: String,
        /// General information and geometry [default, with -l and -t info]
        #[arg(short = 'i', long)]
        info: bool,
        /// Extended information
        #[arg(short = 'x', long)]
        extended: bool,
        /// Volume serial only
        #[arg(short = 'j', long, conflicts_with_all = ["info", "extended", "label", "vtoc"])]
        volser: bool,
        /// Volume label
        #[arg(short = 'l', long)]
        label: bool,
        /// The VTOC: a summary, entries of one format, or everything
        #[arg(short = 't', long, value_name = "SPEC",
            value_parser = ["info", "f1", "f3", "f4", "f5", "f7", "f8", "f9", "all"])]
        vtoc: Option<String>,
        /// Everything, as JSON
        #[arg(long)]
        json: bool,
    },
    /// Write the appliance's image onto a 3390 or FBA volume, so that a machine can IPL from it. Nobody may have the volume in use
    Mkipl {
        /// The image: stellwerk.bin
        image: PathBuf,
        /// The volume: a file of Hercules, not compressed
        volume: PathBuf,
        /// The command line of the image
        #[arg(long, default_value = "", hide_default_value = true)]
        append: String,
        /// Overwrite data that is in no data set, and the IPL program of somebody else
        #[arg(long)]
        yes: bool,
    },
    /// Follow what happens to the subchannels that are passed through
    Trace {
        /// The configuration that the daemon runs with
        config: PathBuf,
        /// As JSON, a line for each record
        #[arg(long)]
        json: bool,
        /// End after the records that are there
        #[arg(long)]
        once: bool,
    },
}

#[derive(Debug, Args)]
struct Instruct {
    /// The configuration that the daemon runs with
    config: PathBuf,
    /// The device number, as 0.0.3270
    device: String,
}

#[derive(Debug, Args)]
struct Reserve {
    /// The configuration that the daemon runs with
    config: PathBuf,
    /// A disk of the configuration, or the number of a device that nobody has
    disk: String,
    /// Seconds that a reservation of another system is waited for
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u64).range(0..=86_400))]
    wait: u64,
}

/// One of the words that are possible.
fn layout(word: String) -> Layout {
    match word == Layout::Ldl.name() {
        true => Layout::Ldl,
        false => Layout::Cdl,
    }
}

fn path_mask(text: &str) -> Result<u8, String> {
    u8::from_str_radix(text, 16).map_err(|_| "a path mask is two hexadecimal digits".into())
}

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

/// The whole program.
pub fn main() -> ExitCode {
    let cli = Cli::try_parse().unwrap_or_else(|error| harmless(error).exit());
    start_log(cli.verbose);
    match run(cli.command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("stellwerk: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> Result<()> {
    match command {
        Command::Up { config } => daemon::up(&config),
        Command::Check { config } => {
            let config = Config::load(&config)?;
            check::look(&config)?;
            say(&check::summary(&config))
        }
        Command::ClientArgs {
            config,
            name,
            lines,
            append,
        } => {
            let config = Config::load(&config)?;
            let args = client_args::client_args(&config, &name, &append)?;
            check::warn_of_old_qemu(&config);
            let separator = if lines { "\n" } else { " " };
            say(&format!("{}\n", client_args::printed(&args, separator)))
        }
        Command::Status { config, json } => {
            let status: Status = ask(&config, &Request::Status)?;
            show(&status, json, || status::table(&status))
        }
        Command::Lscss { config, json } => {
            let status: Status = ask(&config, &Request::Status)?;
            show(&status.devices, json, || lscss::lscss(&status.devices))
        }
        Command::Ccw {
            config,
            device,
            program,
            timeout,
            suspend,
            no_prefetch,
            lpm,
            json,
        } => {
            let program = Program {
                suspend,
                no_prefetch,
                lpm,
                ..program::parse(&program)?
            };
            let request = Request::Run {
                device,
                program,
                seconds: timeout,
            };
            let outcome: Outcome = ask(&config, &request)?;
            let trouble = outcome.trouble();
            let failed = trouble.map(|trouble| format!("{}: {trouble}", outcome.device));
            let view = OutcomeView::new(outcome);
            show(&view, json, || view.text())?;
            failed.map_or(Ok(()), |failed| bail!(failed))
        }
        Command::Schib {
            config,
            device,
            json,
        } => {
            let stored: StoredSchib = ask(&config, &Request::Schib { device })?;
            let view = SchibView::new(stored);
            show(&view, json, || view.text())
        }
        Command::Look {
            path,
            write,
            direct,
        } => {
            let found = look::look(&Order {
                path,
                write,
                direct,
            })?;
            say(&serde_json::to_string(&found)?)
        }
        Command::Retry { config, name } => {
            let came_of_it: String = ask(&config, &Request::Retry { name })?;
            say(&format!("{came_of_it}\n"))
        }
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
                this.disk
            );
            reserve(this, Reservation::Steal)
        }
        Command::Dasdfmt {
            config,
            disk,
            layout,
            blocksize,
            label,
            yes,
        } => {
            ensure!(
                yes,
                "dasdfmt destroys everything on \"{disk}\": if that is what you want, add --yes"
            );
            let order = FormatOrder {
                layout,
                block: blocksize,
                serial: label,
            };
            dasdfmt(&config, disk, order)
        }
        Command::Dasdview {
            config,
            disk,
            info,
            extended,
            volser,
            label,
            vtoc,
            json,
        } => {
            let view: View = ask(&config, &Request::View { disk })?;
            let all = !(info || extended || label || vtoc.is_some());
            let parts = Parts {
                general: info || all,
                extended,
                label: label || all,
                vtoc: vtoc.as_deref().or(all.then_some("info")),
            };
            show(&view, json, || match volser {
                true => format!("{}\n", view.serial),
                false => view.text(parts),
            })
        }
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
        Command::Trace { config, json, once } => {
            let request = Request::Trace { follow: !once };
            follow(&config, &request, |line| {
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

fn instruct(this: Instruct, function: Function) -> Result<()> {
    let device = this.device;
    ask(&this.config, &Request::Instruct { device, function })
}

fn reserve(this: Reserve, how: Reservation) -> Result<()> {
    let request = Request::Reserve {
        disk: this.disk,
        how,
        seconds: this.wait,
    };
    ask(&this.config, &request)
}

fn dasdfmt(config: &Path, disk: String, order: FormatOrder) -> Result<()> {
    let mut progress = Progress::new(match std::io::stdout().is_terminal() {
        true => Style::Bar,
        false => Style::Lines,
    });
    let mut complete = false;
    follow(config, &Request::Format { disk, order }, |line| {
        complete = matches!(line, FormatLine::Complete { .. });
        print(&progress.text(&line))
    })?;
    ensure!(complete, "broken off; the same command goes on from there");
    Ok(())
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
