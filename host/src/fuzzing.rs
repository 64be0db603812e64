//! What the fuzz targets of the workspace call: the parts of the daemon that are handed anything.

use std::fs::File;
use std::io::{IoSlice, Read};
use std::mem::MaybeUninit;
use std::net::Shutdown;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use rustix::net::{sendmsg, SendAncillaryBuffer, SendAncillaryMessage, SendFlags};

use crate::config::Config;
use crate::doorbell::new_eventfd;
use crate::testing::Fixture;
use crate::vhost::Server;

/// Any text is a configuration, or none with a place for each problem.
pub fn config(text: &str) {
    match Config::parse(Path::new("fuzz.toml"), text) {
        Ok(config) => assert!(config.exports().count() <= text.len()),
        Err(problems) => assert!(!problems.to_string().is_empty()),
    }
}

struct Served {
    _fixture: Fixture,
    memory: File,
    // Serves as long as it is there.
    _server: Server,
    path: PathBuf,
}

/// Any bytes are messages of a VM's QEMU: each a request, what comes with it, a length, and so many bytes.
pub fn vhost_user(mut input: &[u8]) {
    static SERVED: OnceLock<Served> = OnceLock::new();
    let served = SERVED.get_or_init(|| {
        let fixture = Fixture::new();
        let (server, path) = fixture.server();
        Served {
            memory: fixture.memory(),
            _fixture: fixture,
            _server: server,
            path,
        }
    });
    let mut peer = UnixStream::connect(&served.path).expect("the socket is there");
    while let Some((&[request, with, length], rest)) = input.split_first_chunk() {
        let (payload, rest) = rest.split_at(rest.len().min(length.into()));
        input = rest;
        // Version 1, and whether an answer is wanted.
        let flags = 1 | u32::from(with & 8);
        let mut message = Vec::new();
        for word in [u32::from(request & 0x3F), flags, payload.len() as u32] {
            message.extend(word.to_ne_bytes());
        }
        message.extend(payload);
        let file = match with & 3 {
            0 => None,
            1 => served.memory.try_clone().ok().map(OwnedFd::from),
            _ => new_eventfd().ok(),
        };
        if !send(&peer, &message, file.as_ref()) {
            break;
        }
    }
    // A message that is cut off ends with the connection.
    let _ = peer.shutdown(Shutdown::Write);
    let _ = peer.read_to_end(&mut Vec::new());
}

fn send(peer: &UnixStream, bytes: &[u8], file: Option<&OwnedFd>) -> bool {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let files = file.map(AsFd::as_fd);
    if let Some(file) = &files {
        control.push(SendAncillaryMessage::ScmRights(std::slice::from_ref(file)));
    }
    sendmsg(
        peer,
        &[IoSlice::new(bytes)],
        &mut control,
        SendFlags::NOSIGNAL,
    )
    .is_ok()
}
