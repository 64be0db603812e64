//! The status for people: aligned tables, in the manner of `lscss` and `lsdasd`.

use crate::api::{ClientStatus, Condition, HeldBack, HeldBackBy, OwnedDevice, Recoveries, Status};
use crate::config::{show_size, SECTOR};
use bytesize::ByteSize;
use dasd_tools::reserve::Holder;

/// The columns of the tables.
const DEVICES: &str = "Device,Subchan.,DevType,CU Type,State,Disk,Size,Recovery";
const CLIENTS: &str = "Client,Device,VM,Start,Size,Mode,Queues,Reads,Writes,Flushes,Discards,Read,Written,Errors,Inflight";

pub fn table(status: &Status) -> String {
    let mut text = head(status);
    text.push('\n');
    text.push_str(&aligned(DEVICES, status.devices.iter().map(device)));
    text.push('\n');
    text.push_str(&aligned(CLIENTS, status.clients.iter().flat_map(client)));
    text.push_str(&held_back(status));
    text.push_str(&failures(status));
    text.push_str(&refusals(status));
    text
}

/// Whose requests are held back, and what held them back how long.
fn held_back(status: &Status) -> String {
    let mut lines = String::new();
    for client in &status.clients {
        for part in &client.disks {
            let HeldBack {
                by,
                share_ms,
                limits_ms,
            } = part.held_back;
            let now = match by {
                None => "not now",
                Some(HeldBackBy::Share) => "by its share now",
                Some(HeldBackBy::Limits) => "by its limits now",
            };
            if by.is_none() && share_ms == 0 && limits_ms == 0 {
                continue;
            }
            let (name, disk) = (&client.name, &part.disk);
            let [share, limits] = [share_ms, limits_ms].map(|ms| ms as f64 / 1000.0);
            lines.push_str(&format!("  client {name}, disk {disk}: {now}; {share:.1} s by its share, {limits:.1} s by its limits in all\n"));
        }
    }
    match lines.is_empty() {
        true => lines,
        false => format!("\nHeld back:\n{lines}"),
    }
}

/// What is not served, and why.
fn failures(status: &Status) -> String {
    let disks = status.disks.iter();
    let disks = disks.map(|disk| (format!("disk {}", disk.name), &disk.condition));
    let clients = status.clients.iter().flat_map(|client| {
        let own = (format!("client {}", client.name), &client.condition);
        // A disk's own trouble is told once.
        let parts = client.disks.iter().filter(|part| {
            let mut disks = status.disks.iter();
            !disks.any(|disk| disk.name == part.disk && disk.condition.reason.is_some())
        });
        let parts = parts.map(|part| {
            let what = format!("client {}, disk {}", client.name, part.disk);
            (what, &part.condition)
        });
        let withheld = client.withheld.iter().map(|part| {
            let what = format!("client {}, subchannel {}", client.name, part.name);
            (what, &part.condition)
        });
        std::iter::once(own).chain(parts).chain(withheld)
    });
    let all = disks.chain(clients);
    let line = |(what, condition): (_, &Condition)| {
        let reason = condition.reason.as_ref()?;
        Some(format!("  {what}: {reason}\n"))
    };
    let lines: Vec<String> = all.filter_map(line).collect();
    match lines.is_empty() {
        true => String::new(),
        false => format!("\nNot served:\n{}", lines.concat()),
    }
}

fn head(status: &Status) -> String {
    let (this, daemon) = (&status.appliance, &status.daemon);
    let (version, accel) = (&this.version, &this.accel);
    let (life, up, pid) = (this.life, duration(this.uptime_s), this.pid);
    let appliance = match this.next_start_ms {
        Some(pause) => format!("down; it is started again in {pause} ms"),
        None => format!("stellwerk {version}, {life} for {up}, pid {pid} ({accel})"),
    };
    let (boot_ms, times, generation) = (this.boot_ms, this.restarts, this.generation);
    let start = format!("{boot_ms:.1} ms to serving, {times} times anew, generation {generation}");
    let (private, total) = (show_size(this.private_bytes), show_size(daemon.pool_bytes));
    let (image, heap) = (this.image_bytes / 1024, this.heap_bytes / 1024);
    let (turns, sleeps, wakes, healed) = (this.turns, this.sleeps, this.wakes, this.healed);
    let turned = format!("{turns} turns, {sleeps} sleeps, {wakes} wake-ups sent, {healed} healed");
    let (version, up, pid) = (&daemon.version, duration(daemon.uptime_s), daemon.pid);
    let (kicks, calls, wakes) = (daemon.kicks, daemon.calls, daemon.wakes);
    let (sleeps, healed) = (daemon.sleeps, daemon.healed);
    let carried = format!("{kicks} kicks, {calls} notifications, {wakes} wake-ups sent, {sleeps} sleeps, {healed} healed");
    let lines = [
        ("Appliance", appliance),
        ("Start", start),
        (
            "Memory",
            format!("{private} private, image {image} KiB, heap {heap} KiB"),
        ),
        ("Loop", turned),
        (
            "Daemon",
            format!("{version} for {up}, pid {pid}, {carried}"),
        ),
        ("Pool", format!("{}, {total}", daemon.pool.display())),
    ];
    lines
        .map(|(key, value)| format!("{:<11}{value}\n", format!("{key}:")))
        .concat()
}

