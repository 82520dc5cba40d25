//! `defenseclaw-shell`: a harness's shell line, run in the sandbox that its call was given.

#![no_main]

defenseclaw_entry::entry!(defenseclaw_hook::shell);
