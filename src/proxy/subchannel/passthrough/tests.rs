//! The pass-through subchannel against a subchannel of software.

mod cases;
mod codes;
mod cuts;
mod fake;
mod lending;
mod measure;
mod model;
mod more_cases;
mod plugging;
mod scene;
mod sequences;
mod tables;
