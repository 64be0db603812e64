//! What a peer may hand over, and where the rest goes.
//!
//! # Purpose
//!
//! A message can bring open files of any kind. Closing one can take for ever: a file on FUSE is closed only when its file
//! system has answered, and that may be the peer. A file that was received cannot be got rid of in another way. [`Intake`]
//! takes the messages from the peer's socket and hands them on with the files that are of use: an eventfd, memory that cannot
//! shrink, or a socket in which nothing can lie. They are closed at once whoever has them. Each other file is replaced by one that is of no use to anybody, so that the answer is
//! the same, and goes to [`Closer`].
//!
//! # Rules
//!
//! * Nothing is asked of a file that its file system would have to be asked for.
//! * The socket itself says how much of a message has not been taken yet: its peek offset (SO_PEEK_OFF) stands behind the message that is
//!   to be taken, and the kernel sets it back by each byte that is. A daemon that follows one that has died reads it there.
//! * What closes files is a thread that nobody waits for, one for each export. A peer that keeps it busy is sent away, and
//!   the number of files that wait is limited.
//!
//! # Limits
//!
//! A process is gone only when all its threads are. Of a daemon that was told to stop nothing is left but its number in the
//! process table while such a file is being closed; a new daemon does not notice.

use std::fs::File;
use std::io::{self, IoSlice, IoSliceMut, Read};
use std::mem::{self, MaybeUninit};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{channel, Sender};
use std::sync::Arc;

use rustix::net::{
    recv, recvmsg, sendmsg, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags,
    SendAncillaryBuffer, SendAncillaryMessage, SendFlags,
};
use vhost::vhost_user::message::FrontendReq;

use super::answers::Answers;
use super::backchannel::is_backchannel;
use super::readiness::{body_length, HEAD, MAX_BODY};
use super::ring::check_eventfd;
use crate::descriptors::{for_peer, MAX_FILES, MAX_WAITING};
use crate::pool::is_sealed;
use crate::sys::{peek_offset, set_peek_offset};

/// What says, beside the number of a queue, that no file comes for it.
const NO_FILE: u32 = 1 << 8;

/// Between a peer's socket and whoever handles its messages.
#[derive(Debug)]
pub struct Intake {
    peer: UnixStream,
    answers: Answers,
    handler: UnixStream,
    stand_in: File,
}

impl Intake {
    /// For a connection; and the socket that the messages are to be handled from.
    pub fn new(peer: UnixStream, answers: Answers) -> io::Result<(Self, UnixStream)> {
        let (handler, theirs) = UnixStream::pair()?;
        let (handler, theirs) = (for_peer(handler)?, for_peer(theirs)?);
        handler.set_nonblocking(true)?;
        let stand_in = for_peer(File::open("/dev/null")?)?;
        let intake = Self {
            peer,
            answers,
            handler,
            stand_in,
        };
        Ok((intake, theirs))
    }

    /// Takes the message that is there; nothing at the end of the connection. What is to be kept of it is kept by `keep` before any of
    /// it is gone from the socket.
    pub fn take(
        &self,
        closer: &mut Closer,
        keep: impl FnOnce(&Incoming),
    ) -> io::Result<Option<Incoming>> {
        let Some(message) = self.look(closer)? else {
            return Ok(None);
        };
        keep(&message);
        match self.take_rest(closer)? == message.files.len() {
            true => Ok(Some(message)),
            false => Err(io::Error::other(
                "a message with other files than it is to have",
            )),
        }
    }

    /// Looks at the next message, which stays where it is. From then on the socket says how much of it has not been taken.
    fn look(&self, closer: &mut Closer) -> io::Result<Option<Incoming>> {
        let mut head = [0; HEAD];
        set_peek_offset(&self.peer, Some(0))?;
        if !self.look_on(&mut head) {
            return Ok(None);
        }
        // One that claims to be longer is refused by its head.
        let body = Some(body_length(&head)).filter(|&body| body <= MAX_BODY);
        let mut bytes = vec![0; HEAD + body.unwrap_or_default() as usize];
        let mut files = Vec::new();
        set_peek_offset(&self.peer, Some(0))?;
        // It may have come in pieces. Its files have come with the first.
        let flags = RecvFlags::PEEK | RecvFlags::DONTWAIT;
        let first = receive(&self.peer, &mut bytes, &mut files, flags)?;
        let rest = bytes.get_mut(first..).unwrap_or_default();
        let (is_one, is_whole) = (rest.is_empty(), self.look_on(rest));
        // With the end of a message without files the kernel shows those of the next one.
        if !is_whole || is_one && !brings_files(&bytes) {
            closer.close(mem::take(&mut files));
        }
        if !is_whole {
            return Ok(None);
        }
        self.sort(bytes, files, closer).map(Some)
    }

    /// Looks at what comes next; whether there is so much.
    fn look_on(&self, mut room: &mut [u8]) -> bool {
        while !room.is_empty() {
            let flags = RecvFlags::PEEK | RecvFlags::DONTWAIT;
            match recv(&self.peer, &mut *room, flags) {
                Ok((_, seen @ 1..)) => room = room.get_mut(seen..).unwrap_or_default(),
                _ => return false,
            }
        }
        true
    }

    /// Takes what is left of the message that was looked at, be it by another daemon; how many files came with that.
    pub fn take_rest(&self, closer: &mut Closer) -> io::Result<usize> {
        let mut room = [0; HEAD + MAX_BODY as usize];
        let mut count = 0;
        while let left @ 1.. = peek_offset(&self.peer)?.unwrap_or_default() {
            let room = room.get_mut(..left).unwrap_or_default();
            let mut files = Vec::new();
            let taken = receive(&self.peer, room, &mut files, RecvFlags::DONTWAIT)?;
            count += files.len();
            closer.close(files.into_iter().filter(|file| !is_good(file)).collect());
            if taken == 0 || count > MAX_FILES {
                return Err(io::ErrorKind::InvalidData.into());
            }
        }
        set_peek_offset(&self.peer, None)?;
        Ok(count)
    }

