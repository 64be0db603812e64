//! Facts about translation.

use super as translate;

mod cases;
mod cycles;
mod differential;
mod interpreter;
mod live;
mod places;
mod programs;
mod repeat;
mod scene;
