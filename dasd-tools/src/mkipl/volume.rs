//! A count-key-data volume as Hercules keeps it, not compressed.
//!
//! A header of 512 bytes, then tracks of one size: home address (a zero and the track's address), records of count field, key and
//! data from R0 on, and eight bytes X'FF' behind the last.

use std::os::unix::fs::FileExt;
use std::path::Path;

use anyhow::{bail, ensure, Context, Result};
use dasd::{CountField, TrackAddress};
use zerocopy::big_endian::U16;
use zerocopy::{FromBytes, IntoBytes};

use super::medium::Medium;
use crate::format::Record;

/// Tracks of a cylinder of a 3390.
pub const HEADS: u16 = 15;
/// Most tracks of a volume that is taken.
pub const MOST_TRACKS: u64 = dasd::vtoc::BIG as u64;
const HEADER: u64 = 512;
const MAGIC: &[u8; 8] = b"CKD_P370";
const COMPRESSED: [&[u8; 8]; 3] = [b"CKD_C370", b"CKD_S370", b"FBA_C370"];
/// Bytes of a track of a 3390 in the file.
const TRACK: u32 = 56_832;
const DEVICE_3390: u8 = 0x90;
const HOME: usize = 5;
const COUNT: usize = size_of::<CountField>();
const TRACK_END: [u8; 8] = [0xFF; 8];

impl Record {
    /// A record with `length` bytes of data, of which the front is given.
    pub(super) fn new(track: u32, number: u8, mut content: Vec<u8>, length: usize) -> Self {
        content.resize(length, 0);
        let count = CountField {
            track: TrackAddress::of_number(track, HEADS),
            record: number,
            key: 0,
            data: U16::new(length as u16),
        };
        Self { count, content }
    }

    pub(super) fn data(&self) -> &[u8] {
        &self.content[usize::from(self.count.key)..]
    }

    /// Puts bytes at the front of its data, and zeros behind them.
    pub(super) fn set_data(&mut self, bytes: &[u8]) {
        let data = &mut self.content[usize::from(self.count.key)..];
        data.fill(0);
        data[..bytes.len()].copy_from_slice(bytes);
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Track {
    home: [u8; HOME],
    /// Its records, R0 first.
    pub records: Vec<Record>,
}

impl Track {
    /// A track with R0 only.
    pub fn empty(number: u32) -> Self {
        let address = TrackAddress::of_number(number, HEADS);
        let mut home = [0; HOME];
        home[1..].copy_from_slice(address.as_bytes());
        Self {
            home,
            records: vec![Record::new(number, 0, Vec::new(), 8)],
        }
    }

    pub fn record(&mut self, number: u8) -> Option<&mut Record> {
        self.records
            .iter_mut()
            .find(|record| record.count.record == number)
    }

    /// Whether there is anything but zeros behind R0.
    pub fn has_data(&self) -> bool {
        let behind = self.records.iter().skip(1);
        behind
            .flat_map(|record| &record.content)
            .any(|&byte| byte != 0)
    }

    fn parse(bytes: &[u8]) -> Option<Self> {
        let (home, mut rest) = bytes.split_first_chunk()?;
        let mut records = Vec::new();
        while !rest.starts_with(&TRACK_END) {
            let (count, behind) = CountField::read_from_prefix(rest).ok()?;
            let length = usize::from(count.key) + usize::from(count.data.get());
            let (content, behind) = behind.split_at_checked(length)?;
            records.push(Record {
                count,
                content: content.to_vec(),
            });
            rest = behind;
        }
        Some(Self {
            home: *home,
            records,
        })
    }

    fn to_bytes(&self) -> Option<Vec<u8>> {
        let mut bytes = self.home.to_vec();
        for record in &self.records {
            bytes.extend(record.count.as_bytes());
            bytes.extend(&record.content);
        }
        bytes.extend(TRACK_END);
        let fits = bytes.len() <= TRACK as usize;
        bytes.resize(TRACK as usize, 0);
        fits.then_some(bytes)
    }
}

#[derive(Debug)]
pub struct Volume(pub(super) Medium);

impl Volume {
    /// Opens one for reading and writing, if it is a 3390 of a size that is taken.
    pub fn open(path: &Path) -> Result<Self> {
        let name = path.display();
        let (file, length) = Medium::open(path)?;
        let mut header = [0; HEADER as usize];
        if length < HEADER || file.read_exact_at(&mut header, 0).is_err() {
            bail!("{name} is too short for a volume");
        }
        let magic = &header[..8];
        if COMPRESSED.iter().any(|one| magic == one.as_slice()) {
            let kind = String::from_utf8_lossy(&magic[..3]);
            bail!("{name} is compressed: \"dasdcopy -o {kind} {name} NEW\" makes one that is not");
        }
        ensure!(
            magic == MAGIC,
            "{name} is neither a count-key-data volume nor a fixed-block one with a label"
        );
        let word = |at: usize| u32::from_le_bytes([0, 1, 2, 3].map(|byte| header[at + byte]));
        let [device, part] = [header[16], header[17]];
        ensure!(
            device == DEVICE_3390 && word(8) == u32::from(HEADS) && word(12) == TRACK,
            "{name} is not a 3390: it has {} tracks of {} bytes in a cylinder",
            word(8),
            word(12)
        );
        ensure!(part == 0, "{name} is one of several files of a volume");
        let tracks = (length - HEADER) / u64::from(TRACK);
        ensure!(
            (length - HEADER).is_multiple_of(u64::from(TRACK)) && tracks > 0,
            "{name} ends within a track"
        );
        ensure!(
            tracks <= MOST_TRACKS,
            "{name} has {tracks} tracks, at most {MOST_TRACKS} can be"
        );
        let medium = Medium::new(file, "track", HEADER, TRACK as usize, tracks as u32);
        Ok(Self(medium))
    }

    pub const fn tracks(&self) -> u32 {
        self.0.units
    }

    pub fn track(&self, number: u32) -> Result<Track> {
        let mut bytes = vec![0; TRACK as usize];
        self.0.read(number, &mut bytes)?;
        Track::parse(&bytes).with_context(|| format!("track {number} is damaged"))
    }

    /// Whether a track has records behind R0.
    pub fn has_records(&self, number: u32) -> Result<bool> {
        const R0: usize = 8;
        let mut front = [0; HOME + COUNT + R0 + TRACK_END.len()];
        self.0.read(number, &mut front)?;
        Ok(!front.ends_with(&TRACK_END))
    }

    /// Writes a track, if its records fit.
    pub fn put(&mut self, number: u32, track: &Track) -> Result<()> {
        let bytes = track.to_bytes();
        let bytes = bytes.with_context(|| format!("too much for track {number}"))?;
        self.0.write(number, &bytes)
    }
}
