//! `[[subchannel]]` and `[[client.subchannel]]`, checked.

use std::collections::HashMap;

use channel::DeviceNumber;
use toml::Spanned;
use vcss::control::HOST;

use super::check::{known_names, whole, Check};
use super::raw;
use super::{Given, Places, Subchannel, SubchannelSource};
use crate::areas::{device_number, LINK_DEVICE};

const MAX_SUBCHANNELS: usize = 128;
const MAX_CLIENT_SUBCHANNELS: usize = 32;
/// Subchannel set of everything that clients see.
const CLIENT_SET: u8 = 0;
/// What stands for a device number that is none.
const NO_DEVICE: DeviceNumber = DeviceNumber { set: 0, number: 0 };

/// What has been written of subchannels so far.
#[derive(Debug, Default)]
pub(super) struct Registry {
    names: HashMap<String, usize>,
    devices: HashMap<DeviceNumber, usize>,
    /// Whom each was given to.
    owners: HashMap<usize, String>,
    /// The numbers by which clients see them by default.
    numbers: Vec<DeviceNumber>,
}

impl Registry {
    /// The subchannel that a name or a device number means.
    fn find(&self, text: &str) -> Option<usize> {
        let by_name = self.names.get(text);
        let index = by_name.or_else(|| self.devices.get(&parse_device(text)?));
        index.copied()
    }
}

/// A device number as it is written: `0.0.3270`.
pub fn parse_device(text: &str) -> Option<DeviceNumber> {
    let (set, number) = text.strip_prefix("0.")?.split_once('.')?;
    let set = set.parse::<u8>().ok().filter(|set| *set <= 3)?;
    let good = number.len() == 4 && number.chars().all(|c| c.is_ascii_hexdigit());
    let number = u16::from_str_radix(number, 16).ok().filter(|_| good)?;
    Some(DeviceNumber { set, number })
}

impl Check<'_, '_> {
    pub(super) fn subchannels(
        &mut self,
        raw: Vec<raw::Subchannel>,
        disks: usize,
        registry: &mut Registry,
        places: &mut Places,
    ) -> Vec<Subchannel> {
        if let Some(first) = raw.get(MAX_SUBCHANNELS) {
            let help = format!("at most {MAX_SUBCHANNELS} can be given to one appliance");
            self.problems
                .add(first.name.span(), "too many subchannels", help);
        }
        let mut subchannels = Vec::new();
        for this in raw {
            let index = subchannels.len();
            self.name(&this.name, "subchannel");
            let name = this.name.get_ref().clone();
            if registry.names.insert(name.clone(), index).is_some() {
                self.twice(&this.name, "subchannel");
            }
            let device = match &this.device {
                Some(text) => {
                    let device = self.device(text);
                    self.free(text, device, disks, registry);
                    registry.devices.insert(device, index);
                    device
                }
                None => NO_DEVICE,
            };
            registry.numbers.push(device);
            let named = this.mdev.as_ref().unwrap_or(&this.name);
            places.subchannels.push(self.problems.place(&named.span()));
            let source = self.source(&this);
            subchannels.push(Subchannel {
                name,
                device,
                source,
            });
        }
        subchannels
    }

    fn device(&mut self, text: &Spanned<String>) -> DeviceNumber {
        parse_device(text.get_ref()).unwrap_or_else(|| {
            self.problems.add(
                text.span(),
                format!("\"{}\" is no device number", text.get_ref()),
                "write it as lscss does, with the subchannel set (0 to 3): \"0.0.3270\"",
            );
            NO_DEVICE
        })
    }

    /// Whether nobody else has the device number.
    fn free(
        &mut self,
        text: &Spanned<String>,
        device: DeviceNumber,
        disks: usize,
        registry: &Registry,
    ) {
        let disk = (0..disks).any(|disk| device_number(disk) == device.number);
        let taken = match (device.set, device.number) {
            (0, LINK_DEVICE) => "the link between daemon and appliance",
            (0, _) if disk => "a disk: they are 0.0.0100, 0.0.0101 and so on",
            _ if registry.devices.contains_key(&device) => "another subchannel",
            _ => return,
        };
        let message = format!("{device} is taken by {taken}");
        let help = "give each device of the appliance a number of its own";
        self.problems.add(text.span(), message, help);
    }

