//! What is different between two configurations, in words, and whom it disturbs.

use std::fmt;

use channel::DeviceNumber;

use crate::config::{show_size, Client, Config, Export, Part, Subchannel, SubchannelSource};

/// The difference between the configuration by which clients are served and the one that follows it; both have their places.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// Line by line.
    pub lines: Vec<String>,
    /// What clients have now that goes, or is another one then. Of a channel-level client it is its first subchannel.
    pub disturbed: Vec<Part>,
    /// What has to wait for something.
    pub later: Vec<String>,
    /// Mediated devices that are no subchannels any more, by their indices.
    pub unplugged: Vec<usize>,
}

impl Changes {
    pub fn between(old: &Config, new: &Config) -> Self {
        let mut this = Self::default();
        for (number, (before, after)) in old.disks.iter().zip(&new.disks).enumerate() {
            if before.name == after.name {
                continue;
            }
            if !before.is_vacant() {
                let is_back = new.disk_number(&before.name).is_some();
                let what = if is_back { "is opened anew" } else { "goes" };
                this.say(format_args!("disk \"{}\" {what}", before.name));
            }
            if !after.is_vacant() && old.disk_number(&after.name).is_none() {
                this.say(format_args!("disk \"{}\" comes", new.disks[number].name));
            }
        }
        this.subchannels(old, new);
        for (client, (before, after)) in old.clients.iter().zip(&new.clients).enumerate() {
            if before.name == after.name {
                this.client(client, (old, before), (new, after));
                continue;
            }
            if !before.is_vacant() {
                this.say(format_args!("client \"{}\" goes", before.name));
                this.disturb_all(client, before);
            }
            if !after.is_vacant() {
                this.say(format_args!("client \"{}\" comes", after.name));
            }
        }
        this.appliance(old, new);
        this
    }

    pub fn is_empty(&self) -> bool {
        self.lines.is_empty() && self.later.is_empty()
    }

    fn say(&mut self, line: fmt::Arguments<'_>) {
        self.lines.push(line.to_string());
    }

    fn disturb_all(&mut self, client: usize, before: &Client) {
        let numbers = 0..before.exports.len().max(before.is_channel_level().into());
        let parts = numbers.map(|number| Part { client, number });
        self.disturbed.extend(parts);
    }

    fn subchannels(&mut self, old: &Config, new: &Config) {
        let is_in = |one: &Subchannel, all: &[Subchannel]| {
            let mut all = all.iter();
            all.any(|it| it.source == one.source && it.device == one.device)
        };
        let is_named =
            |one: &Subchannel, all: &[Subchannel]| all.iter().any(|it| it.name == one.name);
        for (index, before) in old.subchannels.iter().enumerate() {
            if is_in(before, &new.subchannels) {
                continue;
            }
            let name = &before.name;
            if matches!(before.source, SubchannelSource::Qemu(_)) {
                self.wait_for_start(format!("subchannel \"{name}\""));
                continue;
            }
            let is_back = is_named(before, &new.subchannels);
            let what = if is_back { "is another one" } else { "goes" };
            self.say(format_args!("subchannel \"{name}\" {what}"));
            if matches!(before.source, SubchannelSource::Mdev(_)) {
                self.unplugged.push(index);
            }
        }
        for after in &new.subchannels {
            if is_in(after, &old.subchannels) || is_named(after, &old.subchannels) {
                continue;
            }
            let name = &after.name;
            match after.source {
                SubchannelSource::Qemu(_) => self.wait_for_start(format!("subchannel \"{name}\"")),
                SubchannelSource::Mdev(_) | SubchannelSource::Plugged => {
                    self.say(format_args!("subchannel \"{name}\" comes"));
                }
            }
        }
    }

    /// Whether a channel-level client is to have other memory, and another window: what is in the one that it has may go on until the
    /// appliance has let go of it.
    pub fn moves(&self, config: &Config, client: usize) -> bool {
        let first = Part { client, number: 0 };
        let is_channel_level = config
            .clients
            .get(client)
            .is_some_and(Client::is_channel_level);
        is_channel_level && self.disturbed.contains(&first)
    }

