mod limits;
mod mistakes;

use std::path::Path;

use super::problem::Problem;
use super::*;

const GOOD: &str = r#"
[appliance]
image = "image.elf"
memory = "8M"
accel = "tcg"
run_dir = "/run/x"
append = "log=debug"
[[disk]]
name = "data"
image = "data.img"
[[disk]]
name = "dasd"
mdev = "/sys/bus/mdev/devices/1"
[[client]]
name = "linux1"
memory = "256M"
[[client.disk]]
disk = "data"
size = 1000
[[client.disk]]
disk = "dasd"
readonly = true
[[client]]
name = "linux2"
memory = "64M"
[[client.disk]]
disk = "data"
start = 1000
queues = 4
"#;

fn read(text: &str) -> Result<Config, ConfigError> {
    Config::parse(Path::new("c.toml"), text)
}

/// The problems of [`GOOD`] with one line replaced.
fn problems(old: &str, new: &str) -> Vec<Problem> {
    assert!(GOOD.contains(old), "{old}");
    match read(&GOOD.replacen(old, new, 1)) {
        Err(ConfigError::Wrong(problems)) => problems,
        other => panic!("{other:?}"),
    }
}

/// The one problem, as (line, column, text).
fn problem(old: &str, new: &str) -> (usize, usize, String) {
    let problems = problems(old, new);
    assert_eq!(problems.len(), 1, "{problems:?}");
    let Problem {
        place: Place { line, column },
        message,
        help,
        ..
    } = &problems[0];
    (*line, *column, format!("{message}; {help}"))
}

#[test]
fn a_good_configuration_is_read() {
    let config = read(GOOD).unwrap();
    assert_eq!(config.appliance.private, 8 * MIB);
    assert_eq!(config.appliance.accel, Accel::Tcg);
    assert_eq!(config.disks.len(), 2);
    let exports: Vec<_> = config
        .exports()
        .map(|(part, e)| (part.client, e.disk, e.start))
        .collect();
    assert_eq!(exports, [(0, 0, 0), (0, 1, 0), (1, 0, 1000)]);
    assert_eq!(
        config.socket(Part {
            client: 1,
            number: 0
        }),
        Path::new("/run/x/linux2.0.sock")
    );
}

#[test]
fn an_unknown_key_is_refused_with_its_place() {
    let (line, column, text) = problem("size = 1000", "sise = 1000");
    assert_eq!((line, column), (19, 1));
    assert!(text.contains("sise"), "{text}");
}

#[test]
fn a_wrong_type_and_a_wrong_word_are_refused() {
    assert_eq!(problem("queues = 4", "queues = \"4\"").0, 29);
    let (line, _, text) = problem("accel = \"tcg\"", "accel = \"hyper\"");
    assert_eq!(line, 5);
    assert!(text.contains("auto"), "{text}");
}

#[test]
fn broken_toml_is_refused_with_its_place() {
    assert_eq!(problem("memory = \"8M\"", "memory = \"8M").0, 4);
}

#[test]
fn names_are_unique_and_plain() {
    let (line, column, text) = problem("name = \"linux2\"", "name = \"linux1\"");
    assert_eq!((line, column), (24, 8));
    assert!(text.contains("two clients"), "{text}");
    assert!(problem("name = \"linux2\"", "name = \"a/b\"")
        .2
        .contains("no name"));
    assert!(problem("name = \"linux2\"", "name = \"\"")
        .2
        .contains("empty"));
    let long = format!("name = \"{}\"", "x".repeat(33));
    assert!(problem("name = \"linux2\"", &long).2.contains("no name"));
    let two_disks = problems("name = \"dasd\"", "name = \"data\"");
    assert!(two_disks[0].message.contains("two disks"), "{two_disks:?}");
}

