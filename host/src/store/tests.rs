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

/// A store with a keeper that is waited for as long as it takes: both ends of the way to it.
fn with_patient_keeper() -> (Store, OwnedFd, OwnedFd) {
    use rustix::net::{socketpair, sockopt, AddressFamily, SocketFlags, SocketType};
    let kind = SocketType::SEQPACKET;
    let pair = socketpair(AddressFamily::UNIX, kind, SocketFlags::CLOEXEC, None);
    let (ours, theirs) = pair.unwrap();
    let store = Store::unkept();
    store.move_to(ours.try_clone().unwrap()).unwrap();
    sockopt::set_socket_timeout(&ours, sockopt::Timeout::Send, None).unwrap();
    (store, ours, theirs)
}

/// What the keeper is told next.
fn heard(theirs: &OwnedFd) -> String {
    let mut text = vec![0; 100];
    let (_, length) = rustix::net::recv(theirs, &mut text, RecvFlags::empty()).unwrap();
    String::from_utf8(text[..length].to_vec()).unwrap()
}

#[test]
fn a_silent_keeper_holds_up_only_who_tells_it_something() {
    let (store, ours, theirs) = with_patient_keeper();
    assert_eq!(heard(&theirs), "READY=1");
    let key = store.keep(tempfile::tempfile().unwrap()).unwrap();
    let full = SendFlags::DONTWAIT;
    while rustix::net::send(&ours, b"STATUS=full", full).is_ok() {}
    std::thread::scope(|scope| {
        let keeping = scope.spawn(|| store.keep(&ours).unwrap());
        // It has probably come to where it waits. Where the lock is held then, what follows does not end.
        std::thread::sleep(Duration::from_millis(50));
        assert!(!keeping.is_finished());
        assert!(store.get(key).is_ok());
        assert!(store.keeper().is_some() && !store.has_own_keeper());
        while !keeping.is_finished() {
            let _ = rustix::net::recv(&theirs, &mut [0; 100], RecvFlags::DONTWAIT);
        }
    });
}

#[test]
fn another_keeper_is_given_everything_and_one_that_takes_nothing_is_not_told_more() {
    let (store, _ours, theirs) = with_patient_keeper();
    let file = tempfile::tempfile().unwrap();
    let keys = [(); 3].map(|()| store.keep(&file).unwrap());
    store.forget(keys[1]);
    drop(theirs);
    // This one is told to nobody.
    let late = store.keep(&file).unwrap();
    assert!(store.keeper().is_none(), "it is to be replaced");
    let (other, ours, theirs) = with_patient_keeper();
    drop(other);
    store.move_to(ours).unwrap();
    assert_eq!(heard(&theirs), "READY=1", "it was another store's before");
    for key in [keys[0], keys[2], late] {
        let wanted = format!("FDSTORE=1\nFDNAME={}\n", key.0);
        assert!(heard(&theirs).starts_with(&wanted));
    }
    assert_eq!(heard(&theirs), "READY=1");
    store.forget(late);
    let wanted = format!("FDSTOREREMOVE=1\nFDNAME={}", late.0);
    assert_eq!(heard(&theirs), wanted);
}

#[test]
fn what_systemd_keeps_is_another_file_each_time_and_the_descriptor_stays_in_it() {
    let mut file = tempfile::tempfile().unwrap();
    let sockets = [0, 1].map(|_| wrapped(file.as_fd()).unwrap());
    for _ in 0..2 {
        for socket in &sockets {
            let mut same = File::from(unwrapped(socket).unwrap());
            same.write_all(b"x").unwrap();
        }
    }
    file.rewind().unwrap();
    let mut text = String::new();
    file.read_to_string(&mut text).unwrap();
    assert_eq!(text, "xxxx");
    assert!(unwrapped(&file.into()).is_none());
}
