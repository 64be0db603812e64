//! The subchannels for people, in the columns of s390-tools' `lscss`, and who has them.

use super::paths;
use super::status::aligned;
use crate::api::OwnedDevice;
use dasd_tools::reserve::Holder;
use vcss::control::{DeviceLife, HOST};
use vcss::trace::DriverState;

/// Which columns there are beside those that there always are.
#[derive(Clone, Copy, Debug, Default)]
pub struct Columns {
    pub avail: bool,
    pub vpm: bool,
}

pub fn lscss(devices: &[OwnedDevice], columns: Columns) -> String {
    let vpm = if columns.vpm { ",VPM" } else { "" };
    let avail = if columns.avail { ",Avail." } else { "" };
    let head = format!("Device,Subchan.,DevType,CU Type,Use,PIM,PAM,POM{vpm},CHPIDs{avail},Owner");
    aligned(&head, devices.iter().map(|device| row(device, columns)))
}

fn row(device: &OwnedDevice, columns: Columns) -> Vec<String> {
    let (first, last) = device.chpids.split_at(device.chpids.len() / 2);
    let mut row = vec![
        device.device.to_string(),
        device.subchannel.to_string(),
        format!("{}/{}", device.dev_type, device.dev_model),
        format!("{}/{}", device.cu_type, device.cu_model),
        if paths::is_used(device) { "yes" } else { "" }.into(),
        device.pim.to_string(),
        device.pam.to_string(),
        device.pom.to_string(),
    ];
    row.extend(columns.vpm.then(|| paths::in_use(device).to_string()));
    row.push(format!("{} {}", hex::encode(first), hex::encode(last)));
    row.extend(columns.avail.then(|| availability(device).to_owned()));
    row.push(owner(device));
    row
}

/// In the words of Linux.
fn availability(device: &OwnedDevice) -> &'static str {
    let gone = [DriverState::Disconnected, DriverState::NotOperational];
    let is_gone = device.state == DeviceLife::Failed
        || device.driver.is_some_and(|driver| gone.contains(&driver));
    if device.reserved == Some(Holder::Other) {
        "boxed"
    } else if device.pam.0 & device.lpm.0 == 0 {
        "no path"
    } else if is_gone {
        "no device"
    } else {
        "good"
    }
}

fn owner(device: &OwnedDevice) -> String {
    let mut owner = match (&device.disk, &device.client) {
        (Some(disk), _) => format!("disk {disk}"),
        (None, Some(client)) if client == HOST => HOST.into(),
        (None, Some(client)) => match &device.client_device {
            Some(number) => format!("client {client}, as {number}"),
            None => format!("client {client}"),
        },
        (None, None) => "appliance".into(),
    };
    match device.reserved {
        Some(Holder::Us) => owner.push_str(" (reserved)"),
        Some(Holder::Other) => owner.push_str(" (reserved elsewhere)"),
        None => {}
    }
    let notable = [
        DriverState::Quiescing,
        DriverState::Disconnected,
        DriverState::NotOperational,
    ];
    if let Some(driver) = device.driver.filter(|it| notable.contains(it)) {
        owner.push_str(&format!(" ({driver})"));
    }
    owner
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{number, owned_device};

    #[test]
    fn the_columns_are_those_of_lscss() {
        let given = OwnedDevice {
            client: Some("bare".into()),
            client_device: Some(number("0.0.1000")),
            driver: Some(DriverState::Idle),
            ..owned_device("0.0.3270", 0x3270)
        };
        let left = OwnedDevice {
            client: Some("host".into()),
            driver: Some(DriverState::Disconnected),
            ..owned_device("0.0.3271", 0x3270)
        };
        let devices = [given, left];
        let text = lscss(&devices, Columns::default());
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(
            lines[0],
            "Device    Subchan.  DevType  CU Type  Use  PIM  PAM  POM  CHPIDs             Owner"
        );
        assert_eq!(
            lines[2],
            "0.0.3270  0.0.0001  0000/00  3270/00  yes  80   80   ff   01000000 00000000  client bare, as 0.0.1000"
        );
        assert!(lines[3].ends_with("host (disconnected)"), "{text}");
        let both = Columns {
            avail: true,
            vpm: true,
        };
        let text = lscss(&devices, both);
        let lines: Vec<&str> = text.lines().collect();
        assert!(
            lines[0].contains("  POM  VPM  CHPIDs             Avail.     Owner"),
            "{text}"
        );
        assert!(
            lines[2].contains("  ff   80   01000000 00000000  good       client bare"),
            "{text}"
        );
        assert!(
            lines[3].contains("  ff   80   01000000 00000000  no device  host"),
            "{text}"
        );
    }

    #[test]
    fn a_device_is_available_or_it_is_said_why_not() {
        let good = owned_device("0.0.3270", 0x3270);
        assert_eq!(availability(&good), "good");
        let mut boxed = good.clone();
        boxed.reserved = Some(Holder::Other);
        assert_eq!(availability(&boxed), "boxed");
        let mut lost = good.clone();
        lost.pam.0 = 0x40;
        assert_eq!(availability(&lost), "no path");
        let mut failed = good;
        failed.state = DeviceLife::Failed;
        assert_eq!(availability(&failed), "no device");
    }
}
