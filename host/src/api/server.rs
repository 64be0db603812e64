//! The daemon's end of the control socket.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::event::PollFlags;
use serde::Serialize;

use super::Request;
use crate::descriptors::for_peer;
use crate::log_limit::LogLimit;
use crate::sys;

/// How long somebody may take to send the request, all of it, or to read a line of an answer.
const PATIENCE: Duration = Duration::from_secs(2);
/// Bytes of a request: a program of the largest size, in hexadecimal.
const MAX_REQUEST: usize = 1 << 20;
/// Connections at a time. Whoever is one too many is told so.
const MAX_CONNECTIONS: usize = 32;
/// How long nobody is accepted after the system had nothing left for a connection.
const PAUSE: Duration = Duration::from_millis(100);

/// What answers a request.
type Answering = dyn Fn(Request, &mut Answer) -> io::Result<()> + Send + Sync;

#[derive(Debug)]
pub struct Server {
    path: PathBuf,
}

impl Server {
    /// Opens the socket and answers until the process ends.
    pub fn start(
        path: &Path,
        answer: impl Fn(Request, &mut Answer) -> io::Result<()> + Send + Sync + 'static,
    ) -> io::Result<Self> {
        let listener = sys::listen(path)?;
        let answer: Arc<Answering> = Arc::new(answer);
        let busy = Arc::new(AtomicUsize::new(0));
        std::thread::Builder::new()
            .name("control".into())
            .spawn(move || {
                let mut log = LogLimit::new();
                for stream in listener.incoming() {
                    let served = stream
                        .and_then(for_peer)
                        .and_then(|stream| admit(stream, &answer, &busy));
                    if let Err(error) = served {
                        if let Some(more) = log.line() {
                            tracing::warn!("a request was not accepted: {error}{more}");
                        }
                        std::thread::sleep(PAUSE);
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

/// One of the places for connections, given back however its thread ends.
struct Place(Arc<AtomicUsize>);

impl Place {
    fn take(busy: &Arc<AtomicUsize>) -> Option<Self> {
        let one_more = |busy| (busy < MAX_CONNECTIONS).then_some(busy + 1);
        busy.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more)
            .ok()?;
        Some(Self(Arc::clone(busy)))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Gives somebody a thread, or says that there is none for them.
fn admit(stream: UnixStream, answer: &Arc<Answering>, busy: &Arc<AtomicUsize>) -> io::Result<()> {
    let Some(place) = Place::take(busy) else {
        // A new connection has room for a line: nobody waits here.
        stream.set_nonblocking(true)?;
        let text = format!("the daemon answers {MAX_CONNECTIONS} requests already; try again");
        let _ = Answer(stream).send::<()>(Err(text));
        return Ok(());
    };
    let answer = Arc::clone(answer);
    let thread = std::thread::Builder::new().name("request".into());
    let serve = move || {
        let _place = place;
        let _ = serve(stream, answer.as_ref());
    };
    thread.spawn(serve).map(drop)
}

fn serve(stream: UnixStream, answer: &Answering) -> io::Result<()> {
    stream.set_write_timeout(Some(PATIENCE))?;
    let line = read_line(&stream);
    let mut reply = Answer(stream);
    if line.as_ref().is_ok_and(Vec::is_empty) {
        return Ok(());
    }
    match line.and_then(|line| Ok(serde_json::from_slice(&line)?)) {
        Ok(request) => answer(request, &mut reply),
        Err(error) => reply.send::<()>(Err(format!("the request cannot be read: {error}"))),
    }
}

/// A line, or what comes before the end. All of it must have come in time.
fn read_line(mut stream: &UnixStream) -> io::Result<Vec<u8>> {
    let deadline = Instant::now() + PATIENCE;
    let mut line = Vec::new();
    let mut some = [0; 4096];
    while line.last() != Some(&b'\n') {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::Error::other("it does not come to an end"));
        }
        stream.set_read_timeout(Some(left))?;
        match stream.read(&mut some) {
            Ok(0) => break,
            Ok(count) => line.extend_from_slice(some.get(..count).unwrap_or_default()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            // Time is up.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
        if line.len() > MAX_REQUEST {
            return Err(io::Error::other("it is too long"));
        }
    }
    Ok(line)
}

#[derive(Debug)]
pub struct Answer(UnixStream);

impl Answer {
    pub fn send<T: Serialize>(&mut self, answer: Result<T, String>) -> io::Result<()> {
        let mut line = serde_json::to_vec(&answer)?;
        line.push(b'\n');
        let deadline = Instant::now() + PATIENCE;
        let mut rest = line.as_slice();
        // Each write may take its time; all of them together may not take more.
        while !rest.is_empty() {
            if Instant::now() > deadline {
                return Err(io::ErrorKind::TimedOut.into());
            }
            match self.0.write(rest) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => rest = rest.get(count..).unwrap_or_default(),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Says why there is no answer.
    pub fn refuse(&mut self, error: &impl std::fmt::Display) -> io::Result<()> {
        self.send::<()>(Err(format!("{error:#}")))
    }

    /// Whether somebody is still there, after waiting so long for more of the answer to come.
    pub fn is_wanted(&mut self, pause: Duration) -> bool {
        std::thread::sleep(pause);
        // The other side has shut its writing half down, so only its end can be told, by its closed socket.
        let ended = PollFlags::HUP | PollFlags::ERR;
        !sys::events(&self.0, PollFlags::empty()).intersects(ended)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::eventually;

    /// A server that says a word and, of a trace, goes on as long as somebody listens.
    fn server(dir: &Path) -> (Server, PathBuf) {
        let path = dir.join("control.sock");
        let server = Server::start(&path, |request, answer| match request {
            Request::Schib { .. } => panic!("as a thread that meets a fault of its own"),
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
        // Who is one too many may be gone already, and has left word.
        let _ = stream.write_all(request.as_bytes());
        let _ = stream.shutdown(std::net::Shutdown::Write);
        let mut text = String::new();
        // What was left unread at the other end is an error behind the answer.
        let _ = stream.read_to_string(&mut text);
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
    fn a_thread_that_panics_gives_its_place_back() {
        let dir = tempfile::tempdir().unwrap();
        let (_server, path) = server(dir.path());
        for _ in 0..MAX_CONNECTIONS + 1 {
            assert_eq!(asked(&path, "{\"schib\":{\"device\":\"x\"}}\n"), "");
        }
        eventually("answered", || {
            asked(&path, "\"status\"\n") == "{\"Ok\":\"fine\"}\n"
        });
    }

    #[test]
    fn whoever_is_one_too_many_is_told_so() {
        let dir = tempfile::tempdir().unwrap();
        let (_server, path) = server(dir.path());
        let mut others = Vec::new();
        for _ in 0..MAX_CONNECTIONS {
            let mut stream = UnixStream::connect(&path).unwrap();
            stream
                .write_all(b"{\"trace\":{\"follow\":true}}\n")
                .unwrap();
            others.push(stream);
        }
        let mut one_more = UnixStream::connect(&path).unwrap();
        let mut text = String::new();
        let _ = one_more.read_to_string(&mut text);
        assert!(text.starts_with("{\"Err\":\"the daemon answers"), "{text}");
        drop(others);
        eventually("answered", || {
            asked(&path, "\"status\"\n") == "{\"Ok\":\"fine\"}\n"
        });
    }

    #[test]
    fn a_request_without_an_end_is_not_waited_for() {
        let dir = tempfile::tempdir().unwrap();
        let (_server, path) = server(dir.path());
        let mut endless = UnixStream::connect(&path).unwrap();
        let some = vec![b'x'; 1 << 16];
        // However it comes: the daemon says that it is too long, and closes.
        while endless.write_all(&some).is_ok() {}
        let mut slow = UnixStream::connect(&path).unwrap();
        slow.set_read_timeout(Some(Duration::from_millis(100)))
            .unwrap();
        let mut answer = [0; 256];
        let answered = loop {
            let _ = slow.write_all(b" ");
            match slow.read(&mut answer) {
                Ok(count) => break count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => panic!("{error}"),
            }
        };
        let answer = String::from_utf8_lossy(&answer[..answered]);
        assert!(answer.contains("does not come to an end"), "{answer}");
    }

    #[test]
    fn a_thousand_connections_that_say_nothing_leave_nothing_behind() {
        let dir = tempfile::tempdir().unwrap();
        let (_server, path) = server(dir.path());
        let silent: Vec<UnixStream> = (0..1000)
            .map(|_| UnixStream::connect(&path).unwrap())
            .collect();
        drop(silent);
        eventually("answered", || {
            asked(&path, "\"status\"\n") == "{\"Ok\":\"fine\"}\n"
        });
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
