//! What every call for a client is given. What never changes is its owner's: area, window and number.

use s390x::clock::Tod;
use vcss::trace::Recorder;
use vcss::underway::{Note, Served};

use crate::css::Platform;

/// The machine, the time, and where it is written down what is done.
#[allow(
    missing_debug_implementations,
    reason = "a machine shows nothing of itself"
)]
pub struct Ctx<'a> {
    pub platform: &'a mut dyn Platform,
    /// The time. [`Tod::NEVER`] as long as no client has a pass-through subchannel: nobody else needs it.
    pub now: Tod,
    pub trace: Option<&'a mut Recorder<'static>>,
    /// Where it is noted what is being done, so that a next life does not do it again.
    pub note: Option<&'static Note>,
}

impl<'a> Ctx<'a> {
    /// For work that is neither traced nor noted.
    pub fn new(platform: &'a mut dyn Platform) -> Self {
        Self {
            now: platform.now(),
            platform,
            trace: None,
            note: None,
        }
    }

    /// Notes for which virtual subchannel something is done from now on.
    #[inline(always)]
    pub fn serve(&self, client: u16, subchannel: u16) {
        serve(self.note, client, subchannel);
    }
}

/// The same for what needs nothing but the note.
#[inline(always)]
pub fn serve(note: Option<&Note>, client: u16, subchannel: u16) {
    if let Some(note) = note {
        note.serve(Served::Subchannel(client, subchannel));
    }
}
