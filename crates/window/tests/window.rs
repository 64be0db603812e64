//! What a window promises to whoever holds it, and refuses to whoever is behind it.

use proptest::prelude::*;
use window::{ClientAddress, OutOfWindow, Window};
use zerocopy::little_endian::{U16, U32, U64};

const ABSOLUTE: u64 = 0x1000_0000;

fn at(address: u64) -> ClientAddress {
    ClientAddress::new(address)
}

/// Bytes 0, 1, 2, … and a window over the first `length` of them, from an address that is aligned
/// to 8 plus `skew` on.
fn fixture<R>(length: usize, skew: usize, story: impl FnOnce(&Window) -> R) -> (R, Vec<u8>) {
    let mut memory: Vec<u8> = (0..length + 16).map(|byte| byte as u8).collect();
    let start = memory.as_ptr().align_offset(8) + skew;
    for (number, byte) in memory[start..].iter_mut().enumerate() {
        *byte = number as u8;
    }
    let result = story(&Window::borrowed(
        &mut memory[start..start + length],
        ABSOLUTE,
    ));
    (result, memory[start..].to_vec())
}

#[test]
fn the_parts_of_a_window_have_its_bytes_between_them() {
    let window = |bytes: usize| {
        let memory: Vec<u8> = (0..bytes as u8).collect();
        Window::leaked(memory.leak(), ABSOLUTE)
    };
    let (first, second) = window(64).split(24).unwrap();
    assert_eq!((first.len(), second.len()), (24, 40));
    assert_eq!(second.absolute_base(), ABSOLUTE + 24);
    assert_eq!(first.read::<u8>(at(23)), Ok(23));
    assert_eq!(second.read::<u8>(at(0)), Ok(24));
    assert!(first.read::<u8>(at(24)).is_err());
    assert!(window(64).split(65).is_none());
    assert!(window(64).split(64).unwrap().1.is_empty());
}

#[test]
fn a_value_reads_as_it_was_written() {
    fixture(64, 0, |window| {
        for address in [0, 1, 7, 8, 56] {
            window
                .write(at(address), &U64::new(0x0102_0304_0506_0708))
                .unwrap();
            let value: U64 = window.read(at(address)).unwrap();
            assert_eq!(value.get(), 0x0102_0304_0506_0708);
        }
    });
}

#[test]
fn a_write_changes_nothing_beside_it() {
    for skew in 0..8 {
        let ((), after) = fixture(64, skew, |window| {
            window.write_bytes(at(11), &[0xaa; 21]).unwrap();
        });
        assert!(after[11..32].iter().all(|&byte| byte == 0xaa));
        assert!(after[..11]
            .iter()
            .chain(&after[32..72])
            .all(|&byte| byte != 0xaa));
    }
}

#[test]
fn a_fill_changes_all_of_its_range_and_nothing_else() {
    for (skew, length) in (0..8).flat_map(|skew| (0..24).map(move |length| (skew, length))) {
        let ((), after) = fixture(64, skew, |window| {
            window.fill(at(11), length as u64, 0xaa).unwrap();
        });
        let filled = after.iter().filter(|&&byte| byte == 0xaa).count();
        assert_eq!(filled, length);
        assert!(after[11..11 + length].iter().all(|&byte| byte == 0xaa));
    }
}

#[test]
fn the_last_byte_is_inside_and_the_next_is_not() {
    fixture(64, 0, |window| {
        assert_eq!(window.read::<u8>(at(63)), Ok(63));
        assert!(window.read::<u8>(at(64)).is_err());
        assert!(window.read::<U16>(at(63)).is_err());
        assert!(window.write(at(61), &U32::new(0)).is_err());
    });
}

#[test]
fn a_range_that_wraps_around_is_outside() {
    fixture(64, 0, |window| {
        assert!(!window.contains(at(u64::MAX), 2));
        assert!(window.read::<U64>(at(u64::MAX - 3)).is_err());
        assert!(window.translate(at(u64::MAX), 1).is_err());
        assert!(window.slice(at(u64::MAX), u32::MAX).is_err());
        assert!(window.fill(at(1), u64::MAX, 0).is_err());
    });
}

#[test]
fn a_refused_write_leaves_the_memory_as_it_was() {
    let ((), after) = fixture(64, 0, |window| {
        assert!(window.write_bytes(at(60), &[0xaa; 5]).is_err());
        assert!(window.fill(at(60), 5, 0xaa).is_err());
    });
    assert!(after
        .iter()
        .enumerate()
        .all(|(number, &byte)| byte == number as u8));
}

