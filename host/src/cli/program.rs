//! Channel programs as they are written on the command line.
//!
//! One word for each CCW:
//!
//! | word | CCW |
//! |---|---|
//! | `nop` | no operation |
//! | `sense` | basic sense, up to 32 bytes |
//! | `sense-id` | sense ID, up to 64 bytes |
//! | `read:CMD:COUNT` | a command, hexadecimal, that reads up to so many bytes |
//! | `write:CMD:HEX` | a command that writes these bytes |
//! | 16 hexadecimal digits | a format-1 CCW as it is |
//!
//! Named ones are chained and suppress length indications. A CCW in hexadecimal keeps its flags; its address has to be zero,
//! since the daemon finds room for its data, except that a TIC's is an offset in the program: 8 is the second CCW.

use anyhow::{bail, ensure, Context, Result};
use channel::{Ccw1, CcwFlags, CommandCode};
use zerocopy::FromBytes;

use crate::api::{Program, Step, MAX_CCWS};

const SENSE_BYTES: u16 = 32;
const SENSE_ID_BYTES: u16 = 64;

pub fn parse(words: &[String]) -> Result<Program> {
    ensure!(
        !words.is_empty(),
        "no program: give at least one command, as sense-id"
    );
    ensure!(
        words.len() <= MAX_CCWS,
        "{} CCWs are too many: at most {MAX_CCWS}",
        words.len()
    );
    let mut ccws = Vec::new();
    for (number, word) in words.iter().enumerate() {
        let chain = match number + 1 == words.len() {
            true => CcwFlags::empty(),
            false => CcwFlags::CC,
        };
        ccws.push(step(word, chain).with_context(|| format!("\"{word}\""))?);
    }
    Ok(Program {
        ccws,
        ..Program::default()
    })
}

/// The CCW of a word; of named ones, with these flags besides.
fn step(word: &str, chain: CcwFlags) -> Result<Step> {
    let named = |command: CommandCode, count: u16, data: &[u8]| {
        let mut step = Step::new(command, count, data.to_vec());
        step.flags |= chain.bits();
        step
    };
    let mut parts = word.split(':');
    Ok(match (parts.next(), parts.next(), parts.next(), parts.next()) {
        (Some("nop"), None, ..) => named(CommandCode::NOP, 1, &[]),
        (Some("sense"), None, ..) => named(CommandCode::SENSE, SENSE_BYTES, &[]),
        (Some("sense-id"), None, ..) => named(CommandCode::SENSE_ID, SENSE_ID_BYTES, &[]),
        (Some("read"), Some(code), Some(count), None) => {
            let code = command(code)?;
            ensure!(
                code.reads(),
                "{:02x} is no command that reads (its low bits are 10, 0100 or 1100)",
                code.0
            );
            let count = count.parse().ok().filter(|count| *count > 0);
            let count = count.context("a count is a decimal number from 1 to 65535")?;
            named(code, count, &[])
        }
        (Some("write"), Some(code), Some(data), None) => {
            let data = hex::decode(data).context("what is written is pairs of hexadecimal digits")?;
            let count = u16::try_from(data.len()).ok().filter(|count| *count > 0);
            let count = count.context("a CCW writes 1 to 65535 bytes")?;
            let code = command(code)?;
            ensure!(!code.reads(), "{:02x} is a command that reads", code.0);
            named(code, count, &data)
        }
        (Some(ccw), None, ..) if ccw.len() == 16 => raw(ccw)?,
        _ => bail!(
            "is no command: nop, sense, sense-id, read:CMD:COUNT, write:CMD:HEX, or a format-1 CCW as 16 hexadecimal digits"
        ),
    })
}

fn command(text: &str) -> Result<CommandCode> {
    let good = (1..=2).contains(&text.len()) && text.chars().all(|c| c.is_ascii_hexdigit());
    let code = u8::from_str_radix(text, 16).ok().filter(|_| good);
    let code =
        code.with_context(|| format!("\"{text}\" is no command code: two hexadecimal digits"))?;
    Ok(CommandCode(code))
}

fn raw(text: &str) -> Result<Step> {
    let bytes = hex::decode(text).ok();
    let ccw = bytes.and_then(|bytes| Ccw1::read_from_bytes(&bytes).ok());
    let ccw = ccw.context("a CCW is 16 hexadecimal digits")?;
    let address = ccw.address.get();
    let is_tic = ccw.command == CommandCode::TIC.0;
    ensure!(
        is_tic || address == 0,
        "the address of a CCW has to be zero: the daemon finds room for its data"
    );
    Ok(Step {
        command: ccw.command,
        flags: ccw.flags,
        count: ccw.count.get(),
        target: is_tic.then_some(address),
        data: Vec::new(),
    })
}