    /// Leaves a message where it is that another daemon has looked at.
    pub fn leave(&self) -> io::Result<()> {
        set_peek_offset(&self.peer, None)
    }

    /// A message with those of its files that are of use.
    fn sort(&self, bytes: Vec<u8>, files: Vec<File>, closer: &mut Closer) -> io::Result<Incoming> {
        if let Err(error) = files.iter().try_for_each(|file| for_peer(file).map(drop)) {
            closer.close_apart(files);
            return Err(error);
        }
        let (mut sorted, mut bad) = (Vec::new(), Vec::new());
        for file in files {
            match is_good(&file) {
                true => sorted.push(Some(file)),
                false => {
                    sorted.push(None);
                    bad.push(file);
                }
            }
        }
        closer.close(bad);
        Ok(Incoming {
            bytes,
            files: sorted,
        })
    }

    /// Gives a message to whoever handles it.
    pub fn hand_on(&self, message: &Incoming) -> io::Result<()> {
        let files = message.files.iter();
        let files = files.map(|file| file.as_ref().unwrap_or(&self.stand_in).as_fd());
        let files: Vec<BorrowedFd<'_>> = files.collect();
        send(&self.handler, &message.bytes, &files)
    }

    /// Puts down what it was answered with, if it was: it is about to be given back.
    pub fn put_answer(&self) -> io::Result<()> {
        self.answers.put(&self.answer()?)
    }

    /// What whoever handles messages has said.
    pub fn answer(&self) -> io::Result<Vec<u8>> {
        let mut answer = Vec::new();
        match (&self.handler).read_to_end(&mut answer) {
            Err(error) if error.kind() != io::ErrorKind::WouldBlock => Err(error),
            _ => Ok(answer),
        }
    }

    /// Gives the peer what is unsent of the answer.
    pub fn give_back(&self) -> io::Result<()> {
        self.answers.send(&self.peer)
    }
}

/// A message of the peer's, with its files; those that are of no use to anybody are none.
#[derive(Debug)]
pub struct Incoming {
    pub bytes: Vec<u8>,
    pub files: Vec<Option<File>>,
}

/// Whether a message is one that comes with files.
fn brings_files(message: &[u8]) -> bool {
    let word = |at: usize| Some(u32::from_le_bytes(*message.get(at..)?.first_chunk()?));
    let request = word(0).and_then(|code| FrontendReq::try_from(code).ok());
    match request {
        Some(
            FrontendReq::SET_VRING_KICK | FrontendReq::SET_VRING_CALL | FrontendReq::SET_VRING_ERR,
        ) => word(HEAD).is_some_and(|queue| queue & NO_FILE == 0),
        Some(
            FrontendReq::SET_MEM_TABLE
            | FrontendReq::ADD_MEM_REG
            | FrontendReq::SET_LOG_BASE
            | FrontendReq::SET_LOG_FD
            | FrontendReq::SET_BACKEND_REQ_FD
            | FrontendReq::SET_INFLIGHT_FD
            | FrontendReq::SET_DEVICE_STATE_FD
            | FrontendReq::GPU_SET_SOCKET,
        ) => true,
        _ => false,
    }
}

/// Whether a file is of use, and its end waits for nobody.
fn is_good(file: &File) -> bool {
    is_sealed(file) || check_eventfd(file).is_ok() || is_backchannel(file)
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
fn receive(
    from: &UnixStream,
    to: &mut [u8],
    files: &mut Vec<File>,
    flags: RecvFlags,
) -> io::Result<usize> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FILES))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let flags = flags | RecvFlags::CMSG_CLOEXEC;
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::message;

    const SET_FEATURES: u32 = 2;
    const ADD_MEM_REG: u32 = 37;
    const SET_VRING_CALL: u32 = 13;

    /// What is taken of messages that were all sent before: each one's code, and how many files came with it.
    fn taken(sent: &[(Vec<u8>, usize)]) -> Vec<(u32, usize)> {
        let (peer, ours) = UnixStream::pair().unwrap();
        let file = File::from(crate::doorbell::new_eventfd().unwrap());
        for (message, files) in sent {
            send(&peer, message, &vec![file.as_fd(); *files]).unwrap();
        }
        let (intake, _) = Intake::new(ours, Answers::new().unwrap()).unwrap();
        let mut closer = Closer::default();
        let take = || intake.take(&mut closer, |_| ()).unwrap().unwrap();
        let messages = std::iter::repeat_with(take).take(sent.len());
        let code = |message: &Incoming| u32::from_le_bytes(*message.bytes.first_chunk().unwrap());
        messages
            .map(|message| (code(&message), message.files.len()))
            .collect()
    }

    #[test]
    fn a_message_has_its_own_files_and_none_of_the_next_one() {
        let features = message(SET_FEATURES, 1, &[0; 8]);
        let no_call = message(SET_VRING_CALL, 1, &u64::from(NO_FILE).to_le_bytes());
        let call = message(SET_VRING_CALL, 1, &[0; 8]);
        let memory = message(ADD_MEM_REG, 1, &[0; 40]);
        let sent = [(features, 0), (memory, 1), (no_call, 0), (call, 1)];
        assert_eq!(
            taken(&sent),
            [
                (SET_FEATURES, 0),
                (ADD_MEM_REG, 1),
                (SET_VRING_CALL, 0),
                (SET_VRING_CALL, 1)
            ]
        );
    }
}
