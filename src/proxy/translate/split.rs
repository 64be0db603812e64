//! A program that its device writes: what becomes of a chain that was cut.
//!
//! [`Translator::split`] knows an ending that is such a cut, translates from there, and gives the ORB of a second start. To the device
//! that is the end of a chain and the begin of another, which says to it again, where that is possible, what the first has said: see
//! `replay`.

use channel::{
    ActivityControl, DeviceStatus, FunctionControl, Irb, Orb, OrbFlags, Scsw, StatusControl,
    SubchannelStatus,
};
use window::Window;
use zerocopy::big_endian::U32;

use super::arena::is_transfer_in_channel;
use super::ranges::{SlotKind, Transfer};
use super::{Refused, Translator};

/// What a status is.
#[derive(Clone, Copy, Debug)]
pub enum Split {
    /// The client's.
    No,
    /// The translator's own stop: to be taken, and followed by a start of this ORB.
    Start {
        /// The ORB for the hardware.
        orb: Orb,
        /// The status that was taken shows a program-controlled interruption, or one for the initial status, which is the client's.
        interrupts: bool,
    },
    /// The translator's own stop, and the chain does not go on: the status of the client.
    Refused(Refused),
}

/// How the channel came to a cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Came {
    /// By command chaining: the CCW before has been executed.
    Chained,
    /// The same, and that has ended with status modifier.
    Skipped,
    /// In data chaining, which reads.
    InData,
    /// It has met what stands for the next CCW.
    Met,
    /// The same, by a transfer in channel.
    Transferred,
}

/// A cut, and where the chain goes on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cut {
    /// The client's address.
    at: u32,
    /// The slot with which the chain was stopped.
    slot: usize,
    came: Came,
    /// With unit check: a chain that ends within a domain which still has records to come is an error to a disk. If it was
    /// another one, the device says so again.
    checked: bool,
}

impl Cut {
    /// Whether what stands in a slot is the last that was executed.
    pub(super) fn is_behind(&self, slot: usize) -> bool {
        slot == self.slot && matches!(self.came, Came::Chained | Came::InData)
    }

    /// Whether what stands in a slot is the first that was not executed.
    pub(super) fn is_before(&self, slot: usize) -> bool {
        slot == self.slot && matches!(self.came, Came::Met | Came::Transferred)
    }
}

impl Translator {
    /// Whether a final status is one of the translator's own stops. Nothing is changed yet.
    pub fn is_split(&self, scsw: &Scsw) -> bool {
        self.cut_of(scsw).is_some()
    }

    /// Whether a status is channel end at one of the translator's own stops, which device end is going to join.
    pub fn is_half_of_split(&self, scsw: &Scsw) -> bool {
        let status = scsw.status();
        if scsw.device() != DeviceStatus::CHANNEL_END || status.contains(StatusControl::SECONDARY) {
            return false;
        }
        let mut whole = *scsw;
        whole.device_status |= DeviceStatus::DEVICE_END.bits();
        whole.set_controls(
            scsw.function(),
            scsw.activity() - ActivityControl::DEVICE_ACTIVE,
            status | StatusControl::SECONDARY,
        );
        self.is_split(&whole)
    }

    /// Whether a final status is one of the translator's own stops, and how to go on. If it is not, the program is over: the status
    /// is to be put into the client's terms before this is called.
    pub fn split(&mut self, irb: &Irb, window: &Window) -> Split {
        let Some(cut) = self.cut_of(&irb.scsw) else {
            return Split::No;
        };
        let steady = self.chain.steady && !self.is_changed_at(&cut);
        let whole = steady && self.replay.repeat(&self.chain, &cut, window).is_some();
        if !whole {
            self.replay.clear();
        }
        match self.begin_again(&cut, whole, window) {
            Ok(orb) if whole || !cut.checked => Split::Start {
                orb,
                interrupts: irb.scsw.status().contains(StatusControl::INTERMEDIATE)
                    || irb.scsw.subchannel().contains(SubchannelStatus::PCI),
            },
            Err(refused) if !cut.checked || cut.came == Came::InData => Split::Refused(refused),
            // In command chaining, the error that the device shows comes first.
            Ok(_) | Err(_) => Split::No,
        }
    }

