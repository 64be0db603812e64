//! From TOML to [`Raw`]: keys and types, table by table.
//!
//! The TOML is read with recovery, so that a mistake in one line keeps nobody from hearing of those in the others. What
//! is no TOML, though, comes alone: what follows it may be read as something else than was meant.

use std::ops::Range;

use toml::de::DeTable;
use toml::Spanned;

use super::problem::Problems;
use super::raw::{Accel, Appliance, Client, ClientDisk, ClientSubchannel, Disk, Raw, Subchannel};
use super::table::Table;
use super::{Aio, Cache, Format};

const TABLES: [&str; 4] = ["appliance", "disk", "subchannel", "client"];
const APPLIANCE: [&str; 9] = [
    "image",
    "memory",
    "qemu",
    "accel",
    "append",
    "qemu_args",
    "run_dir",
    "pool",
    "daemon_poll_us",
];
const DISK: [&str; 7] = ["name", "image", "mdev", "format", "cache", "aio", "queues"];
const SUBCHANNEL: [&str; 5] = ["name", "device", "qemu", "mdev", "plugged"];
const CLIENT: [&str; 4] = ["name", "memory", "disk", "subchannel"];
const CLIENT_DISK: [&str; 7] = [
    "disk",
    "partition",
    "start",
    "size",
    "readonly",
    "queues",
    "shared",
];
const CLIENT_SUBCHANNEL: [&str; 2] = ["subchannel", "device"];

/// Reads the text; `None` when what is in it cannot be looked at any further, for which there is a problem then.
pub fn read(problems: &mut Problems<'_>) -> Option<Raw> {
    let text = problems.text();
    let (root, errors) = DeTable::parse_recoverable(text);
    let root = root.into_inner();
    let mut toml = true;
    let mut again = Vec::new();
    for error in errors {
        let span = error.span().unwrap_or(0..0);
        if error.message() != "duplicate key" {
            toml = false;
            syntax(problems, span, error.message());
        } else if let Some(header) = header(text, &span) {
            again.push((span, header));
        } else {
            let key = text.get(span.clone()).unwrap_or_default();
            let message = format!(
                "the key \"{}\" is here for the second time",
                key.trim_matches('"')
            );
            let help = "keep one of the two, or begin a table of its own above the second, as [[disk]] or [[client]]";
            problems.add(span, message, help);
        }
    }
    if !toml {
        return None;
    }
    let (appliances, others): (Vec<_>, Vec<_>) = again
        .into_iter()
        .partition(|(_, header)| *header == "[appliance]");
    for (span, _) in appliances {
        let help = "there is one appliance: write all its keys below one [appliance]";
        problems.add(span, "a second [appliance]", help);
    }
    let before = problems.count();
    let raw = document(problems, root);
    // A header that does not go with another one: that one was named, in nearly every case.
    if let Some((span, header)) = others.first().filter(|_| problems.count() == before) {
        let message = format!("{header} does not go with a table above it");
        problems.add(span.clone(), message, "write [[disk]], [[subchannel]], [[client]], [[client.disk]] and [[client.subchannel]] with two pairs of brackets each");
    }
    raw.filter(|_| others.is_empty())
}

/// What is no TOML, in words that somebody understands who has never heard of TOML.
fn syntax(problems: &mut Problems<'_>, span: Range<usize>, message: &str) {
    let quoted = "text stands between quotation marks, both on the same line: name = \"data\"";
    let (message, help) = if message.contains("string values must be quoted") {
        (
            "a value that is no number, no true or false, and no text in quotation marks".into(),
            quoted,
        )
    } else if message.contains("basic string") || message.contains("literal string") {
        ("a text without its closing quotation mark".into(), quoted)
    } else if message.contains("table") {
        (
            "the header of a table without its closing brackets".into(),
            "a table begins with [appliance], [[disk]], [[subchannel]], [[client]], [[client.disk]] or [[client.subchannel]]",
        )
    } else if message.contains("key with no value") {
        (
            "a key without a value".into(),
            "write a line as KEY = VALUE: name = \"data\"",
        )
    } else {
        (
            message.replace('`', "\""),
            "a line is KEY = VALUE or the header of a table; text stands between quotation marks: name = \"data\"",
        )
    };
    let message: String = message;
    problems.add(span, message, help);
}

