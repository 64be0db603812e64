//! The client's program as the hardware has it: translated, running, cut and going on.
//!
//! # Rule
//!
//! What is known of a run ends with it: [`Program::abandon`] when it is the client's no more, [`Program::release`] when the
//! hardware has let go of it.

use channel::{FunctionControl, Irb, Orb, Scsw, StatusControl, SubchannelId};
use window::Window;
use zerocopy::big_endian::U32;

use super::{status, Owned};
use crate::proxy::translate::{Refused, Split, Translator};

/// How often a start that was turned away later on is repeated.
const RETRIES: u8 = 8;

/// Pending status that is the appliance's own: the client never sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Own {
    /// The translator has stopped the program: it is to go on.
    Split,
    /// The first half of that. It is not taken, so that device end joins it.
    HalfOfSplit,
    /// The start was turned away, and is to be repeated.
    Retryable,
}

/// A run of the client's: from the first function that was accepted until everything has ended.
#[derive(Clone, Copy, Debug)]
pub(super) struct Run {
    /// The functions in progress.
    functions: FunctionControl,
    /// What the hardware was given, to start it once more; without a start there are no retries.
    pub(super) orb: Orb,
    pub(super) retries: u8,
    /// What runs is not the program's first part: some of it has been executed.
    continued: bool,
    /// The program is suspended, or has ended: its words mean nothing until it is resumed.
    at_rest: bool,
}

/// The program of one subchannel.
#[derive(Debug)]
pub(super) struct Program {
    pub(super) translator: Translator,
    window: &'static Window,
    pub(super) run: Option<Run>,
}

impl Program {
    pub(super) const fn new(translator: Translator, window: &'static Window) -> Self {
        Self {
            translator,
            window,
            run: None,
        }
    }

    /// From now on it is for this device.
    pub(super) const fn set_device(&mut self, owned: &Owned) {
        self.translator.set_classify(owned.classify);
        self.translator.set_within_start(owned.runs_within_start);
    }

    /// The ORB for the hardware, with this subchannel's parameter.
    pub(super) fn translate(&mut self, orb: &Orb, id: SubchannelId) -> Result<Orb, Refused> {
        let mut translated = self.translator.translate(orb, self.window)?;
        translated.parameter = U32::new(id.word());
        Ok(translated)
    }

    /// The hardware has accepted a function; a start, with which nothing else is in progress, with this ORB.
    pub(super) fn accepted(&mut self, function: FunctionControl, start: Option<&Orb>) {
        let run = self.run.get_or_insert_with(|| Run {
            functions: FunctionControl::empty(),
            orb: start.copied().unwrap_or_default(),
            retries: if start.is_some() { RETRIES } else { 0 },
            continued: false,
            at_rest: false,
        });
        // A clear function ends all others.
        if function == FunctionControl::CLEAR {
            run.functions = function;
        } else {
            run.functions |= function;
        }
    }

    /// What runs is the client's no more.
    pub(super) const fn abandon(&mut self) {
        self.run = None;
    }

    /// Everything in progress has ended: the storage is free.
    pub(super) fn release(&mut self) {
        self.run = None;
        self.translator.release();
    }

    /// The client's functions in progress.
    pub(super) fn functions(&self) -> FunctionControl {
        let nothing = FunctionControl::empty();
        self.run.as_ref().map_or(nothing, |run| run.functions)
    }

    /// CCWs that were looked at to translate the last one.
    pub(super) const fn effort(&self) -> usize {
        self.translator.ccws()
    }

    /// Whether one runs whose ORB lets the client change it meanwhile.
    pub(super) const fn is_modifiable(&self) -> bool {
        self.run.is_some() && self.translator.is_modifiable()
    }

    /// Whether such a one is executed now: [`Self::refresh`] looks at it.
    pub(super) fn is_changing(&self) -> bool {
        self.run.as_ref().is_some_and(|run| !run.at_rest) && self.translator.is_modifiable()
    }

    /// Whether some of it has been executed in an earlier part.
    pub(super) fn is_continued(&self) -> bool {
        self.run.as_ref().is_some_and(|run| run.continued)
    }

    /// Whether pending status is the appliance's own.
    pub(super) fn own(&self, scsw: &Scsw) -> Option<Own> {
        let run = self.run.as_ref()?;
        if status::is_retryable(scsw) {
            (run.retries > 0).then_some(Own::Retryable)
        } else if self.translator.is_split(scsw) {
            Some(Own::Split)
        } else if self.translator.is_half_of_split(scsw) {
            Some(Own::HalfOfSplit)
        } else {
            None
        }
    }

    /// Notes whether the channel still looks at the program.
    pub(super) fn look(&mut self, scsw: &Scsw) {
        let status = scsw.status();
        let ended = || {
            status.contains(StatusControl::PENDING | StatusControl::PRIMARY)
                && status::over(scsw) == status::Over::Yes
        };
        let is_cut = || matches!(self.own(scsw), Some(Own::Split | Own::HalfOfSplit));
        let rests =
            self.translator.is_modifiable() && (status::is_suspended(scsw) || ended() && !is_cut());
        self.rest(rests);
    }

    /// The channel does not look at the program any more, or not before it is resumed, or does again.
    pub(super) const fn rest(&mut self, at_rest: bool) {
        if let Some(run) = &mut self.run {
            run.at_rest = at_rest;
        }
    }

    /// Looks at the client's words, if the channel does. That takes its time.
    pub(super) fn refresh(&mut self) {
        if self.is_changing() {
            self.translator.refresh(self.window);
        }
    }

    /// Looks at the client's words before a suspended program is resumed: whoever suspends one may change it.
    pub(super) fn before_resume(&mut self) {
        self.translator.refresh(self.window);
        self.translator.end_cycles();
    }

    /// The ORB of a start that is repeated. It is counted.
    pub(super) fn again(&mut self) -> Option<Orb> {
        let run = self.run.as_mut()?;
        run.retries = run.retries.saturating_sub(1);
        Some(run.orb)
    }

    /// The next part, if the status is the translator's own stop.
    pub(super) fn split(&mut self, irb: &Irb, id: SubchannelId) -> Split {
        let mut split = self.translator.split(irb, self.window);
        if let (Split::Start { orb, .. }, Some(run)) = (&mut split, &mut self.run) {
            orb.parameter = U32::new(id.word());
            run.orb = *orb;
            run.continued = true;
        }
        split
    }

    /// Puts status into the client's terms. Only that of a start function says anything of its ORB.
    pub(super) fn in_clients_terms(&self, irb: &mut Irb) {
        if irb.scsw.function().contains(FunctionControl::START) {
            self.translator.back(irb);
            if self.is_continued() && irb.scsw.deferred_cc() != 0 {
                *irb = status::broken_off(*irb);
            }
        } else {
            irb.scsw.program = U32::ZERO;
        }
    }
}
