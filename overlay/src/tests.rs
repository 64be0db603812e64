//! The room is this process's own mapping of a file; the other end of the socket is the test.

use std::fs::File;
use std::os::unix::fs::FileExt;

use rustix::net::{
    recv, sendmsg, socketpair, AddressFamily, SendAncillaryBuffer, SendAncillaryMessage,
    SocketFlags, SocketType,
};

use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicBool, Ordering};

use super::*;

const ROOM: u64 = 16 * PAGE;

static ENDED: AtomicBool = AtomicBool::new(false);

struct Vm {
    memory: File,
    /// Where this process has the file.
    base: *const u8,
    orders: OwnedFd,
}

impl Vm {
    /// A VM of 32 pages, of which the second half is room.
    fn new() -> Self {
        let memory = tempfile::tempfile().unwrap();
        memory.set_len(2 * ROOM).unwrap();
        let (orders, socket) = socketpair(
            AddressFamily::UNIX,
            SocketType::SEQPACKET,
            SocketFlags::CLOEXEC,
            None,
        )
        .unwrap();
        let inherited = (socket, OwnedFd::from(memory.try_clone().unwrap()));
        let about = Inherited {
            socket: inherited.0.as_raw_fd(),
            memory: inherited.1.as_raw_fd(),
            start: ROOM,
            end: 2 * ROOM,
        };
        std::mem::forget(inherited);
        // SAFETY: both were just made for it and let go.
        unsafe {
            start(about.to_string().parse().unwrap(), || {
                ENDED.store(true, Ordering::Relaxed)
            })
        }
        .unwrap();
        Self {
            memory,
            base: std::ptr::null(),
            orders,
        }
    }

    fn mapped(mut self) -> Self {
        let (protection, flags) = (ProtFlags::READ | ProtFlags::WRITE, MapFlags::SHARED);
        let null = std::ptr::null_mut();
        // SAFETY: a new mapping, at a place that the system chooses.
        let base = unsafe { mmap(null, 2 * ROOM as usize, protection, flags, &self.memory, 0) };
        self.base = base.unwrap().cast();
        self
    }

    fn order(&self, place: u64, length: u64, offset: u64, file: Option<&File>) -> c_int {
        let order = Order {
            place,
            length,
            offset,
            lays: file.is_some().into(),
            number: 7,
        };
        self.send(&order.to_bytes(), file)
    }

    fn send(&self, bytes: &[u8], file: Option<&File>) -> c_int {
        self.tell(bytes, file);
        self.answer()
    }

    fn tell(&self, bytes: &[u8], file: Option<&File>) {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        let fds = file.map(|file| [file.as_fd()]);
        if let Some(fds) = &fds {
            assert!(control.push(SendAncillaryMessage::ScmRights(fds)));
        }
        let message = [std::io::IoSlice::new(bytes)];
        sendmsg(&self.orders, &message, &mut control, SendFlags::empty()).unwrap();
    }

    fn answer(&self) -> c_int {
        let mut bytes = [0; 64];
        let (length, _) = recv(&self.orders, &mut bytes, RecvFlags::empty()).unwrap();
        let answer = Answer::from_bytes(&bytes[..length]).unwrap();
        assert!([0, 7].contains(&answer.number));
        answer.error
    }

    /// What the VM has at a place.
    fn byte(&self, place: u64) -> u8 {
        assert!(!self.base.is_null() && place < 2 * ROOM);
        // SAFETY: it lies in the mapping, which is never unmapped.
        unsafe { self.base.add(place as usize).read_volatile() }
    }
}

/// A client's memory, with a byte of its own in each page.
fn client(pages: u8) -> File {
    let file = tempfile::tempfile().unwrap();
    for page in 0..pages {
        file.write_all_at(&[page + 1; PAGE as usize], u64::from(page) * PAGE)
            .unwrap();
    }
    file
}

