//! The devices that are plugged into the running VM: disks, and subchannels that are mediated devices.
//!
//! They are not on QEMU's command line, where one that cannot be opened would keep the VM from starting.

use std::path::Path;

use anyhow::{bail, Result};
use channel::DeviceNumber;
use serde_json::{json, Map, Value};

use super::args::path_text;
use super::disk::{check_mdev, Backing};
use super::look::{Found, Order};
use super::monitor::{Node, Plug};
use crate::config::{Config, Format, Source, Subchannel, SubchannelSource};
use crate::layout::disk_device;

/// A device that is plugged into the VM while it runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Pluggable {
    Disk(usize),
    Subchannel(usize),
}

impl Pluggable {
    pub fn all(config: &Config) -> Vec<Self> {
        let disks = config.disks.iter().enumerate();
        let disks = disks.filter(|(_, disk)| !disk.is_vacant());
        let disks = disks.map(|(index, _)| Self::Disk(index));
        let subchannels = config.subchannels.iter().enumerate();
        let subchannels = subchannels
            .filter(|(_, subchannel)| matches!(subchannel.source, SubchannelSource::Mdev(_)));
        disks
            .chain(subchannels.map(|(index, _)| Self::Subchannel(index)))
            .collect()
    }

    pub fn label(self, config: &Config) -> String {
        match self {
            Self::Disk(index) => format!("disk \"{}\"", config.disks[index].name),
            Self::Subchannel(index) => {
                format!("subchannel \"{}\"", config.subchannels[index].name)
            }
        }
    }

    /// Its name in QEMU.
    pub fn id(self, config: &Config) -> String {
        match self {
            Self::Disk(index) => format!("given-disk{index}"),
            // It has the same one whatever others there are.
            Self::Subchannel(index) => {
                let Subchannel { device, source, .. } = &config.subchannels[index];
                let DeviceNumber { set, number } = device;
                let mdev = match source {
                    SubchannelSource::Mdev(path) => path.file_name().unwrap_or_default(),
                    _ => Default::default(),
                };
                let mdev = mdev.to_string_lossy();
                let good = |c: char| c.is_ascii_alphanumeric() || c == '-';
                let mdev: String = mdev.chars().filter(|c| good(*c)).collect();
                format!("given-subchannel-{set}-{number:04x}-{mdev}")
            }
        }
    }

    /// Whether it is an image, and not a device that only one process can have.
    pub fn is_image(self, config: &Config) -> bool {
        let Self::Disk(index) = self else {
            return false;
        };
        let disk = config.disks.get(index);
        disk.is_some_and(|disk| matches!(disk.source, Source::Image { .. }))
    }

    /// The device number of a subchannel by its name in QEMU.
    pub fn number_of(id: &str) -> Option<DeviceNumber> {
        let mut parts = id.strip_prefix("given-subchannel-")?.split('-');
        let set = parts.next()?.parse().ok()?;
        let number = u16::from_str_radix(parts.next()?, 16).ok()?;
        Some(DeviceNumber { set, number })
    }

    /// Whether QEMU cannot have it beside another one of another configuration: they are the same file or mediated device, or would have
    /// the same number.
    pub fn collides(self, config: &Config, other: Self, of: &Config) -> bool {
        let (one, other) = (self.takes(config), other.takes(of));
        one.0 == other.0 || one.1.is_some() && one.1 == other.1
    }

    /// What nobody else can have: its device number, and its file or device.
    fn takes(self, config: &Config) -> (DeviceNumber, Option<&Path>) {
        match self {
            Self::Disk(index) => (disk_device(index), Some(config.disks[index].source.path())),
            Self::Subchannel(index) => {
                let Subchannel { device, source, .. } = &config.subchannels[index];
                let SubchannelSource::Mdev(path) = source else {
                    return (*device, None);
                };
                (*device, Some(path))
            }
        }
    }

    /// How the disk at this place is unplugged, whatever it is.
    pub fn former(disk: usize) -> Plug {
        Plug {
            id: format!("given-disk{disk}"),
            thread: Some(json!({ "id": format!("io{disk}") })),
            node: Some(Node {
                arguments: json!({ "node-name": node_name(disk) }),
                opens_beside: false,
            }),
            ..Plug::default()
        }
    }

    /// The disk that a node of QEMU's is behind.
    pub fn of_node(config: &Config, name: &str) -> Option<Self> {
        let disk = (0..config.disks.len()).find(|&index| node_name(index) == name)?;
        Some(Self::Disk(disk))
    }

