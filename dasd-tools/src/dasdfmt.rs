//! `stellwerk dasdfmt`: a disk is formatted, and the command line shows how far that is.

use std::io;
use std::time::{Duration, Instant};

use s390x::ebcdic::Text;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::admin;
use crate::format::{self, Format, FormatError, Layout};
use crate::formatter::Formatter;
use crate::runner::{Failure, Runner};

/// How often a line says how far it is.
const TICK: Duration = Duration::from_millis(200);
/// Columns of the bar.
const BAR: usize = 40;

/// How a disk is to be formatted.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct FormatOrder {
    pub layout: Layout,
    /// Bytes of a block.
    pub block: u16,
    /// Volume serial; `0X` and the device number if it is not given.
    pub serial: Option<String>,
}

/// What there is to say while a disk is being formatted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FormatLine {
    Begins {
        /// The device, 3390 for example.
        device: String,
        serial: String,
        tracks: u32,
        /// Blocks of a track.
        records: u8,
        /// The track with which it goes on where it was broken off.
        resumed: Option<u32>,
    },
    /// So many tracks are formatted and read back.
    Done(u32),
    Complete {
        /// Blocks that will be served.
        blocks: u64,
        /// The appliance had another volume there, by size, serial or partitions: it opens the disk anew.
        anew: bool,
    },
}

/// What the configuration has to do with it.
#[derive(Clone, Copy, Debug)]
pub struct Use {
    /// Sectors of 512 bytes that the disk had, if it is one of the configuration.
    pub sectors: Option<u64>,
    /// The sector behind the last that is exported to a client.
    pub exported: u64,
}

#[derive(Debug, Error)]
pub enum DasdfmtError {
    #[error("\"{0}\" is no volume serial: one to six letters, digits, $, #, @ or -")]
    Serial(String),
    #[error(transparent)]
    Format(#[from] FormatError),
    #[error("the volume would have {sectors} sectors, and clients are given {exported} of them: change the configuration first")]
    Exported { sectors: u64, exported: u64 },
    /// The disk failed before anything was formatted.
    #[error(transparent)]
    Disk(#[from] Failure),
    /// The disk failed on the way.
    #[error("{0}\n{1} tracks are formatted; the same command goes on from there")]
    Half(Failure, u32),
    #[error("formatting was broken off")]
    Unheard(#[from] io::Error),
}

/// Formats a disk with device number `device`, and gives each line to `say`, which ends it by an error.
pub fn format(
    disk: &mut dyn Runner,
    device: &str,
    order: &FormatOrder,
    used: Use,
    mut say: impl FnMut(FormatLine) -> io::Result<()>,
) -> Result<(), DasdfmtError> {
    let serial = match &order.serial {
        Some(serial) => serial.clone(),
        None => format!("0X{}", device.rsplit('.').next().unwrap_or_default()),
    };
    let serial = format::serial(&serial).ok_or(DasdfmtError::Serial(serial))?;
    let about = admin::characteristics(disk)?;
    let format = Format::new(about, order.layout, order.block, serial)?;
    let blocks = format.blocks();
    let (sectors, exported) = (blocks * u64::from(format.block() / 512), used.exported);
    if exported > sectors {
        return Err(DasdfmtError::Exported { sectors, exported });
    }
    let mut formatter = Formatter::begin(disk, format)?;
    say(FormatLine::Begins {
        device: format!("{:04x}/{:02x}", about.device.get(), about.device_model),
        serial: Text(&serial).to_string(),
        tracks: format.tracks(),
        records: format.records(),
        resumed: formatter.resumed(),
    })?;
    let mut said = Instant::now();
    while formatter
        .step(disk)
        .map_err(|failure| DasdfmtError::Half(failure, formatter.tracks_done()))?
    {
        if said.elapsed() >= TICK {
            said = Instant::now();
            say(FormatLine::Done(formatter.tracks_done()))?;
        }
    }
    say(FormatLine::Done(formatter.tracks_done()))?;
    let anew = used.sectors.is_some_and(|before| before != sectors);
    Ok(say(FormatLine::Complete { blocks, anew })?)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// A bar that is drawn over and over, for a terminal.
    Bar,
    /// A line for each tenth, for a file.
    Lines,
}

#[derive(Debug)]
pub struct Progress {
    style: Style,
    begun: Instant,
    tracks: u32,
    /// What was done when it began.
    before: u32,
    /// The tenth that was shown last.
    shown: Option<u32>,
}

impl Progress {
    pub fn new(style: Style) -> Self {
        Self {
            style,
            begun: Instant::now(),
            tracks: 0,
            before: 0,
            shown: None,
        }
    }

    /// The text for a line; empty when there is nothing to show.
    pub fn text(&mut self, line: &FormatLine) -> String {
        match line {
            FormatLine::Begins {
                device,
                serial,
                tracks,
                records,
                resumed,
            } => {
                self.tracks = *tracks;
                self.before = resumed.map_or(0, |track| track.saturating_sub(1));
                let resumed = resumed.map_or(String::new(), |track| {
                    format!(", going on with track {track} where it was broken off")
                });
                format!(
                    "{device}, {tracks} tracks of {records} blocks, volume serial {serial}{resumed}\n"
                )
            }
            FormatLine::Done(done) => self.done(*done),
            FormatLine::Complete { blocks, anew } => {
                let anew = match anew {
                    true => "The volume is another one now: the appliance opens it as that by itself, `stellwerk status` shows when\n",
                    false => "",
                };
                format!("Formatted and read back; {blocks} blocks\n{anew}")
            }
        }
    }

    fn done(&mut self, done: u32) -> String {
        let all = self.tracks.max(1);
        let percent = (u64::from(done) * 100 / u64::from(all)) as u32;
        if self.style == Style::Lines {
            let tenth = percent / 10;
            return match self.shown.replace(tenth) == Some(tenth) {
                true => String::new(),
                false => format!("track {done} of {all}, {percent} %\n"),
            };
        }
        let full = "#".repeat(percent as usize * BAR / 100);
        let rate = f64::from(done.saturating_sub(self.before)) / self.begun.elapsed().as_secs_f64();
        let left = f64::from(all - done.min(all)) / rate.max(0.001);
        let end = if done >= all { "\n" } else { "" };
        format!("\r[{full:<BAR$}] {percent:3} % track {done} of {all}, {left:.0} s left  {end}")
    }
}
