//! Layouts, and the files.

use std::os::unix::fs::{FileExt, MetadataExt};

use super::*;
use crate::config::{next_good, Config, Seats, MIB};
use crate::config::{Accel, Appliance, Client, Export, Given, Subchannel, SubchannelSource};
use channel::DeviceNumber;
use vcss::layout::PAGE;

const GIVEN: Given = Given {
    subchannel: 0,
    device: 1,
};

/// Clients by MiB, disks and subchannels.
fn config(private: u64, clients: &[(u64, usize, usize)]) -> Config {
    let export = Export {
        queues: 1,
        ..Export::default()
    };
    Config {
        appliance: Appliance {
            image: "i".into(),
            private: private * MIB,
            room: None,
            qemu: "q".into(),
            accel: Accel::Tcg,
            append: String::new(),
            sandbox: true,
            qemu_args: vec![],
            run_dir: "/r".into(),
            poll: Default::default(),
            hang_limit: None,
        },
        disks: vec![],
        subchannels: vec![Subchannel {
            name: "s".into(),
            device: DeviceNumber { set: 0, number: 1 },
            source: SubchannelSource::Qemu("x".into()),
            place: Default::default(),
        }],
        clients: clients
            .iter()
            .map(|&(memory, exports, subchannels)| Client {
                group: None,
                path_reports: false,
                name: "c".into(),
                memory: memory * MIB,
                exports: vec![export; exports],
                subchannels: vec![GIVEN; subchannels],
                rows: (exports + subchannels) as u32,
            })
            .collect(),
        places: Default::default(),
    }
}

proptest::proptest! {
    #[test]
    fn nothing_overlaps_and_all_is_aligned(
        private in 4..64u64,
        clients in proptest::collection::vec((1..5000u64, 0..9usize, 0..2usize), 0..9),
    ) {
        let layout = Layout::of(&config(private, &clients));
        let mut spans = vec![layout.control, layout.host];
        let together = layout.together;
        assert_eq!(together.offset, layout.control.offset);
        for ((area, window), client) in layout.areas.iter().zip(&layout.windows).zip(&clients) {
            if client.2 == 0 {
                spans.push(*area);
                assert!(area.end() <= together.end());
            } else {
                assert_eq!(area.end(), window.end(), "in the window");
                assert!(area.offset > window.offset);
            }
        }
        spans.extend(&layout.windows);
        let mut end = private * MIB;
        for span in spans {
            assert!(span.offset >= end, "{span:?}");
            assert_eq!(span.offset % PAGE, 0);
            end = span.end();
        }
        let room = layout.room();
        for (window, client) in layout.windows.iter().zip(&clients) {
            assert!(window.offset >= room.offset && window.end() <= room.end());
            assert_eq!(window.offset % MIB, 0);
            assert_eq!(window.length, client.0 * MIB);
        }
        assert!(layout.total >= end);
        assert_eq!(layout.total, next_good(layout.total));
    }
}

proptest::proptest! {
    /// One configuration after the other, each of which has a client for each of these names that is not 0 MiB.
    #[test]
    fn who_stays_has_the_same_window_and_nobody_has_anothers(
        turns in proptest::collection::vec(proptest::collection::vec(0..3u64, 4), 1..12),
    ) {
        let named = |memories: &[u64]| {
            let present = memories.iter().enumerate().filter(|(_, memory)| **memory != 0);
            let present: Vec<(usize, u64)> = present.map(|(name, &memory)| (name, memory)).collect();
            let clients: Vec<_> = present.iter().map(|&(_, memory)| (memory * 64, 1, 0)).collect();
            let mut config = config(16, &clients);
            for (client, (name, _)) in config.clients.iter_mut().zip(present) {
                client.name = name.to_string();
            }
            config
        };
        let first = named(&[1, 0, 2, 0]);
        let mut seats = Seats::new(&first);
        let mut old = first.seated(&seats);
        let mut layout = Layout::of(&old);
        let mut vacated: Vec<Span> = Vec::new();
        for (number, turn) in turns.into_iter().enumerate() {
            let new = named(&turn);
            let next = seats.follow(&old, &new).unwrap();
            let new = new.seated(&next);
            let after = layout.follow(&old, &new, &vacated, |_| false).unwrap();
            assert!(after.check(&new).is_ok());
            assert_eq!(after.total, layout.total);
            for (number, client) in new.clients.iter().enumerate() {
                let window = after.windows[number];
                assert_eq!(window.length, client.memory);
                if client.is_vacant() {
                    continue;
                }
                let before = old.client_number(&client.name);
                if before.is_some_and(|before| old.clients[before].memory == client.memory) {
                    assert_eq!((before, layout.windows[number]), (Some(number), window));
                } else {
                    // What somebody leaves now, or has left and is not cleared, may still be in use.
                    let mut used = layout.windows.iter().chain(&vacated);
                    assert!(!used.any(|it| it.meets(window)));
                }
                let room = after.room();
                assert!(window.offset >= room.offset && window.end() <= room.end());
                let others = after.windows.iter().enumerate().filter(|(it, _)| *it != number);
                assert!(!others.into_iter().any(|(_, it)| it.meets(window)));
            }
            let left = layout.windows.iter().zip(&after.windows);
            vacated.extend(left.filter(|(before, after)| before != after).map(|(it, _)| *it));
            (seats, old, layout) = (next, new, after);
            // Now and then the next change comes sooner than what has gone is cleared away.
            if number % 3 != 0 {
                seats.settle();
                vacated.clear();
            }
        }
    }
}