#[test]
fn an_empty_range_may_lie_at_the_end_but_not_past_it() {
    fixture(64, 0, |window| {
        assert_eq!(window.translate(at(64), 0).unwrap().absolute, ABSOLUTE + 64);
        assert!(window.translate(at(65), 0).is_err());
        assert!(window.read_bytes(at(64), &mut []).is_ok());
    });
}

#[test]
fn an_empty_window_holds_nothing() {
    let window = Window::borrowed(&mut [], 0);
    let window = &*window;
    assert!(window.is_empty());
    assert!(window.read::<u8>(at(0)).is_err());
    assert!(window.slice(at(0), 0).unwrap().load_u16(0).is_err());
}

#[test]
fn a_window_becomes_shorter_and_longer_up_to_what_it_was_made_with() {
    let mut bytes = [7; 64];
    let window = Window::borrowed(&mut bytes, 0x1000);
    let place = window.place(at(40), 8).unwrap();
    window.set_len(40);
    assert_eq!(window.len(), 40);
    assert!(window.contains(at(32), 8) && !window.contains(at(32), 9));
    assert!(window.open(&place).is_err() && window.translate(at(40), 1).is_err());
    window.set_len(48);
    assert_eq!(window.open(&place).unwrap().load_u16(0), Ok(0x0707));
    window.set_len(u64::MAX);
    assert_eq!(window.len(), 64);
    window.set_len(0);
    assert!(window.is_empty() && window.read::<u8>(at(0)).is_err());
}

#[test]
fn a_translation_adds_the_absolute_base() {
    fixture(64, 0, |window| {
        let segment = window.translate(at(0x10), 0x20).unwrap();
        assert_eq!((segment.absolute, segment.len), (ABSOLUTE + 0x10, 0x20));
    });
}

#[test]
fn a_translation_past_the_end_of_all_addresses_is_refused() {
    let mut memory = [0; 64];
    let window = Window::borrowed(&mut memory, u64::MAX - 15);
    assert!(window.translate(at(0), 15).is_ok());
    assert!(window.translate(at(0), 16).is_err());
    assert!(window.translate(at(32), 1).is_err());
}

#[test]
fn the_error_names_the_client_and_what_it_asked_for() {
    fixture(64, 0, |window| {
        let error = window.translate(at(0x30), 0x20).unwrap_err();
        let expected = OutOfWindow {
            address: at(0x30),
            length: 0x20,
            window_length: 64,
        };
        assert_eq!(error, expected);
        assert_eq!(
            error.to_string(),
            "client error: 32 bytes at 0x30 do not lie in its window of 0x40 bytes"
        );
    });
}

#[test]
fn words_of_a_slice_are_little_endian_and_counted_in_words() {
    fixture(64, 0, |window| {
        let slice = window.slice(at(8), 16).unwrap();
        assert_eq!(slice.load_u16(0), Ok(0x0908));
        assert_eq!(slice.load_u16_acquire(3), Ok(0x0f0e));
        assert_eq!(slice.load_u32(1), Ok(0x0f0e_0d0c));
        slice.store_u16(1, 0x1234).unwrap();
        slice.store_u32_release(2, 0x5678_9abc).unwrap();
        assert_eq!(window.read(at(10)), Ok([0x34u8, 0x12]));
        assert_eq!(window.read(at(16)), Ok([0xbcu8, 0x9a, 0x78, 0x56]));
    });
}

#[test]
fn words_past_a_slice_are_refused_even_inside_the_window() {
    fixture(64, 0, |window| {
        let slice = window.slice(at(8), 7).unwrap();
        assert!(slice.load_u16(2).is_ok());
        assert_eq!(slice.load_u16(3).unwrap_err().address, at(14));
        assert!(slice.store_u32(1, 0).is_err());
        assert!(slice.load_u32(u32::MAX).is_err());
        assert!(slice.element::<U64>(0).is_err());
        assert!(slice.element::<[u8; 3]>(1).is_ok());
        assert!(slice.set_element(2, &[0u8; 3]).is_err());
        assert!(slice.element::<U64>(u32::MAX).is_err());
    });
}

#[test]
fn words_that_are_not_aligned_are_still_words() {
    for skew in 0..4 {
        fixture(64, skew, |window| {
            let slice = window.slice(at(1), 16).unwrap();
            assert_eq!(slice.load_u32(1), Ok(0x0807_0605));
            slice.store_u16(2, 0xbeef).unwrap();
            assert_eq!(slice.load_u16(2), Ok(0xbeef));
            assert_eq!(window.read(at(5)), Ok([0xefu8, 0xbe]));
        });
    }
}

