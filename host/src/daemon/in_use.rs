//! What the configuration and the clients have to do with a disk that is to be formatted.

use anyhow::{ensure, Result};
use dasd_tools::dasdfmt::Use;

use crate::api::{ClientStatus, Status};
use crate::config::Config;

/// What the configuration has to do with a disk that is to be formatted, if no client uses it.
///
/// # Errors
///
/// Says which clients are connected to it.
pub fn in_use(config: &Config, status: &Status, name: &str) -> Result<Use> {
    let Some(disk) = config.disk_number(name) else {
        return Ok(Use {
            sectors: None,
            exported: 0,
        });
    };
    let is_user = |client: &&ClientStatus| {
        let mut disks = client.disks.iter();
        disks.any(|it| it.disk == name && it.connected)
    };
    let users: Vec<&str> = status
        .clients
        .iter()
        .filter(is_user)
        .map(|client| client.name.as_str())
        .collect();
    ensure!(
        users.is_empty(),
        "disk \"{name}\" is in use by {}: stop it first",
        users.join(", ")
    );
    let mut devices = status.devices.iter();
    let device = devices.find(|it| it.disk.as_deref() == Some(name));
    let exports = config.clients.iter().flat_map(|client| &client.exports);
    let ends = exports
        .filter(|export| export.disk == disk)
        .map(|export| export.start + export.sectors.max(1));
    Ok(Use {
        sectors: device.map(|device| device.sectors),
        exported: ends.max().unwrap_or(0),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::{ExportStatus, OwnedDevice};
    use crate::testing::owned_device;

    #[test]
    fn a_disk_that_a_client_is_connected_to_is_not_formatted() {
        let fixture = crate::testing::Fixture::new();
        let disk = |connected| ExportStatus {
            disk: "data".into(),
            connected,
            ..Default::default()
        };
        let mut status = Status {
            devices: vec![OwnedDevice {
                disk: Some("data".into()),
                sectors: 4128,
                ..owned_device("0.0.0100", 0x3990)
            }],
            clients: vec![ClientStatus {
                name: "linux1".into(),
                disks: vec![disk(true)],
                ..Default::default()
            }],
            ..Default::default()
        };
        let refused = in_use(&fixture.config, &status, "data").unwrap_err();
        let wanted = "disk \"data\" is in use by linux1: stop it first";
        assert_eq!(refused.to_string(), wanted);
        status.clients[0].disks = vec![disk(false)];
        let used = in_use(&fixture.config, &status, "data").unwrap();
        // The client is given all of it, whatever that is.
        assert_eq!((used.sectors, used.exported), (Some(4128), 1));
        let free = in_use(&fixture.config, &status, "0.0.0a80").unwrap();
        assert_eq!((free.sectors, free.exported), (None, 0));
    }
}
