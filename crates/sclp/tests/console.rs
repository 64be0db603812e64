//! The console against an SCLP in software that checks every SCCB to the byte.

use sclp::mock::{Call, Fault, Machine, ScriptedSclp};
use sclp::spec::{Command, ResponseCode};
use sclp::{
    Console, ConsoleError, ConsoleMode, SccbPage, Sclp, ServiceCallError, BUSY_RETRIES,
    LINE_COLUMNS, OUTPUT_CAPACITY, WRITE_RETRIES,
};
use std::fmt::Write;

/// What all machines with line mode here take: messages.
const LINE_MODE: ConsoleMode = ConsoleMode::LineMode { event_type: 0x02 };

type TestConsole = Console<'static, ScriptedSclp>;

/// The console of a machine, and the machine with its start forgotten.
fn console_of(machine: Machine) -> (TestConsole, ScriptedSclp) {
    let machine = ScriptedSclp::new(machine);
    let console = Console::new(sclp_of(&machine)).expect("the machine has a console");
    machine.forget_calls();
    (console, machine)
}

fn sclp_of(machine: &ScriptedSclp) -> Sclp<'static, ScriptedSclp> {
    Sclp::new(machine.clone(), Box::leak(Box::new(SccbPage::new())))
}

/// All input there is now, asked for in pieces of this size.
fn input_in_pieces(console: &mut TestConsole, size: usize) -> String {
    let mut text = Vec::new();
    let mut piece = vec![0; size];
    loop {
        match console.poll_input(&mut piece).expect("input") {
            0 => return String::from_utf8(text).expect("ASCII"),
            length => text.extend_from_slice(&piece[..length]),
        }
    }
}

fn commands(machine: &ScriptedSclp) -> Vec<Command> {
    machine.calls().iter().map(|call| call.command).collect()
}

fn only_call(machine: &ScriptedSclp) -> Call {
    let mut calls = machine.calls();
    assert_eq!(calls.len(), 1);
    calls.remove(0)
}

fn refusal(response: ResponseCode) -> Fault {
    Fault {
        response,
        accepted: false,
    }
}

// ---- which console ---------------------------------------------------------------------------

#[test]
fn the_console_is_chosen_by_what_the_sclp_receives() {
    for (machine, mode) in [
        (Machine::QemuAscii, ConsoleMode::Ascii),
        (Machine::QemuLineMode, LINE_MODE),
        (Machine::Hercules, LINE_MODE),
        (Machine::Both, ConsoleMode::Ascii),
    ] {
        assert_eq!(console_of(machine).0.mode(), mode, "{machine:?}");
    }
}

#[test]
fn the_program_asks_first_and_then_sets_no_more_than_the_machine_has() {
    let machine = ScriptedSclp::new(Machine::Hercules);
    Console::new(sclp_of(&machine)).expect("console");
    let requests: Vec<_> = machine
        .calls()
        .iter()
        .map(|call| call.request.clone())
        .collect();
    let ask = b"\x00\x1C\0\0\0\0\0\0\0\0\x00\x04\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0";
    // Takes OPCMD, PMSGCMD, SIGNAL QUIESCE; sends MSG, PMSGCMD.
    let set = b"\x00\x1C\0\0\0\0\0\0\0\0\x00\x04\x80\x80\x00\x08\x40\x80\x00\x00\0\0\0\0\0\0\0\0";
    assert_eq!(requests, [&ask[..], &set[..]]);
}

#[test]
fn a_machine_without_the_console_says_what_it_has() {
    let nothing = ScriptedSclp::new(Machine::Nothing);
    let error = Console::new(sclp_of(&nothing)).expect_err("no console");
    assert!(matches!(error, ConsoleError::NoConsole(mask) if mask.bits() == 0));
    assert_eq!(error.to_string(), "no console, receive mask 00000000");
}

// ---- output ----------------------------------------------------------------------------------

#[test]
fn an_ascii_line_is_these_bytes() {
    let (mut console, machine) = console_of(Machine::QemuAscii);
    console.write("Hi\n").expect("write");
    let sccb = b"\x00\x12\0\0\0\0\0\0\x00\x0A\x1A\0\0\0Hi\r\n";
    assert_eq!(only_call(&machine).command, Command::WriteEventData);
    assert_eq!(only_call(&machine).request, sccb);
}

