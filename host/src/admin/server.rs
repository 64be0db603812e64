//! The daemon's end of the control socket.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use super::Request;
use crate::vhost::listen;

/// How long somebody may take to send the request, or to read an answer.
const PATIENCE: Duration = Duration::from_secs(2);
/// Bytes of a request: a program of the largest size, in hexadecimal.
const MAX_REQUEST: u64 = 1 << 20;
/// Connections at a time.
const MAX_CONNECTIONS: usize = 32;

/// Answers the requests of other commands.
#[derive(Debug)]
pub struct Server {
    path: PathBuf,
}

impl Server {
    /// Opens the socket and answers until the process ends.
    ///
    /// # Errors
    ///
    /// The socket cannot be made.
    pub fn start(
        path: &Path,
        answer: impl Fn(Request, &mut Answer) -> io::Result<()> + Send + Sync + 'static,
    ) -> io::Result<Self> {
        let listener = listen(path)?;
        let answer = Arc::new(answer);
        let busy = Arc::new(AtomicUsize::new(0));
        std::thread::Builder::new()
            .name("control".into())
            .spawn(move || {
                for stream in listener.incoming() {
                    let (Ok(stream), true) =
                        (stream, busy.load(Ordering::Relaxed) < MAX_CONNECTIONS)
                    else {
                        std::thread::sleep(Duration::from_millis(100));
                        continue;
                    };
                    let (answer, busy) = (Arc::clone(&answer), Arc::clone(&busy));
                    busy.fetch_add(1, Ordering::Relaxed);
                    let leaving = Arc::clone(&busy);
                    let serve = move || {
                        let _ = serve(stream, answer.as_ref());
                        busy.fetch_sub(1, Ordering::Relaxed);
                    };
                    let thread = std::thread::Builder::new().name("request".into());
                    if thread.spawn(serve).is_err() {
                        leaving.fetch_sub(1, Ordering::Relaxed);
                    }
                }
            })?;
        Ok(Self {
            path: path.to_owned(),
        })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

fn serve(
    stream: UnixStream,
    answer: impl Fn(Request, &mut Answer) -> io::Result<()>,
) -> io::Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let mut line = String::new();
    BufReader::new(stream.try_clone()?.take(MAX_REQUEST)).read_line(&mut line)?;
    if line.is_empty() {
        return Ok(());
    }
    let mut reply = Answer(stream);
    match serde_json::from_str(&line) {
        Ok(request) => answer(request, &mut reply),
        Err(error) => reply.send::<()>(Err(format!("the request cannot be read: {error}"))),
    }
}

/// Where an answer goes.
#[derive(Debug)]
pub struct Answer(UnixStream);

impl Answer {
    /// Sends a line of the answer.
    ///
    /// # Errors
    ///
    /// Nobody is there to read it.
    pub fn send<T: Serialize>(&mut self, answer: Result<T, String>) -> io::Result<()> {
        let mut line = serde_json::to_vec(&answer)?;
        line.push(b'\n');
        self.0.write_all(&line)
    }

    /// Whether somebody is still there, after waiting so long for more of the answer to come.
    pub fn is_wanted(&mut self, pause: Duration) -> bool {
        std::thread::sleep(pause);
        // The other side has shut its writing half down, so only its end can be told, by its closed socket.
        let mut poll = [rustix::event::PollFd::new(
            &self.0,
            rustix::event::PollFlags::empty(),
        )];
        let now = rustix::event::Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        let told = rustix::event::poll(&mut poll, Some(&now));
        told.is_ok()
            && !poll[0]
                .revents()
                .intersects(rustix::event::PollFlags::HUP | rustix::event::PollFlags::ERR)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A server that says a word and, of a trace, goes on as long as somebody listens.
    fn server(dir: &Path) -> (Server, PathBuf) {
        let path = dir.join("control.sock");
        let server = Server::start(&path, |request, answer| match request {
            Request::Trace { .. } => {
                while answer.is_wanted(Duration::from_millis(1)) {}
                Ok(())
            }
            _ => answer.send(Ok("fine")),
        });
        (server.unwrap(), path)
    }

    fn asked(path: &Path, request: &str) -> String {
        let mut stream = UnixStream::connect(path).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        text
    }

    #[test]
    fn a_request_is_answered_while_another_one_takes_its_time() {
        let dir = tempfile::tempdir().unwrap();
        let (_server, path) = server(dir.path());
        let mut slow = UnixStream::connect(&path).unwrap();
        slow.write_all(b"{\"trace\":{\"follow\":true}}\n").unwrap();
        assert_eq!(asked(&path, "\"status\"\n"), "{\"Ok\":\"fine\"}\n");
    }

    #[test]
    fn what_is_no_request_is_told_so() {
        let dir = tempfile::tempdir().unwrap();
        let (_server, path) = server(dir.path());
        let answer = asked(&path, "{\"reboot\":1}\n");
        assert!(
            answer.starts_with("{\"Err\":\"the request cannot be read"),
            "{answer}"
        );
        assert_eq!(
            asked(&path, ""),
            "",
            "somebody who only looks whether it lives"
        );
    }
}