#[test]
fn a_disk_is_one_thing() {
    let (line, _, text) = problem("mdev = \"/sys/bus/mdev/devices/1\"", "");
    assert_eq!(line, 12);
    assert!(text.contains("neither"), "{text}");
    let both = "mdev = \"/sys/x\"\nimage = \"x\"";
    assert!(problem("mdev = \"/sys/bus/mdev/devices/1\"", both)
        .2
        .contains("both"));
    let cached = "mdev = \"/sys/x\"\ncache = \"none\"";
    let (line, _, text) = problem("mdev = \"/sys/bus/mdev/devices/1\"", cached);
    assert_eq!(line, 14);
    assert!(text.contains("mediated"), "{text}");
}

#[test]
fn a_missing_disk_is_named_with_those_that_are_there() {
    let (line, _, text) = problem("disk = \"dasd\"", "disk = \"tape\"");
    assert_eq!(line, 21);
    assert!(text.contains("dasd, data"), "{text}");
}

#[test]
fn memory_must_be_what_a_vm_can_have() {
    assert!(problem("memory = \"64M\"", "memory = \"64\"")
        .2
        .contains("unit"));
    assert!(problem("memory = \"64M\"", "memory = \"100K\"")
        .2
        .contains("MiB"));
    let (line, column, text) = problem("memory = \"64M\"", "memory = \"1025M\"");
    assert_eq!((line, column), (25, 10));
    assert!(text.contains("\"1026M\""), "{text}");
    assert!(problem("memory = \"8M\"", "memory = \"1M\"")
        .2
        .contains("at least 4M"));
}

#[test]
fn overlapping_slices_are_refused_unless_shared_or_never_written() {
    let (line, _, text) = problem("start = 1000", "start = 999");
    assert_eq!(line, 27);
    assert!(text.contains("linux1") && text.contains("linux2"), "{text}");
    // A reader beside a writer is refused as well.
    assert_eq!(problem("start = 1000", "readonly = true").0, 27);
    // Marking one of them is not enough.
    assert_eq!(problem("start = 1000", "shared = true").0, 27);

    let shared = GOOD.replace("start = 1000", "shared = true");
    assert!(read(&shared.replace("size = 1000", "shared = true")).is_ok());
    let readers = GOOD.replace("start = 1000", "readonly = true");
    assert!(read(&readers.replace("size = 1000", "readonly = true")).is_ok());
}

#[test]
fn a_partition_is_one_of_a_dasd_and_no_slice_beside_it() {
    let one = GOOD.replace("readonly = true", "partition = 1");
    let two = one.clone() + "[[client.disk]]\ndisk = \"dasd\"\npartition = 2\n";
    let config = read(&two).unwrap();
    let given: Vec<_> = config.exports().map(|(.., e)| e.partition).collect();
    assert_eq!(given, [None, Some(1), None, Some(2)]);
    let text = |text: &str| read(text).unwrap_err().to_string();
    let same = two.replace("partition = 2", "partition = 1");
    assert!(text(&same).contains("same sectors"), "{}", text(&same));
    let whole = two.replace("partition = 2", "size = 8");
    assert!(text(&whole).contains("same sectors"), "{}", text(&whole));
    let slice = two.replace("partition = 2", "partition = 2\nsize = 8");
    assert!(text(&slice).contains("and a slice"), "{}", text(&slice));
    assert!(text(&one.replace("partition = 1", "partition = 0")).contains("from 1"));
    let image = GOOD.replace("size = 1000", "partition = 1");
    assert!(text(&image).contains("is an image"), "{}", text(&image));
}

#[test]
fn slices_and_queues_have_their_limits() {
    assert!(problem("size = 1000", "size = 0").2.contains("0 sectors"));
    assert!(problem("queues = 4", "queues = 9").2.contains("1 to 8"));
    assert!(problem("queues = 4", "queues = 0").2.contains("1 to 8"));
    let beyond = format!("start = {}\nsize = {}", i64::MAX, i64::MAX);
    assert!(read(&GOOD.replace("start = 1000", &beyond)).is_ok());
}

