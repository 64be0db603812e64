//! Volumes as dasdinit makes them, and an IPL of them.

use std::path::PathBuf;

use channel::{Ccw0, CcwFlags, CommandCode};
use dasd::vtoc::{Dscb, Format1, DSCB};
use proptest::prelude::*;
use s390x::ebcdic::CP037;
use tempfile::TempDir;
use zerocopy::{FromBytes, IntoBytes};

use super::volume::{Track, Volume, HEADS};
use super::*;
use crate::format::{serial, Format, Layout};

const CYLINDERS: u16 = 3;
const TRACK: usize = 56_832;
const TRACKS: u32 = CYLINDERS as u32 * HEADS as u32;

/// A volume and an image in a directory.
struct Fixture {
    directory: TempDir,
    bytes: Vec<u8>,
}

impl Fixture {
    /// A volume whose tracks are these; `blocks` records of 4096 bytes are the image.
    fn new(blocks: usize, track: impl Fn(u32) -> Track) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut bytes: Vec<u8> = (0..blocks * BLOCK).map(|at| (at / 7 + at) as u8).collect();
        bytes[LINE..HEAD].fill(0);
        let fixture = Self { directory, bytes };
        std::fs::write(fixture.path("image"), &fixture.bytes).unwrap();
        let mut header = [0_u8; 512];
        header[..8].copy_from_slice(b"CKD_P370");
        header[8] = HEADS as u8;
        header[12..16].copy_from_slice(&(TRACK as u32).to_le_bytes());
        header[16] = 0x90;
        let file = [header.as_slice(), &vec![0; TRACK * TRACKS as usize]].concat();
        std::fs::write(fixture.path("volume"), file).unwrap();
        let mut volume = fixture.volume();
        for number in 0..TRACKS {
            volume.put(number, &track(number)).unwrap();
        }
        fixture
    }

    /// As dasdfmt and dasdinit -linux format it.
    fn formatted(blocks: usize, layout: Layout) -> Self {
        let about = crate::model::Volume::new(CYLINDERS.into()).about;
        let format = Format::new(about, layout, 4096, serial("linux1").unwrap()).unwrap();
        Self::new(blocks, |number| {
            let mut track = Track::empty(number);
            for record in format.track(number) {
                let length = usize::from(record.count.key) + usize::from(record.count.data.get());
                let mut content = record.content.to_vec();
                content.resize(length, 0);
                let count = record.count;
                track.records.push(Record { count, content });
            }
            track
        })
    }

    /// As dasdinit makes it: a label, and tracks without records.
    fn empty(blocks: usize) -> Self {
        let formatted = Self::formatted(1, Layout::Cdl);
        let label = formatted.volume().track(0).unwrap();
        Self::new(blocks, |number| match number {
            0 => label.clone(),
            _ => Track::empty(number),
        })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn volume(&self) -> Volume {
        Volume::open(&self.path("volume")).unwrap()
    }

    fn mkipl(&self, line: &str, yes: bool) -> Result<String> {
        mkipl(
            &self.path("image"),
            &self.path("volume"),
            line,
            match yes {
                true => Overwrite::Foreign,
                false => Overwrite::Nothing,
            },
        )
    }

    fn refused(&self) -> String {
        let before = std::fs::read(self.path("volume")).unwrap();
        let error = format!("{:#}", self.mkipl("", false).unwrap_err());
        assert!(std::fs::read(self.path("volume")).unwrap() == before);
        error
    }

    /// Changes a track.
    fn change(&self, number: u32, change: impl FnOnce(&mut Track)) {
        let mut volume = self.volume();
        let mut track = volume.track(number).unwrap();
        change(&mut track);
        volume.put(number, &track).unwrap();
    }

    /// Enters a data set of somebody else into the VTOC.
    fn enter(&self, set: &Format1) {
        self.change(1, |track| {
            let record = track.record(3).unwrap();
            record.content.copy_from_slice(set.as_bytes());
        });
    }

    fn dscbs(&self) -> Vec<Dscb> {
        let track = self.volume().track(1).unwrap();
        let bytes = track.records.iter().skip(1).map(|record| &record.content);
        bytes
            .map(|content| Dscb::parse(content.as_slice().first_chunk::<DSCB>().unwrap()))
            .collect()
    }

    /// What the image should be in storage.
    fn image(&self, line: &str) -> Vec<u8> {
        let mut bytes = self.bytes.clone();
        bytes[LINE..LINE + line.len()].copy_from_slice(line.as_bytes());
        bytes
    }
}

