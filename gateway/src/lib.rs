//! The server: hooks in, decisions out, one ledger.
