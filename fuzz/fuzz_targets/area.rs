//! Any memory is an area: it opens or not, and neither what reads it nor what writes it reaches beyond.
#![no_main]

use libfuzzer_sys::fuzz_target;
use vcss::client::{Command, InFlight, SchibPart, Status};
use vcss::control::{Client, Condition, Device, Disk, Export};
use vcss::events::{EventSink, EventSource};
use vcss::layout::{Doorbell, Kind, Name};
use vcss::trace::{Follower, Recorder};
use vcss::underway::Note;
use vcss::{plan, Area, Bell};
use window::{ClientAddress, Window};

fuzz_target!(|input: &[u8]| {
    let Some((&[what, at, times], bytes)) = input.split_first_chunk() else {
        return;
    };
    let (kind, plan) = match what & 1 {
        0 => (Kind::Client, plan::client_area(2)),
        _ => (Kind::Control, plan::control_area(2, 2, 2)),
    };
    // Anything, or an area in which something has been overwritten.
    let mut words = vec![0_u64; plan.length() as usize / 8];
    // SAFETY: the vector is longer and never freed while the area is in use; nobody else looks at it.
    let window = unsafe { Window::new(words.as_mut_ptr().cast(), plan.length(), 0) };
    if what & 2 == 0 {
        plan.write(&window).expect("it is as long as the plan");
    }
    let place = u64::from(at) * 8;
    let room = (plan.length() - place).min(bytes.len() as u64);
    window
        .write_bytes(ClientAddress::new(place), &bytes[..room as usize])
        .expect("it fits");
    // The note is for good, as the appliance's storage is.
    let window: &'static Window = Box::leak(Box::new(window));
    if let Ok(area) = Area::open(window, kind) {
        look(&area, times);
    }
    // SAFETY: made by `leak` above; what borrowed it is gone.
    drop(unsafe { Box::from_raw(std::ptr::from_ref(window).cast_mut()) });
});

fn look(area: &Area<'static>, times: u8) {
    for index in 0..4 {
        let _ = (
            area.read::<Command>(index),
            area.read::<Status>(index),
            area.read::<SchibPart>(index),
        );
        let _ = (
            area.read::<Disk>(index),
            area.read::<Export>(index),
            area.read::<Device>(index),
        );
        let _ = area
            .read::<Client>(index)
            .map(|it| it.name.as_str().len() <= Name::MAX);
        let _ = area.read::<Condition>(index).map(|it| it.reason().len());
        let _ = (
            area.word::<Doorbell>(index, 4),
            area.array::<InFlight>(index, 16),
        );
        let _ = area
            .read::<Status>(index)
            .map(|status| area.write(index, &status));
    }
    for open in [Bell::of_client, Bell::of_new_client, Bell::of_appliance] {
        if let Ok(mut bell) = open(area) {
            let _ = (bell.ring(), bell.heard(), bell.began_anew());
            bell.has_acted();
        }
    }
    if let Ok(mut sink) = EventSink::open(area) {
        for _ in 0..times {
            let _ = sink.take();
        }
    }
    let _ = EventSource::open(area);
    let _ = Recorder::open(area);
    if let Ok(mut follower) = Follower::open(area) {
        for _ in 0..times {
            let _ = follower.follow();
        }
    }
    if let Ok((note, _)) = Note::open(area) {
        note.begin(1, 2, 3);
        note.done(4);
        let _ = note.died_serving();
    }
}
