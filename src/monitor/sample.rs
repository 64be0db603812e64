//! How far each queue has come, to be compared with how far it comes.
//!
//! # Limits
//!
//! The first [`QUEUES`] queues.

use heapless::Vec;
use s390x::clock::Tod;

use super::view::{Queue, View};

/// How many are looked at.
pub const QUEUES: usize = 128;

#[derive(Clone, Debug, Default)]
pub struct Sample {
    queues: Vec<Place, QUEUES>,
    pub at: Tod,
    pub healed: u64,
}

#[derive(Clone, Copy, Debug)]
pub struct Place {
    /// Of the device among the exports.
    pub export: usize,
    pub number: u16,
    pub queue: Queue,
}

impl Sample {
    pub fn take(view: &dyn View) -> Self {
        let mut queues = Vec::new();
        each_queue(view, &mut |place| {
            // What is beyond is not looked at.
            let _ = queues.push(place);
        });
        Self {
            queues,
            at: view.now(),
            healed: view.summary().about.healed.get(),
        }
    }

    /// The queue as it was.
    pub fn before(&self, now: &Place) -> Option<&Queue> {
        let mut all = self.queues.iter();
        let found = all.find(|it| (it.export, it.number) == (now.export, now.number));
        found.map(|place| &place.queue)
    }
}

/// All queues that are set up.
pub fn each_queue(view: &dyn View, act: &mut dyn FnMut(Place)) {
    for (place, export) in (0..).map_while(|place| Some((place, view.export(place)?))) {
        for number in 0..export.queues {
            if let Some(queue) = view.queue(place, number) {
                act(Place {
                    export: place,
                    number,
                    queue,
                });
            }
        }
    }
}
