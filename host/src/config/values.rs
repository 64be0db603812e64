//! Single values: what they may be, and what they are when they are not written.

use std::os::unix::ffi::OsStrExt;
use std::path::{absolute, Path, PathBuf};

use rustix::fs::Gid;
use toml::Spanned;
use vcss::client::MAX_QUEUES;
use vcss::layout::Name;

use super::memory::{self as sizes, MIB};
use super::problem::{nearest, Problems};
use super::Accel;
use crate::sys::find_group;

/// What a mediated device could be written as.
pub(super) const AN_MDEV: &str = "\"/sys/bus/mdev/devices/UUID\"";

/// The name of a disk, subchannel or client: these others have theirs, and there may be so many.
pub(super) fn name<'n>(
    problems: &Problems<'_>,
    name: &Spanned<String>,
    what: &str,
    mut others: impl ExactSizeIterator<Item = &'n String>,
    (most, can): (usize, &str),
) {
    if others.len() == most {
        let help = format!("at most {most} {can}");
        problems.add(name.span(), format!("too many {what}s"), help);
    }
    let text = name.get_ref();
    let good = |c: char| c.is_ascii_alphanumeric() || "_.-".contains(c);
    if text.is_empty() {
        return; // It has been reported.
    }
    let fits = (1..=Name::MAX).contains(&text.len()) && text.chars().all(good);
    if !fits || text.starts_with(['.', '-']) {
        let help = format!(
            "a name has 1 to {} letters, digits, '_', '.' and '-', and begins with none of the last two",
            Name::MAX
        );
        let message = format!("\"{text}\" is no name for a {what}");
        problems.add(name.span(), message, help);
    }
    if others.any(|other| other == text) {
        let message = format!("there are two {what}s named \"{text}\"");
        let help = format!("give each {what} a name of its own");
        problems.add(name.span(), message, help);
    }
}

pub(super) fn queues(problems: &Problems<'_>, queues: Option<&Spanned<u64>>, default: u16) -> u16 {
    let Some(queues) = queues else { return default };
    let number = *queues.get_ref();
    if !(1..=MAX_QUEUES as u64).contains(&number) {
        let help = format!("a disk has 1 to {MAX_QUEUES} queues");
        problems.add(queues.span(), format!("{number} queues"), help);
        return default;
    }
    number as u16
}

/// A group of the system's, by its name or number. It stays what it is `known` to be.
pub(super) fn group(
    problems: &Problems<'_>,
    group: Option<&Spanned<String>>,
    known: Option<Gid>,
) -> Option<Gid> {
    let group = group?;
    let text = group.get_ref();
    let found = match text.parse() {
        Ok(number) => Some(Gid::from_raw(number)),
        Err(_) => find_group(text).unwrap_or_else(|error| {
            tracing::warn!(%error, "groups cannot be looked up");
            None
        }),
    };
    if let Some(known) = known.filter(|_| found != known) {
        let number = known.as_raw();
        tracing::warn!("group \"{text}\" is not what it was, or cannot be looked up: for clients that are served it stays number {number}");
        return Some(known);
    }
    if found.is_none() {
        let message = format!("there is no group \"{text}\" on this system");
        let help = "write the name or the number of a group that there is: see `getent group`";
        problems.add(group.span(), message, help);
    }
    found
}

/// Bytes of memory; 0 if it is not written, or no size.
pub(super) fn memory(problems: &Problems<'_>, text: Option<&Spanned<String>>) -> u64 {
    let Some(text) = text else { return 0 };
    match sizes::parse(text.get_ref()) {
        Some(bytes) if bytes != 0 && bytes.is_multiple_of(MIB) && bytes <= sizes::MAX => bytes,
        _ => {
            let help = match sizes::meant(text.get_ref()) {
                Some(meant) => format!("did you mean \"{meant}\"?"),
                None => "write whole MiB or GiB with their unit: \"16M\", \"1G\"".to_owned(),
            };
            let message = format!("\"{}\" is no size of memory", text.get_ref());
            problems.add(text.span(), message, help);
            0
        }
    }
}

/// For a name that nobody has: the one that was probably meant, or all that there are.
pub(super) fn known_names<'n>(
    name: &str,
    known: impl Iterator<Item = &'n str>,
    what: &str,
) -> String {
    let mut known: Vec<&str> = known.collect();
    known.sort_unstable();
    known.dedup();
    match nearest(name, &known) {
        _ if known.is_empty() => format!("there is no [[{what}]] at all: add one"),
        Some(near) if known.len() > 1 => {
            format!(
                "did you mean \"{near}\"? The {what}s are: {}",
                known.join(", ")
            )
        }
        _ => format!("the {what}s are: {}", known.join(", ")),
    }
}

/// What tells the daemon of this configuration from all others, fit to be part of names: the file's name without its ending, and a
/// number made of its whole path, since there are files of one name in several directories.
pub(super) fn instance(file: &Path) -> String {
    let stem = file.file_stem().unwrap_or_default().to_string_lossy();
    let stem = stem.replace(
        |c: char| !c.is_ascii_alphanumeric() && !"_.-".contains(c),
        "_",
    );
    let path = std::fs::canonicalize(file).unwrap_or_else(|_| whole(file.to_owned()));
    // FNV-1a: the same today and tomorrow, in each version of this program.
    let hash = path
        .as_os_str()
        .as_bytes()
        .iter()
        .fold(0x811c_9dc5_u32, |hash, &byte| {
            (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)
        });
    format!("{stem}-{hash:08x}")
}

pub(super) fn default_run_dir(stem: &str) -> PathBuf {
    let uid = rustix::process::getuid();
    if uid.is_root() {
        return Path::new("/run/stellwerk").join(stem);
    }
    whole(match std::env::var_os("XDG_RUNTIME_DIR") {
        Some(dir) if !dir.is_empty() => Path::new(&dir).join("stellwerk").join(stem),
        _ => PathBuf::from(format!("/run/user/{}/stellwerk/{stem}", uid.as_raw())),
    })
}

/// A path as it is written, made absolute.
pub(super) fn path(text: Spanned<String>) -> PathBuf {
    whole(text.into_inner().into())
}

fn whole(path: PathBuf) -> PathBuf {
    absolute(&path).unwrap_or(path)
}

pub(super) fn best_accel() -> Accel {
    use rustix::fs::{access, Access};
    let usable = access("/dev/kvm", Access::READ_OK | Access::WRITE_OK).is_ok();
    if cfg!(target_arch = "s390x") && usable {
        Accel::Kvm
    } else {
        Accel::Tcg
    }
}
