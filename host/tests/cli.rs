//! The program as it is called: words, exit codes, and that nothing starts which should not.

use std::path::Path;
use std::process::{Command, Output};

fn stellwerk(args: &[&str], dir: &Path) -> Output {
    Command::new(env!("CARGO_BIN_EXE_stellwerk"))
        .args(args)
        .current_dir(dir)
        .output()
        .unwrap()
}

fn error(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

#[test]
fn a_mistyped_command_is_not_answered_with_one_that_destroys() {
    let dir = tempfile::tempdir().unwrap();
    let output = stellwerk(&["stat", "demo.toml"], dir.path());
    assert_eq!(output.status.code(), Some(2));
    let text = error(&output);
    assert!(text.contains("'status'"), "{text}");
    assert!(!text.contains("steal"), "{text}");
    for mistyped in ["stael", "dasdfmtt", "mkip"] {
        let text = error(&stellwerk(&[mistyped], dir.path()));
        for command in ["steal", "dasdfmt'", "mkipl"] {
            assert!(!text.contains(command), "{text}");
        }
    }
}

#[test]
fn what_destroys_asks_for_yes_before_it_looks_at_anything() {
    let dir = tempfile::tempdir().unwrap();
    for command in ["steal", "dasdfmt"] {
        let output = stellwerk(&[command, "none.toml", "vol1"], dir.path());
        assert_eq!(output.status.code(), Some(1));
        assert!(error(&output).contains("add --yes"), "{}", error(&output));
    }
    let output = stellwerk(&["steal", "none.toml", "vol1", "--yes"], dir.path());
    assert!(
        error(&output).contains("cannot read none.toml"),
        "{}",
        error(&output)
    );
}

#[test]
fn check_says_all_that_is_wrong_and_starts_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let text = "[appliance]\nimage = \"none.elf\"\nqemu = \"/none/qemu\"\n\
                [[disk]]\nname = \"data\"\nimage = \"none.img\"\n\
                [[client]]\nname = \"c\"\nmemory = \"64M\"\n[[client.disk]]\ndisk = \"data\"\n";
    let run_dir = dir.path().join("run");
    let text = text.replace(
        "[[disk]]",
        &format!("run_dir = \"{}\"\n[[disk]]", run_dir.display()),
    );
    std::fs::write(dir.path().join("demo.toml"), &text).unwrap();
    for command in ["check", "up"] {
        let output = stellwerk(&[command, "demo.toml"], dir.path());
        assert_eq!(output.status.code(), Some(1));
        let said = error(&output);
        assert!(said.starts_with("stellwerk: demo.toml:2:9: "), "{said}");
        for place in [
            "\ndemo.toml:3:8: cannot start /none/qemu",
            "\ndemo.toml:7:9: disk \"data\": ",
        ] {
            assert!(said.contains(place), "{said}");
        }
        assert!(!run_dir.exists());
    }
    std::fs::write(
        dir.path().join("demo.toml"),
        text.replace("[[client]]", "[[clients]]"),
    )
    .unwrap();
    let said = error(&stellwerk(&["check", "demo.toml"], dir.path()));
    assert_eq!(
        said,
        "stellwerk: demo.toml:8:3: there is no table [[clients]]\n    did you mean [[client]]?\n"
    );
}

#[test]
fn usage_errors_end_with_2_and_others_with_1() {
    let dir = tempfile::tempdir().unwrap();
    for usage in [
        &["foo"][..],
        &["up"],
        &["ccw", "c.toml", "0.0.3270", "nop", "--timeout", "0"],
    ] {
        assert_eq!(
            stellwerk(usage, dir.path()).status.code(),
            Some(2),
            "{usage:?}"
        );
    }
    assert_eq!(
        stellwerk(&["status", "none.toml"], dir.path())
            .status
            .code(),
        Some(1)
    );
    assert_eq!(stellwerk(&["--version"], dir.path()).status.code(), Some(0));
}

#[test]
fn a_run_directory_that_cannot_be_made_is_answered_with_what_to_set() {
    let dir = tempfile::tempdir().unwrap();
    let mut elf = vec![0; 64];
    elf[..6].copy_from_slice(b"\x7fELF\x02\x02");
    elf[18..20].copy_from_slice(&22u16.to_be_bytes());
    std::fs::write(dir.path().join("i.elf"), elf).unwrap();
    // Nobody may make one there, not even root.
    let text = "[appliance]\nimage = \"i.elf\"\nqemu = \"true\"\nrun_dir = \"/proc/self/run\"\n";
    std::fs::write(dir.path().join("demo.toml"), text).unwrap();
    let output = stellwerk(&["up", "demo.toml"], dir.path());
    assert_eq!(output.status.code(), Some(1));
    let said = error(&output);
    assert!(
        said.contains("set run_dir") && said.contains("XDG_RUNTIME_DIR"),
        "{said}"
    );
}

#[test]
fn a_run_directory_that_others_use_stays_open_to_them() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    let mut elf = vec![0; 64];
    elf[..6].copy_from_slice(b"\x7fELF\x02\x02");
    elf[18..20].copy_from_slice(&22u16.to_be_bytes());
    std::fs::write(dir.path().join("i.elf"), elf).unwrap();
    let run_dir = dir.path().join("shared");
    std::fs::create_dir(&run_dir).unwrap();
    std::fs::write(run_dir.join("theirs"), "x").unwrap();
    let open = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(&run_dir, open).unwrap();
    let text = "[appliance]\nimage = \"i.elf\"\nqemu = \"true\"\nrun_dir = \"shared\"\n";
    std::fs::write(dir.path().join("demo.toml"), text).unwrap();
    let output = stellwerk(&["up", "demo.toml"], dir.path());
    assert_eq!(output.status.code(), Some(1));
    let said = error(&output);
    assert!(said.contains("open to others and not empty"), "{said}");
    let mode = std::fs::metadata(&run_dir).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o755);
}