#[test]
fn there_is_no_more_room_than_is_written() {
    let mut old = config(16, &[(64, 1, 0)]);
    old.appliance.room = Some(128 * MIB);
    let seats = Seats::new(&old);
    let old = old.seated(&seats);
    let layout = Layout::of(&old);
    let with = |memory| {
        let mut new = config(16, &[(64, 1, 0), (memory, 1, 0)]);
        new.clients[1].name = "more".into();
        let next = seats.follow(&old, &new).unwrap();
        layout.follow(&old, &new.seated(&next), &[], |_| false)
    };
    assert!(with(64).is_some());
    // The whole is rounded up to what a VM can have.
    assert!(with(128).is_none());
}

#[test]
fn a_pool_cannot_shrink_and_only_its_windows_are_sparse() {
    let pool = Pool::create(&config(16, &[(256, 1, 0), (64, 0, 1)])).unwrap();
    let layout = pool.layout();
    assert_eq!(pool.file.metadata().unwrap().len(), layout.total);
    let memory = pool.memory(1).unwrap();
    assert_eq!(memory.metadata().unwrap().len(), layout.windows[1].length);
    assert!(pool.memory(0).is_none(), "a stock VM brings its own");
    let vm = pool.vm_memory().unwrap();
    assert_eq!(vm.metadata().unwrap().len(), layout.total);
    for (file, own) in [
        (&pool.file, layout.areas[0].end() - layout.control.offset),
        (&vm, layout.control.offset),
        (memory, layout.areas[1].length),
    ] {
        assert!(is_sealed(file));
        assert!(file.set_len(MIB).is_err() && file.set_len(1 << 40).is_err());
        let taken = file.metadata().unwrap().blocks() * 512;
        assert!(taken >= own, "what is ours has its memory");
        assert!(taken < own + MIB, "what is a client's has none yet");
    }
    assert!(pool.window(layout.areas[0]).is_ok());
    assert!(pool.window(layout.areas[1]).is_ok());
    assert!(pool.window(layout.host).is_ok());
    let data = pool.window(layout.windows[0]);
    assert!(data.is_err(), "data is out of reach");
}

#[test]
fn an_area_in_a_clients_memory_is_the_end_of_it() {
    let pool = Pool::create(&config(16, &[(64, 0, 1)])).unwrap();
    let area = pool.layout().areas[0];
    let window = pool.window(area).unwrap();
    window
        .write_bytes(window::ClientAddress::new(8), b"here")
        .unwrap();
    let mut read = [0; 4];
    let at = 64 * MIB - area.length + 8;
    pool.memory(0)
        .unwrap()
        .read_exact_at(&mut read, at)
        .unwrap();
    assert_eq!(&read, b"here");
}

#[test]
fn a_file_that_can_shrink_is_not_sealed() {
    assert!(!is_sealed(tempfile::tempfile().unwrap()));
    assert!(!is_sealed(File::open("/dev/null").unwrap()));
}
