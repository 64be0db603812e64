//! Windows with a stand-in for what is loaded into QEMU, and a test that acts for the appliance.

use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::mpsc::{channel, Receiver};
use std::sync::Arc;
use std::thread::JoinHandle;

use rustix::fs::{fcntl_add_seals, memfd_create, MemfdFlags, SealFlags};
use rustix::net::{recv, send, RecvFlags, SendFlags};
use rustix::process::{pidfd_open, Pid, PidfdFlags};
use stellwerk_overlay::{Answer, Order};
use vcss::Word;

use super::*;
use crate::pool::sealed;
use crate::testing::{eventually, Fixture};

const MIB: u64 = 1 << 20;

fn piece(guest: u64, size: u64) -> Piece {
    Piece {
        guest,
        size,
        offset: guest,
    }
}

/// Answers orders like the object in QEMU, and tells of them: where in the window, and how long.
fn loaded(windows: &Windows) -> (Overlay, Receiver<(u64, u64)>, JoinHandle<()>) {
    let (ours, theirs) = Overlay::sockets().unwrap();
    let start = windows.rooms[0].span.offset;
    let (sender, orders) = channel();
    let thread = std::thread::spawn(move || {
        let mut order = [0; Order::SIZE];
        while recv(&theirs, &mut order, RecvFlags::empty()).unwrap().1 != 0 {
            let word = |at: usize| u64::from_ne_bytes(order[at..at + 8].try_into().unwrap());
            let place = word(0).wrapping_sub(start);
            sender.send((place, word(8))).unwrap();
            // As if another daemon had not had its answer.
            answer(&theirs, word(32) - 1, libc::EIO);
            answer(&theirs, word(32), 0);
        }
    });
    (Overlay::new(ours, ended()), orders, thread)
}

fn answer(theirs: &OwnedFd, number: u64, error: i32) {
    let answer = Answer { number, error };
    send(theirs, &answer.to_bytes(), SendFlags::empty()).unwrap();
}

/// A process that has ended, and takes no signal.
fn ended() -> OwnedFd {
    let mut child = std::process::Command::new("true").spawn().unwrap();
    let process = pidfd_open(Pid::from_child(&child), PidfdFlags::empty()).unwrap();
    child.wait().unwrap();
    process
}

fn taken(windows: &Windows) -> &Word<'static> {
    &windows.rooms[0].taken
}

/// How much memory the appliance is told that the client has.
fn told(fixture: &Fixture) -> u64 {
    let entry: ClientMemory = fixture.areas.control.read(0).unwrap();
    entry.length.get()
}

/// The order that comes first to each QEMU: the pool's areas, in front of the window.
fn areas(fixture: &Fixture) -> (u64, u64) {
    let layout = fixture.pool.layout();
    let Span { offset, length } = layout.together;
    let place = offset.wrapping_sub(layout.windows[0].offset);
    (place, length.next_multiple_of(PAGE))
}

#[test]
fn memory_is_laid_before_the_appliance_is_told_and_taken_back_when_it_says_so() {
    let fixture = Fixture::new();
    let windows = Arc::clone(&fixture.windows);
    let (overlay, orders, thread) = loaded(&windows);
    windows.lay_all(overlay).unwrap();
    assert_eq!(orders.recv().unwrap(), areas(&fixture));
    let (memory, all) = (fixture.memory(), piece(0, 16 * MIB));
    let identity = FileIdentity::of(&memory).unwrap();
    std::thread::scope(|scope| {
        let add = scope.spawn(|| windows.add(0, all, &memory));
        assert_eq!(orders.recv().unwrap(), (0, 16 * MIB));
        eventually("it is told", || told(&fixture) == 16 * MIB);
        assert!(!add.is_finished(), "it waits for the appliance");
        taken(&windows).store(windows.rooms[0].wanted.load());
        add.join().unwrap().unwrap();
    });
    // The client's other disk brings the same.
    windows.add(0, all, &memory).unwrap();
    windows.remove(0, &all, identity);
    assert_eq!(told(&fixture), 16 * MIB);
    std::thread::scope(|scope| {
        let remove = scope.spawn(|| windows.remove(0, &all, identity));
        eventually("it is told", || told(&fixture) == 0);
        assert!(orders.try_recv().is_err(), "it may be in use yet");
        taken(&windows).store(windows.rooms[0].wanted.load());
        remove.join().unwrap();
    });
    assert_eq!(orders.try_recv().unwrap(), (0, 16 * MIB));
    windows.has_ended();
    thread.join().unwrap();
}

