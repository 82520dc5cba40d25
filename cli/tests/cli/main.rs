//! The tool from outside: the real binary on synthetic ledgers and against a gateway of the test's own.

#[cfg(test)]
mod artifact;
#[cfg(test)]
mod audit;
#[cfg(test)]
mod background;
mod bundle;
#[cfg(test)]
mod common;
#[cfg(test)]
mod decide;
#[cfg(test)]
mod doctor;
mod everybody;
#[cfg(test)]
mod faults;
#[cfg(test)]
mod fetcher;
#[cfg(test)]
mod gate;
#[cfg(test)]
mod inventory;
#[cfg(test)]
#[path = "../../../gateway/fetch/tests/registry/server.rs"]
mod registry;
#[cfg(test)]
mod sandbox;
#[cfg(test)]
mod scan;
#[cfg(test)]
mod session;
#[cfg(test)]
mod setup;
#[cfg(test)]
mod status;
#[cfg(test)]
mod story;
#[cfg(test)]
mod worker;
