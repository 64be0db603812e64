//! The pass-through subchannel on the machine of software.

mod cases;
mod codes;
mod cuts;
mod fixture;
mod lending;
mod measure;
mod model;
mod more_cases;
mod plugging;
mod sequences;
mod steps;
mod tables;
