//! The configuration as it is written: what serde reads, with the place of everything that can be
//! wrong in more ways than its type says.

use serde::Deserialize;
use toml::Spanned;

use super::{Aio, Cache, Format};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Raw {
    pub appliance: Appliance,
    #[serde(default)]
    pub disk: Vec<Disk>,
    #[serde(default)]
    pub subchannel: Vec<Subchannel>,
    #[serde(default)]
    pub client: Vec<Client>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Appliance {
    pub image: String,
    pub memory: Option<Spanned<String>>,
    pub qemu: Option<String>,
    #[serde(default)]
    pub accel: Accel,
    #[serde(default)]
    pub append: String,
    #[serde(default)]
    pub qemu_args: Vec<String>,
    pub run_dir: Option<Spanned<String>>,
    pub pool: Option<String>,
    pub daemon_poll_us: Option<Spanned<u32>>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Accel {
    #[default]
    Auto,
    Kvm,
    Tcg,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Disk {
    pub name: Spanned<String>,
    pub image: Option<Spanned<String>>,
    pub mdev: Option<Spanned<String>>,
    pub format: Option<Spanned<Format>>,
    pub cache: Option<Spanned<Cache>>,
    pub aio: Option<Spanned<Aio>>,
    pub queues: Option<Spanned<u16>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Subchannel {
    pub name: Spanned<String>,
    pub device: Spanned<String>,
    pub qemu: Option<Spanned<String>>,
    pub mdev: Option<Spanned<String>>,
    #[serde(default)]
    pub plugged: bool,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Client {
    pub name: Spanned<String>,
    pub memory: Spanned<String>,
    #[serde(default)]
    pub disk: Vec<ClientDisk>,
    #[serde(default)]
    pub subchannel: Vec<ClientSubchannel>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClientSubchannel {
    pub subchannel: Spanned<String>,
    pub device: Option<Spanned<String>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClientDisk {
    pub disk: Spanned<String>,
    pub partition: Option<Spanned<u8>>,
    #[serde(default)]
    pub start: u64,
    pub size: Option<Spanned<u64>>,
    #[serde(default)]
    pub readonly: bool,
    pub queues: Option<Spanned<u16>>,
    #[serde(default)]
    pub shared: bool,
}
