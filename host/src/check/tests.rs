use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;

use rustix::fs::OFlags;

use super::*;
use crate::testing::{image, logged};

/// A directory with an image, a disk of this length, and a configuration that says so.
struct Fixture {
    dir: tempfile::TempDir,
}

impl Fixture {
    fn new(length: u64) -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("stellwerk.elf"), image()).unwrap();
        let disk = File::create(dir.path().join("data.img")).unwrap();
        disk.set_len(length).unwrap();
        let qemu = dir.path().join("qemu");
        let script = "#!/bin/sh\necho 'QEMU emulator version 10.0.2 (Debian 1:10.0.2)'\n";
        fs::write(&qemu, script).unwrap();
        let mut permissions = fs::metadata(&qemu).unwrap().permissions();
        std::os::unix::fs::PermissionsExt::set_mode(&mut permissions, 0o755);
        fs::set_permissions(&qemu, permissions).unwrap();
        Self { dir }
    }

    fn config(&self, old: &str, new: &str) -> Config {
        let dir = self.dir.path().display();
        let text = format!(
            "[appliance]\nimage = \"{dir}/stellwerk.elf\"\nqemu = \"{dir}/qemu\"\n\
             [[disk]]\nname = \"data\"\nimage = \"{dir}/data.img\"\n\
             [[client]]\nname = \"c\"\nmemory = \"64M\"\n[[client.disk]]\ndisk = \"data\"\n"
        );
        assert!(text.contains(old), "{old}");
        let file = self.dir.path().join("demo.toml");
        fs::write(&file, text.replacen(old, new, 1)).unwrap();
        Config::load(&file).unwrap()
    }

    /// What is said of it, without the directory's name.
    fn said(&self, old: &str, new: &str) -> String {
        let text = match look(&self.config(old, new)) {
            Ok(_) => String::new(),
            Err(error) => error.to_string(),
        };
        text.replace(&format!("{}/", self.dir.path().display()), "")
    }
}

#[track_caller]
fn begins(text: &str, expected: &str) {
    assert!(text.starts_with(expected), "{text}");
}

#[test]
fn what_is_there_and_as_it_should_be_is_fine() {
    let fixture = Fixture::new(1 << 20);
    assert_eq!(fixture.said("data", "data"), "");
    let summary = crate::cli::summary::summary(&fixture.config("data", "data"));
    assert!(summary.contains("demo.toml: ok\n"), "{summary}");
    assert!(summary.contains("client c, 64M: disk data\n"), "{summary}");
}

#[test]
fn an_image_that_qemu_would_start_and_nothing_come_of_it_is_refused() {
    let fixture = Fixture::new(1 << 20);
    begins(
        &fixture.said("stellwerk.elf", "data.img"),
        "demo.toml:2:9: data.img is no ELF file; QEMU would start whatever it is\n    image is the file stellwerk.elf",
    );
    let mut other = fs::read(fixture.dir.path().join("stellwerk.elf")).unwrap();
    other[18..20].copy_from_slice(&62u16.to_be_bytes());
    fs::write(fixture.dir.path().join("other.elf"), other).unwrap();
    begins(
        &fixture.said("stellwerk.elf", "other.elf"),
        "demo.toml:2:9: other.elf is an ELF file for another machine than s390x\n",
    );
    begins(
        &fixture.said("stellwerk.elf", "none.elf"),
        "demo.toml:2:9: the appliance's image none.elf cannot be read: No such file",
    );
    assert!(no_image(b"\x7fELF").is_some(), "too short");
}

#[test]
fn a_disk_that_is_not_there_has_a_line_and_advice() {
    let fixture = Fixture::new(1 << 20);
    let said = fixture.said("/data.img", "/dta.img");
    begins(
        &said,
        "demo.toml:6:9: disk \"data\": dta.img is not there\n    make it as large",
    );
    assert!(said.contains("current directory"), "{said}");
    begins(
        &fixture.said("/data.img", "/"),
        "demo.toml:6:9: disk \"data\":",
    );
}

