//! What `stellwerk check` says of a configuration that is fine.

use crate::config::{show_size, Config};

/// What a configuration serves, for somebody who wants to know whether it is what was meant.
pub fn summary(config: &Config) -> String {
    let this = &config.appliance;
    let mut lines = vec![
        format!("{}: ok", config.places.file.display()),
        format!(
            "appliance: {}, {} of memory, {}",
            this.image.display(),
            show_size(this.private),
            this.accel
        ),
        format!("run directory: {}", this.run_dir.display()),
    ];
    for client in &config.clients {
        let disks = client.exports.iter().map(|export| {
            let part = match (export.partition, export.start, export.sectors) {
                (Some(partition), ..) => format!(" partition {partition}"),
                (None, 0, None) => String::new(),
                (None, start, None) => format!(" from sector {start}"),
                (None, start, Some(sectors)) => {
                    format!(" sectors {start} to {}", start.saturating_add(sectors) - 1)
                }
            };
            let mode = if export.read_only { " (read-only)" } else { "" };
            format!("disk {}{part}{mode}", config.disks[export.disk].name)
        });
        let subchannels = client
            .subchannels
            .iter()
            .map(|given| format!("subchannel {}", config.subchannels[given.subchannel].name));
        let given: Vec<String> = disks.chain(subchannels).collect();
        lines.push(format!(
            "client {}, {}: {}",
            client.name,
            show_size(client.memory),
            given.join(", ")
        ));
    }
    lines.join("\n") + "\n"
}