#[test]
fn a_line_mode_message_is_these_bytes() {
    for machine in [Machine::QemuLineMode, Machine::Hercules] {
        let (mut console, machine) = console_of(machine);
        console.write("Hi\n\n").expect("write");
        let sccb = [
            &b"\x00\x68\0\0\0\0\0\0"[..],
            b"\x00\x60\x02\0\0\0",
            b"\x00\x5A\x00\x01\xD4\xC4\xC2\x40\x00\x00\x00\x01",
            b"\x00\x38\x00\x01",
            &[0; 52],
            b"\x00\x0C\x00\x04\x10\x00\0\0\0\0\xC8\x89",
            b"\x00\x0A\x00\x04\x10\x00\0\0\0\0",
        ];
        assert_eq!(only_call(&machine).request, sccb.concat());
        assert_eq!(machine.output(), "Hi\n\n");
    }
}

#[test]
fn a_line_goes_out_with_its_end_and_not_before() {
    let (mut console, machine) = console_of(Machine::QemuAscii);
    write!(console, "{} of {}", 1, 2).expect("write");
    assert_eq!(machine.calls(), []);
    write!(console, "!\nnext").expect("write");
    assert_eq!(machine.output(), "1 of 2!\r\n");
    console.flush().expect("flush");
    assert_eq!(machine.output(), "1 of 2!\r\nnext");
    console.flush().expect("nothing to flush");
    assert_eq!(machine.calls().len(), 2);
}

#[test]
fn in_line_mode_a_flushed_part_becomes_a_line() {
    let (mut console, machine) = console_of(Machine::Hercules);
    console.write("password: ").expect("write");
    console.flush().expect("flush");
    assert_eq!(machine.output(), "password: \n");
}

#[test]
fn long_text_is_split_across_sccbs_and_nothing_is_lost() {
    let text: String = (0..2000).map(|n| format!("line {n}\n")).collect();
    for (machine, newline) in [(Machine::QemuAscii, "\r\n"), (Machine::QemuLineMode, "\n")] {
        let (mut console, machine) = console_of(machine);
        console.write(&text).expect("write");
        console.flush().expect("flush");
        assert_eq!(machine.output(), text.replace('\n', newline));
        assert!(machine.calls().len() > 2);
    }
}

#[test]
fn many_empty_lines_fill_more_than_one_sccb() {
    let text = "\n".repeat(OUTPUT_CAPACITY);
    let (mut console, machine) = console_of(Machine::Hercules);
    console.write(&text).expect("write");
    assert_eq!(machine.output(), text);
    assert_eq!(
        machine.calls().len(),
        OUTPUT_CAPACITY.div_ceil((4096 - 82) / 10)
    );
}

#[test]
fn text_without_an_end_goes_out_when_the_buffer_is_full() {
    let text = "x".repeat(OUTPUT_CAPACITY + 1);
    let (mut console, machine) = console_of(Machine::QemuAscii);
    console.write(&text).expect("write");
    assert_eq!(machine.output().len(), OUTPUT_CAPACITY);
}

#[test]
fn a_line_that_is_too_wide_continues_on_the_next() {
    let (mut console, machine) = console_of(Machine::QemuLineMode);
    let full = "x".repeat(LINE_COLUMNS);
    console
        .write(&format!("{full}\n{full}yz\n"))
        .expect("write");
    assert_eq!(machine.output(), format!("{full}\n{full}\nyz\n"));
}

#[test]
fn line_mode_shows_what_ebcdic_cannot_say_as_a_question_mark() {
    let (mut console, machine) = console_of(Machine::Hercules);
    console.write("a\tb\r\x1B 日é\u{7F}\n").expect("write");
    assert_eq!(machine.output(), "a       b ??\n");
}

// ---- faults ----------------------------------------------------------------------------------

#[test]
fn a_busy_sclp_is_asked_again() {
    let (mut console, machine) = console_of(Machine::QemuAscii);
    machine.be_busy(3);
    console.write("a\n").expect("write");
    assert_eq!((machine.output().as_str(), machine.pauses()), ("a\r\n", 3));
}

