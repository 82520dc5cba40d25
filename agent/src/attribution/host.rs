//! What attribution asks of the host.

use defenseclaw_abi::Label;
use defenseclaw_model::activity::FileId;
use defenseclaw_model::ids::ProcessId;

/// A file that is our hook client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hook {
    /// Its path.
    pub path: String,
    /// Its identity.
    pub file: FileId,
}

/// A running process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Process {
    /// Identity.
    pub id: ProcessId,
    /// Thread-group id of the real parent.
    pub ppid: u32,
}

/// The host, as attribution sees it.
pub trait Host {
    /// All processes.
    fn processes(&mut self) -> Vec<Process>;
    /// Parent of a process.
    fn parent(&self, pid: u32) -> Option<u32>;
    /// Arguments of a process.
    fn arguments(&self, pid: u32) -> Vec<String>;
    /// Path of a process's executed file.
    fn executable(&self, pid: u32) -> String;
    /// Identity of a process's executed file.
    fn executable_file(&self, pid: u32) -> Option<FileId>;
    /// `HOME` in a process's environment at its start.
    fn home(&self, pid: u32) -> String;
    /// Identity of the file at a path.
    fn file(&self, path: &str) -> Option<FileId>;
    /// Whether a process is there.
    fn is_alive(&self, pid: u32) -> bool;
    /// The label of a process.
    fn label(&self, tgid: u32) -> Option<Label>;
    /// All labels.
    fn labels(&self) -> Vec<(u32, Label)>;
    /// Labels a process; says why not.
    fn set_label(&mut self, tgid: u32, label: Label) -> Result<(), String>;
    /// Removes a label.
    fn remove_label(&mut self, tgid: u32);
    /// Notes a process's call.
    fn set_call(&mut self, process: ProcessId, call: u64);
    /// The call noted for a process.
    fn call(&self, process: ProcessId) -> Option<u64>;
    /// Forgets a process's call.
    fn remove_call(&mut self, process: ProcessId);
    /// Watches a file by identity.
    fn watch_file(&mut self, file: FileId);
}
