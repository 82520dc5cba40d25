//! `defenseclaw-hook`: one payload in, one question to the gateway, the harness's native reply out.

#![no_main]

defenseclaw_entry::entry!(defenseclaw_hook::hook);