#[test]
fn a_sclp_that_stays_busy_is_given_up() {
    let (mut console, machine) = console_of(Machine::QemuAscii);
    machine.be_busy(u32::MAX);
    assert_eq!(
        console.write("a\n"),
        Err(ConsoleError::ServiceCall(ServiceCallError::Busy))
    );
    assert_eq!(machine.pauses(), BUSY_RETRIES);
}

#[test]
fn text_goes_again_when_the_sclp_was_full() {
    for response in [
        ResponseCode::BUFFER_FULL,
        ResponseCode::IMPROPER_STATE,
        ResponseCode::EQUIPMENT_CHECK,
        ResponseCode::CONTAINED_EQUIPMENT_CHECK,
    ] {
        let (mut console, machine) = console_of(Machine::QemuLineMode);
        machine.refuse(&[refusal(response); 2]);
        console.write("once\n").expect("write");
        let calls = machine.calls();
        assert_eq!(machine.output(), "once\n");
        assert_eq!(calls.len(), 3);
        assert!(calls.iter().all(|call| call.request == calls[0].request));
    }
}

#[test]
fn text_that_went_through_despite_a_check_does_not_go_twice() {
    let (mut console, machine) = console_of(Machine::QemuLineMode);
    machine.refuse(&[Fault {
        response: ResponseCode::CONTAINED_EQUIPMENT_CHECK,
        accepted: true,
    }]);
    console.write("once\n").expect("write");
    assert_eq!(machine.output(), "once\n");
}

#[test]
fn refused_text_is_given_up_and_the_next_goes_out() {
    let (mut console, machine) = console_of(Machine::QemuAscii);
    let full = ResponseCode::BUFFER_FULL;
    machine.refuse(&vec![refusal(full); WRITE_RETRIES as usize + 1]);
    assert_eq!(
        console.write("gone\npart"),
        Err(ConsoleError::Refused(full))
    );
    machine.refuse(&[refusal(ResponseCode::INCONSISTENT_LENGTHS)]);
    assert_eq!(
        console.write(" gone too\n"),
        Err(ConsoleError::Refused(ResponseCode::INCONSISTENT_LENGTHS))
    );
    console.write("here\n").expect("write");
    assert_eq!(machine.output(), "here\r\n");
}

// ---- input -----------------------------------------------------------------------------------

#[test]
fn without_a_signal_there_is_no_input_and_no_service_call() {
    for machine in [Machine::QemuAscii, Machine::Hercules] {
        let (mut console, machine) = console_of(machine);
        machine.type_in("unheard");
        assert_eq!(input_in_pieces(&mut console, 80), "");
        assert_eq!(machine.calls(), []);
    }
}

#[test]
fn a_signal_taken_elsewhere_leads_to_the_input() {
    for (machine, text) in [
        (Machine::QemuAscii, "status\r"),
        (Machine::QemuLineMode, "status"),
        (Machine::Hercules, "status"),
        (Machine::Hercules, "!status"),
    ] {
        let (mut console, machine) = console_of(machine);
        machine.type_in(text);
        console.note_signal(sclp::Signal::from_parameter(1));
        let expected = match console.mode() {
            ConsoleMode::Ascii => "status\r",
            ConsoleMode::LineMode { .. } => "status\n",
        };
        assert_eq!(input_in_pieces(&mut console, 80), expected);
        assert_eq!(commands(&machine), [Command::ReadEventData]);
    }
}

#[test]
fn every_sign_that_an_operator_types_arrives() {
    let signs: String = (b' '..=b'~')
        .map(char::from)
        .filter(|&sign| sign != '!')
        .collect();
    for machine in [Machine::QemuLineMode, Machine::Hercules] {
        let (mut console, machine) = console_of(machine);
        machine.type_in(&format!("{signs}!"));
        console.note_signal(sclp::Signal::EVENT);
        assert_eq!(input_in_pieces(&mut console, 80), format!("{signs}!\n"));
    }
}

#[test]
fn an_event_that_rides_on_the_completion_of_a_write_is_read() {
    let (mut console, machine) = console_of(Machine::Hercules);
    machine.type_in("stop");
    console.write("prompt\n").expect("write");
    assert_eq!(input_in_pieces(&mut console, 80), "stop\n");
}

