//! Which tracks of a volume are free, and the data set in its VTOC that has the image.
//!
//! On a volume without a VTOC, tracks without records are free.

use std::ops::Range;

use anyhow::{bail, ensure, Context, Result};
use dasd::vtoc::{Dscb, Extent, Format1, Free5, DATA, DSCB, KEY};
use dasd::{label, Label, RecordAddress, TrackAddress};
use s390x::ebcdic::CP037;
use zerocopy::big_endian::U16;
use zerocopy::{FromZeros, IntoBytes};

use super::volume::{Track, Volume, HEADS};
use super::{BLOCK, RECORDS};
use crate::format::Record;

pub const NAME: &str = "STELLWERK.IPL";
/// Organisation: physical sequential.
const SEQUENTIAL: u16 = 0x4000;
/// Record format: fixed.
const FIXED: u8 = 0x80;

/// An entry of the VTOC and where it is.
#[derive(Clone, Copy, Debug)]
struct Entry {
    track: u32,
    record: u8,
    dscb: Dscb,
}

#[derive(Debug)]
pub struct Space {
    /// EBCDIC, of the label.
    serial: [u8; 6],
    entries: Vec<Entry>,
    /// The tracks that belong to label, VTOC and data sets but the image's, in order.
    taken: Vec<Range<u32>>,
    /// The tracks of the image's data set.
    own: Vec<Range<u32>>,
}

impl Space {
    /// Reads label and VTOC.
    pub fn of(volume: &Volume) -> Result<Self> {
        let mut track = volume.track(0)?;
        let record = track.record(label::RECORD);
        let label = record.map_or(Label::None, |record| Label::parse(record.data()));
        let Label::Cdl(label) = label else {
            bail!(
                "its label is {}: only a volume with VOL1 (CDL) has room for an image",
                label.name()
            );
        };
        let mut space = Self {
            serial: label.serial,
            entries: entries(volume, label.vtoc)?,
            taken: Vec::new(),
            own: Vec::new(),
        };
        // The label's track.
        space.taken.push(0..1);
        for entry in &space.entries {
            let (extents, own) = match &entry.dscb {
                Dscb::Format1(set) | Dscb::Format8(set) => {
                    (set.extent.to_vec(), set.name == name())
                }
                Dscb::Format3(more) => ([more.extent.as_slice(), &more.more].concat(), false),
                Dscb::Format4(vtoc) => (vec![vtoc.extent], false),
                _ => continue,
            };
            for extent in extents.iter().filter(|extent| extent.kind != Extent::NONE) {
                let tracks = tracks_of(extent, volume)?;
                if own {
                    space.own.push(tracks);
                } else {
                    space.taken.push(tracks);
                }
            }
        }
        space.taken.sort_by_key(|tracks| tracks.start);
        Ok(space)
    }

    pub fn is_listed(&self) -> bool {
        !self.entries.is_empty()
    }

    /// The tracks of the image's data set.
    pub fn own(&self) -> impl Iterator<Item = u32> {
        self.own.clone().into_iter().flatten()
    }

    /// A free track: of a volume with a VTOC it is formatted.
    pub fn blank(&self, number: u32) -> Track {
        let mut track = Track::empty(number);
        if self.is_listed() {
            let record = |record| Record::new(number, record, Vec::new(), BLOCK);
            track.records.extend((1..=RECORDS as u8).map(record));
        }
        track
    }

    /// The last `count` tracks that are free; `before` are those where an image is already.
    pub fn find(
        &mut self,
        volume: &Volume,
        count: u32,
        before: Option<&Range<u32>>,
    ) -> Result<Range<u32>> {
        if !self.is_listed() {
            for track in 1..volume.tracks() {
                let reused = before.is_some_and(|before| before.contains(&track));
                if !reused && volume.has_records(track)? {
                    self.taken.push(track..track + 1);
                }
            }
        }
        let gaps = self.gaps(volume.tracks());
        let most = gaps.iter().map(Range::len).max().unwrap_or(0);
        let gap = gaps.iter().rfind(|gap| gap.len() >= count as usize);
        let gap = gap.with_context(|| {
            format!("too small: the image takes {count} tracks, and at most {most} that follow each other are free")
        })?;
        Ok(gap.end - count..gap.end)
    }

    /// The pieces that are not taken, in order.
    fn gaps(&self, tracks: u32) -> Vec<Range<u32>> {
        let mut gaps = Vec::new();
        let mut from = 0;
        for taken in &self.taken {
            if taken.start > from {
                gaps.push(from..taken.start);
            }
            from = from.max(taken.end);
        }
        if from < tracks {
            gaps.push(from..tracks);
        }
        gaps
    }