    fn client(&mut self, client: usize, old: (&Config, &Client), new: (&Config, &Client)) {
        let ((old, before), (new, after)) = (old, new);
        let name = &before.name;
        if before.group != after.group {
            self.say(format_args!("client \"{name}\" has another group"));
        }
        if before.path_reports != after.path_reports {
            let hears = match after.path_reports {
                true => "gets reports of its channel paths",
                false => "gets no reports of its channel paths any more",
            };
            self.say(format_args!("client \"{name}\" {hears}"));
        }
        if before.memory != after.memory {
            let (was, is) = (show_size(before.memory), show_size(after.memory));
            self.say(format_args!(
                "client \"{name}\" may have {is} of memory, not {was}"
            ));
            self.disturb_all(client, before);
        }
        if given(old, before) != given(new, after) {
            self.say(format_args!("client \"{name}\" has other subchannels"));
            self.disturb_all(client, before);
        }
        let most = before.exports.len().max(after.exports.len());
        for number in 0..most {
            let what = format!("client \"{name}\", disk {number}");
            let disk = |config: &Config, export: &Export| config.disks[export.disk].name.clone();
            match (before.exports.get(number), after.exports.get(number)) {
                (Some(before), Some(after)) => match Difference::between(before, after) {
                    Difference::None => continue,
                    Difference::Quota => self.say(format_args!("{what} has another share")),
                    Difference::Longer => self.say(format_args!("{what} is longer")),
                    Difference::Another => {
                        let name = disk(new, after);
                        self.say(format_args!(
                            "{what} is another part of a disk (\"{name}\")"
                        ));
                        self.disturbed.push(Part { client, number });
                    }
                },
                (Some(before), None) => {
                    self.say(format_args!("{what} goes (\"{}\")", disk(old, before)));
                    self.disturbed.push(Part { client, number });
                }
                (None, Some(after)) => {
                    self.say(format_args!("{what} comes (\"{}\")", disk(new, after)));
                }
                (None, None) => {}
            }
        }
        self.disturbed.dedup();
    }

    fn appliance(&mut self, old: &Config, new: &Config) {
        let (before, after) = (&old.appliance, &new.appliance);
        if (before.poll, before.hang_limit) != (after.poll, after.hang_limit) {
            self.say(format_args!("daemon_poll_us or hang_limit is another one"));
        }
        let keys = [
            ("qemu", before.qemu != after.qemu),
            ("accel", before.accel != after.accel),
            ("append", before.append != after.append),
            ("qemu_args", before.qemu_args != after.qemu_args),
            ("sandbox", before.sandbox != after.sandbox),
        ];
        for (key, _) in keys.into_iter().filter(|(_, is_another)| *is_another) {
            self.wait_for_start(format!("{key} of [appliance]"));
        }
        // Until then a death is followed by the one that has served.
        if before.image != after.image {
            self.later
                .push("image of [appliance]: by `stellwerk upgrade`".into());
        }
        let keys = [
            ("memory", before.private != after.private),
            ("room", before.room != after.room),
        ];
        for (key, _) in keys.into_iter().filter(|(_, is_another)| *is_another) {
            let line =
                format!("{key} of [appliance]: when the daemon has been stopped and started");
            self.later.push(line);
        }
    }

    fn wait_for_start(&mut self, what: String) {
        self.later.push(format!(
            "{what}: with the next start of the appliance, as by `stellwerk upgrade`"
        ));
    }
}

/// The subchannels that a client is given: which devices, by which numbers, and by what number it sees them. Their names are nobody's
/// concern.
fn given<'a>(
    config: &'a Config,
    client: &Client,
) -> Vec<(&'a SubchannelSource, DeviceNumber, u16)> {
    let given = client.subchannels.iter();
    given
        .map(|it| {
            let Subchannel { source, device, .. } = &config.subchannels[it.subchannel];
            (source, *device, it.device)
        })
        .collect()
}

/// What is different about a part of a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Difference {
    None,
    Quota,
    Longer,
    Another,
}

