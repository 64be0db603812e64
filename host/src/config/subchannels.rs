//! `[[subchannel]]` and `[[client.subchannel]]`, checked.

use channel::DeviceNumber;
use toml::Spanned;
use vcss::control::HOST;

use super::draft::Draft;
use super::table::Table;
use super::values::{self, AN_MDEV};
use super::{Client, Given, Subchannel, SubchannelSource};
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

        let others = self.subchannels.iter().map(|it| &it.name);
        let most = (MAX_SUBCHANNELS, "can be given to one appliance");
        values::name(self.problems, &name, "subchannel", others, most);
        let device = device.map_or(NO_DEVICE, |text| {
            let device = self.device(&text);
            self.free(&text, device);
            device
        });
        let named = mdev.as_ref().unwrap_or(&name);
        let place = self.problems.place(&named.span());
        let wrong = |has: &str| {
            let message = format!("subchannel \"{}\" has {has}", name.get_ref());
            let help = format!("give it one: qemu = \"x-terminal3270,chardev=…\", or mdev = {AN_MDEV}, or plugged = true for what comes later");
            self.problems.add(name.span(), message, help);
            SubchannelSource::Plugged
        };
        let source = match (qemu, mdev, plugged) {
            (Some(text), None, false) => {
                self.device_text(&text);
                SubchannelSource::Qemu(text.into_inner())
            }
            (None, Some(mdev), false) => SubchannelSource::Mdev(values::path(mdev)),
            (None, None, true) => SubchannelSource::Plugged,
            (None, None, false) if doubtful => SubchannelSource::Plugged,
            (None, None, false) => wrong("neither qemu nor mdev"),
            (Some(_), Some(_), _) => wrong("both qemu and mdev"),
            (Some(_), None, true) => wrong("both qemu and plugged"),
            (None, Some(_), true) => wrong("both mdev and plugged"),
        };
        self.subchannels.push(Subchannel {
            name: name.into_inner(),
            device,
            source,
            place,
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

    fn free(&self, text: &Spanned<String>, device: DeviceNumber) {
        let mut disks = 0..self.disks.len();
        let taken = if (device.set, device.number) == (0, LINK_DEVICE) {
            "the link between daemon and appliance"
        } else if disks.any(|disk| disk_device(disk) == device) {
            "a disk: they are 0.0.0100, 0.0.0101 and so on"
        } else if self.subchannels.iter().any(|it| it.device == device) {
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
    pub(super) fn given(&self, mut table: Table<'p, 't>, client: &str, given: &mut Vec<Given>) {
        let wanted = table.needed_or_none("subchannel", "\"terminal\"");
        let device = table.text("device", "\"0.0.1000\"");

        // Without one, it has been reported.
        let Some(wanted) = wanted else { return };
        let Some(subchannel) = self.find_subchannel(wanted.get_ref()) else {
            return self.unknown_subchannel(&wanted);
        };
        if given.len() == MAX_CLIENT_SUBCHANNELS {
            let message = format!("client \"{client}\" has too many subchannels");
            let help = format!("a client can have at most {MAX_CLIENT_SUBCHANNELS}");
            self.problems.add(wanted.span(), message, help);
        }
        self.given_once(&wanted, subchannel, client, given);
        let span = device.as_ref().unwrap_or(&wanted).span();
        let device = match &device {
            Some(text) => self.device(text),
            None => DeviceNumber {
                set: CLIENT_SET,
                ..self.subchannels[subchannel].device
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

    /// The subchannel that a name or a device number means.
    fn find_subchannel(&self, text: &str) -> Option<usize> {
        let by_name = self.subchannels.iter().position(|it| it.name == text);
        by_name.or_else(|| {
            let device = parse_device(text)?;
            self.subchannels.iter().position(|it| it.device == device)
        })
    }

    fn given_once(&self, text: &Spanned<String>, index: usize, client: &str, given: &[Given]) {
        let has = |given: &[Given]| given.iter().any(|given| given.subchannel == index);
        let subchannel = text.get_ref();
        let message = match self.clients.iter().find(|it| has(&it.subchannels)) {
            _ if has(given) => {
                format!("client \"{client}\" is given subchannel \"{subchannel}\" twice")
            }
            Some(Client { name, .. }) => format!(
                "clients \"{name}\" and \"{client}\" are both given subchannel \"{subchannel}\""
            ),
            None => return,
        };
        let help = "a subchannel has one owner: give each client one of its own";
        self.problems.add(text.span(), message, help);
    }

    fn unknown_subchannel(&self, text: &Spanned<String>) {
        let all = &self.subchannels;
        if all
            .iter()
            .any(|it| it.name.is_empty() || it.device == NO_DEVICE)
        {
            return; // It may be the one whose name or number is missing.
        }
        let names = all.iter().map(|it| it.name.as_str());
        let help = values::known_names(text.get_ref(), names, "subchannel");
        let message = format!("there is no subchannel \"{}\"", text.get_ref());
        self.problems.add(text.span(), message, help);
    }
}