    /// Enters the image into the VTOC, with `blocks` records on those tracks; says whether there is a VTOC.
    pub fn list(
        &mut self,
        volume: &mut Volume,
        tracks: &Range<u32>,
        blocks: usize,
    ) -> Result<bool> {
        if !self.is_listed() {
            return Ok(false);
        }
        let own = |entry: &&mut Entry| matches!(&entry.dscb, Dscb::Format1(set) | Dscb::Format8(set) if set.name == name());
        let free = |entry: &&mut Entry| matches!(entry.dscb, Dscb::Free);
        let is_new = self.own.is_empty();
        let slot = match is_new {
            true => self.entries.iter_mut().find(free),
            false => self.entries.iter_mut().find(own),
        };
        let slot = slot.context("its VTOC is full")?;
        slot.dscb = Dscb::Format1(data_set(self.serial, tracks, blocks));
        let place = RecordAddress {
            track: TrackAddress::of_number(slot.track, HEADS),
            record: slot.record,
        };
        put(volume, slot)?;
        self.taken.push(tracks.clone());
        self.taken.sort_by_key(|tracks| tracks.start);
        let gaps = self.gaps(volume.tracks());
        let mut gaps = gaps.iter();
        for entry in &mut self.entries {
            match &mut entry.dscb {
                Dscb::Format4(vtoc) => {
                    if is_new {
                        vtoc.free = U16::new(vtoc.free.get().saturating_sub(1));
                    }
                    let highest = vtoc.highest;
                    let key = |at: RecordAddress| (at.track.number(HEADS), at.record);
                    if key(place) > key(highest) {
                        vtoc.highest = place;
                    }
                }
                Dscb::Format5(list) => {
                    let pieces = list.free.iter_mut().chain(&mut list.more);
                    pieces.for_each(|piece| *piece = free_5(gaps.next()));
                }
                _ => continue,
            }
            put(volume, entry)?;
        }
        ensure!(
            gaps.next().is_none(),
            "its free space is in more pieces than its format-5 DSCBs have room for"
        );
        Ok(true)
    }
}

fn name() -> [u8; 44] {
    let mut name = [CP037.encode_char(' '); 44];
    CP037.encode(NAME, &mut name);
    name
}

/// The entries of the VTOC that begins there; none if there is nothing.
fn entries(volume: &Volume, vtoc: RecordAddress) -> Result<Vec<Entry>> {
    let first = vtoc.track.number(HEADS);
    if first >= volume.tracks().into() || !volume.has_records(first as u32)? {
        return Ok(Vec::new());
    }
    let mut all = entries_of(volume, first as u32)?;
    let Some(Dscb::Format4(about)) = all.first().map(|entry| entry.dscb) else {
        bail!("its VTOC does not begin with a format-4 DSCB");
    };
    let tracks = tracks_of(&about.extent, volume)?;
    ensure!(
        tracks.start == first as u32,
        "its VTOC does not begin where the label says"
    );
    for track in tracks.skip(1) {
        all.extend(entries_of(volume, track)?);
    }
    Ok(all)
}

fn entries_of(volume: &Volume, number: u32) -> Result<Vec<Entry>> {
    let track = volume.track(number)?;
    let mut entries = Vec::new();
    for record in track.records.iter().skip(1) {
        let (KEY, DATA) = (record.count.key, record.count.data.get()) else {
            bail!("a record of its VTOC is no DSCB: {}", record.count);
        };
        let bytes: [u8; DSCB] = record.content.as_slice().try_into()?;
        entries.push(Entry {
            track: number,
            record: record.count.record,
            dscb: Dscb::parse(&bytes),
        });
    }
    Ok(entries)
}

/// The tracks of an extent, all of which the volume has.
fn tracks_of(extent: &Extent, volume: &Volume) -> Result<Range<u32>> {
    let tracks = extent.tracks(HEADS);
    let (first, last) = tracks
        .filter(|&(_, last)| last < volume.tracks().into())
        .with_context(|| format!("its VTOC is damaged: {extent:?}"))?;
    Ok(first as u32..last as u32 + 1)
}

fn put(volume: &mut Volume, entry: &Entry) -> Result<()> {
    let mut track = volume.track(entry.track)?;
    let record = track
        .record(entry.record)
        .context("a DSCB that was there is gone")?;
    match &entry.dscb {
        Dscb::Format1(one) => record.content.copy_from_slice(one.as_bytes()),
        Dscb::Format4(one) => record.content.copy_from_slice(one.as_bytes()),
        Dscb::Format5(one) => record.content.copy_from_slice(one.as_bytes()),
        _ => return Ok(()),
    }
    volume.put(entry.track, &track)
}

pub(super) fn data_set(serial: [u8; 6], tracks: &Range<u32>, blocks: usize) -> Format1 {
    let mut set = Format1::new_zeroed();
    set.name = name();
    set.id = 0xF1;
    set.serial = serial;
    set.volume_sequence = U16::new(1);
    set.extents = 1;
    set.system = [CP037.encode_char(' '); 13];
    CP037.encode("STELLWERK", &mut set.system);
    set.organisation = U16::new(SEQUENTIAL);
    set.record_format = FIXED;
    set.block = U16::new(BLOCK as u16);
    set.record = U16::new(BLOCK as u16);
    // Relative track, and record.
    let last = blocks.saturating_sub(1);
    let [.., high, low] = ((last / RECORDS) as u32).to_be_bytes();
    set.last = [high, low, (last % RECORDS) as u8 + 1];
    let address = |track| TrackAddress::of_number(track, HEADS);
    set.extent[0] = Extent {
        kind: Extent::DATA,
        sequence: 0,
        lower: address(tracks.start),
        upper: address(tracks.end - 1),
    };
    set
}

fn free_5(gap: Option<&Range<u32>>) -> Free5 {
    let (first, count) = gap.map_or((0, 0), |gap| (gap.start, gap.end - gap.start));
    let heads = u32::from(HEADS);
    Free5 {
        first: U16::new(first as u16),
        cylinders: U16::new((count / heads) as u16),
        tracks: (count % heads) as u8,
    }
}
