//! Any bytes are what a disk gives: its characteristics, its label and its VTOC are shown, or it is none.
#![no_main]

use dasd::{Dscb, Label};
use dasd_tools::dasdview::{look, Parts};
use dasd_tools::program::Program;
use dasd_tools::runner::{Fault, Runner, SENSE};
use libfuzzer_sys::fuzz_target;

/// Gives its bytes to whatever is read, in turn; the first of each program says how that ends.
struct Disk<'a>(&'a [u8]);

impl Disk<'_> {
    fn take(&mut self, count: usize) -> &[u8] {
        let (taken, rest) = self.0.split_at(self.0.len().min(count));
        self.0 = rest;
        taken
    }
}

impl Runner for Disk<'_> {
    fn run(&mut self, program: &mut Program) -> Result<(), Fault> {
        match self.take(1) {
            [] => return Err(Fault::Busy),
            [0xFF] => {
                let mut sense = [0; SENSE];
                let found = self.take(2);
                sense[..found.len()].copy_from_slice(found);
                return Err(Fault::UnitCheck(sense));
            }
            _ => {}
        }
        for step in &mut program.steps {
            let read = self.take(step.data.len());
            step.data[..read.len()].copy_from_slice(read);
        }
        Ok(())
    }
}

fuzz_target!(|input: &[u8]| {
    let label = Label::parse(input);
    let _ = (label.serial(), label.name());
    if let Some(bytes) = input.first_chunk() {
        if let Dscb::Format1(set) | Dscb::Format8(set) = Dscb::parse(bytes) {
            let tracks = set.extent[0].tracks(15);
            assert!(tracks.is_none_or(|(first, last)| first <= last));
        }
    }
    let parts = Parts {
        general: true,
        extended: true,
        label: true,
        vtoc: Some("all"),
    };
    if let Ok(view) = look(&mut Disk(input), "disk", "0.0.1234") {
        assert!(!view.text(parts).is_empty());
    }
});
