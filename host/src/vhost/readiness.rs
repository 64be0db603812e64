//! Whether a message can be handled without waiting for the peer.
//!
//! A thread that reads half a message waits for the other half, and one that answers a peer which does not read waits for
//! room. So a message is touched only once it is there from end to end, and while there is room for its answer.

use std::os::unix::net::UnixStream;

use rustix::event::PollFlags;
use rustix::io::ioctl_fionread;
use rustix::net::{recv, RecvFlags};

use crate::sys::{events, has_gone};

/// Bytes of a message's head; the last four say how many follow.
pub const HEAD: usize = 12;
/// A message that claims to be longer is refused when its head is read.
pub const MAX_BODY: u32 = 4096;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Readiness {
    /// It can, or nothing will come of waiting.
    Ready,
    /// It cannot, and why.
    NotYet(&'static str),
}

/// How long the body is, by the head of a message.
pub fn body_length(message: &[u8]) -> u32 {
    let length = message.get(HEAD - 4..HEAD);
    let length = length.and_then(|length| length.try_into().ok());
    length.map_or(0, u32::from_le_bytes)
}

/// Looks at the message that comes next.
pub fn readiness(stream: &UnixStream) -> Readiness {
    let mut head = [0; HEAD];
    let peeked = recv(stream, &mut head, RecvFlags::PEEK | RecvFlags::DONTWAIT);
    let whole = match (peeked, ioctl_fionread(stream)) {
        (Ok((_, HEAD)), Ok(there)) => {
            let body = body_length(&head);
            body > MAX_BODY || there >= HEAD as u64 + u64::from(body)
        }
        _ => false,
    };
    if !whole && !has_gone(stream) {
        return Readiness::NotYet("its message does not come to an end");
    }
    match events(stream, PollFlags::OUT).is_empty() {
        true => Readiness::NotYet("it does not read its answers"),
        false => Readiness::Ready,
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;
    use crate::testing::message;

    fn write(mut stream: &UnixStream, bytes: &[u8]) {
        stream.write_all(bytes).unwrap();
    }

    #[test]
    fn a_message_is_handled_once_all_of_it_is_there() {
        let (peer, ours) = UnixStream::pair().unwrap();
        let whole = message(2, 1, &[7; 8]);
        for byte in &whole[..whole.len() - 1] {
            write(&peer, &[*byte]);
            assert!(matches!(readiness(&ours), Readiness::NotYet(_)));
        }
        write(&peer, &whole[whole.len() - 1..]);
        assert_eq!(readiness(&ours), Readiness::Ready);
    }

    #[test]
    fn an_end_is_not_waited_for_and_neither_is_a_body_that_is_too_long() {
        let (peer, ours) = UnixStream::pair().unwrap();
        write(&peer, &[1, 0, 0]);
        drop(peer);
        assert_eq!(readiness(&ours), Readiness::Ready);
        let (peer, ours) = UnixStream::pair().unwrap();
        write(&peer, &[0xFF; HEAD]);
        assert_eq!(readiness(&ours), Readiness::Ready);
    }

    #[test]
    fn nothing_is_handled_for_a_peer_that_does_not_read() {
        let (peer, ours) = UnixStream::pair().unwrap();
        write(&peer, &message(1, 1, &[]));
        assert_eq!(readiness(&ours), Readiness::Ready);
        ours.set_nonblocking(true).unwrap();
        while (&ours).write(&[0; 4096]).is_ok() {}
        assert!(matches!(readiness(&ours), Readiness::NotYet(_)));
    }
}
