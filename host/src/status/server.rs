//! The daemon's end of the control socket.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::Status;
use crate::vhost::listen;

/// How long somebody may take to read the answer.
const PATIENCE: Duration = Duration::from_secs(2);

/// Answers each connection with the status.
#[derive(Debug)]
pub struct StatusServer {
    path: PathBuf,
}

impl StatusServer {
    /// Opens the socket and answers until the process ends.
    ///
    /// # Errors
    ///
    /// The socket cannot be made.
    pub fn start(path: &Path, status: impl Fn() -> Status + Send + 'static) -> io::Result<Self> {
        let listener = listen(path)?;
        std::thread::Builder::new()
            .name("status".into())
            .spawn(move || {
                for stream in listener.incoming() {
                    let Ok(mut stream) = stream else {
                        std::thread::sleep(Duration::from_millis(100));
                        continue;
                    };
                    let answer = serde_json::to_vec(&status()).unwrap_or_default();
                    let _ = stream
                        .set_write_timeout(Some(PATIENCE))
                        .and_then(|()| stream.write_all(&answer));
                }
            })?;
        Ok(Self {
            path: path.to_owned(),
        })
    }
}

impl Drop for StatusServer {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}
