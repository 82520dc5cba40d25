//! The architectures that are shipped, as each tool names them.

use clap::ValueEnum;

/// A processor architecture. Of the kernel programs it decides the layout of `pt_regs`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Architecture {
    Amd64,
    Arm64,
}

impl Default for Architecture {
    fn default() -> Self {
        Self::own()
    }
}

impl Architecture {
    pub(crate) const ALL: [Self; 2] = [Self::Amd64, Self::Arm64];

    /// This machine's.
    pub(crate) fn own() -> Self {
        if cfg!(target_arch = "aarch64") {
            Self::Arm64
        } else {
            Self::Amd64
        }
    }

    /// As Debian names it.
    pub(crate) fn debian(self) -> &'static str {
        match self {
            Self::Amd64 => "amd64",
            Self::Arm64 => "arm64",
        }
    }

    /// As `bpf_target_arch` and rustc spell it.
    pub(crate) fn rust(self) -> &'static str {
        match self {
            Self::Amd64 => "x86_64",
            Self::Arm64 => "aarch64",
        }
    }

    /// The compiler's name for a machine of this architecture.
    pub(crate) fn triple(self) -> &'static str {
        match self {
            Self::Amd64 => "x86_64-unknown-linux-gnu",
            Self::Arm64 => "aarch64-unknown-linux-gnu",
        }
    }

    /// The prefix of GNU's tools, and the folder of its libraries on Debian.
    pub(crate) fn gnu(self) -> &'static str {
        match self {
            Self::Amd64 => "x86_64-linux-gnu",
            Self::Arm64 => "aarch64-linux-gnu",
        }
    }

    /// As `readelf` prints it.
    pub(crate) fn machine(self) -> &'static str {
        match self {
            Self::Amd64 => "Advanced Micro Devices X86-64",
            Self::Arm64 => "AArch64",
        }
    }
}
