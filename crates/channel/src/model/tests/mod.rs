//! What the model does, as facts.

mod codes;
mod events;
mod programs;
mod scene;