#[test]
fn a_socket_path_that_is_too_long_is_refused() {
    let long = format!("run_dir = \"/{}\"", "d".repeat(95));
    let found = problems("run_dir = \"/run/x\"", &long);
    assert!(
        found.iter().all(|problem| problem.help.contains("run_dir")),
        "{found:?}"
    );
}

#[test]
fn all_problems_come_at_once_in_order() {
    let text = GOOD
        .replace("memory = \"8M\"", "memory = \"8\"")
        .replace("disk = \"dasd\"", "disk = \"tape\"");
    let Err(error) = read(&text) else { panic!() };
    let shown = error.to_string();
    assert!(shown.starts_with("c.toml:4:10: "), "{shown}");
    assert!(shown.contains("\nc.toml:21:8: "), "{shown}");
}

const CHANNEL: &str = r#"
[appliance]
image = "image.elf"
run_dir = "/run/x"
[[disk]]
name = "data"
image = "data.img"
[[subchannel]]
name = "terminal"
device = "0.0.3270"
qemu = "x-terminal3270,chardev=t"
[[subchannel]]
name = "dasd"
device = "0.1.0a80"
mdev = "/sys/bus/mdev/devices/1"
[[client]]
name = "one"
memory = "64M"
[[client.subchannel]]
subchannel = "terminal"
[[client.subchannel]]
subchannel = "0.1.0a80"
device = "0.0.1000"
"#;

/// The one problem of [`CHANNEL`] with one line replaced, as (line, text).
fn channel_problem(old: &str, new: &str) -> (usize, String) {
    assert!(CHANNEL.contains(old), "{old}");
    let Err(ConfigError::Wrong(problems)) = read(&CHANNEL.replacen(old, new, 1)) else {
        panic!("{new} is accepted");
    };
    assert_eq!(problems.len(), 1, "{problems:?}");
    let problem = &problems[0];
    (
        problem.place.line,
        format!("{}; {}", problem.message, problem.help),
    )
}

#[test]
fn subchannels_are_given_by_name_or_number() {
    let config = read(CHANNEL).unwrap();
    assert_eq!(config.subchannels[0].device.to_string(), "0.0.3270");
    assert_eq!(config.subchannels[1].device.to_string(), "0.1.0a80");
    let given: Vec<_> = config.clients[0]
        .subchannels
        .iter()
        .map(|given| (given.subchannel, given.device))
        .collect();
    assert_eq!(given, [(0, 0x3270), (1, 0x1000)]);
    assert!(config.clients[0].is_channel_level());
    assert_eq!(
        config.link_socket(&config.clients[0]),
        Path::new("/run/x/one.link.sock")
    );
}

#[test]
fn a_subchannel_is_one_thing_with_one_number() {
    let qemu = "qemu = \"x-terminal3270,chardev=t\"";
    assert!(channel_problem(qemu, "").1.contains("neither"));
    assert!(channel_problem(qemu, &format!("{qemu}\nmdev = \"/x\""))
        .1
        .contains("both"));
    assert!(channel_problem(qemu, &format!("{qemu}\nplugged = true"))
        .1
        .contains("both qemu and plugged"));
    assert!(channel_problem(qemu, "qemu = \"\"").1.contains("driver"));
    let (line, text) = channel_problem(qemu, "qemu = \"x,devno=fe.0.1\"");
    assert_eq!(line, 11);
    assert!(text.contains("devno="), "{text}");
    for wrong in [
        "3270", "0.4.3270", "1.0.3270", "0.0.327", "0.0.zzzz", "0.0.+327",
    ] {
        let (line, text) =
            channel_problem("device = \"0.0.3270\"", &format!("device = \"{wrong}\""));
        assert_eq!(line, 10);
        assert!(text.contains("no device number"), "{text}");
    }
}

