//! The subchannels for people, in the columns of s390-tools' `lscss`, and who has them.

use super::table::aligned;
use super::Device;
use dasd_tools::reserve::Holder;
use vcss::control::HOST;

/// The list.
pub fn lscss(devices: &[Device]) -> String {
    aligned(
        &[
            "Device", "Subchan.", "DevType", "CU Type", "Use", "PIM", "PAM", "POM", "CHPIDs",
            "Owner",
        ],
        devices.iter().map(row).collect(),
    )
}

fn row(device: &Device) -> Vec<String> {
    let standby = matches!(device.driver.as_deref(), None | Some("standby"));
    let used = device.state == "online" || (device.client.is_some() && !standby);
    let (first, last) = device.chpids.split_at(device.chpids.len() / 2);
    vec![
        device.device.clone(),
        device.subchannel.clone(),
        format!("{}/{}", device.dev_type, device.dev_model),
        format!("{}/{}", device.cu_type, device.cu_model),
        if used { "yes" } else { "" }.into(),
        device.pim.clone(),
        device.pam.clone(),
        device.pom.clone(),
        format!("{first} {last}"),
        owner(device),
    ]
}

fn owner(device: &Device) -> String {
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
    let notable = ["quiescing", "disconnected", "not-operational"];
    if let Some(driver) = device.driver.as_deref().filter(|it| notable.contains(it)) {
        owner.push_str(&format!(" ({driver})"));
    }
    owner
}

#[cfg(test)]
mod tests {
    use super::*;

    fn device(number: &str) -> Device {
        Device {
            device: number.into(),
            subchannel: "0.0.0001".into(),
            cu_type: "3270".into(),
            cu_model: "00".into(),
            dev_type: "0000".into(),
            dev_model: "00".into(),
            state: "standby".into(),
            pim: "80".into(),
            pam: "80".into(),
            pom: "ff".into(),
            chpids: "0100000000000000".into(),
            ..Device::default()
        }
    }

    #[test]
    fn the_columns_are_those_of_lscss() {
        let given = Device {
            client: Some("bare".into()),
            client_device: Some("0.0.1000".into()),
            driver: Some("idle".into()),
            ..device("0.0.3270")
        };
        let left = Device {
            client: Some("host".into()),
            driver: Some("disconnected".into()),
            ..device("0.0.3271")
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
