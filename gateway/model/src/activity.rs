//! Kernel-observed actions and how they are explained.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::ids::{CallId, ImageId, ProcessId, SessionId};

/// One action that the kernel saw a labelled process take.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Activity {
    /// When, ns since the Unix epoch.
    pub time_ns: u64,
    /// The session whose label the process carries.
    pub session: SessionId,
    /// The process.
    pub process: ProcessId,
    /// The program image it was running.
    pub image: ImageId,
    /// The image's program path, or the command name where the path is not known.
    pub program: String,
    /// What it did.
    pub action: Action,
    /// Which call explains it.
    pub attribution: Attribution,
}

/// What a process did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(tag = "action", rename_all = "snake_case")]
pub enum Action {
    /// Became another program.
    Exec {
        /// The path of the executed file, from the kernel's own objects.
        path: String,
        /// Arguments, up to the sensor's bound.
        argv: Vec<String>,
        /// Whether arguments were cut at the bound.
        argv_truncated: bool,
        /// Working directory.
        cwd: String,
        /// The executed file.
        file: FileId,
        /// The image that was replaced: the parent in the image tree.
        parent: ImageId,
    },
    /// Ended.
    Exit {
        /// How.
        status: ExitStatus,
        /// From the process's start to its end, ns.
        duration_ns: u64,
    },
    /// Opened a file.
    Open {
        /// Absolute path, from the kernel's own objects.
        path: String,
        /// Whether leading components were cut at the sensor's bound.
        path_truncated: bool,
        /// What for.
        access: FileAccess,
        /// The opened file.
        file: FileId,
        /// Its class by `policies/paths.yaml`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        class: Option<String>,
    },
    /// Began a connection.
    Connect {
        /// Transport.
        protocol: Protocol,
        /// Destination address.
        address: IpAddr,
        /// Destination port.
        port: u16,
    },
    /// Set up an io_uring, through which files can be opened unseen by the system-call sensor.
    IoUring {
        /// Submission queue entries.
        entries: u32,
    },
}

/// A file by device and inode.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct FileId {
    /// Device number as the kernel keeps it (`s_dev`: 12 bits major, 20 bits minor).
    pub dev: u32,
    /// Inode number.
    pub ino: u64,
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum ExitStatus {
    /// By itself, with this code.
    Code(u8),
    /// By this signal.
    Signal(u8),
}

/// What a file was opened for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum FileAccess {
    /// Reading only, of a watched path.
    Read,
    /// Writing an existing file.
    Write,
    /// The open created the file.
    Create,
}

/// Transport protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

/// Which call explains an activity, and how we know.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Attribution {
    /// The call, if one does.
    pub call: Option<CallId>,
    /// How the call was found.
    pub basis: Basis,
    /// How far the call explains the activity.
    pub explained: Explained,
    /// Whether the call had ended by then (a background process that outlived it).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub after_call: bool,
}

/// How an activity's call was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Basis {
    /// The process descends from one that the call started.
    Lineage,
    /// The executed arguments are the call's command.
    Argv,
    /// The file is one that the call names.
    Path,
    /// It was the only call open at that time that could have done it.
    Window,
    /// No call: the harness's contract names it as the harness's own housekeeping.
    Contract,
    /// Nothing.
    None,
}

/// How far an activity is explained.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Explained {
    /// Named in the call (or in the harness's contract).
    Declared,
    /// A consequence of something declared.
    Derived,
    /// By nothing.
    Unexplained,
}
