//! Runs QEMU with what lays files over its VM's memory, lays some, one after the other, and looks at them afterwards.
//!
//! `lay OBJECT WINDOW QEMU ARGUMENT…`
//!
//! OBJECT is libstellwerk_overlay.so. WINDOW is the address, hexadecimal, of the last MiB of the VM's memory. The first file is there
//! before the VM runs. When the image says, in a file, that it has done with it, the next one is laid over the same place, while the
//! VM runs. The image's end of it, and what is where in a file, is `selftest=laid`.
//!
//! At the end it holds, or the exit status is not 0: each file has, where bytes came back from the terminal, those that had been sent
//! there from the very file, and everywhere else what it had before; and where files were laid, the VM's own memory was never touched.

use std::error::Error;
use std::fs::File;
use std::io::{IoSlice, Write};
use std::mem::MaybeUninit;
use std::ops::Range;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, ExitCode};
use std::time::Duration;

use rustix::fs::{fcntl_add_seals, ftruncate, memfd_create, seek, MemfdFlags, SealFlags, SeekFrom};
use rustix::io::{fcntl_setfd, Errno, FdFlags};
use rustix::net::{
    recv, sendmsg, socketpair, AddressFamily, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, SocketFlags, SocketType,
};
use stellwerk_overlay::{Answer, Inherited, Order, VARIABLE};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// Bytes that are kept for windows.
const ROOM: u64 = 1 << 20;
/// How often it is looked whether the image has done with a file.
const LOOK: Duration = Duration::from_millis(5);

fn main() -> Result<ExitCode> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [object, window, qemu, arguments @ ..] = words.as_slice() else {
        return Err("usage: lay OBJECT WINDOW QEMU ARGUMENT…".into());
    };
    let window = u64::from_str_radix(window.trim_start_matches("0x"), 16)?;
    let memory = memory(window + ROOM)?;
    let files = (1..=layout::FILES).map(file).collect::<Result<Vec<_>>>()?;

    let mut vm = Vm::start(object, window, &memory, qemu, arguments)?;
    for (number, file) in (1..).zip(&files) {
        vm.lay(window, file)?;
        vm.runs()?;
        vm.has_done_with(number, file)?;
    }
    let status = vm.process.wait()?;

    for (number, file) in (1..).zip(&files) {
        compare(number, file)?;
        println!(
            "MARK file {number} has what the device wrote into it, and was touched nowhere else"
        );
    }
    match seek(&memory, SeekFrom::Data(window)) {
        Err(Errno::NXIO) => println!("MARK the VM's own memory below was never touched"),
        found => return Err(format!("the VM's own memory was touched: {found:x?}").into()),
    }
    Ok(match status.success() {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    })
}

/// Memory that cannot become shorter or longer.
fn memory(bytes: u64) -> Result<File> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let memory = memfd_create("memory", flags)?;
    ftruncate(&memory, bytes)?;
    let seals = SealFlags::SEAL | SealFlags::SHRINK | SealFlags::GROW;
    fcntl_add_seals(&memory, seals)?;
    Ok(memory.into())
}

/// What such a file has before it is laid.
fn content(number: u32) -> Vec<u8> {
    let mut content = vec![0; layout::DATA as usize];
    content.extend((layout::DATA..layout::LENGTH).map(|offset| layout::byte(number, offset)));
    let place = layout::NUMBER as usize;
    content[place..place + 4].copy_from_slice(&number.to_be_bytes());
    content
}

/// A file to be laid.
fn file(number: u32) -> Result<File> {
    let file = memory(layout::LENGTH.into())?;
    file.write_all_at(&content(number), 0)?;
    Ok(file)
}

/// A file has what came back from the terminal, and all else as it was.
fn compare(number: u32, file: &File) -> Result<()> {
    let (mut wanted, mut found) = (content(number), vec![0; layout::LENGTH as usize]);
    file.read_exact_at(&mut found, 0)?;
    for exchange in layout::EXCHANGES {
        let sent = exchange.out.map(|piece| wanted[range(piece)].to_vec());
        wanted[range(exchange.back)].copy_from_slice(&sent.concat());
    }
    let differs = (layout::DATA as usize..wanted.len()).find(|&at| found[at] != wanted[at]);
    match differs {
        None => Ok(()),
        Some(at) => {
            let (found, wanted) = (found[at], wanted[at]);
            Err(format!("file {number} has {found:x}, not {wanted:x}, at {at:x}").into())
        }
    }
}

