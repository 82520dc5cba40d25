//! What an artifact is made of, byte for byte, and who signed it.
//!
//! | Module | Holds |
//! |---|---|
//! | [`manifest`] | the files of an artifact in canonical order, and the digest over them |
//! | [`digest`] | that digest over entries that somebody else has read |
//! | [`tree`] | reading a folder that somebody else may be changing |
//! | [`key`] | a signer's own key, and the public keys that an operator trusts |
//! | [`signature`] | the signature file: made, and verified |
//! | [`bundle`] | the envelope of a policy bundle: signed, and opened |
//!
//! An artifact's word about itself counts for nothing here. A signer is told only after the signature was verified, with a key
//! that the operator trusts, over these very bytes under this kind, name and version.

mod bundle;
mod digest;
mod key;
mod manifest;
mod signature;
mod tree;

pub use bundle::{
    BundleTerms, LAST_RING, MAX_BUNDLE, OpenedBundle, SealError, Unsealed, check_group, open_bundle, seal,
};
pub use digest::ContentDigest;
pub use key::{KeyError, SignerKey, TrustedKeys};
pub use manifest::{ArtifactError, Content, Entry, Manifest};
pub use signature::{
    Identity, SIGNATURE_FILE, Signature, SignatureError, Standing, Unverified, Verified, read_signature,
    sign, signature_path, standing, verify, verify_text, write_signature,
};