#[test]
fn a_file_is_laid_over_a_place_and_taken_back() {
    let vm = Vm::new().mapped();
    let file = client(4);
    vm.memory.write_all_at(&[0xEE], ROOM + 3 * PAGE).unwrap();
    assert_eq!(vm.order(ROOM + PAGE, 2 * PAGE, PAGE, Some(&file)), 0);
    let seen = [0, 1, 2, 3].map(|page| vm.byte(ROOM + page * PAGE));
    assert_eq!(seen, [0, 2, 3, 0xEE]);
    // It is the same memory: what the client writes is there, and what lies in the VM's own file below is untouched.
    file.write_all_at(&[0x77], PAGE).unwrap();
    assert_eq!(vm.byte(ROOM + PAGE), 0x77);
    assert_eq!(vm.order(ROOM + PAGE, PAGE, 0, None), 0);
    let seen = [0, 1, 2, 3].map(|page| vm.byte(ROOM + page * PAGE));
    assert_eq!(seen, [0, 0, 3, 0xEE]);
    // A part of the mapping may have moved to other pages; the rest is found by where it was first.
    assert_eq!(vm.order(ROOM, PAGE, 0, Some(&file)), 0);
    assert_eq!(vm.byte(ROOM), 1);
}

#[test]
fn nothing_is_laid_outside_the_room_or_beside_pages() {
    let vm = Vm::new().mapped();
    let file = client(4);
    let bad = [
        (0, PAGE, 0),
        (ROOM - PAGE, PAGE, 0),
        (ROOM - PAGE, 2 * PAGE, 0),
        (2 * ROOM, PAGE, 0),
        (2 * ROOM - PAGE, 2 * PAGE, 0),
        (ROOM, 0, 0),
        (ROOM + 1, PAGE, 0),
        (ROOM, PAGE + 1, 0),
        (ROOM, PAGE, 1),
        (ROOM, u64::MAX - PAGE + 1, 0),
        (u64::MAX - PAGE + 1, PAGE, 0),
        (ROOM, PAGE, u64::MAX - PAGE + 1),
    ];
    for (place, length, offset) in bad {
        let answer = vm.order(place, length, offset, Some(&file));
        assert_eq!(answer, libc::EINVAL, "{place:#x} {length:#x} {offset:#x}");
    }
    assert_eq!(vm.send(&[0; Order::SIZE - 1], None), libc::EINVAL);
    assert_eq!(vm.send(&[0; Order::SIZE + 1], None), libc::EINVAL);
    assert!((0..32).all(|page| vm.byte(page * PAGE) == 0));
    // A file that got lost on its way is no file that is taken back.
    let order = Order {
        place: ROOM,
        length: PAGE,
        offset: 0,
        lays: 1,
        number: 7,
    };
    assert_eq!(vm.send(&order.to_bytes(), None), libc::EBADF);
    // A file that cannot be mapped is the system's to refuse, and the next order is carried out.
    vm.memory.write_all_at(&[0xEE], ROOM).unwrap();
    let unwritable = File::open("/proc/self/exe").unwrap();
    assert_eq!(vm.order(ROOM, PAGE, 0, Some(&unwritable)), libc::EACCES);
    assert_eq!(vm.byte(ROOM), 0xEE, "what was there still is");
    assert_eq!(vm.order(ROOM, PAGE, 0, Some(&file)), 0);
}

#[test]
fn an_order_waits_for_the_vm_and_for_the_process_that_has_it() {
    let vm = Vm::new();
    let file = client(1);
    let order = Order {
        place: ROOM,
        length: PAGE,
        offset: 0,
        lays: 1,
        number: 7,
    };
    vm.tell(&order.to_bytes(), Some(&file));
    let vm = vm.mapped();
    assert_eq!(vm.answer(), 0);
    assert_eq!(vm.byte(ROOM), 1);
}

#[test]
fn what_is_inherited_is_read_back_as_it_was_written() {
    let about = Inherited {
        socket: 3,
        memory: 4,
        start: ROOM,
        end: u64::MAX,
    };
    assert_eq!(about.to_string().parse(), Ok(about));
    assert!("3,4,5".parse::<Inherited>().is_err());
}

#[test]
fn when_nobody_is_left_who_gives_orders_the_process_ends() {
    let vm = Vm::new().mapped();
    let another = vm.orders.try_clone().unwrap();
    assert_eq!(vm.order(ROOM, PAGE, 0, Some(&client(1))), 0);
    drop(vm);
    // The one who takes over goes on.
    let vm = Vm {
        memory: tempfile::tempfile().unwrap(),
        base: std::ptr::null(),
        orders: another,
    };
    assert_eq!(vm.order(ROOM, PAGE, 0, None), 0);
    assert!(!ENDED.load(Ordering::Relaxed));
    drop(vm);
    while !ENDED.load(Ordering::Relaxed) {
        std::thread::sleep(PAUSE);
    }
}
