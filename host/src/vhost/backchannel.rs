//! How a peer hears that its disk has another capacity.
//!
//! # Purpose
//!
//! A back end that has something to say unasked says it over a socket of the peer's, which has come with SET_BACKEND_REQ_FD. What
//! there is to say is one message, VHOST_USER_BACKEND_CONFIG_CHANGE_MSG; the peer then reads the configuration again.
//!
//! # Rules
//!
//! * No answer is asked for, and a peer that does not read is not waited for: it is told with the next change.
//! * What it has to be told of is a capacity that is not the one that it has read last. QEMU passes over the message while its guest
//!   serves no queue, and does not look again by itself when it does: so it is told then, and told again.
//! * Nothing is read from the socket, and nothing can lie in it: a file that did would be closed with it, by whoever has it then.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;

use rustix::io::ioctl_fionread;
use rustix::net::sockopt::{socket_acceptconn, socket_domain, socket_type};
use rustix::net::{send, shutdown, AddressFamily, SendFlags, Shutdown, SocketType};
use serde::{Deserialize, Serialize};
use vhost::vhost_user::message::BackendReq;

use super::message::head;
use crate::descriptors::for_peer;
use crate::store::{Key, Store};

/// The way to a peer, and what it knows.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Backchannel {
    /// Where its socket is kept, once it has come.
    pub socket: Option<Key>,
    /// The capacity that it has read last, in sectors.
    read: Option<u64>,
    /// What it has been told of since its first queue was started.
    told: Option<u64>,
}

impl Backchannel {
    /// The peer has been given its configuration, from this place on.
    pub fn has_read(&mut self, offset: u32, config: &[u8]) {
        if let (0, Some(capacity)) = (offset, config.first_chunk()) {
            self.read = Some(u64::from_le_bytes(*capacity));
        }
    }

    /// The first of its queues is served: what it was told before it may have passed over.
    pub const fn begins(&mut self) {
        self.told = None;
    }

    /// Tells a peer that has something to learn of this capacity.
    ///
    /// # Errors
    ///
    /// It does not take it.
    pub fn tell(&mut self, capacity: u64, store: &Store) -> io::Result<()> {
        let is_news = self.read.is_some_and(|read| read != capacity);
        let Some(socket) = self
            .socket
            .filter(|_| is_news && self.told != Some(capacity))
        else {
            return Ok(());
        };
        let socket = store.get(socket)?;
        let message = head(BackendReq::CONFIG_CHANGE_MSG as u32, 0);
        let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
        send(socket, &message, flags)?;
        self.told = Some(capacity);
        Ok(())
    }
}

/// Whether a file is a socket that can be a back channel, for which there is room. From then on nothing comes out of it.
pub fn is_backchannel(file: &File) -> bool {
    let is_stream = matches!(socket_domain(file), Ok(AddressFamily::UNIX))
        && matches!(socket_type(file), Ok(SocketType::STREAM))
        && matches!(socket_acceptconn(file), Ok(false));
    // First of all nothing more comes in.
    is_stream
        && shutdown(file, Shutdown::Read).is_ok()
        && matches!(ioctl_fionread(file), Ok(0))
        && !has_files(file)
        && for_peer(file).is_ok()
}

/// Whether files are in a socket: also with an out-of-band byte that was taken, of which FIONREAD does not tell.
fn has_files(socket: &File) -> bool {
    let about = format!("/proc/self/fdinfo/{}", socket.as_raw_fd());
    let about = std::fs::read_to_string(about).unwrap_or_default();
    let files = about.lines().find_map(|line| line.strip_prefix("scm_fds:"));
    files.is_some_and(|count| count.trim() != "0")
}

#[cfg(test)]
mod tests {
    use std::io::{IoSlice, Read, Write};
    use std::mem::MaybeUninit;
    use std::os::fd::{AsFd, OwnedFd};
    use std::os::unix::net::{UnixDatagram, UnixStream};

    use rustix::net::{recv, sendmsg, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage};

    use super::*;
    use crate::testing::message;

