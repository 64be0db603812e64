//! QEMU's command line for the appliance.

use std::os::fd::RawFd;
use std::path::Path;

use anyhow::{bail, Result};

use crate::config::{Config, SubchannelSource, MIB};
use crate::layout::LINK_DEVICE;
use crate::pool::Layout;

/// The name by which the appliance, and a channel-level client, find their serial port.
pub const LINK_PORT: &str = "org.stellwerk.link";

/// System calls that QEMU does not need: it starts no program, and changes neither its user nor its limits.
const SANDBOX: &str = "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny";

/// What QEMU inherits.
#[derive(Clone, Copy, Debug)]
pub struct Inherited {
    /// The file that is the VM's memory.
    pub memory: RawFd,
    pub image: RawFd,
    /// Its ends of the ways to it.
    pub monitor: RawFd,
    /// The appliance's serial port.
    pub link: RawFd,
}

/// All arguments, but for what is given to the running VM: see [`Pluggable`](super::Pluggable). It waits to be told to run, by the monitor.
pub fn appliance(config: &Config, layout: &Layout, inherited: Inherited) -> Result<Vec<String>> {
    let this = &config.appliance;
    let run = |name: &str| comma_escaped(&this.run_dir.join(name));
    let mut args: Vec<String> = Vec::new();
    let mut add = |option: &str, value: String| {
        args.push(option.to_owned());
        if !value.is_empty() {
            args.push(value);
        }
    };
    let Inherited {
        memory,
        image,
        monitor,
        link,
    } = inherited;
    let machine = format!("s390-ccw-virtio,memory-backend=pool,accel={}", this.accel);
    add("-machine", machine);
    add(
        "-object",
        format!(
            "memory-backend-file,id=pool,mem-path=/proc/self/fd/{memory},share=on,size={}",
            layout.total
        ),
    );
    add("-m", format!("{}M", layout.total / MIB));
    add("-smp", this.accel.smp().into());
    add("-bios", path_text(&config.no_firmware())?.into());
    add("-kernel", format!("/proc/self/fd/{image}"));
    let append = format!("control={:#x} {}", layout.control.offset, this.append);
    add("-append", append.trim_end().into());
    add("-S", String::new());
    let log = run("console.log")?;
    add("-chardev", format!("file,id=console,path={log},append=on"));
    add("-device", "sclpconsole,chardev=console".into());
    add("-chardev", format!("socket,id=link,fd={link}"));
    add(
        "-device",
        format!(
            "virtio-serial-ccw,id=serial,devno=fe.0.{LINK_DEVICE:04x},max_ports=2,ioeventfd=off"
        ),
    );
    add(
        "-device",
        format!("virtserialport,bus=serial.0,chardev=link,name={LINK_PORT}"),
    );
    for subchannel in &config.subchannels {
        let device = subchannel.device;
        let devno = format!("devno=fe.{}.{:04x}", device.set, device.number);
        let text = match &subchannel.source {
            SubchannelSource::Qemu(text) => format!("{text},{devno}"),
            // These are given to the running VM.
            SubchannelSource::Mdev(_) | SubchannelSource::Plugged => continue,
        };
        add("-device", text);
    }
    add("-chardev", format!("socket,id=monitor,fd={monitor}"));
    add("-mon", "chardev=monitor,mode=control".into());
    add("-action", "panic=exit-failure".into());
    if this.watchdog_seconds() != 0 {
        add("-device", "diag288".into());
        // The image then prints where it hangs, and ends.
        add("-action", "watchdog=inject-nmi".into());
    }
    add("-display", "none".into());
    args.extend([
        "-nodefaults".into(),
        "-no-user-config".into(),
        "-no-reboot".into(),
    ]);
    if this.sandbox {
        args.extend(["-sandbox".into(), SANDBOX.into()]);
    }
    args.extend(this.qemu_args.iter().cloned());
    Ok(args)
}

pub fn path_text(path: &Path) -> Result<&str> {
    match path.to_str() {
        Some(text) => Ok(text),
        None => bail!(
            "QEMU cannot be told a path that is not UTF-8: {}",
            path.display()
        ),
    }
}

/// A path as part of an option of QEMU's, where a comma is written twice.
pub fn comma_escaped(path: &Path) -> Result<String> {
    Ok(path_text(path)?.replace(',', ",,"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::NO_FIRMWARE;

    /// The arguments of an appliance with these keys besides.
    fn with(keys: &str) -> Vec<String> {
        let text = format!("[appliance]\nimage = \"i\"\nrun_dir = \"/run/x\"\n{keys}");
        let config = Config::parse(Path::new("alone.toml"), &text).unwrap();
        let inherited = Inherited {
            memory: 3,
            image: 4,
            monitor: 5,
            link: 6,
        };
        appliance(&config, &Layout::of(&config), inherited).unwrap()
    }

    #[test]
    fn an_appliance_that_may_hang_has_no_watchdog() {
        let watchdogs = |keys| with(keys).iter().filter(|it| *it == "diag288").count();
        assert_eq!(watchdogs(""), 1);
        assert_eq!(watchdogs("hang_limit = \"off\"\n"), 0);
    }

    #[test]
    fn no_firmware_is_loaded_into_anybodys_memory() {
        let args = with("");
        let at = args.iter().position(|word| word == "-bios").unwrap();
        assert_eq!(args[at + 1], "/run/x/no-firmware.bin");
        // QEMU 11 refuses an empty file, and each byte more is loaded into memory that may be somebody's.
        assert_eq!(NO_FIRMWARE.len(), 1);
    }
}
