//! What `stellwerk check` says of a configuration that is fine.

use crate::config::{show_size, Config};

/// What a configuration serves, for somebody who wants to know whether it is what was meant.
pub fn summary(config: &Config) -> String {
    let this = &config.appliance;
    let (image, memory) = (this.image.display(), show_size(this.private));
    let mut lines = vec![
        format!("{}: ok", config.places.file.display()),
        format!("appliance: {image}, {memory} of memory, {}", this.accel),
        format!("run directory: {}", this.run_dir.display()),
    ];
    for client in &config.clients {
        let disks = client.exports.iter().map(|export| {
            let part = match (export.partition, export.start, export.sectors) {
                (Some(partition), ..) => format!(" partition {partition}"),
                (None, 0, 0) => String::new(),
                (None, start, 0) => format!(" from sector {start}"),
                (None, start, _) => format!(" sectors {start} to {}", export.range().end - 1),
            };
            let mode = if export.read_only { " (read-only)" } else { "" };
            format!("disk {}{part}{mode}", config.disks[export.disk].name)
        });
        let subchannels = client
            .subchannels
            .iter()
            .map(|given| format!("subchannel {}", config.subchannels[given.subchannel].name));
        let given = disks.chain(subchannels).collect::<Vec<_>>().join(", ");
        let (name, memory) = (&client.name, show_size(client.memory));
        lines.push(format!("client {name}, {memory}: {given}"));
    }
    lines.join("\n") + "\n"
}
