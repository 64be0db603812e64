//! What the model does, as facts.

mod codes;
mod scene;