fn device(device: &OwnedDevice) -> Vec<String> {
    vec![
        device.device.to_string(),
        device.subchannel.to_string(),
        format!("{}/{}", device.dev_type, device.dev_model),
        format!("{}/{}", device.cu_type, device.cu_model),
        match device.reserved {
            None => device.state.to_string(),
            Some(Holder::Us) => format!("{}, reserved", device.state),
            Some(Holder::Other) => format!("{}, reserved elsewhere", device.state),
        },
        device.disk.clone().unwrap_or_else(|| "-".into()),
        size(device.sectors),
        recovery(&device.recoveries),
    ]
}

/// What is not zero of it.
fn recovery(done: &Recoveries) -> String {
    let counts = [
        ("retries", done.retries),
        ("other paths", done.other_paths),
        ("waits", done.waits),
        ("time-outs", done.timeouts),
        ("failed", done.failures),
    ];
    let words: Vec<String> = counts
        .iter()
        .filter(|(_, count)| *count > 0)
        .map(|(what, count)| format!("{count} {what}"))
        .collect();
    match words.is_empty() {
        true => "-".into(),
        false => words.join(", "),
    }
}

/// Why VMs that have connected are not served.
fn refusals(status: &Status) -> String {
    let mut text = String::new();
    for client in &status.clients {
        let disks = client.disks.iter();
        let of_disks = disks.filter_map(|disk| Some((disk.disk.as_str(), disk.refused.as_ref()?)));
        let of_link = client.refused.iter().map(|why| ("its link", why));
        for (what, why) in of_disks.chain(of_link) {
            text.push_str(&format!("\n{}, {what}: refused: {why}\n", client.name));
        }
    }
    text
}

fn client(client: &ClientStatus) -> Vec<Vec<String>> {
    let vm = |connected, refused: &Option<String>| match (connected, refused) {
        (_, Some(_)) => "refused".to_owned(),
        (true, None) => "connected".to_owned(),
        (false, None) => "-".to_owned(),
    };
    let disks = client.disks.iter().map(|disk| {
        let counters = &disk.counters;
        vec![
            client.name.clone(),
            disk.disk.clone(),
            vm(disk.connected, &disk.refused),
            match disk.part.partition {
                Some(partition) => format!("partition {partition}"),
                None => disk.part.start.to_string(),
            },
            size(disk.part.sectors),
            if disk.part.read_only { "ro" } else { "rw" }.into(),
            disk.part.queues.to_string(),
            counters.reads.to_string(),
            counters.writes.to_string(),
            counters.flushes.to_string(),
            counters.discards.to_string(),
            ByteSize(counters.bytes_read).to_string(),
            ByteSize(counters.bytes_written).to_string(),
            counters.errors.to_string(),
            counters.in_flight.to_string(),
        ]
    });
    let subchannels = (!client.subchannels.is_empty()).then(|| {
        let mut row = vec!["-".to_owned(); 15];
        row[0] = client.name.clone();
        let devices = client.subchannels.iter().map(ToString::to_string);
        row[1] = devices.collect::<Vec<_>>().join(" ");
        row[2] = vm(client.connected, &client.refused);
        row
    });
    disks.chain(subchannels).collect()
}

/// A table with these columns, whose names stand between commas.
pub(super) fn aligned(head: &str, rows: impl Iterator<Item = Vec<String>>) -> String {
    let head: Vec<String> = head.split(',').map(str::to_owned).collect();
    let columns = head.len();
    let rows: Vec<Vec<String>> = std::iter::once(head).chain(rows).collect();
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut lines = rows.iter().map(|row| {
        let cells = row.iter().zip(&widths);
        let cells: Vec<String> = cells
            .map(|(cell, &width)| format!("{cell:<width$}"))
            .collect();
        format!("{}\n", cells.join("  ").trim_end())
    });
    let head = lines.next().unwrap_or_default();
    let rule = "-".repeat(widths.iter().sum::<usize>() + 2 * (columns - 1));
    format!("{head}{rule}\n{}", lines.collect::<String>())
}