#[test]
fn commands_that_come_one_per_read_are_all_read() {
    let (mut console, machine) = console_of(Machine::Hercules);
    machine.type_in("one");
    machine.type_in("!two");
    console.write("prompt\n").expect("write");
    assert_eq!(input_in_pieces(&mut console, 80), "one\ntwo\n");
}

#[test]
fn a_small_buffer_loses_nothing() {
    let (mut console, machine) = console_of(Machine::QemuAscii);
    let text = "0123456789".repeat(400);
    machine.type_in(&text);
    console.write("\n").expect("write");
    assert_eq!(input_in_pieces(&mut console, 7), text);
    assert_eq!(
        commands(&machine),
        [Command::WriteEventData, Command::ReadEventData]
    );
}

#[test]
fn a_signal_without_an_event_is_no_error() {
    let (mut console, machine) = console_of(Machine::QemuAscii);
    console.note_signal(sclp::Signal::from_parameter(1));
    assert_eq!(input_in_pieces(&mut console, 80), "");
    assert_eq!(machine.calls()[0].response, ResponseCode::NO_EVENT_BUFFERS);
    assert_eq!(input_in_pieces(&mut console, 80), "");
    assert_eq!(machine.calls().len(), 1);
}

#[test]
fn a_refused_read_is_an_error_once() {
    let (mut console, machine) = console_of(Machine::QemuAscii);
    machine.refuse(&[refusal(ResponseCode::INVALID_SELECTION_MASK)]);
    console.note_signal(sclp::Signal::EVENT);
    let refused = ConsoleError::Refused(ResponseCode::INVALID_SELECTION_MASK);
    assert_eq!(console.poll_input(&mut [0; 8]), Err(refused));
    assert_eq!(console.poll_input(&mut [0; 8]), Ok(0));
}

#[test]
fn the_wish_for_an_orderly_end_is_told_once() {
    let (mut console, machine) = console_of(Machine::QemuAscii);
    machine.send_event(0x1D, vec![0; 4]);
    machine.type_in("x");
    console.note_signal(sclp::Signal::EVENT);
    assert_eq!(input_in_pieces(&mut console, 80), "x");
    assert!(console.take_quiesce());
    assert!(!console.take_quiesce());
}

#[test]
fn sessions_and_broken_events_give_no_input() {
    let (mut console, machine) = console_of(Machine::QemuAscii);
    for payload in [&b"\x80"[..], b"\x01", b"", b"\x77abc"] {
        machine.send_event(0x1A, payload.to_vec());
    }
    console.note_signal(sclp::Signal::EVENT);
    assert_eq!(input_in_pieces(&mut console, 80), "");

    let (mut console, machine) = console_of(Machine::Hercules);
    machine.send_event(0x01, b"no vectors here".to_vec());
    console.note_signal(sclp::Signal::EVENT);
    assert_eq!(input_in_pieces(&mut console, 80), "");
}

// ---- signals ---------------------------------------------------------------------------------

#[test]
fn a_signal_can_say_two_things_at_once() {
    let both = sclp::Signal::from_parameter(0x0001_2001);
    assert_eq!(
        (both.completed_sccb(), both.event_pending()),
        (Some(0x12000), true)
    );
    let event = sclp::Signal::from_parameter(1);
    assert_eq!(
        (event.completed_sccb(), event.event_pending()),
        (None, true)
    );
}

// ---- any text --------------------------------------------------------------------------------

proptest::proptest! {
    #[test]
    fn printable_text_arrives_whatever_pieces_it_is_written_in(
        pieces in proptest::collection::vec("[ -~\n]{0,700}", 0..12)
    ) {
        for (machine, newline) in [(Machine::QemuAscii, "\r\n"), (Machine::Hercules, "\n")] {
            let (mut console, machine) = console_of(machine);
            for piece in &pieces {
                console.write(piece).expect("write");
            }
            console.flush().expect("flush");
            let text = pieces.concat();
            if newline == "\r\n" {
                proptest::prop_assert_eq!(machine.output(), text.replace('\n', newline));
            } else {
                // Line mode breaks lines that are too wide, and ends the last one.
                let dense = |text: &str| text.replace('\n', "");
                proptest::prop_assert_eq!(dense(&machine.output()), dense(&text));
            }
        }
    }
}
