//! Facts about tool calls, path classes and secret masking.
