//! The live host: labels through the sensor, everything else through `/proc`.

use std::fs;
use std::path::Path;

use defenseclaw_abi::Label;
use defenseclaw_model::activity::FileId;
use defenseclaw_model::ids::ProcessId;

use crate::attribution::{Host, Process};
use crate::kernel::proc;
use crate::sensor::Sensor;

/// Most bytes of an environment that are searched for `HOME`.
const MAX_ENVIRON: usize = 1 << 20;

/// The running host.
pub struct LiveHost<'a> {
    /// The sensor, which holds the labels.
    pub sensor: &'a mut Sensor,
}

impl Host for LiveHost<'_> {
    fn processes(&mut self) -> Vec<Process> {
        match self.sensor.tasks() {
            Ok(tasks) => tasks
                .into_iter()
                .map(|task| Process {
                    id: ProcessId {
                        tgid: task.tgid,
                        start_ns: task.start_ns,
                    },
                    ppid: task.ppid,
                })
                .collect(),
            Err(error) => {
                tracing::error!(%error, "no session can be bound");
                Vec::new()
            }
        }
    }

    fn parent(&self, pid: u32) -> Option<u32> {
        proc::parent(pid)
    }

    fn arguments(&self, pid: u32) -> Vec<String> {
        proc::arguments(pid)
    }

    fn executable(&self, pid: u32) -> String {
        proc::executable(pid)
    }

    fn executable_file(&self, pid: u32) -> Option<FileId> {
        proc::file_id(Path::new(&format!("/proc/{pid}/exe")))
    }

    fn home(&self, pid: u32) -> String {
        let mut environ = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        environ.truncate(MAX_ENVIRON);
        let home = environ
            .split(|&byte| byte == 0)
            .find_map(|entry| entry.strip_prefix(b"HOME="))
            .unwrap_or_default();
        let home = String::from_utf8_lossy(home);
        let home = home.trim_end_matches('/');
        // A relative or empty home would match files that are not the harness's.
        if home.starts_with('/') {
            home.to_owned()
        } else {
            String::new()
        }
    }

    fn file(&self, path: &str) -> Option<FileId> {
        proc::file_id(Path::new(path))
    }

    fn is_alive(&self, pid: u32) -> bool {
        proc::is_alive(pid)
    }

    fn label(&self, tgid: u32) -> Option<Label> {
        self.sensor.label(tgid)
    }

    fn labels(&self) -> Vec<(u32, Label)> {
        self.sensor.labels()
    }

    fn set_label(&mut self, tgid: u32, label: Label) -> Result<(), String> {
        self.sensor
            .set_label(tgid, label)
            .map_err(|error| error.to_string())
    }

    fn remove_label(&mut self, tgid: u32) {
        self.sensor.remove_label(tgid);
    }

    fn set_call(&mut self, process: ProcessId, call: u64) {
        self.sensor.set_call(process, call);
    }

    fn call(&self, process: ProcessId) -> Option<u64> {
        self.sensor.call(process)
    }

    fn remove_call(&mut self, process: ProcessId) {
        self.sensor.remove_call(process);
    }

    fn watch_file(&mut self, file: FileId) {
        self.sensor.watch_file(file);
    }
}