    fn source(&mut self, raw: &raw::Subchannel) -> SubchannelSource {
        let name = raw.name.get_ref();
        let what = match (&raw.qemu, &raw.mdev, raw.plugged) {
            (Some(text), None, false) => {
                self.device_text(text);
                return SubchannelSource::Qemu(text.get_ref().clone());
            }
            (None, Some(mdev), false) => {
                return SubchannelSource::Mdev(whole(mdev.get_ref().into()));
            }
            (None, None, false) if raw.doubtful => return SubchannelSource::Plugged,
            (None, None, false) => "neither qemu nor mdev",
            (Some(_), Some(_), _) => "both qemu and mdev",
            (Some(_), None, true) => "both qemu and plugged",
            (None, Some(_), true) => "both mdev and plugged",
            (None, None, true) => return SubchannelSource::Plugged,
        };
        self.problems.add(
            raw.name.span(),
            format!("subchannel \"{name}\" has {what}"),
            "give it one: qemu = \"x-terminal3270,chardev=…\", or mdev = \"/sys/bus/mdev/devices/UUID\", or plugged = true for what comes later",
        );
        SubchannelSource::Plugged
    }

    fn device_text(&mut self, text: &Spanned<String>) {
        let mut words = text.get_ref().split(',');
        if words.next().is_none_or(|driver| driver.trim().is_empty()) {
            self.problems.add(
                text.span(),
                "a device without a driver's name",
                "begin with it: qemu = \"x-terminal3270,chardev=…\"",
            );
        }
        if words.any(|word| word.trim_start().starts_with("devno=")) {
            self.problems.add(
                text.span(),
                "the device number is written twice",
                "leave devno= out: it is made of device = \"…\"",
            );
        }
    }

    pub(super) fn not_reserved(&mut self, client: &Spanned<String>) {
        if client.get_ref() == HOST {
            self.problems.add(
                client.span(),
                format!("\"{HOST}\" is the daemon's own name among the clients"),
                "give the client another name",
            );
        }
    }

    pub(super) fn given(
        &mut self,
        raw: Vec<raw::ClientSubchannel>,
        client: &str,
        registry: &mut Registry,
    ) -> Vec<Given> {
        let mut given: Vec<Given> = Vec::new();
        if let Some(first) = raw.get(MAX_CLIENT_SUBCHANNELS) {
            let message = format!("client \"{client}\" has too many subchannels");
            let help = format!("a client can have at most {MAX_CLIENT_SUBCHANNELS}");
            let span = first.subchannel.as_ref().map_or(0..0, Spanned::span);
            self.problems.add(span, message, help);
        }
        for this in raw {
            // Without one, it has been reported.
            let Some(wanted) = this.subchannel else {
                continue;
            };
            let Some(subchannel) = registry.find(wanted.get_ref()) else {
                self.unknown_subchannel(&wanted, registry);
                continue;
            };
            self.given_once(&wanted, subchannel, client, registry);
            let device = match &this.device {
                Some(text) => self.device(text),
                None => DeviceNumber {
                    set: CLIENT_SET,
                    ..registry.numbers[subchannel]
                },
            };
            let span = this.device.as_ref().unwrap_or(&wanted).span();
            if device.set != CLIENT_SET {
                let message = format!("client \"{client}\" cannot see {device}");
                let help = format!("what clients see is in subchannel set {CLIENT_SET}");
                self.problems.add(span.clone(), message, help);
            }
            if given.iter().any(|other| other.device == device.number) {
                let message = format!("client \"{client}\" would see {device} twice");
                let help =
                    "give each of its subchannels a device number of its own: device = \"0.0.…\"";
                self.problems.add(span, message, help);
            }
            given.push(Given {
                subchannel,
                device: device.number,
            });
        }
        given
    }

    fn given_once(
        &mut self,
        text: &Spanned<String>,
        subchannel: usize,
        client: &str,
        registry: &mut Registry,
    ) {
        let Some(first) = registry.owners.insert(subchannel, client.to_owned()) else {
            return;
        };
        let message = if first == client {
            format!(
                "client \"{client}\" is given subchannel \"{}\" twice",
                text.get_ref()
            )
        } else {
            format!(
                "clients \"{first}\" and \"{client}\" are both given subchannel \"{}\"",
                text.get_ref()
            )
        };
        let help = "a subchannel has one owner: give each client one of its own";
        self.problems.add(text.span(), message, help);
    }

    fn unknown_subchannel(&mut self, text: &Spanned<String>, registry: &Registry) {
        if registry.names.contains_key("") || registry.devices.len() < registry.numbers.len() {
            return; // It may be the one whose name or number is missing.
        }
        let help = known_names(text.get_ref(), registry.names.keys(), "subchannel");
        let message = format!("there is no subchannel \"{}\"", text.get_ref());
        self.problems.add(text.span(), message, help);
    }
}
