//! What `stellwerk check` says of a configuration that is fine.

use crate::config::{show_size, Config, Quota};

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
            let name = &config.disks[export.disk].name;
            format!("disk {name}{part}{mode}{}", quota(&export.quota))
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

/// What of a client's share and limits is not as it is without keys.
fn quota(quota: &Quota) -> String {
    let weight =
        (quota.weight != Quota::default().weight).then(|| format!("weight {}", quota.weight));
    let limit = |rate: Option<u64>, burst: Option<u64>, what, show: fn(u64) -> String| {
        let rate = rate?;
        let burst = burst.filter(|&burst| burst != rate).map(show);
        let burst = burst.map_or_else(String::new, |burst| format!(", {burst} at once"));
        Some(format!("at most {}{what} a second{burst}", show(rate)))
    };
    let iops = limit(quota.iops, quota.iops_burst, " requests", |it| {
        it.to_string()
    });
    let bandwidth = limit(quota.bandwidth, quota.bandwidth_burst, "", show_size);
    let said: Vec<String> = [weight, iops, bandwidth].into_iter().flatten().collect();
    match said.is_empty() {
        true => String::new(),
        false => format!(" ({})", said.join("; ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_and_limits_are_shown_where_they_are_written() {
        assert_eq!(quota(&Quota::default()), "");
        let some = Quota {
            weight: 300,
            iops: Some(500),
            iops_burst: Some(20),
            bandwidth: Some(50 << 20),
            bandwidth_burst: Some(50 << 20),
        };
        let said = " (weight 300; at most 500 requests a second, 20 at once; at most 50M a second)";
        assert_eq!(quota(&some), said);
    }
}