/// What a channel does at IPL, with the 24 bytes that it begins with: storage afterwards. `command` carries out all but transfers in
/// channel, and says whether the next CCW is skipped, as after a search that has succeeded.
fn run_ipl(
    front: &[u8],
    mut command: impl FnMut(&mut [u8], CommandCode, usize, usize) -> bool,
) -> Vec<u8> {
    let mut storage = vec![0; END as usize];
    storage[..24].copy_from_slice(&front[..24]);
    let mut at = 8;
    for _ in 0..1000 {
        let ccw = Ccw0::read_from_bytes(&storage[at..at + 8]).unwrap();
        let [high, middle, low] = ccw.address;
        let address = u32::from_be_bytes([0, high, middle, low]) as usize;
        at += 8;
        if ccw.command == CommandCode::TIC.0 {
            at = address;
            continue;
        }
        let count = ccw.count.get().into();
        if command(&mut storage, CommandCode(ccw.command), address, count) {
            at += 8;
        }
        if ccw.flags & CcwFlags::CC.bits() == 0 {
            return storage;
        }
    }
    panic!("the program does not end");
}

fn ipl(volume: &Volume) -> Vec<u8> {
    let first = volume.track(0).unwrap().record(1).unwrap().data().to_vec();
    // Where the disk is.
    let (mut track, mut record) = (0, 1_u8);
    run_ipl(&first, |storage, command, address, count| {
        match command {
            CommandCode(0x07) => {
                let seek = &storage[address..address + 6];
                let half = |at: usize| u16::from_be_bytes([seek[at], seek[at + 1]]);
                assert_eq!((half(0), count), (0, 6));
                (track, record) = (u32::from(half(2)) * 15 + u32::from(half(4)), 0);
            }
            CommandCode(0x31) => {
                let wanted = storage[address + 4];
                let there = volume.track(track).unwrap();
                let found = there.records.iter().find(|one| one.count.record == wanted);
                let found = &found.unwrap().count;
                assert_eq!(&found.as_bytes()[..5], &storage[address..address + 5]);
                record = wanted - 1;
                return true;
            }
            CommandCode(0x06) => {
                record += 1;
                let mut there = volume.track(track).unwrap();
                let data = there.record(record).unwrap().data().to_vec();
                assert_eq!(data.len(), count);
                storage[address..address + data.len()].copy_from_slice(&data);
            }
            other => panic!("{other:?}"),
        }
        false
    })
}

#[test]
fn what_is_loaded_is_the_image_with_its_command_line() {
    for blocks in [2, 12, 13, 40, 150] {
        for fixture in [
            Fixture::formatted(blocks, Layout::Cdl),
            Fixture::empty(blocks),
        ] {
            fixture.mkipl("log=debug", false).unwrap();
            let storage = ipl(&fixture.volume());
            assert_eq!(storage[..8], [0, 8, 0, 0, 0x80, 1, 0, 0]);
            let image = fixture.image("log=debug");
            assert!(storage[BASE as usize..][..image.len()] == image, "{blocks}");
        }
    }
}

#[test]
fn the_image_is_a_data_set_on_the_last_free_tracks() {
    let fixture = Fixture::formatted(20, Layout::Cdl);
    let said = fixture.mkipl("", false).unwrap();
    assert!(said.contains("data set STELLWERK.IPL"), "{said}");
    let dscbs = fixture.dscbs();
    let [Dscb::Format4(vtoc), Dscb::Format5(free), Dscb::Format1(set), Dscb::Free, ..] =
        dscbs.as_slice()
    else {
        panic!("{dscbs:?}");
    };
    // The last two of 45 tracks; those from track 2 to 42 are free.
    assert_eq!(set.extent[0].tracks(HEADS), Some((43, 44)));
    assert_eq!((vtoc.free.get(), vtoc.highest.record), (9, 3));
    let piece = free.free[0];
    assert_eq!(
        (piece.first.get(), piece.cylinders.get(), piece.tracks),
        (2, 2, 11)
    );
    assert_eq!(free.free[1].cylinders.get(), 0);
}

#[test]
fn another_image_takes_the_place_of_the_one_before() {
    for fixture in [Fixture::formatted(30, Layout::Cdl), Fixture::empty(30)] {
        fixture.mkipl("", false).unwrap();
        let before = fixture.dscbs();
        fixture.mkipl("heap=4M", false).unwrap();
        assert_eq!(fixture.dscbs(), before);
        let image = fixture.image("heap=4M");
        assert!(ipl(&fixture.volume())[BASE as usize..][..image.len()] == image);
    }
}

