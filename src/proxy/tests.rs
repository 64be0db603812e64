//! Clients against the proxy, all in one process: the client's side is `Remote` and the driver half of the
//! ring, the disk is bytes, and time passes when the client waits.

mod absent;
mod budget;
mod cut_off;
mod cuts;
mod endings;
mod facts;
mod fixture;
mod hostile;
mod leaving;
mod plugging;
mod resized;
mod rest;
mod restart;
mod scene;
mod sharing;