fn range(piece: layout::Piece) -> Range<usize> {
    piece.offset as usize..(piece.offset + piece.length) as usize
}

/// A VM whose memory files are laid over.
struct Vm {
    process: Child,
    monitor: UnixStream,
    orders: OwnedFd,
}

impl Drop for Vm {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Vm {
    /// Starts QEMU; the VM does not run yet.
    fn start(
        object: &str,
        window: u64,
        memory: &File,
        qemu: &str,
        more: &[String],
    ) -> Result<Self> {
        let kind = SocketType::SEQPACKET;
        let (orders, theirs) = socketpair(AddressFamily::UNIX, kind, SocketFlags::CLOEXEC, None)?;
        let (monitor, their_monitor) = UnixStream::pair()?;
        for inherited in [theirs.as_fd(), their_monitor.as_fd(), memory.as_fd()] {
            fcntl_setfd(inherited, FdFlags::empty())?;
        }
        let inherited = Inherited {
            socket: theirs.as_raw_fd(),
            memory: memory.as_raw_fd(),
            start: window,
            end: window + ROOM,
        };
        let size = window + ROOM;
        let (file, socket) = (memory.as_raw_fd(), their_monitor.as_raw_fd());
        let path = format!("/proc/self/fd/{file}");
        let process = Command::new(qemu)
            .args(more)
            .args(["-S", "-m", &format!("{}M", size >> 20)])
            .args(["-machine", "s390-ccw-virtio,memory-backend=memory"])
            .args([
                "-object",
                &format!("memory-backend-file,id=memory,mem-path={path},share=on,size={size}"),
            ])
            .args(["-chardev", &format!("socket,id=monitor,fd={socket}")])
            .args(["-mon", "monitor"])
            .env("LD_PRELOAD", object)
            .env(VARIABLE, inherited.to_string())
            .spawn()?;
        Ok(Self {
            process,
            monitor,
            orders,
        })
    }

    /// Lays a file over the window.
    fn lay(&self, window: u64, file: &File) -> Result<()> {
        let order = Order {
            place: window,
            length: layout::LENGTH.into(),
            offset: 0,
            lays: 1,
            number: 1,
        };
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        let files = [file.as_fd()];
        control.push(SendAncillaryMessage::ScmRights(&files));
        let message = order.to_bytes();
        sendmsg(
            &self.orders,
            &[IoSlice::new(&message)],
            &mut control,
            SendFlags::NOSIGNAL,
        )?;
        let mut answer = [0; Answer::SIZE];
        recv(&self.orders, &mut answer, RecvFlags::empty())?;
        match Answer::from_bytes(&answer) {
            Some(Answer {
                number: 1,
                error: 0,
            }) => Ok(()),
            Some(Answer { number: 1, error }) => {
                Err(format!("not laid: {}", Errno::from_raw_os_error(error)).into())
            }
            _ => Err("QEMU has ended".into()),
        }
    }

    /// Lets it run, if it does not.
    fn runs(&mut self) -> Result<()> {
        Ok(self.monitor.write_all(b"cont\n")?)
    }

    /// Waits until the image has done with a file; fails when QEMU ends without.
    fn has_done_with(&mut self, number: u32, file: &File) -> Result<()> {
        let mut done = [0; 4];
        loop {
            let ended = self.process.try_wait()?;
            file.read_exact_at(&mut done, layout::DONE.into())?;
            if done == number.to_be_bytes() {
                return Ok(());
            }
            if let Some(status) = ended {
                return Err(format!(
                    "QEMU has ended before it had done with file {number}: {status}"
                )
                .into());
            }
            std::thread::sleep(LOOK);
        }
    }
}
