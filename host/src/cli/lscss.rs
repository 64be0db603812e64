//! The subchannels for people, in the columns of s390-tools' `lscss`, and who has them.

use super::status::aligned;
use crate::api::OwnedDevice;
use dasd_tools::reserve::Holder;
use vcss::control::{DeviceLife, HOST};
use vcss::trace::DriverState;

const COLUMNS: &str = "Device,Subchan.,DevType,CU Type,Use,PIM,PAM,POM,CHPIDs,Owner";

pub fn lscss(devices: &[OwnedDevice]) -> String {
    aligned(COLUMNS, devices.iter().map(row))
}

fn row(device: &OwnedDevice) -> Vec<String> {
    let standby = matches!(device.driver, None | Some(DriverState::Standby));
    let used = device.state == DeviceLife::Online || (device.client.is_some() && !standby);
    let (first, last) = device.chpids.split_at(device.chpids.len() / 2);
    vec![
        device.device.to_string(),
        device.subchannel.to_string(),
        format!("{}/{}", device.dev_type, device.dev_model),
        format!("{}/{}", device.cu_type, device.cu_model),
        if used { "yes" } else { "" }.into(),
        device.pim.to_string(),
        device.pam.to_string(),
        device.pom.to_string(),
        format!("{} {}", hex::encode(first), hex::encode(last)),
        owner(device),
    ]
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
        let text = lscss(&[given, left]);
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
    }
}
