//! Commands and their options.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{ArgAction, Args, Parser, Subcommand};
use dasd_tools::format::Layout;
use strum::VariantNames;

use crate::config::parse_size;
use crate::daemon::UNDERSTANDS;
use crate::keeper;
use crate::vm::look;

/// Storage driver domain for KVM on s390x: runs the appliance and connects clients to it.
#[derive(Debug, Parser)]
#[command(version, about, propagate_version = true)]
pub struct Cli {
    /// Say more; twice for everything
    #[arg(short, long, global = true, action = ArgAction::Count)]
    pub verbose: u8,
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Start the appliance and serve its clients until interrupted
    Up(Written),
    /// Say what is wrong with a configuration, or what it would serve; starts nothing
    Check(Written),
    /// Print the QEMU arguments that a client's VM needs, ready for a shell
    ClientArgs {
        #[command(flatten)]
        daemon: Daemon,
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
    Status(Show),
    /// Keep descriptors for the daemon: what it starts when its keeper has died
    #[command(hide = true, name = keeper::KEEP)]
    Keep {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        up: Vec<OsString>,
    },
    /// Look at the file of a disk: what the daemon starts so that it is not held up itself
    #[command(hide = true, name = look::COMMAND)]
    Look(look::Order),
    /// Take the configuration as it is written now, while clients are served
    Reload {
        #[command(flatten)]
        daemon: Daemon,
        /// Also take from VMs what they have just now; their requests end first
        #[arg(long)]
        force: bool,
    },
    /// Try at once what has failed: a disk, client or subchannel
    Retry {
        #[command(flatten)]
        daemon: Daemon,
        /// Its name in the configuration
        name: String,
    },
    /// Make a disk longer while it is served; its clients are told
    Resize {
        #[command(flatten)]
        daemon: Daemon,
        /// The disk's name in the configuration
        disk: String,
        /// How long it is to be, as 20G [default: as long as its raw file or block device is by now]
        #[arg(value_parser = size)]
        size: Option<u64>,
    },
    /// Exchange the daemon and the appliance for what is on disk by now; clients wait for a moment, and notice nothing else
    Upgrade {
        #[command(flatten)]
        daemon: Daemon,
        /// The daemon only
        #[arg(long = "daemon", conflicts_with = "appliance")]
        only_daemon: bool,
        /// The appliance only: its image, and its QEMU
        #[arg(long)]
        appliance: bool,
    },
    /// Say whether this program could follow a daemon: what that asks before it is exchanged
    #[command(hide = true, name = UNDERSTANDS)]
    Understands(Written),
    /// List the appliance's subchannels, in the columns of lscss, and who has them
    Lscss(Lscss),
    /// List the channel paths of the appliance's subchannels, in the columns of lschp
    Lschp(Show),
    /// Show the paths to a device, in the layout of CP QUERY PATHS
    Lspaths {
        #[command(flatten)]
        device: Device,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Run a channel program on a subchannel that no client has
    Ccw(Ccw),
    /// Show a subchannel-information block
    Schib {
        #[command(flatten)]
        device: Device,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// HALT SUBCHANNEL
    Halt(Device),
    /// CLEAR SUBCHANNEL
    Clear(Device),
    /// CANCEL SUBCHANNEL
    Cancel(Device),
    /// RESUME SUBCHANNEL
    Resume(Device),
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
    Dasdfmt(Dasdfmt),
    /// Show a DASD: characteristics, volume label, VTOC
    Dasdview(Dasdview),
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
        #[command(flatten)]
        daemon: Daemon,
        /// As JSON, a line for each record
        #[arg(long)]
        json: bool,
        /// End after the records that are there
        #[arg(long)]
        once: bool,
    },
}

#[derive(Debug, Args)]
pub struct Written {
    /// The configuration (TOML); relative paths in it are relative to the current directory
    pub config: PathBuf,
}

#[derive(Debug, Args)]
pub struct Daemon {
    /// The configuration that the daemon runs with
    pub config: PathBuf,
}

#[derive(Debug, Args)]
pub struct Show {
    #[command(flatten)]
    pub daemon: Daemon,
    /// As JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct Lscss {
    #[command(flatten)]
    pub show: Show,
    /// Also show whether the device is available
    #[arg(long)]
    pub avail: bool,
    /// Also show the mask of the paths in use
    #[arg(long)]
    pub vpm: bool,
}

#[derive(Debug, Args)]
pub struct Device {
    #[command(flatten)]
    pub daemon: Daemon,
    /// The device number, as 0.0.3270
    pub device: String,
}

#[derive(Debug, Args)]
pub struct Disk {
    #[command(flatten)]
    pub daemon: Daemon,
    /// A disk of the configuration, or the number of a device that nobody has
    pub disk: String,
}

#[derive(Debug, Args)]
pub struct Ccw {
    #[command(flatten)]
    pub device: Device,
    /// nop, sense, sense-id, read:CMD:COUNT, write:CMD:HEX, or format-1 CCWs of 16 hexadecimal digits (address 0: the
    /// daemon finds room; TIC: an offset in the program)
    #[arg(required = true)]
    pub program: Vec<String>,
    /// Seconds that the program may take; then it is cleared
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub timeout: u64,
    /// Let CCWs have the suspend flag (ORB bit S)
    #[arg(long)]
    pub suspend: bool,
    /// Do not let the channel fetch ahead (ORB bit P zero)
    #[arg(long)]
    pub no_prefetch: bool,
    /// Logical-path mask, hexadecimal
    #[arg(long, value_parser = path_mask)]
    pub lpm: Option<u8>,
    /// As JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct Reserve {
    #[command(flatten)]
    pub disk: Disk,
    /// Seconds that a reservation of another system is waited for
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u64).range(0..=86_400))]
    pub wait: u64,
}

#[derive(Debug, Args)]
pub struct Dasdfmt {
    #[command(flatten)]
    pub disk: Disk,
    /// Compatible or Linux disk layout
    #[arg(long, value_parser = PossibleValuesParser::new(Layout::VARIANTS).try_map(|word| word.parse::<Layout>()), default_value = "cdl")]
    pub layout: Layout,
    /// Bytes of a block: 512, 1024, 2048 or 4096
    #[arg(long, default_value_t = 4096)]
    pub blocksize: u16,
    /// Volume serial [default: 0X and the device number]
    #[arg(long)]
    pub label: Option<String>,
    /// Really format it
    #[arg(long)]
    pub yes: bool,
}

#[derive(Debug, Args)]
pub struct Dasdview {
    #[command(flatten)]
    pub disk: Disk,
    /// General information and geometry [default, with -l and -t info]
    #[arg(short = 'i', long)]
    pub info: bool,
    /// Extended information
    #[arg(short = 'x', long)]
    pub extended: bool,
    /// Volume serial only
    #[arg(short = 'j', long, conflicts_with_all = ["info", "extended", "label", "vtoc"])]
    pub volser: bool,
    /// Volume label
    #[arg(short = 'l', long)]
    pub label: bool,
    /// The VTOC: a summary, entries of one format, or everything
    #[arg(short = 't', long, value_name = "SPEC",
        value_parser = ["info", "f1", "f3", "f4", "f5", "f7", "f8", "f9", "all"])]
    pub vtoc: Option<String>,
    /// Everything, as JSON
    #[arg(long)]
    pub json: bool,
}

fn size(text: &str) -> Result<u64, String> {
    parse_size(text).ok_or_else(|| "a size is a number and K, M, G or T".into())
}

fn path_mask(text: &str) -> Result<u8, String> {
    u8::from_str_radix(text, 16).map_err(|_| "a path mask is two hexadecimal digits".into())
}
