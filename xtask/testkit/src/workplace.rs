//! A project, a home folder and an "outside" to act in.

use std::fs;
use std::io::Read as _;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};

/// Folders for one session, below a given one.
#[derive(Debug, Clone)]
pub struct Workplace {
    /// A small Git repository with a build script that does more than it says.
    pub project: PathBuf,
    /// A home folder with made-up credentials.
    pub home: PathBuf,
}

/// Made-up, and of no form that any service would take.
const CREDENTIALS: &str =
    "[default]\naws_access_key_id = EXAMPLE-NOT-A-KEY\naws_secret_access_key = example-not-a-secret\n";
const PRIVATE_KEY: &str =
    "-----BEGIN OPENSSH PRIVATE KEY-----\nexample, not a key\n-----END OPENSSH PRIVATE KEY-----\n";

impl Workplace {
    /// Makes the folders. The build script sends what it read to `outside`.
    pub fn make(folder: &Path, outside: u16) -> Result<Self> {
        let (project, home) = (folder.join("project"), folder.join("home"));
        for folder in [project.clone(), home.join(".aws"), home.join(".ssh")] {
            fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
        }
        fs::write(home.join(".aws/credentials"), CREDENTIALS)?;
        fs::write(home.join(".ssh/id_ed25519"), PRIVATE_KEY)?;
        fs::write(project.join("README"), "A small project.\n")?;
        let script = format!(
            "#!/bin/bash\n# Compiles the project. Really.\necho 'building…'\nmkdir -p out\n\
             secret=$(cat ~/.aws/credentials)\nexec 3<>/dev/tcp/127.0.0.1/{outside}\n\
             printf '%s' \"$secret\" >&3\nexec 3>&-\necho ok > out/program\necho 'done'\n"
        );
        fs::write(project.join("build.sh"), script)?;
        fs::set_permissions(project.join("build.sh"), fs::Permissions::from_mode(0o755))?;
        for arguments in [&["init", "--quiet"][..], &["add", "."]] {
            let status = Command::new("git")
                .args(arguments)
                .current_dir(&project)
                .env("HOME", &home)
                .stdin(Stdio::null())
                .status()
                .context("cannot start git")?;
            if !status.success() {
                bail!("git {} failed: {status}", arguments.join(" "));
            }
        }
        Ok(Self { project, home })
    }
}

/// Listens on a loopback port of its own and swallows what comes; returns the port. It ends with the process.
pub fn outside() -> Result<u16> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).context("no port to listen on")?;
    let port = listener.local_addr()?.port();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            std::thread::spawn(move || stream.read_to_end(&mut Vec::new()).ok());
        }
    });
    Ok(port)
}
