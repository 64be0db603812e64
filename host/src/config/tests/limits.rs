//! What fits, and what is said of what does not.

use std::path::Path;

use super::mistakes::{said, GOOD};
use super::*;

/// A configuration with so many disks, of which one client has each.
fn with_disks(memory: &str, disks: usize) -> String {
    let mut text = format!("[appliance]\nimage = \"i\"\n{memory}\n");
    for disk in 0..disks {
        text.push_str(&format!(
            "[[disk]]\nname = \"d{disk}\"\nimage = \"d{disk}.img\"\n"
        ));
    }
    for disk in 0..disks {
        text.push_str(&format!(
            "[[client]]\nname = \"c{disk}\"\nmemory = \"16M\"\n[[client.disk]]\ndisk = \"d{disk}\"\n"
        ));
    }
    text
}

#[test]
fn the_default_of_the_appliances_memory_grows_with_the_disks() {
    let private = |disks| {
        let config = Config::parse(Path::new("c.toml"), &with_disks("", disks)).unwrap();
        config.appliance.private
    };
    assert_eq!(private(1), 16 * MIB);
    // What 128 disks with 4 queues were seen to take of the heap alone.
    assert!(private(128) > 141_974_264, "{}", private(128));
}

#[test]
fn memory_that_is_too_little_for_the_disks_is_refused_with_the_figure() {
    let refused = Config::parse(Path::new("c.toml"), &with_disks("memory = \"16M\"", 16));
    let text = refused.unwrap_err().to_string();
    let expected = "c.toml:3:10: the appliance has 16M, and needs 21M for 16 disks with 64 queues in use\n    \
                    set memory = \"21M\" or more, or leave it out: the default grows with the configuration";
    assert_eq!(text, expected);
    let enough = with_disks("memory = \"21M\"", 16);
    assert!(Config::parse(Path::new("c.toml"), &enough).is_ok());
}

#[test]
fn disks_of_a_client_whose_serial_numbers_would_be_the_same_are_refused() {
    let long = "a-name-of-twenty-cha";
    let text = GOOD
        .replace("\"data\"", &format!("\"{long}racters-1\""))
        .replace("\"more\"", &format!("\"{long}racters-2\""));
    let expected = format!(
        "demo.toml:22:8: two disks of client \"linux1\" would have the serial number {long}\n"
    );
    assert!(said(&text).starts_with(&expected), "{}", said(&text));
    // The number behind a disk that a client has twice can make it another one's: data-0, data-1, data-1.
    let twice = "[[client.disk]]\ndisk = \"data\"\nstart = 4096\nsize = 1\n[[client.disk]]\ndisk = \"data-1\"\n";
    let text = GOOD
        .replace("\"more\"", "\"data-1\"")
        .replace(
            "[[client.disk]]\ndisk = \"data-1\"\nreadonly = true\n",
            twice,
        )
        .replace("start = 2048\n", "start = 2048\nsize = 8\n");
    assert!(
        said(&text).contains("serial number data-1"),
        "{}",
        said(&text)
    );
}

#[test]
fn slices_can_be_written_with_units() {
    let text = GOOD
        .replace("size = 2048", "size = \"1M\"")
        .replace("start = 2048", "start = \"1M\"");
    let config = Config::parse(Path::new("demo.toml"), &text).unwrap();
    let first = &config.clients[0].exports[0];
    assert_eq!((first.start, first.sectors), (0, 2048));
    assert_eq!(config.clients[1].exports[0].start, 2048);
}

#[test]
fn how_long_the_appliance_may_hang() {
    let limit = |key: &str| {
        let text = GOOD.replacen("memory", &format!("{key}\nmemory"), 1);
        let config = Config::parse(Path::new("demo.toml"), &text).unwrap();
        let appliance = config.appliance;
        let seconds = appliance.hang_limit.map(|limit| limit.as_secs());
        (seconds, appliance.watchdog_seconds())
    };
    assert_eq!(limit(""), (Some(5), 20));
    assert_eq!(limit("hang_limit = \"2s\""), (Some(2), 20));
    assert_eq!(limit("hang_limit = \"600s\""), (Some(600), 1200));
    for off in ["\"off\"", "\"0s\"", "\"0\"", "0"] {
        assert_eq!(limit(&format!("hang_limit = {off}")), (None, 0), "{off}");
    }
}

#[test]
fn configurations_of_one_name_in_two_directories_do_not_meet() {
    let dirs = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let configs = dirs.each_ref().map(|dir| {
        let file = dir.path().join("demo.toml");
        std::fs::write(&file, GOOD).unwrap();
        Config::load(&file).unwrap().appliance
    });
    assert_ne!(configs[0].run_dir, configs[1].run_dir);
    // By whatever path the file is named.
    let file = dirs[0]
        .path()
        .join("../")
        .join(dirs[0].path().file_name().unwrap());
    let again = Config::load(&file.join("demo.toml")).unwrap().appliance;
    assert_eq!(again.run_dir, configs[0].run_dir);
}
