//! Sockets of the run directory.

use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::Path;

/// A new listening socket for its owner only; one that a dead daemon left behind is replaced.
pub fn listen(path: &Path) -> io::Result<UnixListener> {
    let there = fs::symlink_metadata(path);
    if there.is_ok_and(|metadata| metadata.file_type().is_socket()) {
        fs::remove_file(path)?;
    }
    let listener = UnixListener::bind(path)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
    Ok(listener)
}
