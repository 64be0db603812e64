//! What the model does, as facts.

mod any;
mod codes;
mod events;
mod measure;
mod programs;
mod scene;
