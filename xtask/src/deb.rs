//! `cargo xtask deb`: Debian packages of what is shipped, for this architecture or the other one.
//!
//! | Module | Does |
//! |---|---|
//! | [`control`] | reads `packaging/debian`: descriptions, version, date |
//! | [`elf`] | what programs need of the system; refuses what a supported one lacks |
//! | [`debug`] | programs, and apart from them their symbols |
//! | [`manual`] | manual pages and completions |
//! | [`stage`] | a package's files, with nothing in them of where and when it was made |

mod control;
mod debug;
mod elf;
mod manual;
mod stage;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};
use clap::Args;

pub(crate) use control::{Changelog, Template, Values};
use stage::EXECUTABLE;
pub(crate) use stage::{PLAIN, Stage};

use crate::arch::Architecture;
use crate::build;
use crate::files;
use crate::host::{Host, run, step};
use crate::setup::{self, Wanted};

/// What to make packages of.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// For machines of this architecture.
    #[arg(long, value_enum, default_value_t = Architecture::own())]
    arch: Architecture,
    /// Take the programs that lie there as in target/dist, and build none.
    #[arg(long, value_name = "DIR")]
    programs: Option<PathBuf>,
    /// Take the manual and the completions that lie there as in target/deb/manual, and write none.
    #[arg(long, value_name = "DIR")]
    manual: Option<PathBuf>,
    /// Where the packages go; target/deb unless said.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Do not ask lintian.
    #[arg(long)]
    no_lintian: bool,
}

impl Options {
    /// Of the programs that were just built for this machine.
    pub(crate) fn of_built(host: &Host) -> Self {
        Self {
            arch: Architecture::own(),
            programs: Some(host.dist()),
            manual: None,
            out: None,
            no_lintian: false,
        }
    }
}

/// Where a program is installed, and where below `target/dist` it may lie.
const PROGRAMS: [(&str, &[&str]); 6] = [
    ("/usr/bin/defenseclaw-cli", &["defenseclaw-cli"]),
    ("/usr/bin/defenseclaw-hook", &["defenseclaw-hook"]),
    ("/usr/bin/defenseclaw-shell", &["defenseclaw-shell"]),
    ("/usr/lib/defenseclaw/defenseclaw-cli", &["lib/defenseclaw-cli"]),
    (
        "/usr/lib/defenseclaw/defenseclaw-gateway",
        &["lib/defenseclaw-gateway", "defenseclaw-gateway"],
    ),
    (
        "/usr/lib/defenseclaw/defenseclaw-agent",
        &["lib/defenseclaw-agent", "defenseclaw-agent"],
    ),
];

/// Folders of `packaging` whose files are installed as they are. Each must hold something: without its units the package
/// would start nothing.
const FOLDERS: [(&str, &str); 3] = [
    ("systemd", "/usr/lib/systemd/system"),
    ("sysusers.d", "/usr/lib/sysusers.d"),
    ("tmpfiles.d", "/usr/lib/tmpfiles.d"),
];
const SCRIPTS: [&str; 4] = ["preinst", "postinst", "prerm", "postrm"];
/// Questions at installation: both or none.
const QUESTIONS: [(&str, u32); 2] = [("config", EXECUTABLE), ("templates", PLAIN)];
/// Parts of the built-in policy that an operator can replace, to be copied from.
const POLICIES: [&str; 3] = ["rego", "rules", "sandbox"];

/// Makes the packages and returns their paths.
pub(crate) fn deb(host: &Host, options: &Options) -> Result<Vec<PathBuf>> {
    let wanted = match options.programs {
        // Programs that are there already need no compiler.
        Some(_) => Wanted::default(),
        None => Wanted {
            arch: options.arch,
            ..Wanted::build()
        },
    };
    let wanted = Wanted {
        packages: true,
        ..wanted
    };
    setup::install(host, wanted)?;
    let programs = match &options.programs {
        Some(folder) => folder.clone(),
        None => build::build(&host.built_for(options.arch)?)?,
    };
    let manual = match &options.manual {
        Some(folder) => folder.clone(),
        None => manual::write(host)?,
    };
    let out = options.out.clone().unwrap_or_else(|| host.target.join("deb"));
    fs::create_dir_all(&out).with_context(|| format!("cannot create {}", out.display()))?;
    let made = step(&format!("packages for {}", options.arch.debian()), || {
        Maker::new(host, options.arch, programs)?.make(&manual, &out)
    })?;
    if !options.no_lintian {
        step("lintian", || lintian(&made))?;
    }
    for package in &made {
        let size = fs::metadata(package)?.len();
        eprintln!("{}  {size} bytes", package.display());
    }
    Ok(made)
}

