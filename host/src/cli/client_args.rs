//! The QEMU arguments that a client's VM needs: its memory as a file that cannot shrink, and its disks, or the link and the
//! place of its area.

use anyhow::{bail, Result};

use crate::config::{Config, MIB};
use crate::layout::Span;
use crate::pool::Layout;
use crate::vm::{comma_escaped, path_text, LINK_PORT};

/// How long the VM's QEMU waits between two attempts to reach the daemon, in milliseconds.
const RECONNECT_MS: u32 = 200;

/// All arguments, not quoted. `append` goes on the command line of a channel-level client.
pub fn client_args(config: &Config, name: &str, append: &str) -> Result<Vec<String>> {
    let layout = Layout::of(config);
    let names: Vec<&str> = config.clients.iter().map(|it| it.name.as_str()).collect();
    let Some(index) = names.iter().position(|&known| known == name) else {
        let names = names.join(", ");
        bail!("there is no client named \"{name}\"; the clients are: {names}");
    };
    let (client, area) = (&config.clients[index], layout.areas[index]);
    let Span { offset, length } = layout.windows[index];
    let this = &config.appliance;
    let mut args: Vec<String> = Vec::new();
    let mut add = |option: &str, value: String| args.extend([option.to_owned(), value]);
    let memory = match client.is_channel_level() {
        // The daemon has made it: the area is in it.
        true => {
            let path = comma_escaped(&config.client_memory(client))?;
            format!("memory-backend-file,mem-path={path}")
        }
        false => "memory-backend-memfd".into(),
    };
    let memory = format!("{memory},id=stellwerk-ram,share=on,size={length}");
    add("-object", memory);
    let machine = "s390-ccw-virtio,memory-backend=stellwerk-ram";
    add("-machine", format!("{machine},accel={}", this.accel));
    add("-m", format!("{}M", length / MIB));
    add("-smp", this.accel.smp().into());
    let socket =
        |id: &str, path: &str| format!("socket,id={id},path={path},reconnect-ms={RECONNECT_MS}");
    for (part, export) in config.exports().filter(|(part, _)| part.client == index) {
        let path = comma_escaped(&config.socket(part))?;
        let id = format!("stellwerk{}", part.number);
        let queues = export.queues;
        let device = format!("id={id}-disk,chardev={id},num-queues={queues}");
        add("-chardev", socket(&id, &path));
        add("-device", format!("vhost-user-blk-pci,{device}"));
    }
    if client.is_channel_level() {
        // QEMU locks this file before it maps any memory: a second one would use the same.
        let lock = config.client_pid(client);
        add("-pidfile", path_text(&lock)?.into());
        let path = comma_escaped(&config.link_socket(client))?;
        let serial = "virtio-serial-ccw,id=stellwerk-serial,max_ports=2";
        let port = "virtserialport,bus=stellwerk-serial.0,chardev=stellwerk";
        add("-chardev", socket("stellwerk", &path));
        add("-device", serial.into());
        add("-device", format!("{port},name={LINK_PORT}"));
        // The firmware would come near the end of the memory at each reset, and there is the area.
        let firmware = config.no_firmware();
        add("-bios", path_text(&firmware)?.into());
        let place = format!("area={:#x} {append}", area.offset - offset);
        add("-append", place.trim_end().into());
    } else if !append.is_empty() {
        bail!(
            "client \"{name}\" has no subchannels: its command line is yours to give, with QEMU's -append"
        );
    }
    Ok(args)
}

/// A word as a shell reads it back. Commas and equals signs, of which there are many, stay as they are.
fn shell_quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_=,./:@+%".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

/// The arguments as the command prints them: quoted, each option with its value behind the separator.
pub fn printed(args: &[String], separator: &str) -> String {
    let quoted: Vec<String> = args.iter().map(|word| shell_quoted(word)).collect();
    let options: Vec<String> = quoted.chunks(2).map(|option| option.join(" ")).collect();
    options.join(separator)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> Config {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("demo.toml");
        let text = r#"
            [appliance]
            image = "image.elf"
            accel = "tcg"
            run_dir = "/run/my demo"
            [[disk]]
            name = "data"
            image = "data.img"
            [[client]]
            name = "linux1"
            memory = "256M"
            [[client.disk]]
            disk = "data"
            size = 8
            [[client.disk]]
            disk = "data"
            start = 8
            queues = 4
        "#;
        std::fs::write(&file, text).unwrap();
        Config::load(&file).unwrap()
    }

    #[test]
    fn the_arguments_are_these() {
        let expected = "\
-object memory-backend-memfd,id=stellwerk-ram,share=on,size=268435456
-machine s390-ccw-virtio,memory-backend=stellwerk-ram,accel=tcg
-m 256M
-smp 1,maxcpus=2
-chardev 'socket,id=stellwerk0,path=/run/my demo/linux1.0.sock,reconnect-ms=200'
-device vhost-user-blk-pci,id=stellwerk0-disk,chardev=stellwerk0,num-queues=1
-chardev 'socket,id=stellwerk1,path=/run/my demo/linux1.1.sock,reconnect-ms=200'
-device vhost-user-blk-pci,id=stellwerk1-disk,chardev=stellwerk1,num-queues=4";
        let args = client_args(&config(), "linux1", "").unwrap();
        assert_eq!(printed(&args, "\n"), expected);
        assert_eq!(printed(&args, " "), expected.replace('\n', " "));
    }

    #[test]
    fn a_client_with_subchannels_is_told_where_its_area_is() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("channel.toml");
        let text = "[appliance]\nimage = \"i\"\nrun_dir = \"/run/x\"\n\
             [[subchannel]]\nname = \"t\"\ndevice = \"0.0.3270\"\nqemu = \"x-terminal3270,chardev=t\"\n\
             [[client]]\nname = \"bare\"\nmemory = \"16M\"\n[[client.subchannel]]\nsubchannel = \"t\"\n";
        std::fs::write(&file, text).unwrap();
        let config = Config::load(&file).unwrap();
        let layout = Layout::of(&config);
        let (area, window) = (layout.areas[0], layout.windows[0]);
        let args = printed(&client_args(&config, "bare", "log=debug").unwrap(), "\n");
        let place = area.offset - window.offset;
        assert!(
            args.ends_with(&format!("-append 'area={place:#x} log=debug'")),
            "{args}"
        );
        assert_eq!(place + area.length, 16 << 20, "at the end of its memory");
        assert!(args.contains("-bios /run/x/no-firmware.bin"), "{args}");
        let memory = "-object memory-backend-file,mem-path=/run/x/bare.memory,id=";
        assert!(args.starts_with(memory), "{args}");
        assert!(args.contains("-pidfile /run/x/bare.pid"), "{args}");
        assert!(
            args.contains("path=/run/x/bare.link.sock,reconnect-ms="),
            "{args}"
        );
        assert!(args.contains("name=org.stellwerk.link"), "{args}");
        assert!(client_args(&self::config(), "linux1", "log=debug").is_err());
    }

    #[test]
    fn an_unknown_client_is_told_who_is_known() {
        let error = client_args(&config(), "linux2", "")
            .unwrap_err()
            .to_string();
        assert!(error.contains("linux1"), "{error}");
    }

    #[test]
    fn a_shell_reads_back_what_was_quoted() {
        for word in ["", "plain", "two words", "it's", "a;b$c`d\"e"] {
            let script = format!("printf %s {}", shell_quoted(word));
            let output = std::process::Command::new("sh")
                .args(["-c", &script])
                .output()
                .unwrap();
            assert_eq!(String::from_utf8(output.stdout).unwrap(), word);
        }
    }
}
