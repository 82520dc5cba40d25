//! The hash-chained audit ledger.