#[test]
fn a_pipe_is_neither_a_disk_nor_an_image_and_holds_nobody_up() {
    let fixture = Fixture::new(1 << 20);
    let pipe = fixture.dir.path().join("pipe");
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &pipe,
        rustix::fs::FileType::Fifo,
        0o600.into(),
        0,
    )
    .unwrap();
    begins(
        &fixture.said("data.img", "pipe"),
        "demo.toml:6:9: disk \"data\": pipe is neither a file nor a block device",
    );
    begins(
        &fixture.said("stellwerk.elf", "pipe"),
        "demo.toml:2:9: the appliance's image pipe cannot be read: it is no file",
    );
}

#[test]
fn a_raw_image_is_no_qcow2() {
    let fixture = Fixture::new(1 << 20);
    begins(
        &fixture.said("[[client]]", "format = \"qcow2\"\n[[client]]"),
        "demo.toml:6:9: disk \"data\": data.img is no qcow2 image\n    write format = \"raw\"",
    );
    let mut disk = File::options()
        .write(true)
        .open(fixture.dir.path().join("data.img"))
        .unwrap();
    disk.write_all(&vm::QCOW2_MAGIC).unwrap();
    assert_eq!(
        fixture.said("[[client]]", "format = \"qcow2\"\n[[client]]"),
        ""
    );
}

#[test]
fn all_that_is_wrong_is_said_at_once_in_the_order_of_the_file() {
    let fixture = Fixture::new(0);
    let said = fixture.said("stellwerk.elf\"\nqemu = \"", "none.elf\"\nqemu = \"/none");
    let places: Vec<_> = said.lines().filter(|line| !line.starts_with(' ')).collect();
    assert_eq!(places.len(), 3, "{said}");
    begins(places[0], "demo.toml:2:9: ");
    begins(places[1], "demo.toml:3:8: cannot start ");
    begins(
        places[2],
        "demo.toml:6:9: disk \"data\" (data.img): is empty",
    );
}

#[test]
fn one_image_is_one_disk() {
    let fixture = Fixture::new(1 << 20);
    let second = fixture.dir.path().join("again.img");
    fs::hard_link(fixture.dir.path().join("data.img"), &second).unwrap();
    let more = format!(
        "[[disk]]\nname = \"again\"\nimage = \"{}\"\n[[client]]",
        second.display()
    );
    begins(
        &fixture.said("[[client]]", &more),
        "demo.toml:9:9: disk \"again\" is the same file or device as disk \"data\"\n    make one [[disk]] of them",
    );
}

#[test]
fn a_slice_is_made_of_whole_blocks() {
    let fixture = Fixture::new(1 << 20);
    let said = |slice: &str| {
        let config = fixture.config("disk = \"data\"\n", &format!("disk = \"data\"\n{slice}"));
        let mut look = Look {
            silent: Vec::new(),
            config: &config,
            block_of: slices::block_of,
            found: Vec::new(),
        };
        look.slices(0, 4096, |_| true);
        look.found
            .iter()
            .map(ToString::to_string)
            .collect::<String>()
    };
    let wrong = said("start = 1\n");
    assert!(wrong.contains("demo.toml:12:9: the slice of client \"c\" does not begin and end at a block of disk \"data\", which has 4096 bytes\n    choose multiples of 8"), "{wrong}");
    assert!(said("size = 9\n").contains("demo.toml:12:8: "));
    assert_eq!(said("start = 8\nsize = 16\n"), "");
    assert_eq!(said("start = 8\n"), "");
}