#[test]
fn a_smaller_image_leaves_nothing_of_a_larger_one() {
    for fixture in [Fixture::formatted(50, Layout::Cdl), Fixture::empty(50)] {
        let before = std::fs::read(fixture.path("volume")).unwrap();
        fixture.mkipl("", false).unwrap();
        std::fs::write(fixture.path("image"), &fixture.bytes[..2 * BLOCK]).unwrap();
        fixture.mkipl("", false).unwrap();
        let after = std::fs::read(fixture.path("volume")).unwrap();
        // Label and VTOC apart, only the last track is another one.
        let first = 512 + 2 * TRACK;
        let last = 512 + (TRACKS as usize - 1) * TRACK;
        assert!(before[first..last] == after[first..last]);
        // And it can grow again.
        std::fs::write(fixture.path("image"), &fixture.bytes).unwrap();
        fixture.mkipl("", false).unwrap();
    }
}

#[test]
fn a_signature_that_names_other_tracks_is_not_ours() {
    let fixture = Fixture::empty(2);
    for place in [0..3, 44..46, 1..1000] {
        let signature = loader::Signature::new(&place);
        fixture.change(0, |track| {
            let mut data = vec![0; 144];
            data[120..].copy_from_slice(signature.as_bytes());
            track.record(2).unwrap().set_data(&data);
        });
        assert!(fixture
            .refused()
            .contains("an IPL program of somebody else"));
    }
}

#[test]
fn data_sets_are_never_overwritten() {
    let fixture = Fixture::formatted(20, Layout::Cdl);
    // A data set of somebody else at the end.
    let mut other = space::data_set([0x40; 6], &(40..45), 1);
    other.name[0] = 0xC1;
    fixture.enter(&other);
    fixture.change(44, |track| track.record(1).unwrap().set_data(b"data"));
    fixture.mkipl("", true).unwrap();
    assert_eq!(
        &fixture.volume().track(44).unwrap().records[1].data()[..4],
        b"data"
    );
    let Dscb::Format1(set) = fixture.dscbs()[3] else {
        panic!("no data set");
    };
    assert_eq!(set.extent[0].tracks(HEADS), Some((38, 39)));
    // And one that leaves no room.
    other.extent[0].lower = dasd::TrackAddress::of_number(2, HEADS);
    let fixture = Fixture::formatted(20, Layout::Cdl);
    fixture.enter(&other);
    assert!(fixture.refused().contains("takes 2 tracks, and at most 0"));
}

#[test]
fn data_outside_of_data_sets_is_overwritten_only_when_that_was_asked_for() {
    let fixture = Fixture::formatted(20, Layout::Cdl);
    fixture.change(44, |track| track.record(12).unwrap().set_data(b"data"));
    assert!(fixture
        .refused()
        .contains("there is data on tracks 43 to 44"));
    fixture.mkipl("", true).unwrap();
}

#[test]
fn an_ipl_program_of_somebody_else_is_overwritten_only_when_that_was_asked_for() {
    let fixture = Fixture::formatted(20, Layout::Cdl);
    fixture.change(0, |track| track.record(2).unwrap().set_data(&[7]));
    assert!(fixture
        .refused()
        .contains("an IPL program of somebody else"));
    fixture.mkipl("", true).unwrap();
}

#[test]
fn a_volume_that_is_something_else_is_refused_by_name() {
    let put = |at: usize, bytes: &[u8]| {
        let fixture = Fixture::formatted(2, Layout::Cdl);
        let mut file = std::fs::read(fixture.path("volume")).unwrap();
        file[at..at + bytes.len()].copy_from_slice(bytes);
        std::fs::write(fixture.path("volume"), file).unwrap();
        fixture.refused()
    };
    assert!(put(0, b"CKD_C370").contains("is compressed: \"dasdcopy -o CKD "));
    assert!(put(0, b"FBA_C370").contains("is compressed: \"dasdcopy -o FBA "));
    assert!(put(0, b"\0\0\0\0\0\0\0\0").contains("neither a count-key-data volume"));
    assert!(put(16, &[0x80]).contains("is not a 3390"));
    assert!(put(17, &[1]).contains("one of several files"));
    // The length of record 1 of track 0.
    assert!(put(512 + 5 + 16 + 6, &[0xFF, 0xFF]).contains("track 0 is damaged"));
    let ldl = Fixture::formatted(2, Layout::Ldl);
    assert!(ldl.refused().contains("its label is LNX1"));
    let large = Fixture::formatted(43 * RECORDS, Layout::Cdl);
    assert!(large.refused().contains("takes 44 tracks, and at most 43"));
    let short = Fixture::formatted(2, Layout::Cdl);
    std::fs::write(short.path("volume"), b"CKD_P370").unwrap();
    assert!(short.refused().contains("too short"));
}

