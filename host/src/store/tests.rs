use std::fs::File;
use std::io::{Read, Seek, Write};
use std::os::unix::fs::FileExt;

use super::*;

#[test]
fn what_is_saved_last_is_found_and_what_was_cut_off_is_not() {
    let store = Store::unkept();
    let mut record = Record::<Vec<String>>::new(&store).unwrap();
    assert!(Record::<Vec<String>>::open(&store, record.key()).is_err());
    let words = |count: usize| vec!["word".to_owned(); count];
    for count in 0..5 {
        record.save(&words(count)).unwrap();
        let (_, found) = Record::<Vec<String>>::open(&store, record.key()).unwrap();
        assert_eq!(found, words(count));
    }
    // Killed before the count has changed: what was being written is in the other half.
    let file = File::from(store.get(record.key()).unwrap());
    let count = {
        let mut bytes = [0; 8];
        file.read_exact_at(&mut bytes, 0).unwrap();
        u64::from_ne_bytes(bytes)
    };
    record.save(&words(9)).unwrap();
    file.write_all_at(&count.to_ne_bytes(), 0).unwrap();
    let (mut again, found) = Record::<Vec<String>>::open(&store, record.key()).unwrap();
    assert_eq!(found, words(4));
    again.save(&words(1)).unwrap();
    let (_, found) = Record::<Vec<String>>::open(&store, record.key()).unwrap();
    assert_eq!(found, words(1));
}

#[test]
fn what_is_too_long_is_refused_and_what_was_there_stays() {
    let store = Store::unkept();
    let mut record = Record::<String>::first(&store).unwrap();
    record.save(&"short".into()).unwrap();
    assert!(record.save(&"x".repeat(1 << 20)).is_err());
    let (_, found) = Record::<String>::open(&store, Key::FIRST).unwrap();
    assert_eq!(found, "short");
}

#[test]
fn a_descriptor_is_kept_until_it_is_forgotten() {
    let store = Store::unkept();
    let mut file = tempfile::tempfile().unwrap();
    let key = store.keep(&file).unwrap();
    let other = store.keep(&file).unwrap();
    assert_ne!(key, other);
    file.write_all(b"kept").unwrap();
    let mut copy = File::from(store.get(key).unwrap());
    copy.rewind().unwrap();
    let mut text = String::new();
    copy.read_to_string(&mut text).unwrap();
    assert_eq!(text, "kept");
    store.forget(key);
    assert!(store.get(key).is_err());
    store.retain(|it| it == other);
    assert!(store.get(other).is_ok());
    store.retain(|_| false);
    assert!(store.get(other).is_err());
}