#[test]
fn of_a_disk_that_is_served_what_is_newly_given_is_looked_at() {
    let fixture = Fixture::new(1 << 20);
    let old = fixture.config("disk = \"data\"\n", "disk = \"data\"\nsize = 9\n");
    let more = |slice: &str| {
        let second =
            "[[client]]\nname = \"second\"\nmemory = \"1M\"\n[[client.disk]]\ndisk = \"data\"\n";
        let given = format!("disk = \"data\"\nsize = 9\n{second}{slice}");
        fixture.config("disk = \"data\"\n", &given)
    };
    let file = Backing::find(&old, 0).unwrap();
    let device = file.map(|file| Backing {
        device: true,
        ..file
    });
    let said = |backing: Option<Backing>, slice: &str| {
        let config = more(slice);
        let served = Served {
            config: &old,
            backings: &[backing],
        };
        let mut look = Look {
            silent: Vec::new(),
            config: &config,
            block_of: |_| 4096,
            found: Vec::new(),
        };
        look.slices_beside(&served, 0, served.disk(&config, 0).unwrap());
        let found = look.found.iter().map(ToString::to_string);
        found.collect::<String>()
    };
    // What is wrong with the first client's shows there.
    assert_eq!(said(device, "start = 16\n"), "");
    let wrong = said(device, "start = 12\n");
    assert!(
        wrong.contains(
            "the slice of client \"second\" does not begin and end at a block of disk \"data\""
        ),
        "{wrong}"
    );
    assert!(!wrong.contains("client \"c\""), "{wrong}");
    // A file has no blocks, but an end.
    assert_eq!(said(file, "start = 12\n"), "");
    let wrong = said(file, "start = 2040\nsize = 9\n");
    assert!(
        wrong.contains(
            "the slice of client \"second\" ends beyond disk \"data\", which has 2048 sectors"
        ),
        "{wrong}"
    );
}

#[test]
fn an_image_of_half_a_block_is_refused_where_it_would_be_read_uncached() {
    let fixture = Fixture::new((1 << 20) + 100);
    let said = fixture.said("data", "data");
    let direct = File::options()
        .read(true)
        .custom_flags(OFlags::DIRECT.bits() as i32)
        .open(fixture.dir.path().join("data.img"))
        .is_ok();
    if direct {
        begins(&said, "demo.toml:6:9: disk \"data\": data.img has 1048676 bytes, which is no multiple of the ");
        assert!(said.contains("truncate -s 10"), "{said}");
    }
    let cached = "cache = \"writeback\"\n[[client]]";
    assert_eq!(fixture.said("[[client]]", cached), "");
}

#[test]
fn an_old_qemu_is_named() {
    assert_eq!(
        version("QEMU emulator version 10.0.2 (Debian)\nmore"),
        Some((10, 0))
    );
    assert_eq!(version("QEMU emulator version 9.2.50"), Some((9, 2)));
    assert_eq!(version("something"), None);
    let said = logged(|| warn_if_old("qemu", (9, 1)));
    assert!(said.contains("clients need 9.2 or newer"), "{said}");
    assert_eq!(logged(|| warn_if_old("qemu", (9, 2))), "");
    assert_eq!(logged(|| warn_if_old("qemu", (11, 1))), "");
    let fixture = Fixture::new(1 << 20);
    let qemu = fixture.dir.path().join("qemu");
    let script = fs::read_to_string(&qemu)
        .unwrap()
        .replace("10.0.2", "7.2.1");
    fs::write(&qemu, script).unwrap();
    begins(
        &fixture.said("data", "data"),
        "demo.toml:3:8: qemu is QEMU 7.2, and the appliance needs 8.1 or newer\n",
    );
}

#[test]
fn a_file_system_that_does_not_answer_is_named_and_not_touched() {
    let fixture = Fixture::new(1 << 20);
    let config = fixture.config("data.img", "nothing-like-it");
    // Touched, it would be found missing, and so would the image.
    fs::remove_file(fixture.dir.path().join("stellwerk.elf")).unwrap();
    let error = look_within(&config, None, |paths| vec![false; paths.len()]).unwrap_err();
    let text = error.to_string();
    assert_eq!(text.matches(NO_ANSWER).count(), 2, "{text}");
    assert!(!text.contains("not there"), "{text}");
    assert!(text.contains("disk \"data\": "), "{text}");
}

#[test]
fn a_run_directory_that_is_a_file_is_refused() {
    let fixture = Fixture::new(1 << 20);
    let file = fixture.dir.path().join("data.img");
    for named in [file.clone(), file.join("below")] {
        let with = format!("run_dir = \"{}\"\n[[disk]]", named.display());
        let said = fixture.said("[[disk]]", &with);
        let named = named.strip_prefix(fixture.dir.path()).unwrap();
        let wanted = format!(": run directory {} is no directory\n", named.display());
        assert!(said.contains(&wanted), "{said}");
    }
    let free = format!(
        "run_dir = \"{}\"\n[[disk]]",
        fixture.dir.path().join("run").display()
    );
    assert_eq!(fixture.said("[[disk]]", &free), "");
}