    /// A peer that has read this capacity, its end, and where the other one is kept.
    fn peer(read: u64) -> (UnixStream, Backchannel, Store) {
        let (theirs, ours) = UnixStream::pair().unwrap();
        theirs.set_nonblocking(true).unwrap();
        let store = Store::unkept();
        let mut peer = Backchannel {
            socket: Some(store.keep(ours).unwrap()),
            ..Backchannel::default()
        };
        peer.has_read(0, &read.to_le_bytes());
        (theirs, peer, store)
    }

    fn heard(mut theirs: &UnixStream) -> Vec<u8> {
        let mut bytes = [0; 256];
        let count = theirs.read(&mut bytes).unwrap_or(0);
        bytes[..count].to_vec()
    }

    #[test]
    fn a_peer_is_told_once_of_each_capacity_that_it_has_not_read() {
        let (theirs, mut peer, store) = peer(8);
        peer.tell(8, &store).unwrap();
        assert!(heard(&theirs).is_empty());
        for _ in 0..2 {
            peer.tell(16, &store).unwrap();
        }
        assert_eq!(heard(&theirs), message(2, 1, &[]), "once");
        peer.has_read(0, &16u64.to_le_bytes());
        peer.tell(16, &store).unwrap();
        assert!(heard(&theirs).is_empty());
        // Of its end alone nothing is known of the capacity.
        peer.has_read(8, &[0; 8]);
        peer.has_read(0, &[0; 4]);
        peer.tell(8, &store).unwrap();
        assert!(!heard(&theirs).is_empty());
    }

    #[test]
    fn what_was_told_before_a_queue_was_served_is_told_again() {
        let (theirs, mut peer, store) = peer(8);
        peer.tell(16, &store).unwrap();
        peer.begins();
        peer.tell(16, &store).unwrap();
        assert_eq!(heard(&theirs).len(), 24);
    }

    #[test]
    fn who_does_not_read_is_not_waited_for_and_is_told_later() {
        let (theirs, mut peer, store) = peer(0);
        let mut capacity = 0;
        let full = loop {
            capacity += 1;
            if let Err(error) = peer.tell(capacity, &store) {
                break error;
            }
        };
        assert_eq!(full.kind(), io::ErrorKind::WouldBlock);
        while !heard(&theirs).is_empty() {}
        peer.tell(capacity, &store).unwrap();
        assert_eq!(heard(&theirs).len(), 12);
        drop(theirs);
        assert!(peer.tell(capacity + 1, &store).is_err());
    }

    #[test]
    fn only_a_socket_that_holds_nothing_is_a_back_channel() {
        let as_file = |socket: UnixStream| File::from(OwnedFd::from(socket));
        let (mut theirs, ours) = UnixStream::pair().unwrap();
        let ours = as_file(ours);
        assert!(is_backchannel(&ours));
        assert!(is_backchannel(&ours), "as often as it is asked");
        assert!(theirs.write(b"x").is_err(), "nothing comes into it");
        let (mut theirs, ours) = UnixStream::pair().unwrap();
        theirs.write_all(b"x").unwrap();
        assert!(!is_backchannel(&as_file(ours)), "something lies in it");
        // An out-of-band byte that was taken has left its file there.
        let (theirs, ours) = UnixStream::pair().unwrap();
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        let files = [theirs.as_fd()];
        control.push(SendAncillaryMessage::ScmRights(&files));
        sendmsg(&theirs, &[IoSlice::new(b"x")], &mut control, SendFlags::OOB).unwrap();
        assert_eq!(recv(&ours, &mut [0], RecvFlags::OOB).unwrap().1, 1);
        assert!(!is_backchannel(&as_file(ours)), "a file lies in it");
        let (datagram, _other) = UnixDatagram::pair().unwrap();
        assert!(!is_backchannel(&File::from(OwnedFd::from(datagram))));
        let dir = tempfile::tempdir().unwrap();
        let listener = crate::sys::listen(&dir.path().join("socket")).unwrap();
        assert!(!is_backchannel(&File::from(OwnedFd::from(listener))));
        assert!(!is_backchannel(&tempfile::tempfile().unwrap()));
    }
}
