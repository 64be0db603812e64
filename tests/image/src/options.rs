//! What of the command line is about tests and measurements.
//!
//! | key | value | default |
//! |---|---|---|
//! | `selftest=` | a name of [`selftest::SUITES`] or [`selftest::CRASHES`]: test the image, or crash on purpose | none |
//! | `bench=` | one of [`Bench`]'s names: measure, and shut down | none |
//! | `area=` | absolute address of the area of which this machine is the client, hexadecimal | none |
//! | `requests=` | for tests that make requests at random: how many | what the test decides |
//! | `window=` | absolute address of a window that files are laid over, hexadecimal | none |
//! | `vfio` | | for tests of subchannels: they are those of a vfio-ccw, which cannot do everything | |
//!
//! The other keys are the appliance's: [`appliance::boot::cmdline`].

use crate::selftest::{self, SelfTest};
use appliance::boot::cmdline::{address, WarningKind};
use appliance::driver::virtio_ccw::Settings;

/// What the command line asks for.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// A test.
    pub selftest: Option<(&'static str, SelfTest)>,
    /// A measurement.
    pub bench: Option<Bench>,
    /// The absolute address of the area of which this machine is the client; storage from there on is shared.
    pub area: Option<u64>,
    /// The absolute address of a window that files are laid over; storage from there on is not this machine's own.
    pub window: Option<u64>,
    /// How many requests a test makes.
    pub requests: Option<u32>,
    /// The subchannels that are tested are those of a vfio-ccw.
    pub vfio: bool,
    /// Whether adapter interruptions may be used.
    pub adapter: bool,
}

impl Options {
    /// How virtio devices are driven.
    pub fn settings(&self) -> Settings {
        Settings {
            adapter: self.adapter,
            ..Settings::default()
        }
    }

    /// Takes one word over.
    pub fn set(&mut self, key: &str, value: Option<&str>) -> Result<(), WarningKind> {
        use WarningKind::{BadValue, UnexpectedValue, UnknownKey};
        let text = value.unwrap_or("");
        match key {
            "selftest" => self.selftest = Some(selftest::named(text).ok_or(BadValue)?),
            "bench" => self.bench = Some(named(Bench::NAMES, text)?),
            "area" => self.area = Some(address(text).ok_or(BadValue)?),
            "window" => self.window = Some(address(text).ok_or(BadValue)?),
            "requests" => self.requests = Some(text.parse().map_err(|_| BadValue)?),
            "vfio" if value.is_some() => return Err(UnexpectedValue),
            "vfio" => self.vfio = true,
            _ => return Err(UnknownKey),
        }
        Ok(())
    }
}

fn named<T: Copy>(names: &[(&str, T)], name: &str) -> Result<T, WarningKind> {
    let found = names.iter().find(|(known, _)| *known == name);
    found.map(|(_, what)| *what).ok_or(WarningKind::BadValue)
}

/// What can be measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bench {
    /// `read4k`: instructions for each read of 4 KiB.
    Read4k,
    /// `proxy`: instructions for each channel program that is passed through.
    Proxy,
    /// `eckd`: instructions, starts and CCWs for reads of a count-key-data disk.
    Eckd,
}

impl Bench {
    const NAMES: &[(&str, Self)] = &[
        ("read4k", Self::Read4k),
        ("proxy", Self::Proxy),
        ("eckd", Self::Eckd),
    ];
}
