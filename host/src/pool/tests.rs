//! Layouts, and the file.

use std::os::unix::fs::MetadataExt;

use rustix::fs::{flock, fstatvfs, FlockOperation};

use super::*;
use crate::config::{next_good, Config, MIB};
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
            qemu: "q".into(),
            accel: Accel::Tcg,
            append: String::new(),
            qemu_args: vec![],
            run_dir: "/r".into(),
            pool: "/p".into(),
            poll: Default::default(),
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
                name: "c".into(),
                memory: memory * MIB,
                exports: vec![export; exports],
                subchannels: vec![GIVEN; subchannels],
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
        for ((area, window), client) in layout.areas.iter().zip(&layout.windows).zip(&clients) {
            if client.2 == 0 {
                spans.push(*area);
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
        for (window, client) in layout.windows.iter().zip(&clients) {
            assert_eq!(window.offset % MIB, 0);
            assert_eq!(window.length, client.0 * MIB);
        }
        assert!(layout.total >= end);
        assert_eq!(layout.total, next_good(layout.total));
    }
}

#[test]
fn a_pool_is_private_and_gone_at_its_end_and_only_its_windows_are_sparse() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("pool");
    let pool = Pool::create(&path, Layout::of(&config(16, &[(256, 1, 0), (64, 0, 1)]))).unwrap();
    let metadata = fs::metadata(&path).unwrap();
    assert_eq!(metadata.len(), pool.layout().total + PAGE);
    assert_eq!(metadata.mode() & 0o777, 0o600);
    let layout = pool.layout();
    let own: u64 = layout.allocated().iter().map(|span| span.length).sum();
    assert!(own >= layout.host.end() + layout.areas[1].length);
    assert!(metadata.blocks() * 512 >= own, "ours has its memory");
    assert!(
        metadata.blocks() * 512 < own + MIB,
        "the clients' has none yet"
    );
    assert!(pool.window(pool.layout().areas[0]).is_ok());
    assert!(pool.window(pool.layout().areas[1]).is_ok());
    assert!(pool.window(pool.layout().host).is_ok());
    assert!(
        pool.window(pool.layout().windows[0]).is_err(),
        "data is out of reach"
    );
    drop(pool);
    assert!(!path.exists());
}

#[test]
fn a_living_daemons_pool_is_left_alone_and_a_dead_ones_is_replaced() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("pool");
    let layout = Layout::of(&config(16, &[]));
    let pool = Pool::create(&path, layout.clone()).unwrap();
    let refused = Pool::create(&path, layout.clone()).unwrap_err();
    assert!(refused.to_string().contains("in use"), "{refused:#}");
    let first = pool.identity();
    std::mem::forget(File::open(&path).unwrap()); // keeps the inode number from being used again
    let Pool { file: lock, .. } = &pool;
    flock(lock, FlockOperation::Unlock).unwrap();
    let second = Pool::create(&path, layout).unwrap();
    assert_ne!(second.identity(), first);
    drop(pool);
    assert!(path.exists(), "the new pool is not the old one's to remove");
}

#[test]
fn what_has_no_room_is_said_when_the_pool_is_made() {
    // Nothing has room for as much, and nothing is left behind.
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("pool");
    let refused = Pool::create(&path, Layout::of(&config(1 << 30, &[]))).unwrap_err();
    let refused = format!("{refused:#}");
    assert!(refused.contains(&path.display().to_string()), "{refused}");
    assert!(!path.exists());
}

#[test]
fn afile_system_that_is_full_is_said_with_what_is_needed_and_what_is_free() {
    let dir = tempfile::tempdir_in("/dev/shm").unwrap();
    let size = fstatvfs(File::open(dir.path()).unwrap()).unwrap();
    let twice = 2 * size.f_blocks * size.f_frsize;
    if twice == 0 {
        return; // It has no limit here.
    }
    let path = dir.path().join("pool");
    let refused = Pool::create(&path, Layout::of(&config(twice / MIB, &[]))).unwrap_err();
    let refused = format!("{refused:#}");
    for part in [
        &*path.to_string_lossy(),
        "bytes",
        "are needed and",
        "are free",
    ] {
        assert!(refused.contains(part), "{refused}");
    }
    assert!(!path.exists());
}