#[test]
fn a_slice_counts_from_its_own_start() {
    fixture(64, 0, |window| {
        let slice = window.slice(at(24), 24).unwrap();
        assert_eq!((slice.address(), slice.len()), (at(24), 24));
        assert_eq!(slice.element::<U64>(1), window.read(at(32)));
    });
}

#[test]
fn the_words_of_a_slice_come_in_their_order_until_one_is_refused() {
    fixture(40, 0, |window| {
        let slice = window.slice(at(8), 28).unwrap();
        let mut seen = Vec::new();
        let all = slice.each(|word: [u8; 8]| {
            seen.push(word[0]);
            true
        });
        assert_eq!((all, seen), (3, vec![8, 16, 24]));
        assert_eq!(slice.each(|word: [u8; 8]| word[0] < 16), 1);
        let places = slice.each_with(&[8, 12], |word: [u8; 4], first| word[0] == *first);
        assert_eq!(places, 2);
        let (first, rest) = slice.split_first::<[u8; 8]>().unwrap();
        assert_eq!((first[0], rest.len(), rest.address()), (8, 20, at(16)));
    });
}

#[test]
fn a_slice_that_is_short_or_not_aligned_has_no_words() {
    fixture(40, 0, |window| {
        let short = window.slice(at(8), 7).unwrap();
        assert!(short.split_first::<U64>().is_none());
        let skewed = window.slice(at(4), 16).unwrap();
        assert_eq!(skewed.each(|_: U64| true), 0);
        assert_eq!(skewed.each(|_: U32| true), 4);
    });
}

#[test]
fn another_thread_sees_what_a_release_store_announces() {
    let mut memory = vec![0; 64];
    let window = Window::borrowed(&mut memory, 0);
    let window = &*window;
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let slice = window.slice(at(0), 64).unwrap();
            slice.store_u32(8, 4711).unwrap();
            slice.store_u32_release(0, 1).unwrap();
        });
        let slice = window.slice(at(0), 64).unwrap();
        while slice.load_u32_acquire(0) == Ok(0) {
            std::hint::spin_loop();
        }
        assert_eq!(slice.load_u32(8), Ok(4711));
    });
}

proptest! {
    /// Whatever the address and length: all the range is inside, or it is refused.
    #[test]
    fn every_function_is_total(address in any::<u64>(), near in 0u64..96, length in 0u32..96, skew in 0usize..8) {
        fixture(64, skew, |window| {
            for address in [address, near, u64::MAX - near] {
                let inside = u128::from(address) + u128::from(length) <= 64;
                let mut bytes = vec![0; length as usize];
                assert_eq!(window.contains(at(address), length.into()), inside);
                assert_eq!(window.read_bytes(at(address), &mut bytes).is_ok(), inside);
                assert_eq!(window.write_bytes(at(address), &bytes).is_ok(), inside);
                assert_eq!(window.fill(at(address), length.into(), 7).is_ok(), inside);
                assert_eq!(window.translate(at(address), length).is_ok(), inside);
                assert_eq!(window.slice(at(address), length).is_ok(), inside);
            }
        });
    }

    /// Copies in and out give the same bytes for each alignment on either side.
    #[test]
    fn copies_are_exact(bytes in proptest::collection::vec(any::<u8>(), 0..48), address in 0u64..16, skew in 0usize..8) {
        fixture(64, skew, |window| {
            window.write_bytes(at(address), &bytes).unwrap();
            let mut back = vec![0; bytes.len()];
            window.read_bytes(at(address), &mut back).unwrap();
            assert_eq!(back, bytes);
        });
    }

    /// A slice never reaches past itself, whatever the index.
    #[test]
    fn a_slice_stays_in_its_range(start in 0u64..64, length in 0u32..64, index in any::<u32>(), low in 0u32..40) {
        fixture(64, 0, |window| {
            let Ok(slice) = window.slice(at(start), length) else { return };
            for index in [index, low] {
                let fits = |size: u64| (u64::from(index) + 1) * size <= u64::from(length);
                assert_eq!(slice.load_u16(index).is_ok(), fits(2));
                assert_eq!(slice.store_u16(index, 1).is_ok(), fits(2));
                assert_eq!(slice.load_u32(index).is_ok(), fits(4));
                assert_eq!(slice.element::<[u8; 16]>(index).is_ok(), fits(16));
            }
        });
    }
}