/// Of so many sectors, if that is known.
fn size(sectors: u64) -> String {
    match sectors {
        0 => "-".into(),
        sectors => show_size(sectors.saturating_mul(SECTOR)),
    }
}

fn duration(seconds: u64) -> String {
    let (days, hours) = (seconds / 86_400, seconds / 3600 % 24);
    let (minutes, seconds) = (seconds / 60 % 60, seconds % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, _) => format!("{minutes} min {seconds} s"),
        (0, _, _) => format!("{hours} h {minutes} min"),
        _ => format!("{days} d {hours} h"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::text::Hex;
    use crate::api::{Counters, ExportStatus};
    use crate::config::Export;
    use crate::testing::{number, owned_device};
    use vcss::control::DeviceLife;

    #[test]
    fn columns_are_aligned() {
        let status = Status {
            devices: vec![OwnedDevice {
                subchannel: number("0.0.0003"),
                cu_model: Hex(2),
                state: DeviceLife::Online,
                disk: Some("data".into()),
                sectors: 2048,
                ..owned_device("0.0.0100", 0x3832)
            }],
            clients: vec![ClientStatus {
                name: "a-client-with-a-long-name".into(),
                disks: vec![ExportStatus {
                    disk: "data".into(),
                    part: Export {
                        sectors: 2048,
                        ..Export::default()
                    },
                    counters: Counters {
                        bytes_read: 1536,
                        ..Counters::default()
                    },
                    ..ExportStatus::default()
                }],
                ..ClientStatus::default()
            }],
            ..Status::default()
        };
        let text = table(&status);
        let lines: Vec<&str> = text.lines().collect();
        assert!(
            text.contains("0.0.0100  0.0.0003  0000/00  3832/02  online  data  1M    -"),
            "{text}"
        );
        assert!(text.contains("1.5 KiB"), "{text}");
        let head = lines
            .iter()
            .find(|line| line.starts_with("Client"))
            .unwrap();
        let row = lines
            .iter()
            .find(|line| line.starts_with("a-client"))
            .unwrap();
        assert_eq!(head.find("Device"), row.find("data"));
    }

    #[test]
    fn what_was_done_to_get_requests_through_is_counted_in_words() {
        assert_eq!(recovery(&Recoveries::default()), "-");
        let done = Recoveries {
            retries: 3,
            waits: 1,
            failures: 2,
            ..Recoveries::default()
        };
        assert_eq!(recovery(&done), "3 retries, 1 waits, 2 failed");
    }

    #[test]
    fn what_is_held_back_is_shown_with_what_does_and_how_long() {
        let of = |held_back| {
            let disk = ExportStatus {
                disk: "data".into(),
                held_back,
                ..ExportStatus::default()
            };
            let status = Status {
                clients: vec![ClientStatus {
                    name: "linux1".into(),
                    disks: vec![disk],
                    ..ClientStatus::default()
                }],
                ..Status::default()
            };
            super::held_back(&status)
        };
        assert_eq!(of(HeldBack::default()), "");
        let mut held = HeldBack {
            by: Some(HeldBackBy::Limits),
            share_ms: 0,
            limits_ms: 1500,
        };
        let line = "client linux1, disk data: by its limits now; 0.0 s by its share, 1.5 s by its limits in all";
        assert_eq!(of(held), format!("\nHeld back:\n  {line}\n"));
        held.by = None;
        assert!(of(held).contains("data: not now; 0.0 s by"));
    }

    #[test]
    fn a_vm_that_is_refused_is_shown_so_with_the_reason() {
        let disk = ExportStatus {
            disk: "data".into(),
            refused: Some("its memory can shrink".into()),
            ..ExportStatus::default()
        };
        let status = Status {
            clients: vec![ClientStatus {
                name: "linux1".into(),
                disks: vec![disk],
                ..ClientStatus::default()
            }],
            ..Status::default()
        };
        let text = table(&status);
        assert!(text.contains("linux1  data    refused  0"), "{text}");
        let reason = "\nlinux1, data: refused: its memory can shrink\n";
        assert!(text.ends_with(reason), "{text}");
    }

    #[test]
    fn times_are_short() {
        assert_eq!(duration(59), "59 s");
        assert_eq!(duration(61), "1 min 1 s");
        assert_eq!(duration(7300), "2 h 1 min");
        assert_eq!(duration(90_000), "1 d 1 h");
    }
}