#[test]
fn a_subchannel_can_be_left_to_whoever_plugs_it_in() {
    let qemu = "qemu = \"x-terminal3270,chardev=t\"";
    let config = read(&CHANNEL.replacen(qemu, "plugged = true", 1)).unwrap();
    assert_eq!(config.subchannels[0].source, SubchannelSource::Plugged);
    assert_eq!(config.clients[0].subchannels[0].device, 0x3270);
}

#[test]
fn a_device_number_is_given_out_once() {
    assert!(
        channel_problem("device = \"0.0.3270\"", "device = \"0.0.0100\"")
            .1
            .contains("a disk")
    );
    assert!(
        channel_problem("device = \"0.0.3270\"", "device = \"0.0.0002\"")
            .1
            .contains("the link")
    );
    let again = CHANNEL.replace("0.1.0a80", "0.0.3270");
    let Err(ConfigError::Wrong(problems)) = read(&again) else {
        panic!()
    };
    assert!(
        problems[0].message.contains("another subchannel"),
        "{problems:?}"
    );
    // The sets are apart.
    let text = CHANNEL.replace("0.1.0a80", "0.1.3270");
    assert!(read(&text).is_ok());
}

#[test]
fn a_subchannel_has_one_owner() {
    let twice = CHANNEL.replace("subchannel = \"0.1.0a80\"", "subchannel = \"0.0.3270\"");
    let Err(ConfigError::Wrong(problems)) = read(&twice) else {
        panic!()
    };
    assert!(problems[0].message.contains("twice"), "{problems:?}");
    let other = "[[client]]\nname = \"two\"\nmemory = \"64M\"\n[[client.subchannel]]\nsubchannel = \"dasd\"\n";
    let Err(ConfigError::Wrong(problems)) = read(&format!("{CHANNEL}{other}")) else {
        panic!()
    };
    assert!(
        problems[0].message.contains("\"one\" and \"two\""),
        "{problems:?}"
    );
}

#[test]
fn what_a_client_sees_is_there_once_and_in_set_0() {
    let (line, text) = channel_problem("subchannel = \"terminal\"", "subchannel = \"printer\"");
    assert_eq!(line, 20);
    assert!(text.contains("dasd, terminal"), "{text}");
    let (line, text) = channel_problem("device = \"0.0.1000\"", "device = \"0.0.3270\"");
    assert_eq!(line, 23);
    assert!(text.contains("twice"), "{text}");
    assert!(
        channel_problem("device = \"0.0.1000\"", "device = \"0.1.1000\"")
            .1
            .contains("set 0")
    );
}

#[test]
fn a_client_has_disks_or_subchannels_and_a_name_of_its_own() {
    let both = format!("{CHANNEL}[[client.disk]]\ndisk = \"data\"\n");
    let Err(ConfigError::Wrong(problems)) = read(&both) else {
        panic!()
    };
    assert!(
        problems[0].message.contains("both disks and subchannels"),
        "{problems:?}"
    );
    assert!(channel_problem("name = \"one\"", "name = \"host\"")
        .1
        .contains("daemon's own"));
}

#[test]
fn a_burst_is_by_default_what_is_allowed_in_a_second() {
    let of = |keys: &str| {
        let text = GOOD.replacen("readonly = true", keys, 1);
        read(&text).unwrap().clients[0].exports[1].quota
    };
    let limits = |quota: Quota| {
        let Quota {
            iops,
            iops_burst,
            bandwidth,
            bandwidth_burst,
            ..
        } = quota;
        [iops, iops_burst, bandwidth, bandwidth_burst].map(Option::unwrap)
    };
    assert_eq!(of("readonly = true"), Quota::default());
    let quota = of("weight = 300\niops = 500\nbandwidth = \"50M\"");
    assert_eq!(quota.weight, 300);
    assert_eq!(limits(quota), [500, 500, 50 * MIB, 50 * MIB]);
    let quota = of("iops = 500\niops_burst = 20\nbandwidth = \"1M\"\nbandwidth_burst = \"64K\"");
    assert_eq!(limits(quota), [500, 20, MIB, 64 << 10]);
}
