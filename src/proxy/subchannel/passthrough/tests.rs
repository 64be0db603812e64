//! The pass-through subchannel against a subchannel of software.

mod cases;
mod codes;
mod cuts;
mod fake;
mod fixture;
mod lending;
mod measure;
mod model;
mod more_cases;
mod plugging;
mod sequences;
mod tables;