#[test]
fn a_file_that_is_no_image_is_refused() {
    let fixture = Fixture::formatted(2, Layout::Cdl);
    let image = |bytes: &[u8]| {
        std::fs::write(fixture.path("image"), bytes).unwrap();
        fixture.refused()
    };
    assert!(image(b"\x7fELF").contains("stellwerk.bin"));
    assert!(image(&[0; 100]).contains("no image"));
    assert!(image(&[1; 8192]).contains("no image"));
    std::fs::write(fixture.path("image"), &fixture.bytes).unwrap();
    let long = "x".repeat(LINE_MOST + 1);
    assert!(fixture.mkipl(&long, false).is_err());
    assert!(fixture.mkipl("line\nend", false).is_err());
}

const FIXED_BLOCKS: usize = 2000;

/// A fixed-block volume with that label, and an image of so many records.
fn fixed(blocks: usize, label: &str) -> Fixture {
    let fixture = Fixture::empty(blocks);
    let mut bytes = vec![0; FIXED_BLOCKS * fixed::BLOCK];
    CP037.encode(label, &mut bytes[fixed::BLOCK..]);
    std::fs::write(fixture.path("volume"), bytes).unwrap();
    fixture
}

fn ipl_fixed(fixture: &Fixture) -> Vec<u8> {
    let disk = std::fs::read(fixture.path("volume")).unwrap();
    let mut located = None;
    run_ipl(&disk, |storage, command, address, length| {
        match command {
            CommandCode(0x02) => {
                storage[address..address + length].copy_from_slice(&disk[..length]);
            }
            CommandCode(0x43) => {
                let sought = &storage[address..address + 8];
                assert_eq!((sought[0], length), (6, 8));
                let count = usize::from(u16::from_be_bytes([sought[2], sought[3]]));
                let block = u32::from_be_bytes([sought[4], sought[5], sought[6], sought[7]]);
                located = Some((block as usize, count));
            }
            CommandCode(0x42) => {
                let (block, count) = located.take().unwrap();
                assert_eq!(length, count * fixed::BLOCK);
                let data = &disk[block * fixed::BLOCK..][..length];
                storage[address..address + length].copy_from_slice(data);
            }
            other => panic!("{other:?}"),
        }
        false
    })
}

#[test]
fn an_image_is_loaded_from_a_fixed_block_volume_too() {
    for blocks in [2, 16, 100, 240] {
        let fixture = fixed(blocks, "VOL1FIXED1");
        fixture.mkipl("log=debug", false).unwrap();
        let storage = ipl_fixed(&fixture);
        assert_eq!(storage[..8], [0, 8, 0, 0, 0x80, 1, 0, 0]);
        let image = fixture.image("log=debug");
        assert!(storage[BASE as usize..][..image.len()] == image, "{blocks}");
    }
}

#[test]
fn what_is_on_a_fixed_block_volume_is_overwritten_only_when_that_was_asked_for() {
    for (at, said) in [(0, "somebody else"), (1999, "data on blocks 1999 to 1999")] {
        let fixture = fixed(2, "VOL1FIXED1");
        let mut disk = std::fs::read(fixture.path("volume")).unwrap();
        disk[at * fixed::BLOCK + 7] = 1;
        std::fs::write(fixture.path("volume"), disk).unwrap();
        assert!(fixture.refused().contains(said));
        fixture.mkipl("", true).unwrap();
        // Nothing lists an image: it is data as well.
        assert!(fixture.refused().contains("there is data on blocks"));
    }
    for (label, said) in [
        ("LNX1FIXED1", "all of it is data"),
        ("CMS1FIXED1", "all of it is data"),
        ("", "neither a count-key-data volume"),
    ] {
        assert!(fixed(2, label).refused().contains(said));
    }
    assert!(fixed(250, "VOL1FIXED1").refused().contains("too small"));
}

proptest! {
    #[test]
    fn no_track_makes_it_panic(number in 0..3_u32, at in 0..1000_usize, bytes: [u8; 8]) {
        let fixture = Fixture::formatted(2, Layout::Cdl);
        let mut file = std::fs::read(fixture.path("volume")).unwrap();
        let at = 512 + number as usize * TRACK + at;
        file[at..at + 8].copy_from_slice(&bytes);
        std::fs::write(fixture.path("volume"), file).unwrap();
        let _ = fixture.mkipl("", true);
    }
}