/// Errors and warnings are to be mended, or argued in the overrides.
fn lintian(packages: &[PathBuf]) -> Result<()> {
    let mut command = Command::new("lintian");
    command
        .args(["--fail-on", "error,warning", "--tag-display-limit", "0", "--allow-root"])
        // They go into a repository of their own, not into Debian.
        .args(["--profile", "debian"])
        .args(packages);
    run(&mut command)
}

struct Maker<'a> {
    host: &'a Host,
    arch: Architecture,
    programs: PathBuf,
    changelog: Changelog,
    work: PathBuf,
}

impl<'a> Maker<'a> {
    fn new(host: &'a Host, arch: Architecture, programs: PathBuf) -> Result<Self> {
        let work = host.target.join("deb/stage").join(arch.debian());
        fs::create_dir_all(&work).with_context(|| format!("cannot create {}", work.display()))?;
        Ok(Self {
            host,
            arch,
            programs,
            changelog: Changelog::read(&host.root)?,
            work,
        })
    }

    fn make(&self, manual: &Path, out: &Path) -> Result<Vec<PathBuf>> {
        let stage = |name: &str| Stage::new(self.work.join(name), self.changelog.epoch);
        let (main, symbols) = (stage("defenseclaw")?, stage("defenseclaw-dbgsym")?);
        let (depends, ids) = self.add_programs(&main, &symbols)?;
        self.add_packaging(&main)?;
        self.add_documents(&main)?;
        manual::install(&main, manual)?;
        let asks = self.packaging("debian/templates").is_file();
        let values = Values::from([
            ("version", self.changelog.version.clone()),
            ("programs:Depends", depends),
            (
                "debconf:Depends",
                if asks {
                    "debconf (>= 0.5) | debconf-2.0".into()
                } else {
                    String::new()
                },
            ),
        ]);
        let main = self.pack(&main, "defenseclaw", &values, Vec::new(), out)?;
        if ids.is_empty() {
            bail!(
                "none of the programs in {} has symbols, in it or beside it",
                self.programs.display()
            );
        }
        symbols.link("defenseclaw", "/usr/share/doc/defenseclaw-dbgsym")?;
        let more = vec![
            ("Auto-Built-Package", "debug-symbols".to_owned()),
            ("Build-Ids", ids.join(" ")),
        ];
        let symbols = self.pack(&symbols, "defenseclaw-dbgsym", &values, more, out)?;
        Ok(vec![main, symbols])
    }

    fn packaging(&self, name: &str) -> PathBuf {
        self.host.root.join("packaging").join(name)
    }

    /// The programs, without symbols. Returns what they depend on, and the build ids that there are symbols of.
    fn add_programs(&self, main: &Stage, symbols: &Stage) -> Result<(String, Vec<String>)> {
        let mut needs: BTreeMap<&str, elf::Version> = BTreeMap::new();
        let mut ids = Vec::new();
        for (to, places) in PROGRAMS {
            let found = places.iter().map(|place| self.programs.join(place));
            let program = found.clone().find(|program| program.is_file()).with_context(|| {
                format!(
                    "no program {} in {}: run `cargo xtask build`",
                    places[0],
                    self.programs.display()
                )
            })?;
            if let Some(target) = self.other_name(&program, to)? {
                main.link(&target, to)?;
                continue;
            }
            let needed = elf::read(&program)
                .and_then(|found| {
                    found.hardened()?;
                    found.packages(self.arch)
                })
                .with_context(|| program.display().to_string())?;
            for (package, version) in needed {
                let least = needs.entry(package).or_default();
                *least = version.max(std::mem::take(least));
            }
            ids.extend(debug::add(&self.programs, &program, to, (main, symbols))?);
        }
        main.link("defenseclaw-cli", "/usr/bin/defenseclaw")?;
        let written = needs.iter().map(|(package, version)| {
            let version: Vec<String> = version.iter().map(ToString::to_string).collect();
            format!("{package} (>= {})", version.join("."))
        });
        ids.sort();
        ids.dedup();
        Ok((written.collect::<Vec<_>>().join(", "), ids))
    }

    /// Where a program is only another name of one that is installed, that one as seen from `to`.
    fn other_name(&self, program: &Path, to: &str) -> Result<Option<String>> {
        let real = program.canonicalize()?;
        for (installed, places) in PROGRAMS {
            if installed == to {
                // Of names that are equal files the first one is the program.
                break;
            }
            for place in places {
                let other = self.programs.join(place);
                if other.is_file() && (other.canonicalize()? == real || same_file(&other, program)?) {
                    return Ok(Some(relative(installed, to)));
                }
            }
        }
        Ok(None)
    }

