//! The architectures that guests are booted for.

use anyhow::{Result, bail};

/// A processor architecture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arch {
    /// x86-64.
    Amd64,
    /// 64-bit Arm.
    Arm64,
}

impl Arch {
    /// This machine's.
    pub fn own() -> Self {
        if cfg!(target_arch = "aarch64") {
            Self::Arm64
        } else {
            Self::Amd64
        }
    }

    /// By Debian's name.
    ///
    /// # Errors
    /// When it is none that guests are booted for.
    pub fn named(name: &str) -> Result<Self> {
        match name {
            "amd64" => Ok(Self::Amd64),
            "arm64" => Ok(Self::Arm64),
            _ => bail!("no guests are booted for the architecture {name:?}: use amd64 or arm64"),
        }
    }

    /// As Debian names it.
    pub fn debian(self) -> &'static str {
        match self {
            Self::Amd64 => "amd64",
            Self::Arm64 => "arm64",
        }
    }
}
