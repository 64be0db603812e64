//! Channel paths for people: all of them, in the columns of s390-tools' `lschp`, and those of a device, in the layout of CP QUERY PATHS.

use std::collections::BTreeMap;

use anyhow::{anyhow, Result};
use serde::Serialize;
use vcss::control::DeviceLife;
use vcss::trace::DriverState;

use super::status::aligned;
use crate::api::text::Hex;
use crate::api::OwnedDevice;
use crate::layout::parse_device;

/// Whether somebody uses a device.
pub fn is_used(device: &OwnedDevice) -> bool {
    let standby = matches!(device.driver, None | Some(DriverState::Standby));
    device.state == DeviceLife::Online || (device.client.is_some() && !standby)
}

/// The mask of the paths over which a device is used.
pub fn in_use(device: &OwnedDevice) -> Hex<u8> {
    Hex(match is_used(device) {
        true => device.lpm.0 & device.pam.0,
        false => 0,
    })
}

/// The installed paths of a device: the bit of each in the masks, and its identifier.
fn installed(device: &OwnedDevice) -> impl Iterator<Item = (u8, u8)> + '_ {
    let all = (0..8).map(|number| 0x80_u8 >> number);
    let all = all.zip(device.chpids);
    all.filter(|(mask, _)| device.pim.0 & mask != 0)
}

/// A channel path.
#[derive(Debug, Serialize)]
pub struct ChannelPath {
    chpid: String,
    /// Devices that have it, to which it is available, and that are used over it.
    devices: usize,
    available: usize,
    in_use: usize,
}

/// All channel paths of these devices.
pub fn channel_paths(devices: &[OwnedDevice]) -> Vec<ChannelPath> {
    let mut all: BTreeMap<u8, ChannelPath> = BTreeMap::new();
    for device in devices {
        for (mask, chpid) in installed(device) {
            let path = all.entry(chpid).or_insert_with(|| ChannelPath {
                chpid: format!("0.{chpid:02x}"),
                devices: 0,
                available: 0,
                in_use: 0,
            });
            path.devices += 1;
            path.available += usize::from(device.pam.0 & mask != 0);
            path.in_use += usize::from(in_use(device).0 & mask != 0);
        }
    }
    all.into_values().collect()
}

/// What only the channel subsystem's own description says is not known here, and is shown as `lschp` shows that. Behind its columns:
/// how many devices have the path, to how many of them it is available, and how many are used over it.
pub fn lschp(paths: &[ChannelPath]) -> String {
    let rows = paths.iter().map(|path| {
        let known = [&*path.chpid, "1", "-", "-", "-", "-", "-"].map(str::to_owned);
        let counts = [path.devices, path.available, path.in_use];
        let counts = counts.map(|count| count.to_string());
        known.into_iter().chain(counts).collect()
    });
    aligned(
        "CHPID,Vary,Cfg.,Type,Cmg,Shared,PCHID,Devices,Avail.,Use",
        rows,
    )
}

/// The device with this number.
pub fn find<'a>(devices: &'a [OwnedDevice], number: &str) -> Result<&'a OwnedDevice> {
    let wanted = parse_device(number)
        .ok_or_else(|| anyhow!("{number} is no device number, as 0.0.3270 is"))?;
    let mut devices = devices.iter();
    devices
        .find(|device| device.device.0 == wanted)
        .ok_or_else(|| anyhow!("the appliance has no device {number}"))
}

pub fn lspaths(device: &OwnedDevice) -> String {
    let number = device.device.to_string();
    let status = if is_used(device) { "ONLINE" } else { "OFFLINE" };
    let has = |paths: u8| {
        let signs = installed(device).map(|(mask, _)| if paths & mask != 0 { "+" } else { "-" });
        signs.collect::<Vec<_>>().join("  ")
    };
    let ids: Vec<String> = installed(device)
        .map(|(_, chpid)| format!("{chpid:02X}"))
        .collect();
    let lines = [
        format!("Device {number}, Status {status}"),
        format!(" CHPIDs to Device {number} (PIM)  : {}", ids.join(" ")),
        format!("  Physically Available     (PAM)  : {}", has(device.pam.0)),
        format!("  Online                   (LPM)  : {}", has(device.lpm.0)),
        String::new(),
        "                 Legend     + Yes - No".into(),
    ];
    lines.map(|line| line + "\n").concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{number, owned_device};

    fn on_paths(device: &str, pim: u8, pam: u8, lpm: u8) -> OwnedDevice {
        OwnedDevice {
            pim: Hex(pim),
            pam: Hex(pam),
            lpm: Hex(lpm),
            chpids: [0x19, 0x1B, 0x2E, 0x2F, 0, 0, 0, 0],
            state: DeviceLife::Online,
            ..owned_device(device, 0x3990)
        }
    }

    #[test]
    fn the_paths_of_a_device_are_shown_as_cp_does() {
        let device = on_paths("0.0.0291", 0xF0, 0xD0, 0xB0);
        let expected = "\
Device 0.0.0291, Status ONLINE
 CHPIDs to Device 0.0.0291 (PIM)  : 19 1B 2E 2F
  Physically Available     (PAM)  : +  +  -  +
  Online                   (LPM)  : +  -  +  +

                 Legend     + Yes - No
";
        assert_eq!(lspaths(&device), expected);
        let devices = [device];
        assert!(find(&devices, "0.0.0291").is_ok());
        assert!(find(&devices, "0.0.0292").is_err() && find(&devices, "291").is_err());
        assert_eq!(in_use(&devices[0]).0, 0x90);
    }

    #[test]
    fn a_channel_path_is_that_of_all_devices_that_have_it() {
        let mut left = on_paths("0.0.0292", 0xC0, 0x80, 0xC0);
        left.state = DeviceLife::Standby;
        left.subchannel = number("0.0.0002");
        let devices = [on_paths("0.0.0291", 0xF0, 0xB0, 0xF0), left];
        let paths = channel_paths(&devices);
        let counts: Vec<_> = paths
            .iter()
            .map(|path| (&*path.chpid, path.devices, path.available, path.in_use))
            .collect();
        assert_eq!(
            counts,
            [
                ("0.19", 2, 2, 1),
                ("0.1b", 2, 0, 0),
                ("0.2e", 1, 1, 1),
                ("0.2f", 1, 1, 1)
            ]
        );
        let text = lschp(&paths);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(
            lines[0],
            "CHPID  Vary  Cfg.  Type  Cmg  Shared  PCHID  Devices  Avail.  Use"
        );
        assert_eq!(
            lines[2],
            "0.19   1     -     -     -    -       -      2        2       1"
        );
        assert_eq!(
            lines[3],
            "0.1b   1     -     -     -    -       -      2        0       0"
        );
    }
}
