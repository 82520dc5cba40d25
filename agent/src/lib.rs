//! The root daemon: sensor, process tree, attribution.
