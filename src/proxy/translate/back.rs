//! Endings in the client's terms.
//!
//! The CCW address of a subchannel-status word is 8 beyond the last CCW that was used, so it is the CCW
//! before it that is looked up: the word may point just behind a segment. An address that names nothing of the
//! program (status of another function, unsolicited status) is not the client's to see, and becomes zero.

use channel::{Erw, ErwFlags, Irb};
use zerocopy::big_endian::U32;

use super::Translator;

impl Translator {
    /// Puts the addresses of an interruption-response block, and what it shows of the ORB, into the client's terms.
    /// The residual count stands as it is: each CCW has the count that the client gave it.
    pub fn back(&self, irb: &mut Irb) {
        let scsw = &mut irb.scsw;
        scsw.program = U32::new(self.client_ccw_address(scsw.program.get()));
        if self.live {
            scsw.repeat_orb(&self.orb);
        }
        if !scsw.logout_stored() {
            return;
        }
        let esw = &mut irb.esw;
        let mut flags = esw.erw.0.get();
        if esw.erw.flags().contains(ErwFlags::SECONDARY_CCW_VALID) {
            esw.secondary_ccw = U32::new(self.client_ccw_address(esw.secondary_ccw.get()));
        }
        if esw.erw.flags().contains(ErwFlags::FAILING_STORAGE_VALID) {
            let wide = esw.erw.flags().contains(ErwFlags::FAILING_STORAGE_64);
            let [high, low] = esw.failing_storage.map(U32::get);
            let address = if wide {
                u64::from(high) << 32 | u64::from(low)
            } else {
                u64::from(high)
            };
            let client = self.chain.program.client_storage_address(address);
            if client.is_none() {
                flags &= !(ErwFlags::FAILING_STORAGE_VALID | ErwFlags::FAILING_STORAGE_64).bits();
            }
            let client = client.unwrap_or(0);
            let (high, low) = if wide {
                ((client >> 32) as u32, client as u32)
            } else {
                (client as u32, 0)
            };
            esw.failing_storage = [U32::new(high), U32::new(low)];
        }
        esw.erw = Erw(U32::new(flags));
    }

    /// A CCW address as status has it: 8 beyond a CCW.
    fn client_ccw_address(&self, address: u32) -> u32 {
        let repeated = || self.replay.client_address(address.checked_sub(8)?);
        self.slot_before(address)
            .and_then(|slot| self.chain.program.ranges.client_address(slot))
            .or_else(|| repeated().filter(|_| self.live))
            .map_or(0, |client| client.wrapping_add(8) & 0x7FFF_FFFF)
    }

    /// The slot that an address of status is 8 beyond.
    pub(super) fn slot_before(&self, address: u32) -> Option<usize> {
        if !self.live {
            return None;
        }
        self.chain.program.arena.index_of(address.checked_sub(8)?)
    }
}