    fn add_packaging(&self, main: &Stage) -> Result<()> {
        for (folder, to) in FOLDERS {
            let files = installed(&self.packaging(folder))
                .with_context(|| format!("packaging/{folder} must hold what is installed as {to}"))?;
            if files.is_empty() {
                bail!("packaging/{folder} holds no file, and {to} needs one");
            }
            for file in files {
                let name = file.strip_prefix(self.packaging(folder))?.display().to_string();
                main.copy(&file, &format!("{to}/{name}"), PLAIN)?;
            }
        }
        for script in SCRIPTS {
            let file = self.packaging("debian").join(script);
            main.copy(&file, &format!("/DEBIAN/{script}"), EXECUTABLE)
                .context("a maintainer script is missing")?;
        }
        let asked = QUESTIONS.map(|(name, mode)| (self.packaging("debian").join(name), name, mode));
        match asked.iter().filter(|(file, _, _)| file.is_file()).count() {
            0 => {}
            1 => {
                bail!("packaging/debian has one of config and templates, and the package needs both or none")
            }
            _ => {
                for (file, name, mode) in asked {
                    main.copy(&file, &format!("/DEBIAN/{name}"), mode)?;
                }
            }
        }
        main.copy(
            &self.packaging("config.yaml"),
            "/etc/defenseclaw/config.yaml",
            PLAIN,
        )?;
        main.folder("/etc/defenseclaw/config.d")?;
        main.folder("/etc/defenseclaw/policies")
    }

    fn add_documents(&self, main: &Stage) -> Result<()> {
        let doc = "/usr/share/doc/defenseclaw";
        main.copy(
            &self.packaging("debian/copyright"),
            &format!("{doc}/copyright"),
            PLAIN,
        )?;
        main.compressed(
            &self.packaging("debian/changelog"),
            &format!("{doc}/changelog.Debian.gz"),
        )?;
        main.compressed(
            &self.host.root.join("CHANGELOG.md"),
            &format!("{doc}/changelog.gz"),
        )?;
        main.copy(
            &self.packaging("debian/defenseclaw.lintian-overrides"),
            "/usr/share/lintian/overrides/defenseclaw",
            PLAIN,
        )?;
        for part in POLICIES {
            let folder = self.host.root.join("policies").join(part);
            for file in installed(&folder)? {
                let name = file.strip_prefix(&folder)?.display().to_string();
                main.copy(
                    &file,
                    &format!("/usr/share/defenseclaw/policies/{part}/{name}"),
                    PLAIN,
                )?;
            }
        }
        Ok(())
    }

    fn pack(
        &self,
        stage: &Stage,
        name: &str,
        values: &Values<'_>,
        mut more: Vec<(&str, String)>,
        out: &Path,
    ) -> Result<PathBuf> {
        let arch = self.arch.debian();
        more.extend([
            ("Version", self.changelog.version.clone()),
            ("Architecture", arch.to_owned()),
            ("Installed-Size", stage.installed_size()?.to_string()),
        ]);
        let control = Template::read(&self.host.root, name)?.fill(values, &more)?;
        let package = out.join(format!("{name}_{}_{arch}.deb", self.changelog.version));
        stage.pack(&control, &package)?;
        Ok(package)
    }
}

/// All files below a folder; notes for readers of the sources are left out.
fn installed(folder: &Path) -> Result<Vec<PathBuf>> {
    files::files(folder, |path| {
        path.file_name().is_some_and(|name| name != "README.md")
    })
}

/// Whether two names are one file, or hold the same bytes.
fn same_file(one: &Path, other: &Path) -> Result<bool> {
    if fs::metadata(one)?.len() != fs::metadata(other)?.len() {
        return Ok(false);
    }
    Ok(fs::read(one)? == fs::read(other)?)
}

/// A symbolic link's content at `from` that leads to `to`; both absolute.
fn relative(to: &str, from: &str) -> String {
    let split = |path: &str| {
        path.trim_start_matches('/')
            .split('/')
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    let (to, from) = (split(to), split(from));
    let common = to
        .iter()
        .zip(&from)
        .take_while(|(one, other)| one == other)
        .count();
    let up = std::iter::repeat_n("..".to_owned(), from.len() - 1 - common);
    up.chain(to.into_iter().skip(common))
        .collect::<Vec<_>>()
        .join("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_lead_from_one_folder_to_another() {
        assert_eq!(relative("/usr/lib/a/tool", "/usr/lib/a/gateway"), "tool");
        assert_eq!(relative("/usr/lib/a/tool", "/usr/bin/tool"), "../lib/a/tool");
    }
}
