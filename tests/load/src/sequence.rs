//! In which order the units of a region are written.
//!
//! The order is fixed, so that the number of the last write that was flushed says what each unit has to hold at least: that is all
//! that has to outlive the program.

/// Odd, so that each unit has its turn.
const STRIDE: u64 = 0x2F_5A3B;

/// A region of so many units, a power of two.
#[derive(Clone, Copy, Debug)]
pub struct Sequence {
    units: usize,
}

impl Sequence {
    /// The units are rounded down to a power of two.
    pub fn of(units: usize) -> Self {
        Self {
            units: 1 << units.ilog2(),
        }
    }

    /// How many units there are.
    pub fn units(self) -> usize {
        self.units
    }

    /// Which unit the write with this number goes to.
    pub fn unit(self, number: u32) -> usize {
        (u64::from(number).wrapping_mul(STRIDE) % self.units as u64) as usize
    }

    /// For each unit, the number of the last write to it when `last` was the last of all; 0 if there was none.
    pub fn after(self, last: u32) -> Vec<u32> {
        let mut numbers = vec![0; self.units];
        for number in last.saturating_sub(self.units as u32 - 1).max(1)..=last {
            numbers[self.unit(number)] = number;
        }
        numbers
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_unit_has_its_turn_before_any_comes_again() {
        let sequence = Sequence::of(130);
        assert_eq!(sequence.units(), 128);
        for round in 0..3 {
            let mut written: Vec<_> = (1..=128)
                .map(|number| sequence.unit(round * 128 + number))
                .collect();
            written.sort_unstable();
            assert!(written.into_iter().eq(0..128));
        }
    }

    #[test]
    fn what_each_unit_holds_is_its_last_write() {
        let sequence = Sequence::of(16);
        for last in [0, 1, 5, 15, 16, 17, 40] {
            let mut numbers = vec![0; 16];
            for number in 1..=last {
                numbers[sequence.unit(number)] = number;
            }
            assert_eq!(sequence.after(last), numbers);
        }
    }
}