impl Difference {
    fn between(before: &Export, after: &Export) -> Self {
        let place = |it: &Export| (it.disk, it.partition, it.start, it.queues, it.read_only);
        let is_longer = after.range().end > before.range().end;
        if place(before) != place(after) {
            Self::Another
        } else if before.sectors != after.sectors {
            if is_longer {
                Self::Longer
            } else {
                Self::Another
            }
        } else if before.quota != after.quota {
            Self::Quota
        } else {
            Self::None
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::Seats;

    const HEAD: &str = "[appliance]\nimage = \"i\"\nrun_dir = \"/run/x\"\n\
        [[disk]]\nname = \"a\"\nimage = \"a.img\"\n[[disk]]\nname = \"b\"\nimage = \"b.img\"\n";

    fn client(name: &str, keys: &str) -> String {
        format!("[[client]]\nname = \"{name}\"\nmemory = \"64M\"\n{keys}")
    }

    fn changes(old: &str, new: &str) -> Changes {
        let parse = |text: &str| Config::parse(Path::new("c.toml"), text).unwrap();
        let (old, new) = (parse(old), parse(new));
        let seats = Seats::new(&old);
        let old = old.seated(&seats);
        let next = seats.follow(&old, &new).unwrap();
        Changes::between(&old, &new.seated(&next))
    }

    const A: &str = "[[client.disk]]\ndisk = \"a\"\n";
    const B: &str = "[[client.disk]]\ndisk = \"b\"\n";

    #[test]
    fn the_same_in_another_order_is_no_change() {
        let (one, two) = (client("one", A), client("two", B));
        let old = format!("{HEAD}{one}{two}");
        let new = format!("{HEAD}{two}{one}");
        assert_eq!(changes(&old, &new), Changes::default());
    }

    #[test]
    fn who_comes_disturbs_nobody_and_who_goes_only_itself() {
        let old = format!("{HEAD}{}", client("one", A));
        let new = format!("{HEAD}{}{}", client("one", A), client("two", B));
        let found = changes(&old, &new);
        // Whom nobody was given was read only.
        let lines = ["disk \"b\" is opened anew", "client \"two\" comes"];
        assert_eq!(found.lines, lines);
        assert_eq!(found.disturbed, []);
        let found = changes(&new, &old);
        assert_eq!(found.lines[1..], ["client \"two\" goes"]);
        let part = |client, number| Part { client, number };
        assert_eq!(found.disturbed, [part(1, 0)]);
        let more = format!("{HEAD}{}", client("one", &format!("{A}{B}")));
        let found = changes(&old, &more);
        assert_eq!(found.lines[1..], ["client \"one\", disk 1 comes (\"b\")"]);
        assert_eq!(found.disturbed, []);
        let found = changes(&more, &old);
        assert_eq!(found.lines[1..], ["client \"one\", disk 1 goes (\"b\")"]);
        assert_eq!(found.disturbed, [part(0, 1)]);
    }

    #[test]
    fn a_longer_slice_and_another_share_disturb_nobody_and_a_shorter_slice_does() {
        let slice = |keys: &str| format!("{HEAD}{}", client("one", &format!("{A}{keys}")));
        let (short, long) = (slice("size = \"1M\"\n"), slice("size = \"2M\"\n"));
        let whole = slice("");
        for (old, new) in [(&short, &long), (&long, &whole)] {
            let found = changes(old, new);
            assert_eq!(found.lines, ["client \"one\", disk 0 is longer"]);
            assert_eq!(found.disturbed, []);
            assert_eq!(changes(new, old).disturbed.len(), 1);
        }
        let found = changes(&whole, &slice("iops = 100\n"));
        assert_eq!(found.lines, ["client \"one\", disk 0 has another share"]);
        assert_eq!(found.disturbed, []);
        // A disk that is written from now on has to be opened anew.
        let found = changes(&slice("readonly = true\n"), &whole);
        assert_eq!(found.lines.len(), 2, "{found:?}");
        assert_eq!(found.disturbed.len(), 1);
    }

    fn subchannel(name: &str, device: &str, mdev: &str) -> String {
        format!("[[subchannel]]\nname = \"{name}\"\ndevice = \"{device}\"\nmdev = \"{mdev}\"\n")
    }

    #[test]
    fn what_a_client_hears_of_its_paths_disturbs_nobody() {
        let with = |keys: &str| {
            let given = "[[client.subchannel]]\nsubchannel = \"tape\"\n";
            let bare = client("bare", &format!("{keys}{given}"));
            format!("{HEAD}{}{bare}", subchannel("tape", "0.0.0181", "/sys/a"))
        };
        let (silent, told) = (with(""), with("path_reports = true\n"));
        let found = changes(&silent, &told);
        let line = "client \"bare\" gets reports of its channel paths";
        assert_eq!(
            (&*found.lines, found.disturbed.len()),
            (&[line.to_owned()][..], 0)
        );
        let found = changes(&told, &silent);
        let line = "client \"bare\" gets no reports of its channel paths any more";
        assert_eq!(
            (&*found.lines, found.disturbed.len()),
            (&[line.to_owned()][..], 0)
        );
    }

    #[test]
    fn a_subchannel_is_what_is_behind_it_and_not_its_name() {
        let with = |name: &str, device: &str, mdev: &str| {
            let given =
                format!("[[client.subchannel]]\nsubchannel = \"{name}\"\ndevice = \"0.0.0181\"\n");
            let bare = client("bare", &given);
            format!("{HEAD}{}{bare}", subchannel(name, device, mdev))
        };
        let old = with("tape", "0.0.0181", "/sys/a");
        assert_eq!(
            changes(&old, &with("t", "0.0.0181", "/sys/a")),
            Changes::default()
        );
        for new in [
            with("tape", "0.0.0181", "/sys/b"),
            with("tape", "0.0.0182", "/sys/a"),
        ] {
            let found = changes(&old, &new);
            assert_eq!(found.unplugged, [0]);
            assert_eq!(found.lines[0], "subchannel \"tape\" is another one");
            assert_eq!(found.disturbed.len(), 1, "{found:?}");
        }
    }

    #[test]
    fn what_has_to_wait_is_said() {
        let old = format!("{HEAD}{}", client("one", A));
        let new = old.replace("image = \"i\"", "image = \"j\"\nappend = \"log=debug\"");
        let found = changes(&old, &new);
        assert_eq!(found.lines, [""; 0]);
        assert_eq!(
            found.later,
            [
                "append of [appliance]: with the next start of the appliance, as by `stellwerk upgrade`",
                "image of [appliance]: by `stellwerk upgrade`"
            ]
        );
    }
}