#[test]
fn the_next_qemu_has_all_laid_and_nobody_waits_while_there_is_none() {
    let fixture = Fixture::new();
    let windows = &fixture.windows;
    let memory = fixture.memory();
    windows.add(0, piece(0, MIB), &memory).unwrap();
    windows.add(0, piece(MIB, MIB), &memory).unwrap();
    assert_eq!(told(&fixture), 2 * MIB);
    let (overlay, orders, thread) = loaded(windows);
    windows.lay_all(overlay).unwrap();
    windows.has_ended();
    thread.join().unwrap();
    let laid: Vec<_> = orders.iter().collect();
    assert_eq!(laid, [areas(&fixture), (0, MIB), (MIB, MIB)]);
}

#[test]
fn between_pieces_a_client_has_its_lowest_piece_again() {
    let fixture = Fixture::new();
    let windows = Arc::clone(&fixture.windows);
    let memory = fixture.memory();
    let identity = FileIdentity::of(&memory).unwrap();
    let (low, middle, high) = (piece(0, 2 * MIB), piece(4 * MIB, MIB), piece(8 * MIB, MIB));
    for one in [low, middle, high] {
        windows.add(0, one, &memory).unwrap();
    }
    assert_eq!(told(&fixture), 9 * MIB);
    let (overlay, orders, thread) = loaded(&windows);
    windows.lay_all(overlay).unwrap();
    // Behind the areas.
    let mut laid: Vec<_> = orders.try_iter().skip(1).collect();
    laid.sort();
    let expected = [(0, 2), (2, 2), (4, 1), (5, 2), (7, 1), (8, 1)];
    assert_eq!(laid, expected.map(|(at, size)| (at * MIB, size * MIB)));
    // The appliance takes each change at once.
    let appliance = Arc::clone(&windows);
    let stop = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let stopping = Arc::clone(&stop);
    let acts = std::thread::spawn(move || {
        while !stopping.load(std::sync::atomic::Ordering::Relaxed) {
            taken(&appliance).store(appliance.rooms[0].wanted.load());
            std::thread::yield_now();
        }
    });
    windows.remove(0, &middle, identity);
    let laid: Vec<_> = orders.try_iter().collect();
    assert_eq!(
        laid,
        [(2, 2), (4, 2), (6, 2)].map(|(at, size)| (at * MIB, size * MIB))
    );
    assert_eq!(told(&fixture), 9 * MIB);
    windows.remove(0, &high, identity);
    assert_eq!(orders.try_iter().collect::<Vec<_>>(), [(2 * MIB, 7 * MIB)]);
    assert_eq!(told(&fixture), 2 * MIB);
    stop.store(true, std::sync::atomic::Ordering::Relaxed);
    acts.join().unwrap();
    windows.has_ended();
    thread.join().unwrap();
}

#[test]
fn memory_that_cannot_be_laid_again_is_its_clients_loss() {
    let fixture = Fixture::new();
    let windows = &fixture.windows;
    windows.add(0, piece(0, MIB), &fixture.memory()).unwrap();
    windows
        .add(0, piece(4 * MIB, MIB), &fixture.memory())
        .unwrap();
    let (ours, theirs) = Overlay::sockets().unwrap();
    for (number, error) in (1..).zip([0, libc::EACCES, 0, 0, 0, 0, 0]) {
        answer(&theirs, number, error);
    }
    windows.lay_all(Overlay::new(ours, ended())).unwrap();
    assert_eq!(told(&fixture), 5 * MIB);
    // One that does not answer at all is none.
    let (ours, theirs) = Overlay::sockets().unwrap();
    drop(theirs);
    assert!(windows.lay_all(Overlay::new(ours, ended())).is_err());
}

#[test]
fn another_vms_memory_waits_until_the_first_one_has_gone() {
    let fixture = Fixture::new();
    let windows = &fixture.windows;
    let (one, other) = (fixture.memory(), fixture.memory());
    let identity = FileIdentity::of(&one).unwrap();
    let (low, high) = (piece(0, MIB), piece(4 * MIB, MIB));
    windows.add(0, low, &one).unwrap();
    assert_eq!(windows.add(0, low, &other), Err(Foreign::Another));
    assert_eq!(
        windows.add(0, piece(0, 2 * MIB), &one),
        Err(Foreign::Another)
    );
    assert!(Foreign::Another.passes());
    windows.add(0, high, &other).unwrap();
    windows.remove(0, &low, identity);
    windows.add(0, low, &other).unwrap();
    assert_eq!(told(&fixture), 5 * MIB);
}

