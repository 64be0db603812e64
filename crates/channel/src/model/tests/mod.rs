//! What the model does, as facts.

mod any;
mod codes;
mod events;
mod programs;
mod scene;