/// The header of a table that these bytes are in, without its blanks.
fn header<'t>(text: &'t str, span: &Range<usize>) -> Option<&'t str> {
    let start = text.get(..span.start)?.rfind('\n').map_or(0, |at| at + 1);
    let line = text.get(start..)?.lines().next()?.trim();
    line.starts_with('[').then_some(line)
}

fn document<'t>(problems: &mut Problems<'t>, root: DeTable<'t>) -> Option<Raw> {
    let mut root = Table::root(problems, &TABLES, root);
    let appliance = root.table("appliance", &APPLIANCE).map(appliance);
    if appliance.is_none() {
        let help = "begin with two lines: [appliance], and image = \"target/image/stellwerk.elf\"";
        root.problem(0..0, "there is no [appliance]", help);
    }
    let disk = root.tables("disk", "[[disk]]", &DISK, disk);
    let subchannel = root.tables("subchannel", "[[subchannel]]", &SUBCHANNEL, subchannel);
    let client = root.tables("client", "[[client]]", &CLIENT, client);
    let whole = !root.is_broken();
    appliance.filter(|_| whole).map(|appliance| Raw {
        appliance,
        disk,
        subchannel,
        client,
    })
}

fn appliance(mut table: Table<'_, '_>) -> Appliance {
    Appliance {
        image: table.needed("image", "\"target/image/stellwerk.elf\""),
        memory: table.size("memory"),
        qemu: table.text("qemu", "\"qemu-system-s390x\""),
        accel: table
            .word(
                "accel",
                &[
                    ("auto", Accel::Auto),
                    ("kvm", Accel::Kvm),
                    ("tcg", Accel::Tcg),
                ],
            )
            .map_or_else(Accel::default, Spanned::into_inner),
        append: table
            .text("append", "\"log=debug\"")
            .map_or_else(String::new, Spanned::into_inner),
        qemu_args: table.texts("qemu_args"),
        run_dir: table.text("run_dir", "\"/run/stellwerk/demo\""),
        pool: table.text("pool", "\"/dev/shm/stellwerk-demo\""),
        daemon_poll_us: table.number("daemon_poll_us", 20),
    }
}

fn disk(mut table: Table<'_, '_>) -> Disk {
    Disk {
        name: table.needed("name", "\"data\""),
        image: table.text("image", "\"data.img\""),
        mdev: table.text("mdev", "\"/sys/bus/mdev/devices/UUID\""),
        format: table.word("format", &[("raw", Format::Raw), ("qcow2", Format::Qcow2)]),
        cache: table.word(
            "cache",
            &[("none", Cache::None), ("writeback", Cache::Writeback)],
        ),
        aio: table.word(
            "aio",
            &[
                ("threads", Aio::Threads),
                ("native", Aio::Native),
                ("io_uring", Aio::IoUring),
            ],
        ),
        queues: table.number("queues", 4),
        doubtful: table.is_doubtful(),
    }
}

fn subchannel(mut table: Table<'_, '_>) -> Subchannel {
    Subchannel {
        name: table.needed("name", "\"terminal\""),
        device: table.needed_or_none("device", "\"0.0.3270\""),
        qemu: table.text("qemu", "\"x-terminal3270,chardev=t\""),
        mdev: table.text("mdev", "\"/sys/bus/mdev/devices/UUID\""),
        plugged: table.flag("plugged"),
        doubtful: table.is_doubtful(),
    }
}

fn client(mut table: Table<'_, '_>) -> Client {
    let name = table.needed("name", "\"linux1\"");
    table.require("memory", "\"512M\"");
    Client {
        name,
        memory: table.size("memory"),
        disk: table.tables("disk", "[[client.disk]]", &CLIENT_DISK, client_disk),
        subchannel: table.tables(
            "subchannel",
            "[[client.subchannel]]",
            &CLIENT_SUBCHANNEL,
            client_subchannel,
        ),
    }
}

fn client_disk(mut table: Table<'_, '_>) -> ClientDisk {
    ClientDisk {
        disk: table.needed_or_none("disk", "\"data\""),
        partition: table.number("partition", 1),
        start: table.sectors("start"),
        size: table.sectors("size"),
        readonly: table.flag("readonly"),
        queues: table.number("queues", 1),
        shared: table.flag("shared"),
        doubtful: table.is_doubtful(),
    }
}

fn client_subchannel(mut table: Table<'_, '_>) -> ClientSubchannel {
    ClientSubchannel {
        subchannel: table.needed_or_none("subchannel", "\"terminal\""),
        device: table.text("device", "\"0.0.1000\""),
    }
}
