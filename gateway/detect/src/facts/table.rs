//! What programs do with their arguments: which are read, which are written, which name a host.
//!
//! A program that is not listed has its arguments taken for reads where they look like paths.

use super::writers;

/// What a program does with an argument.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Use {
    /// Nothing that matters: a number, a pattern, text, a file that is only looked at from outside.
    Ignore,
    /// Reads the file's content.
    Read,
    /// Writes, creates or removes the file.
    Write,
    /// Both.
    Edit,
    /// Puts files of any name into the folder.
    Folder,
    /// Writes the file if that would matter, else like [`Use::Guess`].
    Output,
    /// Reads it if it looks like a path.
    Guess,
    /// A key that it works with and does not show.
    Key,
    /// `@file` is read, anything else is data (curl).
    AtFile,
    /// A URL or bare host.
    Url,
    /// `[user@]host` and its like, with this port.
    Host(u16),
    /// `host:port`.
    HostPort,
    /// Source text in the program's own language.
    Code,
    /// `host-path:container-path[:mode]`: what a container is given of this host.
    Volume,
}

/// What a program does with its operands (arguments that are no options).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Operands {
    /// The same with each.
    All(Use),
    /// The first differs.
    First(Use, Use),
    /// The last is written, the others are read; remote forms name hosts.
    CopyTo,
    /// The last is written, the others are written and read.
    MoveTo,
}

/// What is known of a program.
#[derive(Debug, Clone, Copy)]
pub(super) struct Spec {
    pub(super) operands: Operands,
    /// Options that take a value.
    pub(super) options: &'static [(&'static str, Use)],
    /// URLs anywhere in its arguments are destinations, not text.
    pub(super) connects: bool,
}

pub(super) const fn spec(operands: Operands, options: &'static [(&'static str, Use)]) -> Spec {
    Spec {
        operands,
        options,
        connects: true,
    }
}

/// A program whose arguments are text: a URL in them is no destination.
pub(super) const fn text(operands: Operands, options: &'static [(&'static str, Use)]) -> Spec {
    Spec {
        operands,
        options,
        connects: false,
    }
}

use Operands::{All, CopyTo, First, MoveTo};
use Use::{AtFile, Code, Edit, Guess, Host, HostPort, Ignore, Key, Output, Read, Url, Volume, Write};

const SSH_OPTIONS: &[(&str, Use)] = &[
    ("-i", Ignore),
    ("-F", Ignore),
    ("-o", Ignore),
    ("-p", Ignore),
    ("-P", Ignore),
    ("-l", Ignore),
    ("-L", Ignore),
    ("-R", Ignore),
    ("-D", Ignore),
    ("-J", HostPort),
    ("-W", HostPort),
    ("-c", Ignore),
    ("-E", Write),
    ("-S", Ignore),
];

const PATTERN_OPTIONS: &[(&str, Use)] = &[
    ("-m", Ignore),
    ("-A", Ignore),
    ("-B", Ignore),
    ("-C", Ignore),
    ("-g", Ignore),
    ("-t", Ignore),
    ("-T", Ignore),
    ("--include", Ignore),
    ("--exclude", Ignore),
    ("--exclude-dir", Ignore),
    ("--glob", Ignore),
    ("--type", Ignore),
    ("--max-count", Ignore),
    ("--context", Ignore),
    ("--color", Ignore),
    ("-d", Ignore),
    ("--max-depth", Ignore),
];

const CODE_OPTIONS: &[(&str, Use)] = &[
    ("-c", Code),
    ("-e", Code),
    ("-E", Code),
    ("-r", Code),
    ("-p", Code),
    ("--eval", Code),
    ("--print", Code),
    ("-m", Ignore),
    ("-W", Ignore),
    ("-X", Ignore),
    ("--require", Guess),
    ("-I", Ignore),
    ("-o", Output),
    ("--output", Output),
    ("--out", Output),
    ("--output-file", Output),
];

