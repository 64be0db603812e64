//! Answers, of each of which it is known whether it has been sent, at whatever instant the daemon dies.
//!
//! # Purpose
//!
//! An answer that comes twice is as bad as one that never comes: a peer takes it for the answer to its next message. So it is put into a
//! file that is kept for the next daemon, and goes from there to the peer by sendfile(2) from the file's own position. The call moves the
//! position by what it has sent, and nobody who is killed comes out of it in between; so what is behind the position has not been sent.
//!
//! # Rule
//!
//! What the peer has not read yet is the file's own page, not a copy. An answer is never written over another one: the file is cut off
//! first, which leaves the page to the peer, and the next answer has a new one.

use std::fs::File;
use std::io::{self, Seek};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::os::unix::net::UnixStream;

use rustix::fs::{memfd_create, sendfile, MemfdFlags};
use rustix::io::retry_on_intr;

/// The answers on one connection.
#[derive(Debug)]
pub struct Answers {
    file: File,
}

impl Answers {
    /// None yet.
    pub fn new() -> io::Result<Self> {
        let file = memfd_create("stellwerk-answers", MemfdFlags::CLOEXEC)?;
        Ok(Self::from(file))
    }

    /// Puts down what is to be sent next, in place of what was before.
    pub fn put(&self, answer: &[u8]) -> io::Result<()> {
        // Nothing is unsent until it is there.
        self.file.set_len(0)?;
        (&self.file).rewind()?;
        self.file.write_all_at(answer, 0)
    }

    /// Sends what has not been sent.
    pub fn send(&self, to: &UnixStream) -> io::Result<()> {
        loop {
            let (length, position) = (self.file.metadata()?.len(), (&self.file).stream_position()?);
            let unsent = length.saturating_sub(position) as usize;
            if unsent == 0 {
                return Ok(());
            }
            if retry_on_intr(|| sendfile(to, &self.file, None, unsent))? == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
        }
    }
}

impl From<OwnedFd> for Answers {
    fn from(kept: OwnedFd) -> Self {
        let file = File::from(kept);
        Self { file }
    }
}

impl AsFd for Answers {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, SeekFrom};

    use super::*;

    /// What another daemon has of them.
    fn follower(answers: &Answers) -> Answers {
        answers.file.as_fd().try_clone_to_owned().unwrap().into()
    }

    fn received(mut peer: &UnixStream) -> Vec<u8> {
        peer.set_nonblocking(true).unwrap();
        let mut all = Vec::new();
        let end = peer.read_to_end(&mut all).map_err(|error| error.kind());
        assert!(matches!(end, Ok(_) | Err(io::ErrorKind::WouldBlock)));
        all
    }

    #[test]
    fn an_answer_is_sent_once_whoever_sends_it() {
        let (peer, ours) = UnixStream::pair().unwrap();
        let answers = Answers::new().unwrap();
        follower(&answers).send(&ours).unwrap();
        assert!(received(&peer).is_empty(), "there was none");
        // Killed after the call that sends it, or before.
        for (at, sender) in [&answers, &follower(&answers)].into_iter().enumerate() {
            let answer = format!("answer {at}");
            answers.put(answer.as_bytes()).unwrap();
            sender.send(&ours).unwrap();
            follower(&answers).send(&ours).unwrap();
            assert_eq!(received(&peer), answer.as_bytes());
        }
        // Of one that was sent in part, the rest is.
        answers.put(b"answer in two parts").unwrap();
        (&answers.file).seek(SeekFrom::Start(7)).unwrap();
        follower(&answers).send(&ours).unwrap();
        assert_eq!(received(&peer), b"in two parts");
    }

    #[test]
    fn what_is_not_read_yet_does_not_change() {
        let (peer, ours) = UnixStream::pair().unwrap();
        let answers = Answers::new().unwrap();
        for answer in [&b"the first, which is long"[..], b"second", b"and third"] {
            answers.put(answer).unwrap();
            answers.send(&ours).unwrap();
        }
        answers.put(b"not sent").unwrap();
        assert_eq!(received(&peer), b"the first, which is longsecondand third");
    }

    #[test]
    fn a_peer_that_has_gone_is_an_error() {
        let (peer, ours) = UnixStream::pair().unwrap();
        let answers = Answers::new().unwrap();
        answers.put(b"answer").unwrap();
        drop(peer);
        assert!(answers.send(&ours).is_err());
    }
}
