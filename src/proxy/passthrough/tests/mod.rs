//! The pass-through subchannel against a subchannel of software.

mod fake;
mod scene;
mod sequences;
