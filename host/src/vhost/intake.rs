//! What a peer may hand over, and where the rest goes.
//!
//! # Purpose
//!
//! A message can bring open files of any kind. Closing one can take for ever: a file on FUSE is closed only when its file
//! system has answered, and that may be the peer. A file that was received cannot be got rid of in another way. [`Intake`]
//! takes the messages from the peer's socket and hands them on with the files that are of use, an eventfd or memory that cannot
//! shrink, which are closed at once whoever has them. Each other file is replaced by one that is of no use to anybody, so that the answer is
//! the same, and goes to [`Closer`].
//!
//! # Rules
//!
//! * Nothing is asked of a file that its file system would have to be asked for.
//! * What closes files is a thread that nobody waits for, one for each export. A peer that keeps it busy is sent away, and
//!   the number of files that wait is limited.
//!
//! # Limits
//!
//! A process is gone only when all its threads are. Of a daemon that was told to stop nothing is left but its number in the
//! process table while such a file is being closed; a new daemon does not notice.

use std::fs::File;
use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{channel, Sender};
use std::sync::Arc;

use rustix::net::{
    recvmsg, sendmsg, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags,
};

use super::readiness::{body_length, HEAD, MAX_BODY};
use super::ring::check_eventfd;
use crate::descriptors::{for_peer, MAX_FILES, MAX_WAITING};
use crate::pool::is_sealed;

/// Between a peer's socket and whoever handles its messages.
#[derive(Debug)]
pub struct Intake {
    peer: UnixStream,
    handler: UnixStream,
    stand_in: File,
}

impl Intake {
    /// For a connection; and the socket that the messages are to be handled from.
    pub fn new(peer: UnixStream) -> io::Result<(Self, UnixStream)> {
        let (handler, theirs) = UnixStream::pair()?;
        let (handler, theirs) = (for_peer(handler)?, for_peer(theirs)?);
        handler.set_nonblocking(true)?;
        let stand_in = for_peer(File::open("/dev/null")?)?;
        let intake = Self {
            peer,
            handler,
            stand_in,
        };
        Ok((intake, theirs))
    }

    /// Hands on the message that is there; `false` at the end of the connection.
    pub fn take(&self, closer: &mut Closer) -> io::Result<bool> {
        let mut message = [0; HEAD + MAX_BODY as usize];
        let mut files = Vec::new();
        let (mut have, mut wanted) = (0, HEAD);
        while have < wanted {
            let Some(room) = message.get_mut(have..wanted) else {
                break;
            };
            let taken = match receive(&self.peer, room, &mut files) {
                Ok(taken) if taken != 0 => taken,
                ended => {
                    closer.close(files);
                    return ended.map(|_| false);
                }
            };
            have += taken;
            if files.len() > MAX_FILES {
                closer.close(files);
                return Err(io::Error::other("a message with too many files"));
            }
            if let Err(error) = files.iter().try_for_each(|file| for_peer(file).map(drop)) {
                closer.close_apart(files);
                return Err(error);
            }
            if have == HEAD {
                // One that claims to be longer is refused by its head.
                let body = Some(body_length(&message)).filter(|&body| body <= MAX_BODY);
                wanted += body.unwrap_or(0) as usize;
            }
        }
        let is_good: Vec<bool> = files.iter().map(is_good).collect();
        let fds: Vec<BorrowedFd<'_>> = files
            .iter()
            .zip(&is_good)
            .map(|(file, good)| {
                if *good {
                    file.as_fd()
                } else {
                    self.stand_in.as_fd()
                }
            })
            .collect();
        let sent = send(&self.handler, &message[..have], &fds);
        let bad = files.into_iter().zip(is_good).filter(|(_, good)| !good);
        closer.close(bad.map(|(file, _)| file).collect());
        sent.map(|()| true)
    }

    pub fn give_back(&self) -> io::Result<()> {
        let mut answer = [0; HEAD + MAX_BODY as usize];
        loop {
            match (&self.handler).read(&mut answer) {
                Ok(0) => return Ok(()),
                Ok(length) => (&self.peer).write_all(answer.get(..length).unwrap_or_default())?,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
        }
    }
}

/// Whether a file is of use, and its end waits for nobody.
fn is_good(file: &File) -> bool {
    is_sealed(file) || check_eventfd(file).is_ok()
}

/// Closes the files that nobody has a use for.
#[derive(Debug, Default)]
pub struct Closer {
    thread: Option<Sender<File>>,
    waiting: Arc<AtomicUsize>,
}

impl Closer {
    /// Whether so many files wait that no more are to come.
    pub fn is_full(&self) -> bool {
        self.waiting.load(Ordering::Relaxed) >= MAX_WAITING
    }

    /// Takes files, and waits for nothing.
    fn close(&mut self, files: Vec<File>) {
        for file in files {
            self.waiting.fetch_add(1, Ordering::Relaxed);
            let unsent = match self.thread() {
                Some(thread) => thread.send(file).err().map(|unsent| unsent.0),
                None => Some(file),
            };
            // Without a thread it stays open, and goes on counting as one that waits.
            std::mem::forget(unsent);
        }
    }

    /// Closes files of which none waits for another one. The number of each is free as soon as its own end begins.
    fn close_apart(&self, files: Vec<File>) {
        for file in files {
            self.waiting.fetch_add(1, Ordering::Relaxed);
            let waiting = Arc::clone(&self.waiting);
            let builder = std::thread::Builder::new().name("close".into());
            // Without a thread it is closed here, and keeps up nobody but this peer.
            let _ = builder.spawn(move || {
                drop(file);
                waiting.fetch_sub(1, Ordering::Relaxed);
            });
        }
    }

    /// The thread, which is started when it is needed for the first time.
    fn thread(&mut self) -> Option<&Sender<File>> {
        if self.thread.is_none() {
            let (sender, receiver) = channel::<File>();
            let waiting = Arc::clone(&self.waiting);
            let builder = std::thread::Builder::new().name("close".into());
            let started = builder.spawn(move || {
                for file in receiver {
                    drop(file);
                    waiting.fetch_sub(1, Ordering::Relaxed);
                }
            });
            self.thread = started.is_ok().then_some(sender);
        }
        self.thread.as_ref()
    }
}

/// Receives some bytes, and the files that come with them.
fn receive(from: &UnixStream, to: &mut [u8], files: &mut Vec<File>) -> io::Result<usize> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FILES))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let flags = RecvFlags::CMSG_CLOEXEC;
    let got = recvmsg(from, &mut [IoSliceMut::new(to)], &mut control, flags)?;
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(fds) = message {
            files.extend(fds.map(|fd: OwnedFd| File::from(fd)));
        }
    }
    Ok(got.bytes)
}

fn send(to: &UnixStream, message: &[u8], files: &[BorrowedFd<'_>]) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FILES))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !files.is_empty() && !control.push(SendAncillaryMessage::ScmRights(files)) {
        return Err(io::Error::other("a message with too many files"));
    }
    let sent = sendmsg(
        to,
        &[IoSlice::new(message)],
        &mut control,
        SendFlags::NOSIGNAL,
    )?;
    if sent != message.len() {
        return Err(io::ErrorKind::WriteZero.into());
    }
    Ok(())
}
