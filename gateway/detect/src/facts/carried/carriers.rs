//! Which programs carry commands in their words, and where.

use std::sync::LazyLock;

use super::super::aside;
use crate::quick::Table;

/// What the operands of a program are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Operands {
    /// Nothing that is run.
    Other,
    /// Each is a text for a shell.
    Texts,
    /// One is a text for a shell; several are a program and its words.
    Command,
}

/// How a program carries commands.
pub(super) struct Carrier {
    pub(super) names: &'static [&'static str],
    /// Words of which one must be the first operand: `cargo watch`. Empty if it is the program's only work.
    pub(super) verbs: &'static [&'static str],
    /// Options whose value is a text for a shell.
    pub(super) texts: &'static [&'static str],
    /// Options behind which a program and its words stand: `fd -x`.
    pub(super) before: &'static [&'static str],
    /// Options with another value.
    pub(super) values: &'static [&'static str],
    /// Operands that stand before those that are run.
    pub(super) skip: usize,
    pub(super) operands: Operands,
    /// Where it runs, if not here and now.
    pub(super) setting: Option<aside::Setting>,
}

const PLAIN: Carrier = Carrier {
    names: &[],
    verbs: &[],
    texts: &[],
    before: &[],
    values: &[],
    skip: 0,
    operands: Operands::Other,
    setting: None,
};

const fn texts(names: &'static [&'static str], texts: &'static [&'static str]) -> Carrier {
    Carrier {
        names,
        texts,
        ..PLAIN
    }
}

const fn under(
    names: &'static [&'static str],
    verbs: &'static [&'static str],
    texts: &'static [&'static str],
) -> Carrier {
    Carrier {
        names,
        verbs,
        texts,
        ..PLAIN
    }
}

const fn command(names: &'static [&'static str], values: &'static [&'static str], skip: usize) -> Carrier {
    Carrier {
        names,
        values,
        skip,
        operands: Operands::Command,
        ..PLAIN
    }
}

