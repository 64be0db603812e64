//! QEMU's command line for the appliance.

use std::path::Path;

use anyhow::{bail, Result};
use serde_json::{json, Value};

use super::disk::Backing;
use crate::areas::{device_number, LINK_DEVICE};
use crate::config::{Config, Disk, Source, SubchannelSource, MIB};
use crate::pool::Layout;

/// The name by which the appliance, and a channel-level client, find their serial port.
pub const LINK_PORT: &str = "org.stellwerk.link";

/// All arguments. `backings` stand beside the configuration's disks.
///
/// # Errors
///
/// A path that QEMU cannot be told.
pub fn appliance(
    config: &Config,
    layout: &Layout,
    backings: &[Option<Backing>],
) -> Result<Vec<String>> {
    let this = &config.appliance;
    let run = |name: &str| comma_escaped(&this.run_dir.join(name));
    let mut args: Vec<String> = Vec::new();
    let mut add = |option: &str, value: String| args.extend([option.to_owned(), value]);
    let machine = format!(
        "s390-ccw-virtio,memory-backend=pool,accel={}",
        this.accel.name()
    );
    add("-machine", machine);
    add(
        "-object",
        format!(
            "memory-backend-file,id=pool,mem-path={},share=on,size={}",
            comma_escaped(&this.pool)?,
            layout.total
        ),
    );
    add("-m", format!("{}M", layout.total / MIB));
    add("-smp", this.accel.smp().into());
    add("-bios", path_text(&config.no_firmware())?.into());
    add("-kernel", path_text(&this.image)?.into());
    let append = format!("control={:#x} {}", layout.control.offset, this.append);
    add("-append", append.trim_end().into());
    let log = run("console.log")?;
    add("-chardev", format!("file,id=console,path={log},append=on"));
    add("-device", "sclpconsole,chardev=console".into());
    add(
        "-chardev",
        format!("socket,id=link,path={}", run("link.sock")?),
    );
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
    for (index, (disk, backing)) in config.disks.iter().zip(backings).enumerate() {
        let devno = format!("devno=fe.0.{:04x}", device_number(index));
        match (&disk.source, backing) {
            (Source::Image { path, .. }, Some(backing)) => {
                add("-blockdev", blockdev(index, path, backing)?.to_string());
                add("-object", format!("iothread,id=io{index},poll-max-ns=0"));
                add("-device", virtio_blk(index, disk, &devno));
            }
            (Source::Mdev(path), _) => {
                add(
                    "-device",
                    format!("vfio-ccw,{devno},sysfsdev={}", comma_escaped(path)?),
                );
            }
            (Source::Image { path, .. }, None) => bail!("{} was not looked at", path.display()),
        }
    }
    for subchannel in &config.subchannels {
        let device = subchannel.device;
        let devno = format!("devno=fe.{}.{:04x}", device.set, device.number);
        let text = match &subchannel.source {
            SubchannelSource::Qemu(text) => format!("{text},{devno}"),
            SubchannelSource::Mdev(path) => {
                format!("vfio-ccw,{devno},sysfsdev={}", comma_escaped(path)?)
            }
            SubchannelSource::Plugged => continue,
        };
        add("-device", text);
    }
    add("-action", "panic=exit-failure".into());
    add("-display", "none".into());
    args.extend([
        "-nodefaults".into(),
        "-no-user-config".into(),
        "-no-reboot".into(),
    ]);
    args.extend(this.qemu_args.iter().cloned());
    Ok(args)
}

fn blockdev(index: usize, path: &Path, backing: &Backing) -> Result<Value> {
    let protocol = if backing.device {
        "host_device"
    } else {
        "file"
    };
    Ok(json!({
        "driver": backing.format.name(),
        "node-name": format!("disk{index}"),
        "read-only": backing.read_only,
        "discard": "unmap",
        "cache": { "direct": backing.direct, "no-flush": false },
        "file": {
            "driver": protocol,
            "filename": path_text(path)?,
            "aio": backing.aio.name(),
            "read-only": backing.read_only,
            "discard": "unmap",
            "cache": { "direct": backing.direct, "no-flush": false },
        },
    }))
}

fn virtio_blk(index: usize, disk: &Disk, devno: &str) -> String {
    format!(
        "virtio-blk-ccw,{devno},drive=disk{index},iothread=io{index},num-queues={},discard=on,write-zeroes=on",
        disk.queues
    )
}

/// A path as an argument of its own.
///
/// # Errors
///
/// It is not UTF-8.
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
///
/// # Errors
///
/// It is not UTF-8.
pub fn comma_escaped(path: &Path) -> Result<String> {
    Ok(path_text(path)?.replace(',', ",,"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_firmware_is_loaded_into_anybodys_memory() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("alone.toml");
        std::fs::write(&file, "[appliance]\nimage = \"i\"\nrun_dir = \"/run/x\"\n").unwrap();
        let config = Config::load(&file).unwrap();
        let args = appliance(&config, &Layout::of(&config), &[]).unwrap();
        let at = args.iter().position(|word| word == "-bios").unwrap();
        assert_eq!(args[at + 1], "/run/x/no-firmware.bin");
    }
}
