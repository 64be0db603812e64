//! `[[subchannel]]` and `[[client.subchannel]]`, checked.

use channel::DeviceNumber;
use toml::Spanned;
use vcss::control::HOST;

use super::draft::Draft;
use super::table::Table;
use super::values::{self, AN_MDEV};
use super::{Given, Subchannel, SubchannelSource};
use crate::layout::{disk_device, parse_device, LINK_DEVICE};

const MAX_SUBCHANNELS: usize = 128;
const MAX_CLIENT_SUBCHANNELS: usize = 32;
/// Subchannel set of everything that clients see.
const CLIENT_SET: u8 = 0;
/// What stands for a device number that is none.
const NO_DEVICE: DeviceNumber = DeviceNumber { set: 0, number: 0 };

impl<'p, 't> Draft<'p, 't> {
    pub(super) fn subchannel(&mut self, mut table: Table<'p, 't>) {
        let name = table.needed("name", "\"terminal\"");
        let device = table.needed_or_none("device", "\"0.0.3270\"");
        let qemu = table.text("qemu", "\"x-terminal3270,chardev=t\"");
        let mdev = table.text("mdev", AN_MDEV);
        let plugged = table.flag("plugged");
        let doubtful = table.is_doubtful();

        let index = self.subchannels.len();
        if index == MAX_SUBCHANNELS {
            let help = format!("at most {MAX_SUBCHANNELS} can be given to one appliance");
            self.problems.add(name.span(), "too many subchannels", help);
        }
        values::name(self.problems, &name, "subchannel");
        let names = &mut self.registry.names;
        if names.insert(name.get_ref().clone(), index).is_some() {
            values::twice(self.problems, &name, "subchannel");
        }
        let device = device.map(|text| {
            let device = self.device(&text);
            self.free(&text, device);
            self.registry.devices.insert(device, index);
            device
        });
        let device = device.unwrap_or(NO_DEVICE);
        self.registry.numbers.push(device);
        let named = mdev.as_ref().unwrap_or(&name);
        let place = self.problems.place(&named.span());
        self.places.subchannels.push(place);
        let source = match (qemu, mdev, plugged) {
            (Some(text), None, false) => {
                self.device_text(&text);
                Ok(SubchannelSource::Qemu(text.into_inner()))
            }
            (None, Some(mdev), false) => Ok(SubchannelSource::Mdev(values::whole(
                mdev.into_inner().into(),
            ))),
            (None, None, true) => Ok(SubchannelSource::Plugged),
            (None, None, false) if doubtful => Ok(SubchannelSource::Plugged),
            (None, None, false) => Err("neither qemu nor mdev"),
            (Some(_), Some(_), _) => Err("both qemu and mdev"),
            (Some(_), None, true) => Err("both qemu and plugged"),
            (None, Some(_), true) => Err("both mdev and plugged"),
        };
        let source = source.unwrap_or_else(|what| {
            let message = format!("subchannel \"{}\" has {what}", name.get_ref());
            let help = format!("give it one: qemu = \"x-terminal3270,chardev=…\", or mdev = {AN_MDEV}, or plugged = true for what comes later");
            self.problems.add(name.span(), message, help);
            SubchannelSource::Plugged
        });
        self.subchannels.push(Subchannel {
            name: name.into_inner(),
            device,
            source,
        });
    }

    fn device(&self, text: &Spanned<String>) -> DeviceNumber {
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
    fn free(&self, text: &Spanned<String>, device: DeviceNumber) {
        let mut disks = 0..self.disks.len();
        let taken = if (device.set, device.number) == (0, LINK_DEVICE) {
            "the link between daemon and appliance"
        } else if disks.any(|disk| disk_device(disk) == device) {
            "a disk: they are 0.0.0100, 0.0.0101 and so on"
        } else if self.registry.devices.contains_key(&device) {
            "another subchannel"
        } else {
            return;
        };
        let message = format!("{device} is taken by {taken}");
        let help = "give each device of the appliance a number of its own";
        self.problems.add(text.span(), message, help);
    }

    fn device_text(&self, text: &Spanned<String>) {
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

    pub(super) fn not_reserved(&self, client: &Spanned<String>) {
        if client.get_ref() == HOST {
            self.problems.add(
                client.span(),
                format!("\"{HOST}\" is the daemon's own name among the clients"),
                "give the client another name",
            );
        }
    }

    /// Adds to what a client is given.
    pub(super) fn given(&mut self, mut table: Table<'p, 't>, client: &str, given: &mut Vec<Given>) {
        let wanted = table.needed_or_none("subchannel", "\"terminal\"");
        let device = table.text("device", "\"0.0.1000\"");

        // Without one, it has been reported.
        let Some(wanted) = wanted else { return };
        let Some(subchannel) = self.registry.find(wanted.get_ref()) else {
            return self.unknown_subchannel(&wanted);
        };
        if given.len() == MAX_CLIENT_SUBCHANNELS {
            let message = format!("client \"{client}\" has too many subchannels");
            let help = format!("a client can have at most {MAX_CLIENT_SUBCHANNELS}");
            self.problems.add(wanted.span(), message, help);
        }
        self.given_once(&wanted, subchannel, client);
        let span = device.as_ref().unwrap_or(&wanted).span();
        let device = match &device {
            Some(text) => self.device(text),
            None => DeviceNumber {
                set: CLIENT_SET,
                ..self.registry.numbers[subchannel]
            },
        };
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

    fn given_once(&mut self, text: &Spanned<String>, subchannel: usize, client: &str) {
        let owners = &mut self.registry.owners;
        let Some(first) = owners.insert(subchannel, client.to_owned()) else {
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

    fn unknown_subchannel(&self, text: &Spanned<String>) {
        let registry = &self.registry;
        if registry.names.contains_key("") || registry.devices.len() < registry.numbers.len() {
            return; // It may be the one whose name or number is missing.
        }
        let help = values::known_names(text.get_ref(), registry.names.keys(), "subchannel");
        let message = format!("there is no subchannel \"{}\"", text.get_ref());
        self.problems.add(text.span(), message, help);
    }
}
