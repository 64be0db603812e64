//! Somebody sits at the console of an appliance that serves.

use core::mem::offset_of;
use std::cell::RefCell;
use std::rc::Rc;

use s390x::clock::Tod;
use vcss::control::Order;

use super::*;
use crate::boot::program::{NoProgram, Program};
use crate::css::Wake;
use crate::monitor::fake::Typist;
use crate::monitor::session::{Session, Terminal};
use crate::monitor::{Acts, Mode, Operator};

/// What is typed line by line, each when the answer to the one before is out; at last the daemon orders the end.
struct Typing<'a> {
    session: Session,
    typist: Typist,
    lines: Vec<&'a str>,
    answers: Rc<RefCell<Vec<String>>>,
    end: Box<dyn Fn() + 'a>,
}

impl Operator for Typing<'_> {
    fn woken(&mut self, _: Wake) {}

    fn listen(&mut self, _: Tod) {}

    fn due(&self) -> Tod {
        self.session.due(&self.typist)
    }

    fn attend(&mut self, state: &mut dyn Acts) {
        self.session.turn(state, &mut self.typist);
        if self.due() != Tod::NEVER {
            return;
        }
        let answer = self.typist.written.drain(..).collect::<Vec<_>>().concat();
        self.answers.borrow_mut().push(answer);
        match self.lines.pop() {
            Some(line) => self.typist.typed.extend(line.bytes().chain([b'\n'])),
            None => (self.end)(),
        }
    }

    fn program(&self) -> &'static dyn Program {
        &NoProgram
    }
}

impl Fixture {
    /// What the appliance answers to these lines while it runs, until it is told to end.
    fn answers(&mut self, lines: &[&str]) -> Vec<String> {
        self.appliance.tuning.linger_us = 0;
        let at = offset_of!(Order, order);
        let order = self.control.word::<Order>(0, at).unwrap();
        let answers = Rc::new(RefCell::new(Vec::new()));
        let mut operator = Typing {
            session: Session::new(Mode::Read),
            typist: Typist::default(),
            lines: lines.iter().rev().copied().collect(),
            answers: answers.clone(),
            end: Box::new(move || order.store(Order::SHUT_DOWN)),
        };
        // The first line is there when it begins.
        operator.typist.typed.extend(b"version\n");
        assert!(operator.typist.may_have_input());
        let started = self.machine.now();
        self.appliance
            .run(&mut self.machine, started, 1, 2, &mut operator);
        let mut answers = answers.take();
        assert!(answers.remove(0).starts_with("STW0101I stellwerk"));
        answers
    }
}

#[test]
fn what_the_commands_say_is_what_there_is() {
    let given = [
        export(ExportKind::Block, 0),
        export(ExportKind::PassThrough, 0),
    ];
    let mut fixture = Fixture::with(1, &[DISK], &[DISK], &given, |_, _| {});
    fixture.plug(GIVEN);
    let commands = [
        "status", "devs", "disks", "clients", "queues", "inflight", "counters", "crw",
    ];
    let answers = fixture.answers(&commands);
    let has = |at: usize, line: &str| {
        let answer: &String = &answers[at];
        assert!(
            answer.contains(line),
            "{}: no {line:?} in {answer}",
            commands[at]
        );
    };
    has(0, "STW0102I Serving, up ");
    has(0, "disks    1, of which 0 not served");
    has(0, "devices  3");
    has(
        1,
        "0.0.0100 0.0.0001  0000/00 3832/02 80  80  ff  disk data",
    );
    has(
        1,
        "0.0.3270 0.0.0002  0000/00 3270/02 80  80  ff  client 0 Idle",
    );
    has(
        2,
        " 0 0.0.0100          0  4096       0 good           data",
    );
    has(3, " 0 client: served");
    has(3, "    0 3270 disk data: no driver");
    has(4, "STW0108I 0 queues");
    has(5, "STW0109I 0 requests");
    has(6, "client 0 subchannel 0: 0 reads, 0 writes, 0 flushes");
    // It has been told of what was plugged in.
    has(7, "client 0: 1 made, 1 not taken, 0 lost");
}

#[test]
fn what_is_wrong_is_found_and_the_subchannel_is_looked_at() {
    let mut fixture = Fixture::with(1, &[DISK], &[], &[], |_, _| {});
    let id = fixture.plug(OTHER);
    let answers = fixture.answers(&["diag", "schib 200", "paths 0.0.0200", "trace", "mem 1000"]);
    let found = "STW0201W disk data (0.0.0100) is not served: there is no device 0.0.0100";
    assert!(answers[0].contains(found), "{}", answers[0]);
    assert!(!answers[0].contains("STW0206W"), "{}", answers[0]);
    let expected = std::format!("STW0105I device 0.0.0200, subchannel {id}");
    assert!(answers[1].starts_with(&expected), "{}", answers[1]);
    assert!(answers[2].contains("(PIM):"), "{}", answers[2]);
    assert!(answers[3].starts_with("STW0111I"));
    assert!(
        answers[4].contains("is not the appliance's own"),
        "nobody reads what is not there"
    );
}
