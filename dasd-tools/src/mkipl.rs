//! `stellwerk mkipl`: writes the appliance's image onto a volume from which a machine can IPL.
//!
//! | module | what it is |
//! |---|---|
//! | `volume` | a volume as Hercules keeps it: a file of tracks |
//! | `space` | which of its tracks are free: the VTOC, and a data set in it for the image |
//! | `loader` | the channel program that loads the image |
//! | `medium` | the file of a volume |
//! | `fixed` | all of that on a fixed-block volume |
//!
//! # Scope
//!
//! 3390 volumes of up to 65,536 tracks and fixed-block volumes, with a `VOL1` label, not compressed. The volume must be in use by nobody.
//!
//! # The rule
//!
//! Label, VTOC entries of others and the tracks of data sets are never written. Tracks that are in no data set but have data on
//! them, and IPL records of others, are overwritten only when that was asked for. IPL records are written last, so a volume
//! on which only half of an image is has none.

mod fixed;
mod loader;
mod medium;
mod space;
#[cfg(test)]
mod tests;
mod volume;

use std::ops::Range;
use std::path::Path;

use anyhow::{bail, ensure, Context, Result};

use crate::format::Record;
use fixed::Fixed;
use space::Space;
use volume::{Track, Volume};

/// Where the image is loaded.
const BASE: u32 = 0x1_0000;
/// What is loaded by 24-bit addresses ends here.
const END: u32 = 0x100_0000;
/// The front of the image up to here is there for loaders' parameters.
const HEAD: usize = 0x1000;
/// Where in it the command line is, and most characters of it.
const LINE: usize = 0x480;
const LINE_MOST: usize = HEAD - LINE - 1;
/// Bytes of a record.
const BLOCK: usize = 4096;
const RECORDS: usize = 12;

/// Why an IPL program is not overwritten.
const FOREIGN: &str = "it has an IPL program of somebody else; --yes overwrites it";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Overwrite {
    /// Nothing but an image that was written here.
    Nothing,
    /// Data that is in no data set, and the IPL program of somebody else.
    Foreign,
}

/// Writes an image, and says what it did.
///
/// # Errors
///
/// The image or the volume is not what it has to be, or there is something on the volume that was not to be overwritten.
pub fn mkipl(image: &Path, volume: &Path, line: &str, overwrite: Overwrite) -> Result<String> {
    let bytes = load(image, line)?;
    let size = bytes.len().div_ceil(1024);
    let at = || volume.display().to_string();
    if let Some(this) = Fixed::open(volume)? {
        let Range { start, end } = this.write(&bytes, overwrite).with_context(at)?;
        let last = end - 1;
        return Ok(format!(
            "{size} KiB on blocks {start} to {last}: a fixed-block volume has no VTOC to list them in\n"
        ));
    }
    let mut this = Volume::open(volume)?;
    let (Range { start, end }, listed) = write(&mut this, &bytes, overwrite).with_context(at)?;
    let place = |track| {
        let heads = u32::from(volume::HEADS);
        format!("cylinder {} head {}", track / heads, track % heads)
    };
    let listed = match listed {
        true => format!("data set {}", space::NAME),
        false => "the volume has no VTOC to list them in".to_owned(),
    };
    let (first, last) = (place(start), place(end - 1));
    Ok(format!("{size} KiB on {first} to {last}: {listed}\n"))
}

/// The image with a command line in it.
fn load(path: &Path, line: &str) -> Result<Vec<u8>> {
    let mut image = std::fs::read(path).with_context(|| format!("reading {}", path.display()))?;
    let name = path.display();
    ensure!(
        !image.starts_with(b"\x7fELF"),
        "{name} is an ELF file; what can be loaded is the flat one beside it, stellwerk.bin"
    );
    ensure!(
        image.len() > HEAD && image.len() <= (END - BASE) as usize,
        "{name} has {} bytes: no image",
        image.len()
    );
    // Loaders put things there; the image has nothing.
    ensure!(
        image[LINE..HEAD].iter().all(|&byte| byte == 0),
        "{name} is no image: there is something at {:#x}, where the command line belongs",
        BASE as usize + LINE
    );
    ensure!(
        line.len() <= LINE_MOST,
        "the command line has {} characters, at most {LINE_MOST} fit",
        line.len()
    );
    ensure!(
        line.bytes().all(|byte| (b' '..=b'~').contains(&byte)),
        "the command line has to be printable ASCII"
    );
    image[LINE..LINE + line.len()].copy_from_slice(line.as_bytes());
    Ok(image)
}

/// Writes it on tracks of the volume; which ones, and whether its VTOC lists them.
fn write(volume: &mut Volume, image: &[u8], overwrite: Overwrite) -> Result<(Range<u32>, bool)> {
    let mut space = Space::of(volume)?;
    let ours = loader::Signature::find(volume)?;
    let careful = overwrite == Overwrite::Nothing;
    if ours.is_none() && loader::is_there(volume)? && careful {
        bail!(FOREIGN);
    }
    // In front of the image, the channel program that loads it.
    let blocks = 1 + image.len().div_ceil(BLOCK);
    let count = u32::try_from(blocks.div_ceil(RECORDS))?;
    let before = ours.map(|signature| signature.place());
    let tracks = space.find(volume, count, before.as_ref())?;
    let program = loader::program(&tracks, blocks - 1)?;
    let written_over = before.filter(|_| !space.is_listed()).unwrap_or_default();
    for number in tracks.clone() {
        let foreign = !written_over.contains(&number) && !space.own().any(|own| own == number);
        if foreign && careful && volume.track(number)?.has_data() {
            bail!(
                "there is data on tracks {} to {}, though they belong to no data set; --yes overwrites it",
                tracks.start,
                tracks.end - 1
            );
        }
    }
    loader::erase(volume)?;
    let mut rest = image.chunks(BLOCK);
    let mut first = Some(program);
    for number in tracks.clone() {
        let mut track = Track::empty(number);
        for record in 1..=RECORDS as u8 {
            let data = match first.take() {
                Some(program) => program,
                None => rest.next().unwrap_or_default().to_vec(),
            };
            track.records.push(Record::new(number, record, data, BLOCK));
        }
        volume.put(number, &track)?;
    }
    // What an image before this one had and this one has not.
    for number in space
        .own()
        .chain(written_over)
        .filter(|one| !tracks.contains(one))
    {
        volume.put(number, &space.blank(number))?;
    }
    let listed = space.list(volume, &tracks, blocks)?;
    volume.0.sync()?;
    loader::install(volume, &tracks)?;
    volume.0.sync()?;
    Ok((tracks, listed))
}
