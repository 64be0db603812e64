//! Mistakes that somebody makes who writes a configuration for the first time, and what they are told.

use std::path::Path;

use rustix::fs::Gid;

use super::*;
use crate::testing::logged;

pub(super) const GOOD: &str = r#"[appliance]
image = "stellwerk.elf"
memory = "16M"

[[disk]]
name = "data"
image = "data.img"
format = "raw"

[[disk]]
name = "more"
image = "more.qcow2"

[[client]]
name = "linux1"
memory = "512M"
[[client.disk]]
disk = "data"
start = 0
size = 2048
[[client.disk]]
disk = "more"
readonly = true

[[client]]
name = "linux2"
memory = "512M"
[[client.disk]]
disk = "data"
start = 2048
"#;

/// All that is said of a configuration.
pub(super) fn said(text: &str) -> String {
    match Config::parse(Path::new("demo.toml"), text) {
        Err(error) => error.to_string(),
        Ok(_) => String::new(),
    }
}

/// What is changed, what it becomes, and what is said of it.
type Mistake = (&'static str, &'static str, &'static str);

fn all(mistakes: &[Mistake]) {
    let mut wrong = String::new();
    for (old, new, expected) in mistakes {
        assert!(GOOD.contains(old), "{old}");
        let found = said(&GOOD.replacen(old, new, 1));
        if found != *expected {
            wrong.push_str(&format!("--- {old:?} became {new:?}; said was\n{found}\n"));
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

#[test]
fn the_good_one_is_good() {
    assert_eq!(said(GOOD), "");
}

#[test]
fn keys_that_there_are_not() {
    all(&[
        (
            "image = \"data.img\"",
            "imgae = \"data.img\"",
            "demo.toml:7:1: there is no key \"imgae\" in [[disk]]\n    did you mean \"image\"?",
        ),
        (
            "size = 2048",
            "sise = 2048",
            "demo.toml:20:1: there is no key \"sise\" in [[client.disk]]\n    did you mean \"size\"?",
        ),
        (
            "readonly = true",
            "read_only = true",
            "demo.toml:23:1: there is no key \"read_only\" in [[client.disk]]\n    did you mean \"readonly\"?",
        ),
        (
            "memory = \"16M\"",
            "colour = \"red\"",
            "demo.toml:3:1: there is no key \"colour\" in [appliance]\n    its keys are: image, memory, room, qemu, accel, append, qemu_args, sandbox, run_dir, daemon_poll_us, hang_limit",
        ),
        (
            "[appliance]",
            "name = \"demo\"\n[appliance]",
            "demo.toml:1:1: \"name\" is in no table\n    write it below the header of its table, as [appliance] or [[disk]]",
        ),
        (
            "[appliance]\n",
            "image = \"stellwerk.elf\"\n",
            "demo.toml:1:1: \"image\" is in no table\n    write it below the header of its table, as [appliance] or [[disk]]\ndemo.toml:1:1: there is no [appliance]\n    begin with two lines: [appliance], and image = \"target/image/stellwerk.elf\"\ndemo.toml:2:1: the key \"image\" is here for the second time\n    keep one of the two, or begin a table of its own above the second, as [[disk]] or [[client]]\ndemo.toml:3:1: \"memory\" is in no table\n    write it below the header of its table, as [appliance] or [[disk]]",
        ),
    ]);
}

#[test]
fn values_of_the_wrong_type() {
    all(&[
        (
            "memory = \"512M\"",
            "memory = 512",
            "demo.toml:16:10: memory = 512 has no unit\n    write whole MiB or GiB with their unit, between quotation marks: memory = \"512M\"",
        ),
        (
            "memory = \"512M\"",
            "memory = true",
            "demo.toml:16:10: memory = true is no size\n    write whole MiB or GiB with their unit, between quotation marks: memory = \"512M\"",
        ),
        (
            "memory = \"512M\"",
            "memory = \"512\"",
            "demo.toml:16:10: \"512\" is no size of memory\n    write whole MiB or GiB with their unit: \"16M\", \"1G\"",
        ),
        (
            "memory = \"512M\"",
            "memory = \"512m\"",
            "demo.toml:16:10: \"512m\" is no size of memory\n    did you mean \"512M\"?",
        ),
        (
            "memory = \"512M\"",
            "memory = \"512MB\"",
            "demo.toml:16:10: \"512MB\" is no size of memory\n    did you mean \"512M\"?",
        ),
        (
            "memory = \"512M\"",
            "memory = \"0M\"",
            "demo.toml:16:10: \"0M\" is no size of memory\n    write whole MiB or GiB with their unit: \"16M\", \"1G\"",
        ),
        (
            "size = 2048",
            "size = \"2048\"",
            "demo.toml:20:8: size = \"2048\" is no size\n    write a size with its unit, size = \"512M\", or a number of sectors of 512 bytes, size = 1048576",
        ),
        (
            "size = 2048",
            "size = -1",
            "demo.toml:20:8: size = -1 is no size\n    write a size with its unit, size = \"512M\", or a number of sectors of 512 bytes, size = 1048576",
        ),
        (
            "size = 2048",
            "size = 1.5",
            "demo.toml:20:8: size = 1.5 is no size\n    write a size with its unit, size = \"512M\", or a number of sectors of 512 bytes, size = 1048576",
        ),
        (
            "start = 2048",
            "start = true",
            "demo.toml:30:9: start = true is no size\n    write a size with its unit, start = \"512M\", or a number of sectors of 512 bytes, start = 1048576",
        ),
        (
            "format = \"raw\"",
            "queues = \"4\"",
            "demo.toml:8:10: queues = \"4\" is no number from 0 on\n    write a number: queues = 4",
        ),
        (
            "format = \"raw\"",
            "queues = -4",
            "demo.toml:8:10: queues = -4 is no number from 0 on\n    write a number: queues = 4",
        ),
        (
            "format = \"raw\"",
            "queues = 99",
            "demo.toml:8:10: 99 queues\n    a disk has 1 to 8 queues",
        ),
        (
            "readonly = true",
            "readonly = \"yes\"",
            "demo.toml:23:12: readonly = \"yes\" is neither true nor false\n    write readonly = true, or leave it out",
        ),
        (
            "image = \"data.img\"",
            "image = 5",
            "demo.toml:7:9: image = 5 is no text\n    write text between quotation marks: image = \"data.img\"",
        ),
        (
            "memory = \"16M\"",
            "qemu_args = \"-name x\"",
            "demo.toml:3:13: qemu_args = \"-name x\" is no list of texts\n    write texts between brackets: qemu_args = [\"-name\", \"appliance\"]",
        ),
        (
            "memory = \"16M\"",
            "qemu_args = [\"-name\", 5]",
            "demo.toml:3:13: qemu_args = [\"-name\", 5] is no list of texts\n    write texts between brackets: qemu_args = [\"-name\", \"appliance\"]",
        ),
        (
            "memory = \"16M\"",
            "accel = \"foo\"",
            "demo.toml:3:9: accel = \"foo\" is none of the words that it can be\n    it is one of \"auto\", \"kvm\", \"tcg\"",
        ),
        (
            "memory = \"16M\"",
            "accel = \"kmv\"",
            "demo.toml:3:9: accel = \"kmv\" is none of the words that it can be\n    did you mean \"kvm\"?",
        ),
        (
            "memory = \"16M\"",
            "accel = true",
            "demo.toml:3:9: accel = true is none of the words that it can be\n    it is one of \"auto\", \"kvm\", \"tcg\"",
        ),
        (
            "format = \"raw\"",
            "format = \"vmdk\"",
            "demo.toml:8:10: format = \"vmdk\" is none of the words that it can be\n    it is one of \"raw\", \"qcow2\"",
        ),
        (
            "format = \"raw\"",
            "format = \"qcow\"",
            "demo.toml:8:10: format = \"qcow\" is none of the words that it can be\n    did you mean \"qcow2\"?",
        ),
        (
            "format = \"raw\"",
            "cache = \"writethrough\"",
            "demo.toml:8:9: cache = \"writethrough\" is none of the words that it can be\n    it is one of \"none\", \"writeback\"",
        ),
        (
            "format = \"raw\"",
            "aio = \"iouring\"",
            "demo.toml:8:7: aio = \"iouring\" is none of the words that it can be\n    did you mean \"io_uring\"?",
        ),
        (
            "memory = \"16M\"",
            "daemon_poll_us = 5000000000",
            "demo.toml:3:18: daemon_poll_us is too large\n    at most 1000000 (microseconds)",
        ),
        (
            "memory = \"16M\"",
            "hang_limit = 10",
            "demo.toml:3:14: hang_limit = 10 has no unit\n    write whole seconds with their unit, between quotation marks: hang_limit = \"10s\", or \"off\"",
        ),
        (
            "memory = \"16M\"",
            "hang_limit = \"10\"",
            "demo.toml:3:14: hang_limit = \"10\" has no unit\n    write whole seconds with their unit, between quotation marks: hang_limit = \"10s\", or \"off\"",
        ),
        (
            "memory = \"16M\"",
            "hang_limit = \"never\"",
            "demo.toml:3:14: hang_limit = \"never\" is no time\n    write whole seconds with their unit, between quotation marks: hang_limit = \"5s\", or \"off\"",
        ),
        (
            "memory = \"16M\"",
            "hang_limit = \"1s\"",
            "demo.toml:3:14: hang_limit is too short, or too long\n    write 2 to 600 seconds, or \"off\"",
        ),
    ]);
}

#[test]
fn what_is_missing() {
    all(&[
        (
            "name = \"data\"\n",
            "",
            "demo.toml:5:1: [[disk]] has no name\n    add a line: name = \"data\"",
        ),
        (
            "image = \"data.img\"\n",
            "",
            "demo.toml:6:8: disk \"data\" has neither image nor mdev\n    give it one: image = \"FILE or block device\", or mdev = \"/sys/bus/mdev/devices/UUID\"",
        ),
        (
            "image = \"stellwerk.elf\"\n",
            "",
            "demo.toml:1:1: [appliance] has no image\n    add a line: image = \"target/image/stellwerk.elf\"",
        ),
        (
            "name = \"linux1\"\n",
            "",
            "demo.toml:14:1: [[client]] has no name\n    add a line: name = \"linux1\"",
        ),
        (
            "memory = \"512M\"\n",
            "",
            "demo.toml:14:1: [[client]] has no memory\n    add a line: memory = \"512M\"",
        ),
        (
            "disk = \"more\"\n",
            "",
            "demo.toml:21:1: [[client.disk]] has no disk\n    add a line: disk = \"data\"",
        ),
        (
            "[[client.disk]]\ndisk = \"data\"\nstart = 2048\n",
            "",
            "demo.toml:26:8: client \"linux2\" has neither a disk nor a subchannel\n    give it one, below it: [[client.disk]], and disk = \"NAME\" of a [[disk]]",
        ),
    ]);
}

#[test]
fn tables_by_other_names_and_with_other_brackets() {
    all(&[
        (
            "[[client]]",
            "[[clients]]",
            "demo.toml:14:3: there is no table [[clients]]\n    did you mean [[client]]?",
        ),
        (
            "[[client]]\nname = \"linux2\"",
            "[[clients]]\nname = \"linux2\"",
            "demo.toml:25:3: there is no table [[clients]]\n    did you mean [[client]]?",
        ),
        (
            "[[client]]",
            "[client]",
            "demo.toml:14:1: [client] has one pair of brackets\n    there can be several, so write two: [[client]]",
        ),
        (
            "[[client]]\nname = \"linux2\"",
            "[client]\nname = \"linux2\"",
            "demo.toml:25:1: [client] has one pair of brackets\n    there can be several, so write two: [[client]]",
        ),
        (
            "[[client.disk]]",
            "[client.disk]",
            "demo.toml:17:1: [client.disk] has one pair of brackets\n    there can be several, so write two: [[client.disk]]",
        ),
        (
            "[[client.disk]]",
            "[[client.disks]]",
            "demo.toml:17:10: there is no table [[client.disks]]\n    did you mean [[client.disk]]?",
        ),
        (
            "[[disk]]",
            "[disk]",
            "demo.toml:5:1: [disk] has one pair of brackets\n    there can be several, so write two: [[disk]]",
        ),
        (
            "[[disk]]",
            "[[disc]]",
            "demo.toml:5:3: there is no table [[disc]]\n    did you mean [[disk]]?",
        ),
        (
            "[[disk]]",
            "[[drive]]",
            "demo.toml:5:3: there is no table [[drive]]\n    the tables are [appliance], [[disk]], [[subchannel]], [[client]], [[client.disk]] and [[client.subchannel]]",
        ),
        (
            "[appliance]",
            "[[appliance]]",
            "demo.toml:1:1: [[appliance]] has two pairs of brackets\n    there is one, so write [appliance]",
        ),
        (
            "[appliance]",
            "[aplliance]",
            "demo.toml:1:2: there is no table [aplliance]\n    did you mean [appliance]?",
        ),
        (
            "memory = \"16M\"\n",
            "[appliance]\nmemory = \"16M\"\n",
            "demo.toml:3:2: a second [appliance]\n    there is one appliance: write all its keys below one [appliance]",
        ),
        (
            "[[client]]\nname = \"linux1\"\nmemory = \"512M\"\n",
            "",
            "demo.toml:14:10: [[client.disk]] above any [[client]]\n    begin with [[client]], and write this below it",
        ),
    ]);
}

#[test]
fn what_is_no_toml() {
    all(&[
        (
            "name = \"data\"",
            "name = \"data",
            "demo.toml:6:13: a text without its closing quotation mark\n    text stands between quotation marks, both on the same line: name = \"data\"",
        ),
        (
            "name = \"data\"",
            "name = data",
            "demo.toml:6:8: a value that is no number, no true or false, and no text in quotation marks\n    text stands between quotation marks, both on the same line: name = \"data\"",
        ),
        (
            "name = \"data\"",
            "name \"data\"",
            "demo.toml:6:6: a key without a value\n    write a line as KEY = VALUE: name = \"data\"",
        ),
        (
            "[[disk]]",
            "[[disk]",
            "demo.toml:5:8: the header of a table without its closing brackets\n    a table begins with [appliance], [[disk]], [[subchannel]], [[client]], [[client.disk]] or [[client.subchannel]]",
        ),
        (
            "[[disk]]",
            "[[disk",
            "demo.toml:5:7: the header of a table without its closing brackets\n    a table begins with [appliance], [[disk]], [[subchannel]], [[client]], [[client.disk]] or [[client.subchannel]]",
        ),
        (
            "name = \"data\"",
            "name = 'data\"",
            "demo.toml:6:14: a text without its closing quotation mark\n    text stands between quotation marks, both on the same line: name = \"data\"",
        ),
        (
            "readonly = true",
            "readonly = yes",
            "demo.toml:23:12: a value that is no number, no true or false, and no text in quotation marks\n    text stands between quotation marks, both on the same line: name = \"data\"",
        ),
        (
            "size = 2048",
            "size = 2048M",
            "demo.toml:20:8: a value that is no number, no true or false, and no text in quotation marks\n    text stands between quotation marks, both on the same line: name = \"data\"",
        ),
    ]);
}

#[test]
fn what_does_not_fit_together() {
    all(&[
        (
            "name = \"data\"",
            "name = \"data\"\nname = \"dta\"",
            "demo.toml:7:1: the key \"name\" is here for the second time\n    keep one of the two, or begin a table of its own above the second, as [[disk]] or [[client]]",
        ),
        (
            "name = \"more\"",
            "name = \"data\"",
            "demo.toml:11:8: there are two disks named \"data\"\n    give each disk a name of its own\ndemo.toml:22:8: there is no disk named \"more\"\n    the disks are: data",
        ),
        (
            "name = \"linux2\"",
            "name = \"linux1\"",
            "demo.toml:26:8: there are two clients named \"linux1\"\n    give each client a name of its own",
        ),
        (
            "disk = \"more\"",
            "disk = \"mor\"",
            "demo.toml:22:8: there is no disk named \"mor\"\n    did you mean \"more\"? The disks are: data, more",
        ),
        (
            "disk = \"more\"",
            "disk = \"tape\"",
            "demo.toml:22:8: there is no disk named \"tape\"\n    the disks are: data, more",
        ),
        (
            "start = 2048",
            "start = 2047",
            "demo.toml:29:8: clients \"linux1\" and \"linux2\" are given the same sectors of disk \"data\", and not both read-only\n    choose start and size so that they do not overlap, or mark both with shared = true if their file system is made for it",
        ),
        (
            "size = 2048",
            "size = \"2M\"",
            "demo.toml:29:8: clients \"linux1\" and \"linux2\" are given the same sectors of disk \"data\", and not both read-only\n    choose start and size so that they do not overlap, or mark both with shared = true if their file system is made for it",
        ),
        (
            "size = 2048",
            "size = 0",
            "demo.toml:20:8: a slice of 0 sectors\n    leave size out to reach to the end of the disk",
        ),
        (
            "memory = \"512M\"",
            "memory = \"1025M\"",
            "demo.toml:16:10: no s390x VM can have 1025M of memory\n    the next size that it can have is \"1026M\"",
        ),
        (
            "memory = \"16M\"",
            "memory = \"1M\"",
            "demo.toml:3:10: the appliance cannot run in 1M\n    give it at least 4M",
        ),
    ]);
}

#[test]
fn mistakes_of_all_kinds_come_at_once() {
    let text = GOOD
        .replace("memory = \"16M\"", "memory = 16")
        .replace("format = \"raw\"", "fromat = \"raw\"")
        .replace("name = \"more\"", "name = \"more\"\nqueues = 2\nqueues = 2")
        .replace("disk = \"more\"", "disk = \"moore\"")
        .replace("start = 2048\n", "start = 2047\nshared = 1\n")
        + "[[client]]\nname = \"linux1\"\nmemory = \"1025M\"\n";
    let said = said(&text);
    let places: Vec<&str> = said
        .lines()
        .filter_map(|line| line.strip_prefix("demo.toml:")?.split(' ').next())
        .collect();
    let expected = [
        "3:10:", "8:1:", "13:1:", "24:8:", "33:10:", "35:8:", "35:8:", "36:10:",
    ];
    assert_eq!(places, expected, "{said}");
}

#[test]
fn path_reports_are_for_clients_with_subchannels() {
    let of = |given: &str| {
        let text = format!(
            "[appliance]\nimage = \"i\"\n[[disk]]\nname = \"d\"\nimage = \"d\"\n\
             [[subchannel]]\nname = \"t\"\ndevice = \"0.0.3270\"\nqemu = \"x\"\n\
             [[client]]\nname = \"c\"\nmemory = \"64M\"\npath_reports = true\n{given}"
        );
        Config::parse(Path::new("c.toml"), &text)
    };
    let config = of("[[client.subchannel]]\nsubchannel = \"t\"\n").unwrap();
    assert!(config.clients[0].path_reports);
    let wrong = of("[[client.disk]]\ndisk = \"d\"\n")
        .unwrap_err()
        .to_string();
    assert!(wrong.contains("cannot have path_reports"), "{wrong}");
}

#[test]
fn a_group_is_one_of_the_systems_and_for_clients_with_disks() {
    let of = |group: &str, given: &str| {
        let text = format!(
            "[appliance]\nimage = \"i\"\n[[disk]]\nname = \"d\"\nimage = \"d\"\n\
             [[subchannel]]\nname = \"t\"\ndevice = \"0.0.3270\"\nqemu = \"x\"\n\
             [[client]]\nname = \"c\"\nmemory = \"64M\"\ngroup = \"{group}\"\n{given}"
        );
        Config::parse(Path::new("c.toml"), &text)
    };
    let disk = "[[client.disk]]\ndisk = \"d\"\n";
    let root = of("root", disk).unwrap().clients[0].group;
    assert_eq!(root, of("0", disk).unwrap().clients[0].group);
    let wrong = of("no such group", disk).unwrap_err().to_string();
    assert!(
        wrong.contains("there is no group \"no such group\""),
        "{wrong}"
    );
    let wrong = of("root", "[[client.subchannel]]\nsubchannel = \"t\"\n");
    let wrong = wrong.unwrap_err().to_string();
    assert!(wrong.contains("cannot have a group"), "{wrong}");
}

#[test]
fn a_group_of_clients_that_are_served_stays_what_it_was_and_that_is_said() {
    let text = |group: &str| {
        super::GOOD.replacen(
            "memory = \"256M\"",
            &format!("memory = \"256M\"\ngroup = \"{group}\""),
            1,
        )
    };
    let known = Groups::from([("linux1".to_owned(), 7)]);
    let group = |text: &str| {
        let again = Config::parse_again(Path::new("c.toml"), text, &known).unwrap();
        assert_eq!(again.groups(), known);
        again.clients[0].group.map(Gid::as_raw)
    };
    let gone = text("no such group");
    assert!(read(&gone).is_err());
    let said = logged(|| assert_eq!(group(&gone), Some(7)));
    assert!(
        said.contains("group \"no such group\" is not what it was"),
        "{said}"
    );
    assert!(said.contains("number 7"), "{said}");
    // As it is another one by now.
    assert!(logged(|| assert_eq!(group(&text("root")), Some(7))).contains("\"root\""));
    assert_eq!(logged(|| assert_eq!(group(&text("7")), Some(7))), "");
}

#[test]
fn shares_and_limits() {
    all(&[
        (
            "readonly = true",
            "weight = 0",
            "demo.toml:23:10: weight is too small\n    a weight is a number from 1 to 10000",
        ),
        (
            "readonly = true",
            "weight = 10001",
            "demo.toml:23:10: weight is too large\n    a weight is a number from 1 to 10000",
        ),
        (
            "readonly = true",
            "iops = \"many\"",
            "demo.toml:23:8: iops = \"many\" is no number from 0 on\n    write a number: iops = 1000",
        ),
        (
            "readonly = true",
            "iops = 0",
            "demo.toml:23:8: iops is too small\n    write 1 to 10000000, or leave it out",
        ),
        (
            "readonly = true",
            "iops_burst = 10",
            "demo.toml:23:14: iops_burst without iops\n    write iops as well: what may be done in a second",
        ),
        (
            "readonly = true",
            "bandwidth = 50",
            "demo.toml:23:13: bandwidth = 50 is no size\n    write a size with its unit, between quotation marks: bandwidth = \"50M\"",
        ),
        (
            "readonly = true",
            "bandwidth = \"1K\"",
            "demo.toml:23:13: bandwidth is too small\n    write \"4K\" to \"1T\", or leave it out",
        ),
    ]);
}
