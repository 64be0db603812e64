//! What the model does, as facts.

mod any;
mod codes;
mod events;
mod fixture;
mod measure;
mod programs;
