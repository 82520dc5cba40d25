//! The command line of `run` as programs write it, read without the library that reads what people write.
//!
//! Setting that library up takes longer than looking at all paths of a profile. Hooks and scripts spell each option out, once, with its
//! value in the next argument: that needs none of it. Whatever looks different in any way is left to the library, and to what it says.

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;

use crate::RunOptions;
use crate::options::DEFAULT_PROFILE;

/// What follows `run`, if it is plain.
pub fn read(arguments: &[OsString]) -> Option<RunOptions> {
    let end = arguments.iter().position(|argument| argument == "--")?;
    let (options, command) = (arguments.get(..end)?, arguments.get(end + 1..)?);
    let mut profile = None;
    let mut read = RunOptions {
        profile: String::new(),
        project: None,
        best_effort: false,
        supervise: false,
        watch: false,
        profiles: None,
        explain: false,
        connector: None,
        call: None,
        without_gateway: false,
        json: false,
        command: command.to_vec(),
    };
    let mut options = options.iter();
    while let Some(option) = options.next() {
        match option.to_str()? {
            "--profile" => once(&mut profile, text(options.next())?)?,
            "--connector" => once(&mut read.connector, text(options.next())?)?,
            "--call" => once(&mut read.call, text(options.next())?)?,
            "--project" => once(&mut read.project, PathBuf::from(value(options.next())?))?,
            "--profiles" => once(&mut read.profiles, PathBuf::from(value(options.next())?))?,
            "--best-effort" => flag(&mut read.best_effort)?,
            "--watch" => flag(&mut read.watch)?,
            "--without-gateway" => flag(&mut read.without_gateway)?,
            _ => return None,
        }
    }
    if command.is_empty() || profile.is_some() && read.connector.is_some() {
        return None;
    }
    read.profile = profile.unwrap_or_else(|| DEFAULT_PROFILE.to_owned());
    Some(read)
}

fn once<T>(option: &mut Option<T>, value: T) -> Option<()> {
    option.replace(value).is_none().then_some(())
}

fn flag(option: &mut bool) -> Option<()> {
    (!std::mem::replace(option, true)).then_some(())
}

/// What looks like an option is none of its value.
fn value(argument: Option<&OsString>) -> Option<&OsStr> {
    let argument = argument?;
    let unclear = argument.is_empty() || argument.as_encoded_bytes().starts_with(b"-");
    (!unclear).then_some(argument)
}

fn text(argument: Option<&OsString>) -> Option<String> {
    value(argument)?.to_str().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use proptest::prelude::*;

    use super::*;

    #[derive(Parser)]
    enum Known {
        Run(RunOptions),
    }

    fn by_library(arguments: &[OsString]) -> Option<RunOptions> {
        let own = ["defenseclaw-cli".into(), "run".into()];
        let all = own.iter().chain(arguments);
        Known::try_parse_from(all).ok().map(|Known::Run(options)| options)
    }

    /// Most of them plain.
    const PARTS: [&[&str]; 24] = [
        &["--profile", "strict"],
        &["--connector", "claude-code"],
        &["--call", "toolu_1"],
        &["--project", "/srv/work"],
        &["--profiles", "own"],
        &["--best-effort"],
        &["--watch"],
        &["--without-gateway"],
        &["--", "ls"],
        &["--", "ls"],
        &["--", "ls"],
        &["--", "ls"],
        &["--"],
        &["--explain"],
        &["--json"],
        &["--supervise"],
        &["--help"],
        &["-h"],
        &["--profile=strict"],
        &["--prof", "strict"],
        &["--profile", ""],
        &["--call", "-"],
        &["--project"],
        &["ls"],
    ];

    proptest! {
        #[test]
        fn what_it_reads_the_library_reads_the_same(parts in proptest::collection::vec(0..PARTS.len(), 0..6)) {
            let words = parts.into_iter().flat_map(|at| PARTS[at]);
            let arguments: Vec<OsString> = words.map(OsString::from).collect();
            if let Some(plain) = read(&arguments) {
                prop_assert_eq!(Some(plain), by_library(&arguments));
            }
        }
    }

    #[test]
    fn what_hooks_and_scripts_write_is_plain() {
        let lines: [&[&str]; 5] = [
            &["--", "true"],
            &["--profile", "network-none", "--", "make", "check", "--", "-j"],
            &[
                "--connector",
                "claude-code",
                "--call",
                "toolu_1",
                "--",
                "bash",
                "-c",
                "ls -- -x",
            ],
            &["--project", "/srv/work", "--watch", "--best-effort", "--", "sh"],
            &[
                "--without-gateway",
                "--profiles",
                "/srv/profiles",
                "--profile",
                "own",
                "--",
                "sh",
            ],
        ];
        for line in lines {
            let arguments: Vec<OsString> = line.iter().map(OsString::from).collect();
            let plain = read(&arguments);
            assert!(plain.is_some(), "{line:?}");
            assert_eq!(plain, by_library(&arguments), "{line:?}");
        }
    }

    #[test]
    fn what_is_unclear_is_left_to_the_library() {
        let lines: [&[&str]; 9] = [
            &[],
            &["--"],
            &["--explain"],
            &["--profile=strict", "--", "ls"],
            &["--profile", "--", "ls"],
            &["--profile", "a", "--profile", "b", "--", "ls"],
            &["--profile", "a", "--connector", "codex", "--", "ls"],
            &["--supervise", "--", "ls"],
            &["ls", "--", "ls"],
        ];
        for line in lines {
            let arguments: Vec<OsString> = line.iter().map(OsString::from).collect();
            assert_eq!(read(&arguments), None, "{line:?}");
        }
    }
}
