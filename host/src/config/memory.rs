//! Sizes of memory: how they are written, and which ones an s390x VM can have.

/// One MiB, the unit of all memory sizes here.
pub const MIB: u64 = 1 << 20;

/// The most memory that any one size may name.
pub const MAX: u64 = 1 << 42;

/// QEMU gives an s390x VM its memory in at most this many equal increments.
const MAX_INCREMENTS: u64 = 1020;

/// Reads `512M`, `1G`, `2GiB`; the number of bytes.
pub fn parse(text: &str) -> Option<u64> {
    let digits = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = text.split_at(digits);
    let shift = match unit.trim() {
        "K" | "KiB" => 10,
        "M" | "MiB" => 20,
        "G" | "GiB" => 30,
        "T" | "TiB" => 40,
        _ => return None,
    };
    let number: u64 = number.parse().ok()?;
    number.checked_mul(1 << shift)
}

/// The size that was probably meant by what is none: `512m`, `512MB`.
pub fn meant(text: &str) -> Option<String> {
    let text = text.trim().to_uppercase();
    let bytes = parse(text.strip_suffix('B').unwrap_or(&text))?;
    (bytes != 0 && bytes.is_multiple_of(MIB) && bytes <= MAX).then(|| show(bytes))
}

/// The smallest size, from `bytes` on, that an s390x VM can have: a multiple of its storage increment,
/// which is 1 MiB and doubles while the size is more than 1020 increments.
pub const fn next_good(bytes: u64) -> u64 {
    let mut increment = MIB;
    while bytes.div_ceil(increment) > MAX_INCREMENTS {
        increment *= 2;
    }
    bytes.next_multiple_of(increment)
}

/// A size as it is written: in the largest unit that leaves nothing over.
pub fn show(bytes: u64) -> String {
    for (shift, unit) in [(40, "T"), (30, "G"), (20, "M"), (10, "K")] {
        if bytes != 0 && bytes.is_multiple_of(1 << shift) {
            return format!("{}{unit}", bytes >> shift);
        }
    }
    format!("{bytes} bytes")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_need_a_unit() {
        assert_eq!(parse("16M"), Some(16 * MIB));
        assert_eq!(parse("1 GiB"), Some(1024 * MIB));
        assert_eq!(parse("16"), None);
        assert_eq!(parse("M"), None);
        assert_eq!(parse("16 Mb"), None);
        assert_eq!(parse("99999999999999999999M"), None);
    }

    #[test]
    fn more_than_1020_mib_comes_in_steps_of_2() {
        assert_eq!(next_good(1020 * MIB), 1020 * MIB);
        assert_eq!(next_good(1021 * MIB), 1022 * MIB);
        assert_eq!(next_good(2041 * MIB), 2044 * MIB);
        assert_eq!(next_good(4096 * MIB), 4096 * MIB);
    }

    proptest::proptest! {
        #[test]
        fn a_good_size_is_its_own_next_and_never_less(bytes in 1..MAX) {
            let good = next_good(bytes);
            assert!(good >= bytes);
            assert_eq!(next_good(good), good);
        }

        #[test]
        fn what_is_shown_reads_back(mib in 1..1u64 << 22) {
            assert_eq!(parse(&show(mib * MIB)), Some(mib * MIB));
        }
    }
}
