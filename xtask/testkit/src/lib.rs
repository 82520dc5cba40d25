//! Stacks, scripted agents and model servers for tests, demo and benchmarks.
