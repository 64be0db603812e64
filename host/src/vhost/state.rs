//! What is kept of a connection, so that a daemon that follows another one goes on with it.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use vhost::vhost_user::message::FrontendReq;

use super::backchannel::Backchannel;
use super::message::head;
use super::ring::Place;
use crate::pool::FileIdentity;
use crate::store::Key;
use crate::windows::Piece;

/// How a [`Connection`] is written. One of another version is not understood, and its connection ends.
pub const VERSION: u32 = 2;

/// An export's connection.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Connection {
    pub version: u32,
    /// None if nobody is connected.
    pub stream: Option<Key>,
    /// Whether the device has been put back to power-on for it.
    pub begun: bool,
    /// Whether it is about to end: nothing more is handled of it.
    pub ends: bool,
    pub session: SessionState,
    /// What is being handled. If nothing is, the last message has been, and what is unsent of its answer is to be sent.
    pub message: Option<Message>,
    /// Where its answers are kept.
    pub answers: Option<Key>,
}

/// A connection that has been accepted, and waits.
pub type Waiting = Option<Key>;

/// Bytes as text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bytes(#[serde(with = "hex")] pub Vec<u8>);

/// A message of the peer's.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Message {
    pub bytes: Bytes,
    /// For each file that came with it, where it is kept; files that are of no use to anybody are not.
    pub files: Vec<Option<Key>>,
    /// How many daemons have begun to handle it, and since when the last of them has, on the system's clock.
    pub begun: u32,
    pub since: Duration,
}

/// What the peer has set up.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct SessionState {
    pub offered: Option<u64>,
    pub chosen: u64,
    /// The features of the protocol that it has chosen.
    pub protocol: Option<u64>,
    pub negotiated: Option<u64>,
    pub live: bool,
    pub rings: Vec<RingState>,
    pub regions: Vec<RegionState>,
    /// None in what an older daemon has written.
    #[serde(default)]
    pub backchannel: Backchannel,
}

/// A ring, as the peer has set it up, and whether it is served.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct RingState {
    pub size: u16,
    /// Where it begins.
    pub base: u16,
    pub place: Option<Place>,
    /// The eventfd that the guest kicks.
    pub kick: Option<Key>,
    /// The one by which the guest is notified.
    pub call: Option<Key>,
    pub error: Option<Key>,
    pub enabled: bool,
    pub active: bool,
}

impl RingState {
    /// Whether everything is there that it takes to serve it. It is served while it has been kicked off (the arrival of its kick eventfd
    /// starts it), and enabled.
    pub const fn is_ready(&self) -> bool {
        self.enabled && self.kick.is_some() && self.place.is_some() && self.size != 0
    }
}

/// A piece of the VM's memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RegionState {
    pub piece: Piece,
    pub identity: FileIdentity,
    /// Where the VM's QEMU has it.
    pub user: u64,
    pub file: Key,
}

impl SessionState {
    /// Everything of it that is kept.
    pub fn keys(&self) -> impl Iterator<Item = Key> + '_ {
        let rings = self.rings.iter();
        let rings = rings.flat_map(|ring| [ring.kick, ring.call, ring.error]);
        let regions = self.regions.iter().map(|region| region.file);
        let rings = rings.flatten();
        rings.chain(regions).chain(self.backchannel.socket)
    }
}

impl Connection {
    /// Whether somebody is connected, and all of what is written is understood.
    pub fn is_understood(&self) -> bool {
        self.version == VERSION && self.stream.is_some()
    }

    /// As [`SessionState::keys`].
    pub fn keys(&self) -> impl Iterator<Item = Key> + '_ {
        let files = self.message.iter().flat_map(|message| &message.files);
        let files = files.copied().flatten();
        let own = self.stream.into_iter().chain(self.answers);
        self.session.keys().chain(files).chain(own)
    }
}

/// The messages by which the peer has agreed on features: whoever handles its further messages has to have seen them.
pub fn set_up(state: &SessionState) -> Vec<Vec<u8>> {
    let message = |request: FrontendReq, body: &[u8]| {
        let head = head(request as u32, body.len() as u32);
        [&head, body].concat()
    };
    let mut messages = Vec::new();
    if state.offered.is_some() {
        messages.push(message(FrontendReq::GET_FEATURES, &[]));
    }
    if state.chosen != 0 {
        messages.push(message(
            FrontendReq::SET_FEATURES,
            &state.chosen.to_ne_bytes(),
        ));
    }
    if let Some(protocol) = state.protocol {
        messages.push(message(FrontendReq::GET_PROTOCOL_FEATURES, &[]));
        messages.push(message(
            FrontendReq::SET_PROTOCOL_FEATURES,
            &protocol.to_ne_bytes(),
        ));
    }
    messages
}
