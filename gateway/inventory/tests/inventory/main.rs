//! Inventories of made-up hosts: every harness's files, hostile ones, what changes, and the bill of materials.

#[cfg(test)]
mod attacks;
#[cfg(test)]
mod bill;
#[cfg(test)]
mod changes;
#[cfg(test)]
mod claims;
#[cfg(test)]
mod harnesses;
#[cfg(test)]
mod host;
