//! What is typed, and what comes out: each command over an appliance that is nothing but what a test says.

mod commands;
mod documents;
mod session;

use std::string::String;
use std::vec::Vec;

use s390x::clock::Tod;

use super::fake::{Fake, Typist};
use super::session::Session;
use super::Mode;

/// An operator at a console, and the appliance.
struct Scene {
    state: Fake,
    typist: Typist,
    session: Session,
}

impl Scene {
    fn new(mode: Mode, is_raw: bool) -> Self {
        Self {
            state: Fake::new(),
            typist: Typist {
                is_raw,
                ..Typist::default()
            },
            session: Session::new(mode),
        }
    }

    /// At a line-mode console, where nothing can be changed.
    fn lines() -> Self {
        Self::new(Mode::Read, false)
    }

    /// What comes out by the time when nothing is left to be done.
    fn type_in(&mut self, keys: &str) -> String {
        self.typist.typed.extend(keys.bytes());
        self.until_idle();
        let written: Vec<String> = self.typist.written.drain(..).collect();
        written.concat()
    }

    fn until_idle(&mut self) {
        while self.session.due(&self.typist) != Tod::NEVER {
            self.turn();
            // Whoever sleeps is woken when it is due.
            self.state.micros.set(self.state.micros.get() + 50_000);
        }
    }

    fn turn(&mut self) {
        self.session.turn(&mut self.state, &mut self.typist);
    }
}

/// What a command says to an operator who may only look.
fn answer(state: Fake, line: &str) -> Vec<String> {
    let mut scene = Scene::lines();
    scene.state = state;
    let text = scene.type_in(&std::format!("{line}\n"));
    text.lines().map(String::from).collect()
}
