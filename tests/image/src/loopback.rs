//! The image as its own client: subchannels that the proxy passes through, and the area and the memory of a client that
//! reaches them.
//!
//! # Scope
//!
//! What a host daemon and another VM would provide: a control area with the trace, a client area, and a window, all in
//! pages of the heap. Client address 0 is the window's beginning, so no address of the client's is one of the machine's.
//!
//! # Limits
//!
//! One client, pass-through subchannels only. Channel reports are not listened to.
use alloc::boxed::Box;
use alloc::string::{String, ToString};
use appliance::control::{ControlError, Exported, Slot};
use appliance::css::{Device, Hardware, Platform};
use appliance::proxy::client::Client;
use appliance::proxy::ctx::Ctx;
use appliance::proxy::subchannel::passthrough::PassThrough;
use appliance::proxy::Proxy;
use channel::ChannelSubsystem;
use vcss::control::{Export, ExportKind};
use vcss::layout::Kind;
use vcss::plan::{self, AreaPlan};
use vcss::trace::{Follower, Recorder};
use vcss::{Area, Bell};
use window::Window;
use zerocopy::FromZeros;

/// Interruption subclass of the owned subchannels.
const ISC: u8 = 3;

/// Both sides.
pub struct Loopback {
    /// The machine.
    pub platform: Hardware,
    /// The appliance.
    pub proxy: Proxy,
    /// What the two talk through.
    pub area: Area<'static>,
    /// The client's end of the area's bell.
    pub bell: Bell<'static>,
    /// The client's memory.
    pub window: &'static Window,
    /// Reads the trace, if one is written.
    pub trace: Option<Follower<'static>>,
}

impl Loopback {
    /// Passes `devices` through, in that order, to a client with so many pages.
    pub fn new(
        mut platform: Hardware,
        devices: &[Device],
        pages: usize,
        traced: bool,
    ) -> Result<Self, String> {
        let control = area(&mut platform, &plan::control_area(1, 1, 1), Kind::Control)?;
        let count = devices.len() as u32;
        let area = area(&mut platform, &plan::client_area(count), Kind::Client)?;
        let window = share(&mut platform, pages)?;
        let part = |error: vcss::AreaError| error.to_string();
        let (mut recorder, follower) = match traced {
            true => (
                Some(Recorder::open(&control).map_err(part)?),
                Some(Follower::open(&control).map_err(part)?),
            ),
            false => (None, None),
        };
        let client = Client::new("loopback".to_string(), 0, area.clone(), window, window, ISC);
        let mut client = client.map_err(|error| error.to_string())?.trusted();
        for (index, device) in (0..).zip(devices) {
            let export = exported(index, ExportKind::Any).map_err(|error| error.to_string())?;
            let mut ctx = Ctx {
                trace: recorder.as_mut(),
                ..Ctx::new(&mut platform)
            };
            client
                .add_pass_through(export, Some(device), &mut ctx)
                .map_err(|error| error.to_string())?;
        }
        let mut proxy = Proxy::new(alloc::vec![client], &[], recorder);
        proxy.disarm_wakeup();
        Ok(Self {
            platform,
            proxy,
            bell: Bell::of_client(&area).map_err(|error| error.to_string())?,
            area,
            window,
            trace: follower,
        })
    }

    /// A turn of the appliance.
    pub fn turn(&mut self) {
        self.proxy.turn(&mut [], &mut self.platform, true);
    }

    /// What the event loop does with interruptions.
    pub fn drain(&mut self) {
        if self.proxy.clients.any(PassThrough::is_expecting) {
            while let Some(interruption) = self.platform.pending_interruption() {
                self.proxy
                    .clients
                    .interruption(&mut self.platform, &interruption);
            }
        }
    }
}

/// What a virtual subchannel of the one client stands for; the disk, if it is one's, is the first.
pub fn exported(index: u16, kind: ExportKind) -> Result<Exported, ControlError> {
    let kind = (kind as u32).into();
    let entry = Export {
        kind,
        ..Export::new_zeroed()
    };
    Ok(Exported::new(Slot { client: 0, index }, entry))
}

/// A new area.
pub fn area(
    platform: &mut dyn Platform,
    plan: &AreaPlan,
    kind: Kind,
) -> Result<Area<'static>, String> {
    let memory = share(platform, (plan.length() / 4096) as usize)?;
    plan.write(memory).map_err(|error| error.to_string())?;
    Area::open(memory, kind).map_err(|error| error.to_string())
}

/// Pages that both sides reach, for good.
pub fn share(platform: &mut dyn Platform, pages: usize) -> Result<&'static Window, String> {
    let window = platform.storage(pages).map_err(|error| error.to_string())?;
    Ok(Box::leak(Box::new(window)))
}
