//! What of the command line is about tests and measurements.
//!
//! | key | value | default |
//! |---|---|---|
//! | `selftest=` | one of [`SelfTest`]'s names: test the image, or crash on purpose | none |
//! | `bench=` | one of [`Bench`]'s names: measure, and shut down | none |
//! | `area=` | absolute address of the area of which this machine is the client, hexadecimal | none |
//! | `requests=` | for tests that make requests at random: how many | what the test decides |
//! | `vfio` | | for tests of subchannels: they are those of a vfio-ccw, which cannot do everything | |
//!
//! The other keys are the appliance's: [`appliance::boot::cmdline`].

use appliance::boot::cmdline::{address, WarningKind};

/// What the command line asks for.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// A test.
    pub selftest: Option<SelfTest>,
    /// A measurement.
    pub bench: Option<Bench>,
    /// The absolute address of the area of which this machine is the client; storage from there on is shared.
    pub area: Option<u64>,
    /// How many requests a test makes.
    pub requests: Option<u32>,
    /// The subchannels that are tested are those of a vfio-ccw.
    pub vfio: bool,
    /// Whether adapter interruptions may be used.
    pub adapter: bool,
}

impl Options {
    /// Takes one word over.
    pub fn set(&mut self, key: &str, value: Option<&str>) -> Result<(), WarningKind> {
        use WarningKind::{BadValue, UnexpectedValue, UnknownKey};
        let text = value.unwrap_or("");
        match key {
            "selftest" => self.selftest = Some(named(SelfTest::NAMES, text)?),
            "bench" => self.bench = Some(named(Bench::NAMES, text)?),
            "area" => self.area = Some(address(text).ok_or(BadValue)?),
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

/// What the image can test by itself: most of them crash on purpose, to prove the report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SelfTest {
    /// `panic`: a Rust panic, while the console is in use.
    Panic,
    /// `nested`: a panic whose report panics.
    Nested,
    /// `pgm`: an invalid operation code.
    Program,
    /// `stack`: recursion with small frames.
    Stack,
    /// `stack-large`: recursion with large frames.
    StackLarge,
    /// `mcck`: a machine check outside the idle wait.
    MachineCheck,
    /// `damage`: a machine check in the idle wait that says that storage is damaged.
    Damage,
    /// `wild`: a store to a null pointer's neighbourhood.
    Wild,
    /// `jump`: a call of a function at a wild address.
    Jump,
    /// `oom`: an allocation beyond the heap.
    OutOfMemory,
    /// `clock`: no crash: wait for the clock comparator once, print how long it took, shut down.
    Clock,
    /// `exit`: no crash: shut down in order.
    Exit,
    /// `css`: condition codes, status and interruptions of real subchannels.
    Css,
    /// `channel`: the same of virtual subchannels, as the client of an area.
    Channel,
    /// `attention`: a terminal among them, at which keys are pressed all the time.
    Attention,
    /// `proxy`: the same of subchannels that the proxy passes through to the image itself. Writes to the first track of
    /// each DASD.
    Proxy,
    /// `proxy-ipl`: what the first disk has for IPL, run by a client in the image.
    ProxyIpl,
    /// `disk`: the virtio disk driver against an image that the host knows.
    Disk,
    /// `dasd`: the driver of count-key-data disks, on every one that is there.
    Dasd,
    /// `dasd-errors`: the same on volumes that the host has damaged.
    DasdErrors,
    /// `dasd-served`: a virtio disk over such a volume, which a client in the image reads and writes.
    DasdServed,
    /// `dasd-admin`: such disks formatted, looked at and reserved.
    DasdAdmin,
    /// `dasd-lending`: a disk lent to a client in the image.
    DasdLending,
    /// `dasd-copy`: the same, copying all of the second such volume to the first.
    DasdCopy,
    /// `link`: wake-up bytes in both directions.
    Link,
    /// `idle`: the wait ends when it should, and takes no processor time.
    Idle,
    /// `echo`: what is typed at the console comes back, up to the word `end`.
    Echo,
}

impl SelfTest {
    const NAMES: &[(&str, Self)] = &[
        ("panic", Self::Panic),
        ("nested", Self::Nested),
        ("pgm", Self::Program),
        ("stack", Self::Stack),
        ("stack-large", Self::StackLarge),
        ("mcck", Self::MachineCheck),
        ("damage", Self::Damage),
        ("wild", Self::Wild),
        ("jump", Self::Jump),
        ("oom", Self::OutOfMemory),
        ("clock", Self::Clock),
        ("exit", Self::Exit),
        ("css", Self::Css),
        ("channel", Self::Channel),
        ("attention", Self::Attention),
        ("proxy", Self::Proxy),
        ("proxy-ipl", Self::ProxyIpl),
        ("disk", Self::Disk),
        ("dasd", Self::Dasd),
        ("dasd-errors", Self::DasdErrors),
        ("dasd-served", Self::DasdServed),
        ("dasd-admin", Self::DasdAdmin),
        ("dasd-lending", Self::DasdLending),
        ("dasd-copy", Self::DasdCopy),
        ("link", Self::Link),
        ("idle", Self::Idle),
        ("echo", Self::Echo),
    ];
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