    /// Whether a CCW was met at a cut that has been taken back: so it was the CPU that had changed it.
    fn is_changed_at(&self, cut: &Cut) -> bool {
        let met = matches!(cut.came, Came::Met | Came::Transferred);
        let stop = matches!(
            self.chain.program.ranges.slot(cut.slot).kind,
            SlotKind::Stop | SlotKind::StopTransferred
        );
        met && !(stop && cut.slot < self.translated)
    }

    /// The cut that a status shows.
    fn cut_of(&self, scsw: &Scsw) -> Option<Cut> {
        if !self.live || !self.chain.program.dirty.has_split() {
            return None;
        }
        let final_status = scsw.ended()
            && scsw.status().contains(StatusControl::PRIMARY)
            && scsw.function() == FunctionControl::START
            && scsw.deferred_cc() == 0;
        if !final_status {
            return None;
        }
        let slot = self.slot_before(scsw.program.get())?;
        let client = self.chain.program.ranges.client_address(slot)?;
        let checks = scsw.subchannel() - SubchannelStatus::PCI;
        let came = if checks == SubchannelStatus::PROGRAM_CHECK {
            self.met(slot)?
        } else if checks.is_empty() {
            self.ended(slot, scsw.device())?
        } else {
            return None;
        };
        let beyond = match came {
            Came::Chained | Came::InData => 8,
            Came::Skipped => 16,
            Came::Met | Came::Transferred => 0,
        };
        Some(Cut {
            at: client + beyond,
            slot,
            came,
            checked: scsw.device().contains(DeviceStatus::UNIT_CHECK),
        })
    }

    /// What a program check at a slot means.
    fn met(&self, slot: usize) -> Option<Came> {
        match self.chain.program.ranges.slot(slot).kind {
            SlotKind::Stop => Some(Came::Met),
            SlotKind::StopTransferred => Some(Came::Transferred),
            // It was taken back, and a transfer in channel leads to it. Its data cannot have given the check.
            SlotKind::Plain | SlotKind::Cut => {
                let known = self.chain.program.ranges.slot(slot);
                let taken_back = self.chain.program.is_taken_back(slot)
                    && !is_transfer_in_channel(known.client)
                    && self.chain.program.data_is_sound(&known);
                (taken_back && !self.chain.program.is_chained_to(slot)).then_some(Came::Transferred)
            }
            SlotKind::CutData | SlotKind::Dead | SlotKind::IdleLink | SlotKind::Link => None,
        }
    }

    /// What an ending without a check of the channel means.
    fn ended(&self, slot: usize, device: DeviceStatus) -> Option<Came> {
        let done = DeviceStatus::CHANNEL_END | DeviceStatus::DEVICE_END;
        let (skipped, checked) = (
            done | DeviceStatus::STATUS_MODIFIER,
            done | DeviceStatus::UNIT_CHECK,
        );
        match self.chain.program.ranges.slot(slot).kind {
            SlotKind::Cut if device == done => Some(Came::Chained),
            SlotKind::Cut if device == skipped => Some(Came::Skipped),
            SlotKind::Cut if device == checked && self.chain.can_repeat(slot) => {
                Some(Came::Chained)
            }
            SlotKind::CutData if device == done || device == checked => Some(Came::InData),
            _ => None,
        }
    }

    /// Translates from a CCW on that the chain was cut before. Here it may be a transfer in channel. `whole`: what was before is
    /// repeated.
    fn begin_again(&mut self, cut: &Cut, whole: bool, window: &Window) -> Result<Orb, Refused> {
        self.live = false;
        let mut first = cut.at;
        if u64::from(first) < self.chain.program.shape.limit && cut.came != Came::Transferred {
            if let Some(ccw) = self.chain.program.read_ccw(first, window) {
                if is_transfer_in_channel(ccw) {
                    first = self.chain.program.target(ccw).unwrap_or(first);
                }
            }
        }
        let entry = match cut.came {
            // The device does not give the same data again.
            Came::InData if !whole => return Err(self.refuse(first)),
            Came::InData => Transfer::Input,
            Came::Chained | Came::Skipped | Came::Met | Came::Transferred => Transfer::None,
        };
        let mut orb = self.begin(first, entry, window)?;
        // The client has had its interruption for the initial status.
        orb.set_flags(orb.flags() - OrbFlags::INITIAL_STATUS);
        orb.program = U32::new(self.replay.lead_to(self.chain.program.arena.address_of(0)));
        Ok(orb)
    }
}