    /// The node that is behind a disk.
    pub fn node(self) -> Option<String> {
        match self {
            Self::Disk(index) => Some(node_name(index)),
            Self::Subchannel(_) => None,
        }
    }

    /// The look that its file needs before QEMU is told to open it; what is no file has none.
    pub fn look(self, config: &Config, backings: &[Option<Backing>]) -> Option<Order> {
        let Self::Disk(index) = self else { return None };
        match (&config.disks.get(index)?.source, backings.get(index)?) {
            (Source::Image { path, .. }, Some(backing)) => Some(backing.order(path)),
            _ => None,
        }
    }

    /// How it is plugged in, after what the look has found, if it needed one.
    pub fn plug(
        self,
        config: &Config,
        backings: &[Option<Backing>],
        found: Option<Found>,
    ) -> Result<Plug> {
        let id = self.id(config);
        let device = |device: DeviceNumber| format!("fe.{}.{:04x}", device.set, device.number);
        match self {
            Self::Disk(index) => {
                let disk = &config.disks[index];
                let devno = device(disk_device(index));
                let path = match &disk.source {
                    Source::Image { path, .. } => path,
                    Source::Mdev(path) => return mdev(id, &self.label(config), path, devno),
                };
                let Some(backing) = backings.get(index).copied().flatten() else {
                    bail!("{} was not looked at", path.display());
                };
                // What the guest has written into it since the first look does not change what it is.
                if found.is_some_and(|found| found.device != backing.device) {
                    bail!("{} is not what it was", path.display());
                }
                Ok(Plug {
                    id,
                    thread: Some(json!({
                        "qom-type": "iothread", "id": format!("io{index}"), "poll-max-ns": 0,
                    })),
                    node: Some(Node {
                        arguments: blockdev(index, path_text(path)?, &backing),
                        // QEMU keeps tables of other formats in its memory.
                        opens_beside: backing.format == Format::Raw,
                    }),
                    device: virtio_blk(index, disk.queues, &devno, &backing),
                })
            }
            Self::Subchannel(index) => {
                let subchannel = &config.subchannels[index];
                let SubchannelSource::Mdev(path) = &subchannel.source else {
                    bail!("it is not plugged in by the daemon");
                };
                mdev(id, &self.label(config), path, device(subchannel.device))
            }
        }
    }
}

fn mdev(id: String, label: &str, path: &Path, devno: String) -> Result<Plug> {
    check_mdev(label, path)?;
    Ok(Plug {
        id,
        device: map(json!({ "driver": "vfio-ccw", "devno": devno, "sysfsdev": path_text(path)? })),
        ..Plug::default()
    })
}

fn node_name(index: usize) -> String {
    format!("disk{index}")
}

fn blockdev(index: usize, path: &str, backing: &Backing) -> Value {
    let protocol = if backing.device {
        "host_device"
    } else {
        "file"
    };
    json!({
        "driver": backing.format.to_string(),
        "node-name": node_name(index),
        "read-only": backing.read_only,
        "discard": "unmap",
        "cache": { "direct": backing.direct, "no-flush": false },
        "file": {
            "driver": protocol,
            "filename": path,
            "aio": backing.aio.to_string(),
            "read-only": backing.read_only,
            "discard": "unmap",
            "cache": { "direct": backing.direct, "no-flush": false },
        },
    })
}

/// Errors are the request's: QEMU must not pause the VM, and with it every other disk, because one file system is full.
///
/// A format with tables of its own keeps these in QEMU's memory until a flush. When QEMU dies, the flush that a client sends
/// afterwards reaches another QEMU, which knows nothing of them. So each write is made stable before it is acknowledged.
fn virtio_blk(index: usize, queues: u16, devno: &str, backing: &Backing) -> Map<String, Value> {
    let write_back = match backing.format {
        Format::Raw => "on",
        Format::Qcow2 => "off",
    };
    map(json!({
        "driver": "virtio-blk-ccw",
        "devno": devno,
        "drive": node_name(index),
        "iothread": format!("io{index}"),
        "num-queues": queues,
        "discard": true,
        "write-zeroes": true,
        "werror": "report",
        "rerror": "report",
        "write-cache": write_back,
        "config-wce": backing.format == Format::Raw,
    }))
}

fn map(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(map) => map,
        _ => Map::new(),
    }
}