const CURL_OPTIONS: &[(&str, Use)] = &[
    ("-o", Write),
    ("--output", Write),
    ("-D", Write),
    ("--dump-header", Write),
    ("-c", Write),
    ("--cookie-jar", Write),
    ("--output-dir", Ignore),
    ("--trace", Write),
    ("--trace-ascii", Write),
    ("--stderr", Write),
    ("-d", AtFile),
    ("--data", AtFile),
    ("--data-binary", AtFile),
    ("--data-ascii", AtFile),
    ("--data-urlencode", AtFile),
    ("--data-raw", Ignore),
    ("--json", AtFile),
    ("-F", AtFile),
    ("--form", AtFile),
    ("--form-string", Ignore),
    ("-T", Read),
    ("--upload-file", Read),
    ("-K", Read),
    ("--config", Read),
    ("-b", Ignore),
    ("--cookie", Ignore),
    ("--url", Url),
    ("-x", Url),
    ("--proxy", Url),
    ("--preproxy", Url),
    ("--connect-to", Ignore),
    ("--resolve", Ignore),
    ("-H", AtFile),
    ("--header", AtFile),
    ("-A", Ignore),
    ("--user-agent", Ignore),
    ("-u", Ignore),
    ("--user", Ignore),
    ("-X", Ignore),
    ("--request", Ignore),
    ("-m", Ignore),
    ("--max-time", Ignore),
    ("--connect-timeout", Ignore),
    ("-w", Ignore),
    ("--write-out", Ignore),
    ("-e", Ignore),
    ("--referer", Ignore),
    ("-E", Ignore),
    ("--cert", Ignore),
    ("--key", Ignore),
    ("--cacert", Ignore),
    ("--capath", Ignore),
    ("--netrc-file", Ignore),
    ("-r", Ignore),
    ("--retry", Ignore),
    ("--retry-delay", Ignore),
    ("--retry-max-time", Ignore),
    ("-y", Ignore),
    ("-Y", Ignore),
    ("--limit-rate", Ignore),
    ("-C", Ignore),
    ("--interface", Ignore),
    ("--unix-socket", Ignore),
    ("--range", Ignore),
];

const WGET_OPTIONS: &[(&str, Use)] = &[
    ("-O", Write),
    ("--output-document", Write),
    ("-o", Write),
    ("--output-file", Write),
    ("-a", Write),
    ("-P", Write),
    ("--directory-prefix", Write),
    ("-i", Read),
    ("--input-file", Read),
    ("--post-file", Read),
    ("--body-file", Read),
    ("--post-data", Ignore),
    ("--body-data", Ignore),
    ("--header", Ignore),
    ("-U", Ignore),
    ("--user-agent", Ignore),
    ("-T", Ignore),
    ("--timeout", Ignore),
    ("-t", Ignore),
    ("--tries", Ignore),
    ("--user", Ignore),
    ("--password", Ignore),
    ("-A", Ignore),
    ("-R", Ignore),
    ("-l", Ignore),
    ("-w", Ignore),
    ("-Q", Ignore),
];

const CONTAINER_OPTIONS: &[(&str, Use)] = &[
    ("-v", Volume),
    ("--volume", Volume),
    ("--mount", Volume),
    ("--env-file", Read),
    ("-f", Read),
    ("--file", Read),
    ("-e", Ignore),
    ("--env", Ignore),
    ("-w", Ignore),
    ("--workdir", Ignore),
    ("-p", Ignore),
    ("--publish", Ignore),
    ("--name", Ignore),
    ("-u", Ignore),
    ("--user", Ignore),
    ("--network", Ignore),
    ("--tag", Ignore),
    ("--entrypoint", Ignore),
    ("--config", Ignore),
    ("--build-arg", Ignore),
    ("--platform", Ignore),
    ("-l", Ignore),
    ("-o", Output),
    ("--output", Output),
    ("--opt", Volume),
];

