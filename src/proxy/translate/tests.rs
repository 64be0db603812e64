//! Facts about translation.

use super as translate;

mod cases;
mod contained;
mod cycles;
mod differential;
mod interpreter;
mod live;
mod meanwhile;
mod places;
mod programs;
mod repeat;
mod scene;
