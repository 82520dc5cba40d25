//! Supervised mode with a real filter and real processes.

mod asking;
mod bench;
mod files;
mod harness;
mod learning;
mod network;
mod races;
mod table;
mod target;