#[test]
fn of_two_that_begin_at_once_one_gets_the_pool() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("pool");
    let layout = Layout::of(&config(16, &[]));
    for left_behind in [false, true] {
        if left_behind {
            mark(&File::create(&path).unwrap(), &layout).unwrap();
        }
        let made: Vec<Result<Pool>> = std::thread::scope(|scope| {
            let one = || scope.spawn(|| Pool::create(&path, layout.clone()));
            let threads = [one(), one(), one(), one()];
            threads.map(|thread| thread.join().unwrap()).into()
        });
        let got: Vec<&Pool> = made.iter().flatten().collect();
        assert_eq!(got.len(), 1);
        let named = FileIdentity::of(&File::open(&path).unwrap()).unwrap();
        assert_eq!(
            got[0].identity(),
            named,
            "it is the one that bears the name"
        );
    }
}

#[test]
fn a_link_or_a_folder_is_no_pool() {
    let dir = tempfile::tempdir().unwrap();
    let layout = || Layout::of(&config(16, &[]));
    let folder = dir.path().join("folder");
    fs::create_dir(&folder).unwrap();
    assert!(Pool::create(&folder, layout()).is_err());
    let (target, link) = (dir.path().join("target"), dir.path().join("link"));
    File::create(&target).unwrap();
    std::os::unix::fs::symlink(&target, &link).unwrap();
    assert!(Pool::create(&link, layout()).is_err());
    assert_eq!(fs::metadata(&target).unwrap().len(), 0);
}

#[test]
fn afile_that_is_no_pool_is_named_and_left_as_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("precious");
    let layout = Layout::of(&config(16, &[(64, 1, 0)]));
    let window = layout.windows[0];
    // Too short for a mark, as long as a pool, as long as what a client's QEMU makes, and a mark at the wrong place.
    let pool = (layout.total + PAGE) as usize;
    let contents = [
        b"x".to_vec(),
        vec![7; pool],
        vec![7; window.end() as usize],
        [
            vec![0; pool - PAGE as usize],
            b"stellwerk poor 1".to_vec(),
            vec![0; PAGE as usize - 16],
        ]
        .concat(),
    ];
    for content in contents {
        fs::write(&path, &content).unwrap();
        let before = fs::metadata(&path).unwrap();
        let refused = Pool::create(&path, layout.clone()).unwrap_err().to_string();
        assert!(
            refused.contains("precious is there already and is no pool"),
            "{refused}"
        );
        assert!(obstacle(&path, &layout).is_some());
        let after = fs::metadata(&path).unwrap();
        assert_eq!(
            (before.ino(), before.mode(), before.mtime_nsec()),
            (after.ino(), after.mode(), after.mtime_nsec())
        );
        assert!(
            fs::read(&path).unwrap() == content,
            "its content is what it was"
        );
    }
}

#[test]
fn what_daemons_and_early_clients_leave_behind_is_replaced() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("pool");
    assert!(obstacle(&path, &Layout::of(&config(16, &[]))).is_none());
    // The pool of a daemon with another configuration.
    mark(
        &File::create(&path).unwrap(),
        &Layout::of(&config(8, &[(3, 1, 0)])),
    )
    .unwrap();
    let layout = Layout::of(&config(16, &[(64, 1, 0), (32, 0, 1)]));
    assert!(obstacle(&path, &layout).is_none());
    drop(Pool::create(&path, layout.clone()).unwrap());
    // A client's QEMU makes the file as long as it needs it, and writes to its window only.
    for window in &layout.windows {
        let early = File::create(&path).unwrap();
        early.set_len(window.end()).unwrap();
        assert!(obstacle(&path, &layout).is_none());
        std::os::unix::fs::FileExt::write_all_at(&early, b"kernel", window.offset).unwrap();
        assert!(obstacle(&path, &layout).is_none());
        drop(Pool::create(&path, layout.clone()).unwrap());
    }
}
