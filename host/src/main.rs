//! `stellwerk`: the host's side of the Stellwerk storage driver domain.
//!
//! # Purpose
//!
//! The appliance serves disks; this program gives it a VM to run in, clients to serve, and wake-ups. It
//! makes the pool, starts the appliance's QEMU, opens a vhost-user socket for each disk of each client,
//! and carries doorbells between eventfds and shared memory.
//!
//! # The parts
//!
//! | module | what it is |
//! |---|---|
//! | [`config`] | the configuration, read and checked |
//! | [`pool`] | the shared file and its layout |
//! | [`areas`] | control area and clients' areas in it |
//! | [`appliance`] | the appliance's QEMU |
//! | [`bell`] | the wake-up thread, the one hot path |
//! | [`device`] | channel programs that set a virtio device up |
//! | [`vhost`] | vhost-user, turned into such programs |
//! | [`daemon`] | all of it together: `stellwerk up` |
//! | [`status`] | `stellwerk status` |
//! | [`client_args`] | `stellwerk client-args` |
//!
//! # The rule
//!
//! The daemon never touches a block of data: it does not even map the clients' memory.

mod appliance;
mod areas;
mod bell;
mod client_args;
mod config;
mod daemon;
mod device;
mod pool;
mod status;
#[cfg(test)]
mod testing;
mod vhost;

use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{ArgAction, Parser, Subcommand};
use tracing::level_filters::LevelFilter;

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
    /// Print the QEMU arguments that a client's VM needs, ready for a shell
    ClientArgs {
        /// The configuration that the daemon runs with
        config: PathBuf,
        /// The client's name
        name: String,
        /// One option per line
        #[arg(long)]
        lines: bool,
    },
    /// Show the appliance, its subchannels, clients and counters
    Status {
        /// The configuration that the daemon runs with
        config: PathBuf,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    start_log(cli.verbose);
    match run(cli.command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("stellwerk: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Up { config } => daemon::up(&config),
        Command::ClientArgs {
            config,
            name,
            lines,
        } => print(&format!(
            "{}\n",
            client_args::load_and_print(&config, &name, lines)?
        )),
        Command::Status { config, json } => {
            let status = status::ask(&config)?;
            print(&if json {
                format!("{}\n", serde_json::to_string_pretty(&status)?)
            } else {
                status::table(&status)
            })
        }
    }
}

/// Writes to standard output. A reader that has read enough is no error.
fn print(text: &str) -> anyhow::Result<()> {
    let mut stdout = std::io::stdout().lock();
    match stdout
        .write_all(text.as_bytes())
        .and_then(|()| stdout.flush())
    {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(()),
    }
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
