//! Volumes that the host has damaged, made read-only, or takes away.
//!
//! What is lost is said in a line `dasd: NUMBER lost BLOCK`; the host knows what it has to be.

use super::super::{ensure, expect, test, Outcome, Test, Why};
use super::Dasd;
use appliance::css::{Platform, Wake};
use appliance::driver::block::{BlockStatus, Operation, SubmitError};
use channel::ChannelSubsystem;

pub(in super::super) const TESTS: &[Test<Dasd>] = &[
    test("what cannot be read fails alone", each),
    test("of long requests those fail that meet it", long),
    test("a write that fails harms nothing", write),
    test("a disk that is gone takes no more requests", gone),
    test("a disk that is back is served again", back),
];

/// Requests that are submitted together.
const TOGETHER: u64 = 48;

/// How long the host may take to unplug the disk, in microseconds.
const PATIENCE: u64 = 3_000_000;

fn each(dasd: &mut Dasd) -> Outcome {
    let mut first = 0;
    while first < dasd.blocks() {
        let count = TOGETHER.min(dasd.blocks() - first);
        let base = dasd.next_token;
        for number in 0..count {
            let sector = (first + number) * dasd.sectors();
            dasd.submit(Operation::Read { sector }, number, 1)?;
        }
        for done in dasd.completions(count as usize)? {
            let number = u64::from(done.token.0.wrapping_sub(base + 1));
            ensure("the token is one of these", number < count)?;
            match done.status {
                BlockStatus::Ok => {
                    dasd.check(number, first + number)?;
                    dasd.readable = dasd.readable.max(first + number);
                }
                BlockStatus::IoError => sclp::println!("dasd: lost {}", first + number),
                BlockStatus::Unsupported => return Err("unsupported".into()),
            }
        }
        first += count;
    }
    Ok(())
}

fn long(dasd: &mut Dasd) -> Outcome {
    const COUNT: u64 = 100;
    let mut first = 0;
    let mut lost = 0;
    while first + COUNT <= dasd.blocks() {
        let sector = first * dasd.sectors();
        dasd.submit(Operation::Read { sector }, 0, COUNT)?;
        for done in dasd.completions(1)? {
            lost += u64::from(done.status != BlockStatus::Ok);
        }
        first += COUNT;
    }
    sclp::println!("dasd: lost {lost} long requests");
    Ok(())
}

fn write(dasd: &mut Dasd) -> Outcome {
    let block = dasd.readable;
    dasd.put(0, block)?;
    let sector = block * dasd.sectors();
    dasd.submit(Operation::Write { sector }, 0, 1)?;
    for done in dasd.completions(1)? {
        sclp::println!("dasd: a write ends with {:?}", done.status);
        if done.status != BlockStatus::Ok {
            if let Some(written) = dasd.written.get_mut(block as usize) {
                *written -= 1;
            }
        }
    }
    dasd.read(block, 1)
}

fn gone(dasd: &mut Dasd) -> Outcome {
    sclp::println!("dasd: may go");
    let deadline = dasd.platform.now().plus_micros(PATIENCE);
    // Idle: a disk that goes while it is being used can end Hercules.
    while dasd.platform.now() < deadline {
        match dasd.platform.wait(Some(deadline)) {
            Wake::MachineCheck(_) => {
                dasd.reports();
                let operation = Operation::Read { sector: 0 };
                let segment = dasd.segment(0, 1)?;
                let token = super::Token(0);
                let found = dasd.disk.submit(0, operation, &[segment], &[], token);
                return expect("submit", found, Err(SubmitError::Broken));
            }
            Wake::Io | Wake::External(_) | Wake::Deadline => {}
        }
        while dasd.platform.pending_interruption().is_some() {}
    }
    Err(Why::Skip("nobody took it away"))
}

fn back(dasd: &mut Dasd) -> Outcome {
    if !dasd.disk.recoveries().broken {
        return Err(Why::Skip("nobody took it away"));
    }
    sclp::println!("dasd: may come back");
    let deadline = dasd.platform.now().plus_micros(PATIENCE);
    while dasd.disk.recoveries().broken {
        match dasd.platform.wait(Some(deadline)) {
            Wake::MachineCheck(_) => dasd.reports(),
            Wake::Io | Wake::External(_) => {}
            Wake::Deadline => return Err("it does not come back".into()),
        }
        while dasd.platform.pending_interruption().is_some() {}
    }
    dasd.read(0, 48)
}