const CARRIERS: &[Carrier] = &[
    // Programs that run something again when files change, or many times over.
    under(&["cargo"], &["watch"], &["-s", "--shell"]),
    texts(&["cargo-watch"], &["-s", "--shell"]),
    texts(&["nodemon"], &["-x", "--exec"]),
    texts(
        &["tsc-watch"],
        &[
            "--onSuccess",
            "--onFirstSuccess",
            "--onFailure",
            "--onCompilationComplete",
        ],
    ),
    texts(&["chokidar", "chokidar-cli"], &["-c", "--command"]),
    texts(&["air"], &["--build.cmd", "--build.bin", "--build.full_bin"]),
    texts(&["watchman-make"], &["--run"]),
    texts(
        &["ptw", "pytest-watch"],
        &[
            "--runner",
            "--onfail",
            "--onpass",
            "--beforerun",
            "--afterrun",
            "--onexit",
        ],
    ),
    under(&["watchmedo"], &["shell-command"], &["-c", "--command"]),
    texts(&["entr"], &["-s"]),
    command(
        &["watchexec"],
        &[
            "-e",
            "--exts",
            "-w",
            "--watch",
            "-i",
            "--ignore",
            "-f",
            "--filter",
            "-d",
            "--debounce",
            "-s",
            "--signal",
            "-o",
            "--on-busy-update",
            "--shell",
            "-E",
            "--env",
            "--workdir",
            "--project-origin",
            "--delay-run",
            "--stop-signal",
            "--stop-timeout",
            "--filter-file",
            "--ignore-file",
        ],
        0,
    ),
    command(&["viddy", "hwatch"], &["-n", "--interval"], 0),
    command(
        &["reflex"],
        &[
            "-r",
            "-R",
            "-g",
            "-G",
            "-t",
            "--regex",
            "--glob",
            "--inverse-regex",
            "--inverse-glob",
        ],
        0,
    ),
    command(&["when-changed"], &[], 1),
    command(
        &["rerun"],
        &["-p", "--pattern", "-d", "--dir", "-s", "--signal", "-n", "--name"],
        0,
    ),
    command(
        &["retry"],
        &[
            "-t", "--times", "-d", "--delay", "-m", "--min", "-M", "--max", "--until", "--while",
        ],
        0,
    ),
    Carrier {
        texts: &[
            "-p",
            "--prepare",
            "-c",
            "--cleanup",
            "-s",
            "--setup",
            "--conclude",
            "--reference",
        ],
        values: &[
            "-w",
            "--warmup",
            "-m",
            "--min-runs",
            "-M",
            "--max-runs",
            "-r",
            "--runs",
            "-n",
            "--command-name",
            "-S",
            "--shell",
            "-u",
            "--time-unit",
            "--export-json",
            "--export-markdown",
            "--export-csv",
            "--style",
            "--input",
            "--output",
            "--sort",
        ],
        operands: Operands::Texts,
        ..texts(&["hyperfine"], &[])
    },
    // Programs that run several commands, or put them into a queue.
    Carrier {
        values: &[
            "-n",
            "--names",
            "-c",
            "--prefix-colors",
            "-p",
            "--prefix",
            "-m",
            "--max-processes",
        ],
        operands: Operands::Texts,
        ..texts(&["concurrently"], &[])
    },
    Carrier {
        operands: Operands::Texts,
        ..texts(
            &["start-server-and-test", "cross-env-shell", "pee", "condor_run"],
            &[],
        )
    },
    Carrier {
        operands: Operands::Texts,
        ..under(&["pm2"], &["start"], &[])
    },
    Carrier {
        values: &[
            "-g",
            "--group",
            "-w",
            "--working-directory",
            "-d",
            "--delay",
            "-a",
            "--after",
            "-l",
            "--label",
        ],
        operands: Operands::Command,
        ..under(&["pueue"], &["add"], &[])
    },
    command(&["bsub"], &["-q", "-n", "-J", "-o", "-e", "-W", "-R", "-M"], 0),
    texts(&["sbatch"], &["--wrap"]),
    Carrier {
        operands: Operands::Command,
        ..under(&["lerna", "devbox"], &["exec", "run"], &[])
    },
    // Package managers and tools for several versions.
    under(&["npm", "pnpm", "yarn"], &["exec", "x", "dlx"], &["-c", "--call"]),
    texts(&["npx", "pnpx", "bunx"], &["-c", "--call"]),
    Carrier {
        operands: Operands::Command,
        ..under(&["yarn", "bun"], &["exec"], &[])
    },
    under(&["mise", "rtx"], &["exec", "x"], &["-c", "--command"]),
    under(&["doppler", "infisical"], &["run"], &["--command"]),
    Carrier {
        skip: 1,
        operands: Operands::Command,
        ..under(&["consul"], &["lock"], &[])
    },
    Carrier {
        skip: 1,
        operands: Operands::Command,
        ..under(&["sops"], &["exec-env", "exec-file"], &[])
    },
    texts(&["bazel", "bazelisk"], &["--run_under"]),
    texts(&["go"], &["-exec", "-toolexec", "-vettool"]),
    // Programs with a helper of their own.
    texts(&["yt-dlp", "youtube-dl"], &["--exec", "--exec-before-download"]),
    texts(&["bat", "batcat", "ag", "ack", "delta"], &["--pager"]),
    texts(&["rg"], &["--pre"]),
    texts(&["man"], &["-P", "--pager"]),
    texts(&["bpftrace"], &["-c"]),
    texts(&["fzf", "sk"], &["--preview"]),
    texts(&["split"], &["--filter"]),
    texts(
        &["tar", "bsdtar", "gtar"],
        &[
            "--to-command",
            "-F",
            "--info-script",
            "--new-volume-script",
            "--rsh-command",
            "--rmt-command",
            "-I",
            "--use-compress-program",
            "--checkpoint-action",
        ],
    ),
    texts(&["rsync"], &["-e", "--rsh"]),
    texts(&["mosh"], &["--ssh"]),
    Carrier {
        setting: Some(aside::Setting::Remote),
        ..texts(&["rsync"], &["--rsync-path"])
    },
    Carrier {
        before: &["-x", "--exec", "-X", "--exec-batch"],
        ..texts(&["fd", "fdfind"], &[])
    },
    Carrier {
        before: &["-c", "--command"],
        ..texts(&["just"], &[])
    },
    Carrier {
        operands: Operands::Command,
        ..under(&["i3-msg", "swaymsg"], &["exec"], &[])
    },
    Carrier {
        skip: 1,
        operands: Operands::Command,
        ..under(&["hyprctl"], &["dispatch"], &[])
    },
    // On another host, or later.
    Carrier {
        operands: Operands::Texts,
        setting: Some(aside::Setting::Remote),
        ..under(&["heroku", "gh"], &["run", "ssh", "codespace"], &[])
    },
    Carrier {
        values: &["-h", "-H", "-l", "-w", "-g", "-t", "-p", "-x", "-o", "-e"],
        operands: Operands::Texts,
        setting: Some(aside::Setting::Remote),
        ..texts(
            &[
                "salt",
                "salt-ssh",
                "fab",
                "pssh",
                "parallel-ssh",
                "pdsh",
                "clush",
                "dsh",
            ],
            &[],
        )
    },
    Carrier {
        operands: Operands::Texts,
        setting: Some(aside::Setting::Startup),
        ..under(&["husky", "gh"], &["add", "set", "alias"], &[])
    },
];