/// What is known of the program called `name`.
pub(super) fn of(name: &str) -> Spec {
    match name {
        // Text and tests.
        "echo" | "printf" | ":" | "true" | "false" | "test" | "[" | "expr" | "seq" | "let" | "read"
        | "unset" | "shift" | "return" | "exit" | "set" | "trap" | "alias" | "sleep" | "wait" | "kill"
        | "pkill" | "killall" | "jobs" | "break" | "continue" | "export" | "local" | "declare"
        | "typeset" | "readonly" | "type" | "which" | "whereis" | "hash" | "man" | "basename" | "dirname"
        | "date" | "whoami" | "id" | "uname" | "hostname" | "yes" | "tput" | "clear" => {
            text(All(Ignore), &[])
        }
        // Looking at files from outside.
        "ls" | "stat" | "file" | "du" | "df" | "tree" | "realpath" | "readlink" | "chmod" | "chown"
        | "chgrp" | "chattr" | "lsattr" | "getfacl" | "setfacl" | "pwd" | "cd" | "pushd" | "popd" | "exa"
        | "eza" | "ssh-add" => text(All(Ignore), &[]),
        // Readers.
        "head" | "tail" => text(
            All(Read),
            &[
                ("-n", Ignore),
                ("-c", Ignore),
                ("--lines", Ignore),
                ("--bytes", Ignore),
            ],
        ),
        "cut" => text(
            All(Read),
            &[("-d", Ignore), ("-f", Ignore), ("-c", Ignore), ("-b", Ignore)],
        ),
        "od" | "hexdump" | "hd" | "strings" => text(
            All(Read),
            &[
                ("-n", Ignore),
                ("-l", Ignore),
                ("-c", Ignore),
                ("-s", Ignore),
                ("-A", Ignore),
                ("-t", Ignore),
                ("-N", Ignore),
                ("-j", Ignore),
                ("-e", Ignore),
            ],
        ),
        "cat" | "tac" | "less" | "more" | "bat" | "batcat" | "nl" | "rev" | "wc" | "paste" | "join"
        | "comm" | "diff" | "cmp" | "sdiff" | "colordiff" | "base64" | "base32" | "md5sum" | "sha1sum"
        | "sha224sum" | "sha256sum" | "sha384sum" | "sha512sum" | "b2sum" | "cksum" | "sum" | "zcat"
        | "bzcat" | "xzcat" | "zstdcat" | "fold" | "fmt" | "pr" | "expand" | "unexpand" | "column"
        | "source" | "." | "look" | "uuencode" | "lp" | "lpr" | "xclip" | "xsel" | "wl-copy" | "pbcopy"
        | "view" | "most" => text(All(Read), &[("--language", Ignore), ("-selection", Ignore)]),
        "vi" | "vim" | "nvim" | "nano" | "emacs" | "ed" | "ex" | "micro" => {
            text(All(Edit), &[("-c", Ignore), ("-u", Ignore)])
        }
        "grep" | "egrep" | "fgrep" | "zgrep" | "rg" | "ag" | "ack" => {
            text(First(Ignore, Read), PATTERN_OPTIONS)
        }
        "sed" | "gsed" => text(
            First(Ignore, Read),
            &[
                ("-e", Ignore),
                ("-f", Read),
                ("--expression", Ignore),
                ("--file", Read),
            ],
        ),
        "awk" | "gawk" | "mawk" | "nawk" => text(
            First(Ignore, Read),
            &[
                ("-F", Ignore),
                ("-v", Ignore),
                ("-i", Ignore),
                ("--include", Ignore),
                ("-f", Read),
                ("--file", Read),
            ],
        ),
        "jq" | "yq" | "xq" => text(
            First(Ignore, Read),
            &[("-f", Read), ("--from-file", Read), ("--indent", Ignore)],
        ),
        // Writers.
        "rm" | "rmdir" | "unlink" | "srm" | "wipe" | "tee" | "trash" => text(All(Write), &[]),
        "touch" => text(All(Write), &[("-d", Ignore), ("-t", Ignore), ("-r", Ignore)]),
        "mkdir" | "mkfifo" | "mknod" => text(All(Write), &[("-m", Ignore), ("--mode", Ignore)]),
        "truncate" | "fallocate" | "shred" => text(
            All(Write),
            &[
                ("-s", Ignore),
                ("--size", Ignore),
                ("-n", Ignore),
                ("-l", Ignore),
                ("-o", Ignore),
            ],
        ),
        "wipefs" | "fdisk" | "sfdisk" | "parted" | "blkdiscard" | "mkswap" => {
            text(All(Write), &[("-t", Ignore)])
        }
        "cp" | "install" | "ditto" | "gcp" | "ginstall" => text(
            CopyTo,
            &[
                ("-m", Ignore),
                ("-o", Ignore),
                ("-g", Ignore),
                ("-S", Ignore),
                ("-t", Ignore),
                ("--target-directory", Ignore),
                ("--mode", Ignore),
            ],
        ),
        "ln" | "link" => text(
            CopyTo,
            &[("-t", Ignore), ("--target-directory", Ignore), ("-S", Ignore)],
        ),
        "mv" | "rename" => text(
            MoveTo,
            &[("-t", Ignore), ("--target-directory", Ignore), ("-S", Ignore)],
        ),
        "zip" | "rar" => text(
            First(Write, Read),
            &[("-x", Ignore), ("-i", Ignore), ("-P", Ignore), ("-d", Ignore)],
        ),
        "unzip" => text(
            First(Read, Ignore),
            &[("-d", Ignore), ("-x", Ignore), ("-P", Ignore)],
        ),
        "gzip" | "gunzip" | "bzip2" | "bunzip2" | "xz" | "unxz" | "zstd" | "lz4" | "compress" => {
            text(All(Edit), &[("-o", Write), ("-S", Ignore), ("-T", Ignore)])
        }
        "patch" => text(
            All(Edit),
            &[("-i", Read), ("-o", Write), ("-p", Ignore), ("-d", Ignore)],
        ),
        "gpg" | "gpg2" | "age" | "openssl" => spec(
            All(Guess),
            &[
                ("-o", Write),
                ("--output", Write),
                ("-out", Write),
                ("-in", Read),
                ("-r", Ignore),
                ("--recipient", Ignore),
                ("-u", Ignore),
                ("-k", Ignore),
                ("-pass", Ignore),
                ("-i", Ignore),
                ("-connect", HostPort),
                ("-CAfile", Ignore),
                ("-subj", Ignore),
                ("-CAkey", Key),
                ("-signkey", Key),
                ("-sign", Key),
                ("-keyout", Output),
            ],
        ),
        "imgtool" | "imgtool.py" | "cosign" | "notation" | "minisign" | "signify" | "apksigner"
        | "jarsigner" | "signtool" | "osslsigncode" | "sbsign" | "kmodsign" | "sbsigntool" | "avbtool"
        | "espsecure" | "espsecure.py" | "web-ext" | "abuild-sign" | "usign" | "melange" | "nfpm" => spec(
            All(Guess),
            &[
                ("--key", Key),
                ("-k", Key),
                ("-s", Key),
                ("--ks", Key),
                ("-keystore", Key),
                ("--keystore", Key),
                ("/f", Key),
                ("-f", Key),
                ("-pkcs12", Key),
                ("-key", Key),
                ("--keyfile", Key),
                ("--private-key", Key),
                ("--cert", Ignore),
                ("--storepass", Ignore),
                ("-storepass", Ignore),
                ("-keypass", Ignore),
            ],
        ),
        "keytool" => spec(
            All(Guess),
            &[
                ("-keystore", Key),
                ("-destkeystore", Output),
                ("-file", Output),
                ("-storepass", Ignore),
                ("-keypass", Ignore),
                ("-alias", Ignore),
                ("-dname", Ignore),
            ],
        ),
        "ssh-keygen" => text(
            All(Ignore),
            &[
                ("-f", Write),
                ("-t", Ignore),
                ("-b", Ignore),
                ("-C", Ignore),
                ("-N", Ignore),
            ],
        ),
        "gcc" | "g++" | "cc" | "c++" | "clang" | "clang++" | "rustc" | "ld" => text(
            All(Guess),
            &[
                ("-o", Write),
                ("-I", Ignore),
                ("-L", Ignore),
                ("-D", Ignore),
                ("-l", Ignore),
            ],
        ),
        // Network.
        "curl" => spec(All(Url), CURL_OPTIONS),
        "wget" | "wget2" => spec(All(Url), WGET_OPTIONS),
        "http" | "https" | "xh" | "lynx" | "w3m" | "links" | "aria2c" | "axel" => spec(
            All(Url),
            &[
                ("-o", Write),
                ("--output", Write),
                ("-d", Ignore),
                ("-a", Ignore),
                ("--auth", Ignore),
            ],
        ),
        "ssh" | "autossh" | "mosh" | "ssh-copy-id" | "ssh-keyscan" => {
            spec(First(Host(22), Ignore), SSH_OPTIONS)
        }
        "sftp" => spec(First(Host(22), Ignore), SSH_OPTIONS),
        "scp" => spec(CopyTo, SSH_OPTIONS),
        "rsync" | "rclone" => spec(
            CopyTo,
            &[
                ("-e", Ignore),
                ("--rsh", Ignore),
                ("--exclude", Ignore),
                ("--include", Ignore),
                ("-f", Ignore),
                ("--exclude-from", Read),
                ("--files-from", Read),
                ("--password-file", Ignore),
                ("--config", Ignore),
            ],
        ),
        "nc" | "ncat" | "netcat" | "telnet" => spec(
            First(Host(0), Ignore),
            &[
                ("-e", Ignore),
                ("-c", Ignore),
                ("-p", Ignore),
                ("-w", Ignore),
                ("-s", Ignore),
                ("-i", Ignore),
                ("-X", Ignore),
                ("-x", HostPort),
                ("-q", Ignore),
                ("-o", Write),
                ("--output", Write),
                ("--exec", Ignore),
                ("--sh-exec", Ignore),
            ],
        ),
        "ping" | "ping6" | "traceroute" | "tracepath" | "mtr" | "ftp" | "lftp" | "whois" | "host"
        | "nslookup" | "tftp" => spec(
            First(Host(0), Ignore),
            &[
                ("-c", Ignore),
                ("-W", Ignore),
                ("-i", Ignore),
                ("-p", Ignore),
                ("-w", Ignore),
                ("-m", Ignore),
                ("-t", Ignore),
                ("-I", Ignore),
                ("-u", Ignore),
                ("-e", Ignore),
            ],
        ),
        "dig" | "drill" => text(
            All(Host(53)),
            &[("-p", Ignore), ("-t", Ignore), ("-x", Ignore), ("-f", Read)],
        ),
        "psql" | "mysql" | "mysqldump" | "pg_dump" | "redis-cli" | "mongosh" | "mongo" => spec(
            All(Ignore),
            &[
                ("-h", HostPort),
                ("--host", HostPort),
                ("-f", Read),
                ("--file", Read),
                ("-c", Ignore),
                ("-e", Ignore),
                ("-U", Ignore),
                ("-u", Ignore),
                ("-d", Ignore),
                ("-p", Ignore),
                ("-P", Ignore),
                ("-o", Output),
                ("-L", Output),
            ],
        ),
        "git" => spec(
            All(Ignore),
            &[
                ("-C", Ignore),
                ("-c", Ignore),
                ("-m", Ignore),
                ("--message", Ignore),
                ("-F", Read),
                ("--file", Guess),
            ],
        ),
        "docker" | "podman" | "nerdctl" | "docker-compose" => spec(All(Ignore), CONTAINER_OPTIONS),
        "systemd-nspawn" => spec(All(Guess), &[("--bind", Volume), ("-D", Ignore), ("-M", Ignore)]),
        "apptainer" | "singularity" => spec(All(Guess), &[("-B", Volume), ("--bind", Volume)]),
        "kubectl" | "helm" | "oc" | "k9s" => spec(
            All(Ignore),
            &[
                ("--kubeconfig", Ignore),
                ("-f", Read),
                ("--filename", Read),
                ("--values", Read),
                ("-n", Ignore),
                ("--namespace", Ignore),
                ("-o", Ignore),
                ("-l", Ignore),
                ("--context", Ignore),
            ],
        ),
        // Interpreters: the first operand is the program, the rest is its own business.
        "bash" | "sh" | "zsh" | "dash" | "ksh" | "ash" | "fish" | "rbash" => spec(
            First(Read, Guess),
            &[
                ("-o", Ignore),
                ("-O", Ignore),
                ("--rcfile", Read),
                ("--init-file", Read),
            ],
        ),
        _ if interpreter(name) => spec(First(Read, Guess), CODE_OPTIONS),
        _ => writers::of(name).unwrap_or(spec(All(Guess), writers::OUTPUT_OPTIONS)),
    }
}

/// Whether `name` runs text in a shell's language.
pub(super) fn is_shell(name: &str) -> bool {
    matches!(
        name,
        // The last ones have a syntax of their own; a line of programs is written in them as in any other.
        "bash"
            | "sh"
            | "zsh"
            | "dash"
            | "ksh"
            | "ash"
            | "rbash"
            | "mksh"
            | "lksh"
            | "oksh"
            | "loksh"
            | "yash"
            | "posh"
            | "osh"
            | "ksh93"
            | "fish"
            | "csh"
            | "tcsh"
    )
}

/// Whether `name` runs text in another language.
pub(super) fn interpreter(name: &str) -> bool {
    let stem = name.trim_end_matches(|c: char| c.is_ascii_digit() || c == '.');
    matches!(
        stem,
        "python"
            | "pypy"
            | "ipython"
            | "perl"
            | "ruby"
            | "node"
            | "nodejs"
            | "deno"
            | "bun"
            | "php"
            | "lua"
            | "luajit"
            | "osascript"
            | "pwsh"
            | "Rscript"
            | "tclsh"
            | "expect"
            | "groovy"
            | "jshell"
    )
}
