//! What an attack is told about the outside, and what the outside noticed.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// Begins every secret of a scene; a text that contains it was taken from a place that is closed.
pub const SECRET: &str = "escape-secret:";
/// What attacks write.
pub const DEFACED: &str = "defaced-by-escape";

/// Paths, ports and processes that attacks aim at. Given to `escape run` as one JSON argument.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Scene {
    /// The folder of everything.
    pub base: PathBuf,
    /// A home folder; secrets lie in `.ssh`, `.aws`, `.gnupg`.
    pub home: PathBuf,
    /// A Git project in the home folder.
    pub project: PathBuf,
    /// Another project beside it.
    pub neighbour: PathBuf,
    /// The temporary folder that `TMPDIR` names.
    pub tmp: PathBuf,
    /// The secret that most attacks want: `.ssh/id_ed25519`.
    pub secret: PathBuf,
    /// A file of the same user in `/tmp`.
    pub shared_tmp: PathBuf,
    /// A file of the same user in `/dev/shm`.
    pub shared_memory_file: PathBuf,
    /// The program that starts sandboxes.
    pub launcher: PathBuf,
    /// Set-user-ID copy of `escape` in the project, where root could make one.
    pub set_user_id: Option<PathBuf>,
    /// A folder of sockets that stands in for `/run`, where root could mount it.
    pub run_stand_in: bool,
    /// Whether the process outside has more sockets than anybody lists.
    pub flood: bool,
    /// The process outside.
    pub outside: Outside,
}

/// What the process outside offers.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Outside {
    /// Its process id.
    pub pid: i32,
    /// Where it keeps a secret in memory, and how long that is.
    pub secret_address: u64,
    /// Length of the secret in memory.
    pub secret_length: usize,
    /// Where it keeps a word that nobody else may change.
    pub word_address: u64,
    /// Its descriptor of the secret file.
    pub secret_descriptor: i32,
    /// TCP port on 127.0.0.1.
    pub tcp: u16,
    /// TCP port on `::1`; 0 if the host has no IPv6.
    pub tcp6: u16,
    /// UDP port on 127.0.0.1.
    pub udp: u16,
    /// Name of an abstract stream socket.
    pub abstract_stream: String,
    /// Name of an abstract datagram socket.
    pub abstract_datagram: String,
    /// Key of a System V shared memory segment with a secret; 0 if there is none.
    pub shared_memory_key: i32,
    /// Key of a System V message queue with a secret; 0 if there is none.
    pub message_queue_key: i32,
    /// Name of a POSIX message queue with a secret; empty if there is none.
    pub posix_queue: String,
    /// Description of a key with a secret in the user's keyring; empty if there is none.
    pub key: String,
}

impl Scene {
    /// Sockets that the process outside listens on, by where they lie.
    pub fn stream_sockets(&self) -> Vec<(&'static str, PathBuf)> {
        // By the name that everybody knows: it is what the kernel lists.
        let run = if self.run_stand_in {
            PathBuf::from("/run")
        } else {
            self.base.join("run")
        };
        vec![
            ("docker-in-home", self.home.join(".docker/run/docker.sock")),
            ("gpg-agent", self.home.join(".gnupg/S.gpg-agent")),
            ("anywhere", self.base.join("agent.sock")),
            ("docker-in-run", run.join("docker.sock")),
            ("system-bus", run.join("dbus/system_bus_socket")),
            ("service-manager", run.join("systemd/private")),
        ]
    }

    /// Where the process outside makes a new socket every few milliseconds, named by numbers from 0 on.
    pub fn later_sockets(&self) -> PathBuf {
        self.base.join("later")
    }

    /// A secret file of the project that somebody outside keeps saving.
    pub fn saved_secret(&self) -> PathBuf {
        self.project.join(".env.production")
    }

    /// Settings of a harness in the project that somebody outside keeps saving.
    pub fn saved_settings(&self) -> PathBuf {
        self.project.join("opencode.json")
    }

    /// A secret file of the project that somebody outside saves at every beat.
    pub fn beaten_secret(&self) -> PathBuf {
        self.project.join(".env.beaten")
    }

    /// A sealed file that somebody outside saves at every beat.
    pub fn beaten_settings(&self) -> PathBuf {
        self.project.join(".git/config.worktree")
    }

    /// A sealed folder that somebody outside replaces at every beat.
    pub fn beaten_hooks(&self) -> PathBuf {
        self.project.join(".husky")
    }

    /// A socket whose service is restarted at every beat.
    pub fn beaten_socket(&self) -> PathBuf {
        self.later_sockets().join("beaten.sock")
    }

    /// A datagram socket outside the project.
    pub fn datagram_socket(&self) -> PathBuf {
        self.base.join("log.sock")
    }

    /// A socket in the project whose owner outside passes on a descriptor of the secret.
    pub fn passing_socket(&self) -> PathBuf {
        self.project.join("helper.sock")
    }

    /// A FIFO that the process outside reads commands from.
    pub fn fifo(&self) -> PathBuf {
        self.home.join("commands.fifo")
    }

    /// A file in a secret folder that the process outside keeps writing.
    pub fn busy_file(&self) -> PathBuf {
        self.home.join(".ssh/known_hosts")
    }

    /// Keys of the project that are secret.
    pub fn closed_in_project(&self) -> Vec<PathBuf> {
        [".env", "key.pem", "config/.env"]
            .iter()
            .map(|name| self.project.join(name))
            .collect()
    }
}

/// How many sockets a flood is.
pub const FLOOD: usize = 700;

/// What came to the process outside since it started.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Noticed {
    /// What happened, in words, in the order of arrival.
    pub events: Vec<String>,
}

/// Where `escape enter` puts descriptors that a careless parent would leave open.
pub mod inherited {
    /// Folder of secrets.
    pub const FOLDER: i32 = 7;
    /// The secret, open for reading.
    pub const SECRET: i32 = 8;
    /// A file outside, open for writing.
    pub const WRITABLE: i32 = 9;
    /// A connection to the TCP listener outside.
    pub const CONNECTION: i32 = 10;
}