/// Programs whose commands begin with a mark that hands the rest of the line to a shell: in an option's value, an operand,
/// or a line that comes in.
pub(super) const MARKS: &[(&[&str], &[&str])] = &[
    (
        &[
            "ed", "red", "ftp", "lftp", "sftp", "dc", "gnuplot", "ipython", "vifm",
        ],
        &["!"],
    ),
    (
        &["vim", "vi", "nvim", "ex", "view", "less"],
        &["!", "silent !", "silent! !", "r !", "read !", "terminal "],
    ),
    (&["psql"], &["\\!", "\\o |", "\\g |"]),
    (&["mysql", "mariadb"], &["\\!", "system "]),
    (
        &["sqlite3", "sqlite"],
        &[".shell ", ".system ", ".output |", ".once |"],
    ),
    (&["gdb"], &["!", "shell "]),
    (&["lldb"], &["platform shell ", "shell "]),
    (&["mail", "mailx", "s-nail"], &["~!", "~|"]),
    (&["lf"], &["$", "!", "&", "%"]),
    (&["ranger"], &["shell "]),
    (&["gh"], &["!"]),
];

pub(super) static BY_NAME: LazyLock<Table<&'static str, Vec<&'static Carrier>>> = LazyLock::new(|| {
    let mut table: Table<&'static str, Vec<&'static Carrier>> = Table::default();
    for carrier in CARRIERS {
        for name in carrier.names {
            table.entry(name).or_default().push(carrier);
        }
    }
    table
});

/// Programs whose words are text, or run where `elsewhere` reads them: a shell among them is none that starts here.
pub(super) const NO_RUNNERS: &[&str] = &[
    "echo",
    "printf",
    "grep",
    "egrep",
    "fgrep",
    "rg",
    "ag",
    "ack",
    "man",
    "which",
    "type",
    "whereis",
    "test",
    "[",
    "git",
    "ssh",
    "autossh",
    "mosh",
    "dbclient",
    "docker",
    "podman",
    "nerdctl",
    "docker-compose",
    "lxc",
    "incus",
    "kubectl",
    "oc",
    "crictl",
    "ctr",
    "distrobox",
    "apptainer",
    "singularity",
    "buildah",
    "vagrant",
    "gcloud",
    "az",
    "aws",
    "ansible",
    "salt",
    "multipass",
    "fly",
    "flyctl",
    "heroku",
    "pdsh",
    "pssh",
    "clush",
    "parallel-ssh",
    "gh",
    "jq",
    "yq",
    "apt",
    "apt-get",
    "dnf",
    "yum",
    "apk",
    "pacman",
    "brew",
    "devcontainer",
    "limactl",
    "nomad",
    "set",
    "cat",
    "ls",
    "chsh",
];
