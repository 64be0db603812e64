//! The pass-through subchannel against a subchannel of software.

mod cases;
mod fake;
mod more_cases;
mod scene;
mod sequences;