#[test]
fn memory_that_cannot_be_laid_is_refused_with_what_to_do() {
    let fixture = Fixture::new();
    let windows = &fixture.windows;
    let memory = fixture.memory();
    let room = 16 * MIB;
    let sizes = [
        (0, room + 4096),
        (room, 4096),
        (u64::MAX - 4095, 4096),
        (1 << 63, 1 << 63),
    ];
    for (guest, size) in sizes {
        let refused = windows.add(0, piece(guest, size), &memory).unwrap_err();
        assert!(refused.to_string().contains("memory = \"…\""), "{refused}");
    }
    for (guest, size) in [(0, 0), (0, 4095), (1, 4096)] {
        let refused = windows.add(0, piece(guest, size), &memory).unwrap_err();
        assert!(matches!(refused, Foreign::Pages { .. }), "{refused}");
    }
    let shrinking = tempfile::tempfile().unwrap();
    let refused = windows.add(0, piece(0, MIB), &shrinking).unwrap_err();
    for advice in ["memory-backend-memfd", "<source type='memfd'/>"] {
        assert!(refused.to_string().contains(advice), "{refused}");
    }
    let refused = windows.add(0, piece(0, 2 * MIB), &sealed("short", MIB).unwrap());
    assert!(matches!(refused, Err(Foreign::Short { .. })), "{refused:?}");
    let huge = MemfdFlags::HUGETLB | MemfdFlags::ALLOW_SEALING;
    let huge = File::from(memfd_create("huge", huge).unwrap());
    huge.set_len(4 * MIB).unwrap();
    fcntl_add_seals(&huge, SealFlags::SHRINK | SealFlags::SEAL).unwrap();
    let refused = windows.add(0, piece(0, 4 * MIB), &huge);
    assert_eq!(refused, Err(Foreign::HugePages));
    let small = piece(0, 4096);
    windows.add(0, small, &memory).unwrap();
    let far = piece(2 * MIB, MIB);
    assert_eq!(windows.add(0, far, &memory), Err(Foreign::Scattered));
    assert_eq!(told(&fixture), 4096);
    let near = piece(MIB, MIB);
    windows.add(0, near, &memory).unwrap();
}

#[test]
fn a_qemu_that_refuses_memory_says_why_and_has_none_of_it() {
    let fixture = Fixture::new();
    let (ours, theirs) = Overlay::sockets().unwrap();
    let child = std::process::Command::new("sleep").arg("60").spawn();
    let mut child = child.unwrap();
    let process = pidfd_open(Pid::from_child(&child), PidfdFlags::empty()).unwrap();
    answer(&theirs, 1, 0);
    fixture
        .windows
        .lay_all(Overlay::new(ours, process))
        .unwrap();
    answer(&theirs, 2, libc::EACCES);
    let memory = sealed("client", MIB).unwrap();
    let refused = fixture.windows.add(0, piece(0, MIB), &memory);
    assert_eq!(refused, Err(Foreign::Unmapped(Errno::ACCESS)));
    assert!(told(&fixture) == 0);
    // One that does not answer any more has to end: it would write to what is not the client's.
    assert!(theirs.as_raw_fd() > 0);
    drop(theirs);
    fixture.windows.add(0, piece(0, MIB), &memory).unwrap();
    assert!(!child.wait().unwrap().success(), "it was killed");
}

#[test]
fn memory_that_a_disk_has_left_unclean_is_so_to_whoever_follows_the_daemon() {
    let fixture = Fixture::new();
    let run_dir = &fixture.config.appliance.run_dir;
    let memory = sealed("client", MIB).unwrap();
    let identity = FileIdentity::of(&memory).unwrap();
    let all = piece(0, MIB);
    let disk = Part {
        client: 0,
        number: 0,
    };
    let is_clean = || !Former::open(run_dir, None).unwrap().has(identity);
    // Two disks of the client have it. One of them ends, and leaves queues behind; then the daemon dies.
    fixture.windows.add(0, all, &memory).unwrap();
    fixture.windows.add(0, all, &memory).unwrap();
    fixture.windows.mark(disk, identity);
    fixture.windows.remove(0, &all, identity);
    let former = Former::open(run_dir, Some(&[])).unwrap();
    let (control, bell) = (&fixture.areas.control, fixture.bell.clone());
    let windows = Windows::new(&fixture.pool, control, bell, former).unwrap();
    let (overlay, orders, thread) = loaded(&windows);
    windows
        .take_over(0, all, memory.try_clone().unwrap())
        .unwrap();
    windows.runs_already(overlay, Laid::All).unwrap();
    // The appliance takes the next change at once.
    let takes = || taken(&windows).store(windows.rooms[0].wanted.load().wrapping_add(1));
    takes();
    windows.remove(0, &all, identity);
    assert!(!is_clean(), "the other one has ended in order");
    takes();
    windows.add(0, all, &memory).unwrap();
    // The first one comes again, and its device is put back to power-on.
    windows.unmark(disk);
    assert!(!is_clean(), "it is being served");
    windows.mark(disk, identity);
    takes();
    windows.remove(0, &all, identity);
    windows.unmark(disk);
    assert!(is_clean());
    windows.has_ended();
    thread.join().unwrap();
    drop(orders);
}
