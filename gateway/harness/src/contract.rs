//! What a hook says and how it is answered, by harness.
