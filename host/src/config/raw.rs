//! The configuration as it is written, with the place of everything that can be wrong in more ways than its type says.
//!
//! A value of the wrong type, or one that has to be there and is not, has been reported when one of these is made. Then it
//! is `None` here, a name is empty.

use toml::Spanned;

use super::{Aio, Cache, Format};

#[derive(Debug)]
pub struct Raw {
    pub appliance: Appliance,
    pub disk: Vec<Disk>,
    pub subchannel: Vec<Subchannel>,
    pub client: Vec<Client>,
}

#[derive(Debug)]
pub struct Appliance {
    pub image: Spanned<String>,
    pub memory: Option<Spanned<String>>,
    pub qemu: Option<Spanned<String>>,
    pub accel: Accel,
    pub append: String,
    pub qemu_args: Vec<String>,
    pub run_dir: Option<Spanned<String>>,
    pub pool: Option<Spanned<String>>,
    pub daemon_poll_us: Option<Spanned<u64>>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Accel {
    #[default]
    Auto,
    Kvm,
    Tcg,
}

#[derive(Debug)]
pub struct Disk {
    pub name: Spanned<String>,
    pub image: Option<Spanned<String>>,
    pub mdev: Option<Spanned<String>>,
    pub format: Option<Spanned<Format>>,
    pub cache: Option<Spanned<Cache>>,
    pub aio: Option<Spanned<Aio>>,
    pub queues: Option<Spanned<u64>>,
    /// Whether something in it was wrong already, so that nothing should be concluded from what is missing.
    pub doubtful: bool,
}

#[derive(Debug)]
pub struct Subchannel {
    pub name: Spanned<String>,
    pub device: Option<Spanned<String>>,
    pub qemu: Option<Spanned<String>>,
    pub mdev: Option<Spanned<String>>,
    pub plugged: bool,
    /// Whether something in it was wrong already, so that nothing should be concluded from what is missing.
    pub doubtful: bool,
}

#[derive(Debug)]
pub struct Client {
    pub name: Spanned<String>,
    pub memory: Option<Spanned<String>>,
    pub disk: Vec<ClientDisk>,
    pub subchannel: Vec<ClientSubchannel>,
}

#[derive(Debug)]
pub struct ClientSubchannel {
    pub subchannel: Option<Spanned<String>>,
    pub device: Option<Spanned<String>>,
}

#[derive(Debug)]
pub struct ClientDisk {
    pub disk: Option<Spanned<String>>,
    pub partition: Option<Spanned<u64>>,
    /// In sectors.
    pub start: Option<Spanned<u64>>,
    /// In sectors.
    pub size: Option<Spanned<u64>>,
    pub readonly: bool,
    pub queues: Option<Spanned<u64>>,
    pub shared: bool,
    /// Whether something in it was wrong already, so that nothing should be concluded from what is missing.
    pub doubtful: bool,
}
