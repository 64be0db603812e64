//! A disk gets another capacity while a guest is served from it.

use std::io::Read;
use std::mem::offset_of;

use vcss::client::{DeviceState, Notify};

use super::*;

/// What the stand-in's configuration space says.
const CAPACITY: u64 = u64::from_le_bytes([0, 1, 2, 3, 4, 5, 6, 7]);

/// As the appliance: the device has so many sectors.
fn resize(fixture: &Fixture, sectors: u64) {
    let area = &fixture.areas.clients[0].area;
    let mut state = area.read::<DeviceState>(0).unwrap();
    state.capacity = sectors.into();
    area.write(0, &state).unwrap();
    fixture.notify(offset_of!(Notify, config));
}

fn read_config(guest: &mut Guest) {
    let flags = VhostUserConfigFlags::WRITABLE;
    guest.frontend.get_config(0, 8, flags, &[0; 8]).unwrap();
}

/// Waits for a message of the back end's: that the configuration is another one.
fn is_told(mut channel: &UnixStream) {
    let mut heard = [0; 12];
    channel.read_exact(&mut heard).unwrap();
    assert_eq!(heard[..], message(2, 1, &[]));
}

#[test]
fn a_guest_that_is_served_is_told_and_one_that_is_not_is_when_it_is() {
    let (fixture, server, path) = fixture();
    let mut guest = Guest::connect(&path);
    let (channel, given) = UnixStream::pair().unwrap();
    channel.set_nonblocking(true).unwrap();
    guest.frontend.set_backend_request_fd(&given).unwrap();
    drop(given);
    read_config(&mut guest);
    guest.share_window(&fixture);
    guest.set_up(0, 7).unwrap();
    resize(&fixture, CAPACITY + 8);
    // An answer to something else: by then it would have been told.
    read_config(&mut guest);
    let early = (&channel).read(&mut [0; 12]);
    assert_eq!(early.unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
    channel.set_nonblocking(false).unwrap();
    guest.enable(0, true);
    // The device has been reset for it.
    resize(&fixture, CAPACITY + 16);
    is_told(&channel);
    read_config(&mut guest);
    resize(&fixture, CAPACITY + 24);
    is_told(&channel);
    close(server);
}

#[test]
fn a_socket_is_kept_as_the_way_back_and_forgotten_with_the_connection() {
    let (fixture, server, path) = fixture();
    for _ in 0..3 {
        let mut guest = Guest::connect(&path);
        let (mut channel, given) = UnixStream::pair().unwrap();
        guest.frontend.set_backend_request_fd(&given).unwrap();
        drop((given, guest));
        // Nobody has its other end any more.
        assert_eq!(channel.read(&mut [0; 12]).unwrap(), 0);
    }
    // One of another kind is no harm, and leads nowhere.
    let mut guest = Guest::connect(&path);
    let file = tempfile::tempfile().unwrap();
    guest.frontend.set_backend_request_fd(&file).unwrap();
    guest.share_window(&fixture);
    guest.set_up(0, 7).unwrap();
    guest.enable(0, true);
    resize(&fixture, 8);
    read_config(&mut guest);
    close(server);
}
