//! `stellwerk dasdfmt`: the daemon formats, and the command line shows how far it is.

use std::io;
use std::time::{Duration, Instant};

use anyhow::{bail, ensure, Context, Result};
use dasd::admin::{self, Formatter, Runner};
use dasd::{label, Format, Layout, Program};
use s390x::ebcdic::Text;
use serde::{Deserialize, Serialize};

use crate::config::Config;
use crate::status::{Client, Status};

/// How often a line says how far it is.
const TICK: Duration = Duration::from_millis(200);
/// Columns of the bar.
const BAR: u32 = 40;

/// How a disk is to be formatted.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct FormatOrder {
    /// `cdl` or `ldl`.
    pub layout: String,
    /// Bytes of a block.
    pub block: u16,
    /// Volume serial; `0X` and the device number if it is not given.
    pub serial: Option<String>,
}

/// What there is to say while a disk is being formatted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FormatLine {
    /// It begins.
    Begins {
        /// The device, 3390 for example.
        device: String,
        /// Volume serial.
        serial: String,
        /// Tracks of the volume.
        tracks: u32,
        /// Blocks of a track.
        records: u8,
        /// The track with which it goes on where it was broken off.
        resumed: Option<u32>,
    },
    /// So many tracks are formatted and read back.
    Done(u32),
    /// The volume is complete.
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

impl Use {
    /// That of a disk that is to be formatted, if no client uses it.
    ///
    /// # Errors
    ///
    /// Says which clients are connected to it.
    pub fn of(config: &Config, status: &Status, name: &str) -> Result<Self> {
        let Some(disk) = config.disks.iter().position(|disk| disk.name == name) else {
            return Ok(Self {
                sectors: None,
                exported: 0,
            });
        };
        let is_user = |client: &&Client| {
            let mut disks = client.disks.iter();
            disks.any(|it| it.disk == name && it.connected)
        };
        let users: Vec<&str> = status
            .clients
            .iter()
            .filter(is_user)
            .map(|client| client.name.as_str())
            .collect();
        ensure!(
            users.is_empty(),
            "disk \"{name}\" is in use by {}: stop it first",
            users.join(", ")
        );
        let mut devices = status.devices.iter();
        let device = devices.find(|it| it.disk.as_deref() == Some(name));
        let exports = config.clients.iter().flat_map(|client| &client.exports);
        let ends = exports
            .filter(|export| export.disk == disk)
            .map(|export| export.start + export.sectors.unwrap_or(1));
        Ok(Self {
            sectors: device.map(|device| device.sectors),
            exported: ends.max().unwrap_or(0),
        })
    }
}

impl FormatOrder {
    fn layout(&self) -> Result<Layout> {
        match self.layout.as_str() {
            "cdl" => Ok(Layout::Cdl),
            "ldl" => Ok(Layout::Ldl),
            other => bail!("\"{other}\" is no layout: cdl or ldl"),
        }
    }

    fn serial(&self, device: &str) -> Result<[u8; 6]> {
        let text = match &self.serial {
            Some(serial) => serial.clone(),
            None => format!("0X{}", device.rsplit('.').next().unwrap_or_default()),
        };
        label::serial(&text).with_context(|| {
            format!("\"{text}\" is no volume serial: one to six letters, digits, $, #, @ or -")
        })
    }
}

/// Formats a disk with device number `device`, and gives each line to `say`, which ends it by an error.
///
/// # Errors
///
/// The order cannot be followed or the disk fails: that comes in the inner result. `say` has failed: the outer one.
pub fn format<R: Runner>(
    disk: &mut R,
    device: &str,
    order: &FormatOrder,
    used: Use,
    mut say: impl FnMut(FormatLine) -> io::Result<()>,
) -> io::Result<Result<()>>
where
    R::Error: std::fmt::Display,
{
    let mut program = Box::new(Program::new());
    let prepared = prepare(disk, &mut program, device, order, used);
    let mut formatter = match prepared {
        Ok(formatter) => formatter,
        Err(error) => return Ok(Err(error)),
    };
    let format = *formatter.format();
    let about = format.about();
    say(FormatLine::Begins {
        device: format!("{:04x}/{:02x}", about.device.get(), about.device_model),
        serial: Text(&format.serial()).to_string(),
        tracks: format.tracks(),
        records: format.records(),
        resumed: formatter.resumed(),
    })?;
    let mut said = Instant::now();
    loop {
        match formatter.step(disk, &mut program) {
            Ok(true) => {}
            Ok(false) => break,
            Err(failure) => {
                let done = formatter.tracks_done();
                return Ok(Err(anyhow::anyhow!(
                    "{failure}\n{done} tracks are formatted; the same command goes on from there"
                )));
            }
        }
        if said.elapsed() >= TICK {
            said = Instant::now();
            say(FormatLine::Done(formatter.tracks_done()))?;
        }
    }
    say(FormatLine::Done(formatter.tracks_done()))?;
    let blocks = format.blocks();
    let sectors = blocks * u64::from(format.block() / 512);
    say(FormatLine::Complete {
        blocks,
        anew: used.sectors.is_some_and(|before| before != sectors),
    })?;
    Ok(Ok(()))
}

fn prepare<R: Runner>(
    disk: &mut R,
    program: &mut Program,
    device: &str,
    order: &FormatOrder,
    used: Use,
) -> Result<Formatter>
where
    R::Error: std::fmt::Display,
{
    let (layout, serial) = (order.layout()?, order.serial(device)?);
    let plain = |failure: admin::Failure<R::Error>| anyhow::anyhow!("{failure}");
    let about = admin::characteristics(disk, program).map_err(plain)?;
    let format = Format::new(about, layout, order.block, serial)?;
    let sectors = format.blocks() * u64::from(format.block() / 512);
    ensure!(
        used.exported <= sectors,
        "the volume would have {sectors} sectors, and clients are given {} of them: change the configuration first",
        used.exported
    );
    Formatter::begin(disk, program, format).map_err(plain)
}

/// What the command line shows: `None` when there is nothing to show.
#[derive(Debug)]
pub struct Progress {
    tracks: u32,
    begun: Instant,
    /// What was done when it began.
    before: u32,
    /// A bar that is drawn over and over.
    bar: bool,
    drawn: Option<u32>,
}

impl Progress {
    /// With a bar, or for a file.
    pub fn new(bar: bool) -> Self {
        Self {
            tracks: 0,
            begun: Instant::now(),
            before: 0,
            bar,
            drawn: None,
        }
    }

    /// The text for a line.
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
                self.before = resumed.map_or(0, |track| track - 1);
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
        if !self.bar {
            // A line for each tenth.
            let tenth = percent / 10;
            let new = self.drawn.replace(tenth) != Some(tenth);
            return match new {
                true => format!("track {done} of {all}, {percent} %\n"),
                false => String::new(),
            };
        }
        let full = (percent * BAR / 100) as usize;
        let rate = f64::from(done.saturating_sub(self.before)) / self.begun.elapsed().as_secs_f64();
        let left = f64::from(all - done.min(all)) / rate.max(0.001);
        let end = if done >= all { "\n" } else { "" };
        format!(
            "\r[{:<width$}] {percent:3} % track {done} of {all}, {left:.0} s left  {end}",
            "#".repeat(full),
            width = BAR as usize
        )
    }
}
