//! Installed harnesses and their versions, found without running anything.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use defenseclaw_harness::install::spec::Spec;
use defenseclaw_model::package::pypi_name;
use serde_json::Value;

use crate::files::{Bounds, MAX_PACKAGE_LIST, MAX_SETTINGS};
use crate::item::{Details, Item, ItemKind, Package, Scope, Trouble};
use crate::programs::{Pattern, Program, Programs};
use crate::survey::Base;
use crate::tidy;
use crate::walk;

/// How far above a program its package's `package.json` may lie: `bin/x.js`, `dist/bin/x.js`.
const MAX_UP: usize = 5;

/// What is the same for every harness.
pub(crate) struct Host<'a> {
    /// Where programs lie.
    pub(crate) programs: &'a Programs,
    /// Where the host's files begin.
    pub(crate) root: &'a Path,
    /// Versions by name of the packages that the host's package manager has installed.
    pub(crate) packages: BTreeMap<String, String>,
}

/// The look for installations of one harness in one base: a home, or the host.
pub(crate) struct Installs<'a> {
    host: &'a Host<'a>,
    spec: &'a Spec,
    program: &'a Program,
    base: &'a Base,
    troubles: &'a mut Vec<Trouble>,
    found: Vec<Item>,
}

impl<'a> Installs<'a> {
    /// `None`: nothing is known of the harness's programs.
    pub(crate) fn of(
        host: &'a Host<'a>,
        spec: &'a Spec,
        base: &'a Base,
        troubles: &'a mut Vec<Trouble>,
    ) -> Option<Self> {
        Some(Self {
            host,
            spec,
            program: host.programs.connectors.get(&spec.connector)?,
            base,
            troubles,
            found: Vec::new(),
        })
    }

    /// All of them.
    pub(crate) fn all(mut self) -> Vec<Item> {
        self.packages();
        self.distributions();
        self.versions();
        if self.base.scope == Scope::System {
            self.packaged();
        }
        self.programs();
        self.found
    }

    /// A harness that is not installed here, but of which something lies in a home.
    pub(crate) fn traces(self) -> Option<Item> {
        let traces = self.spec.detect.traces.iter();
        let path = traces
            .map(|trace| self.base.path.join(trace))
            .find(|path| path.symlink_metadata().is_ok())?;
        Some(self.item(&path, "traces", (&path, "")))
    }

    fn expand(&mut self, pattern: &Pattern) -> Vec<walk::Found> {
        let from = match (pattern.in_home, self.base.scope) {
            (true, Scope::User) => &self.base.path,
            (false, Scope::System) => self.host.root,
            _ => return Vec::new(),
        };
        walk::expand(from, &pattern.components, &self.base.bounds, self.troubles)
    }

    /// npm packages, and folders of the harness with a `package.json`.
    fn packages(&mut self) {
        let program = self.program;
        for pattern in &self.host.programs.node {
            for folder in self.expand(pattern) {
                for name in &program.npm {
                    self.package(&folder.path.join(name), "npm");
                }
            }
        }
        for pattern in &program.packages {
            let how = if pattern.components.iter().any(|part| part == "node_modules") {
                "npm"
            } else {
                "package"
            };
            for folder in self.expand(pattern) {
                self.package(&folder.path, how);
            }
        }
    }

    fn package(&mut self, folder: &Path, how: &str) {
        let manifest = folder.join("package.json");
        let text = match self.base.bounds.text(&manifest, MAX_SETTINGS) {
            Ok(None) => return,
            Ok(Some((text, _))) => text,
            Err(trouble) => {
                self.troubles.push(trouble);
                return;
            }
        };
        let value: Value = serde_json::from_str(&text).unwrap_or_else(|error| {
            let message = format!("It is no valid JSON, so that the version is not known: {error}");
            self.troubles
                .push(Trouble::new(manifest.display().to_string(), "invalid", message));
            Value::Null
        });
        let text_at = |key: &str| value.get(key).and_then(Value::as_str).map(tidy::name);
        let mut item = self.item(folder, how, (folder, ""));
        item.version = text_at("version");
        if how == "npm" {
            let first = || self.program.npm.first().cloned().unwrap_or_default();
            set_package(&mut item, "npm", text_at("name").unwrap_or_else(first));
        }
        self.found.push(item);
    }

    /// Python distributions: `NAME-VERSION.dist-info`, where `-` and `.` of a name are written `_`.
    fn distributions(&mut self) {
        let program = self.program;
        if program.pypi.is_empty() {
            return;
        }
        for pattern in &self.host.programs.python {
            for folder in self.expand(pattern) {
                let (names, trouble) = self.base.bounds.names(&folder.path);
                self.troubles.extend(trouble);
                for name in names {
                    let shown = name.to_string_lossy();
                    let Some((written, version)) = shown
                        .strip_suffix(".dist-info")
                        .and_then(|stem| stem.rsplit_once('-'))
                    else {
                        continue;
                    };
                    let is = |known: &&String| pypi_name(known) == pypi_name(written);
                    let Some(known) = program.pypi.iter().find(is) else {
                        continue;
                    };
                    let mut item = self.item(&folder.path.join(&name), "pypi", (&folder.path, known));
                    item.version = Some(tidy::name(version));
                    set_package(&mut item, "pypi", known.clone());
                    self.found.push(item);
                }
            }
        }
    }

    /// Folders or files that a harness's own installer calls after the version. The newest is the one that is in use.
    fn versions(&mut self) {
        for pattern in &self.program.versions {
            let mut there = Vec::new();
            for one in self.expand(pattern) {
                let version = one.stars.last().cloned().unwrap_or_default();
                if !version.starts_with(|c: char| c.is_ascii_digit()) {
                    continue;
                }
                match self.base.bounds.stat(&one.path) {
                    Ok(Some(stat)) => there.push((stat.modified_ns, one.path, version)),
                    Ok(None) => {}
                    Err(trouble) => self.troubles.push(trouble),
                }
            }
            there.sort();
            // The newest keeps the identity of the installation; older ones lie there by their own paths.
            for (i, (_, path, version)) in there.into_iter().rev().enumerate() {
                let named = if i == 0 { pattern.written() } else { path.clone() };
                let key = if i == 0 {
                    self.base.path.display().to_string()
                } else {
                    String::new()
                };
                let mut item = self.item(&path, "native", (&named, &key));
                item.version = Some(tidy::name(&version));
                self.found.push(item);
            }
        }
    }

    /// Packages of the host's package manager.
    fn packaged(&mut self) {
        for name in &self.program.dpkg {
            let Some(version) = self.host.packages.get(name) else {
                continue;
            };
            let status = self.host.root.join(DPKG_STATUS);
            let mut item = self.item(&status, "dpkg", (&status, name));
            item.version = Some(tidy::name(version));
            set_package(&mut item, "deb", name.clone());
            self.found.push(item);
        }
    }

    /// Programs by name, unless they lead into something that was found already.
    fn programs(&mut self) {
        for pattern in &self.host.programs.folders {
            for folder in self.expand(pattern) {
                for name in &self.spec.detect.programs {
                    let path = folder.path.join(name);
                    let Ok(metadata) = std::fs::metadata(&path) else {
                        continue;
                    };
                    if !metadata.is_file() || metadata.mode() & 0o111 == 0 {
                        continue;
                    }
                    let real = path.canonicalize().unwrap_or_else(|_| path.clone());
                    if self.host_packages_own(&real) || self.known(&real) || self.in_package(&real) {
                        continue;
                    }
                    self.found.push(self.item(&path, "program", (&path, "")));
                }
            }
        }
    }

    /// Whether a program in a folder of the host's package manager belongs to a package that was found.
    fn host_packages_own(&self, real: &Path) -> bool {
        let local = self.host.root.join("usr/local");
        let own =
            real.starts_with(self.host.root.join("usr")) || real.starts_with(self.host.root.join("opt"));
        let mut names = self.program.dpkg.iter();
        own && !real.starts_with(local) && names.any(|name| self.host.packages.contains_key(name))
    }

    /// Whether a program lies in something that was found.
    fn known(&self, real: &Path) -> bool {
        self.found.iter().any(|item| {
            let path = PathBuf::from(&item.path);
            let path = path.canonicalize().unwrap_or(path);
            real.starts_with(path)
        })
    }

    /// A program that lies in an npm package whose folder the table does not name.
    fn in_package(&mut self, real: &Path) -> bool {
        let is_package = |folder: &&Path| self.program.npm.iter().any(|name| folder.ends_with(name));
        let Some(folder) = real.ancestors().skip(1).take(MAX_UP).find(is_package) else {
            return false;
        };
        let (found, troubles) = (self.found.len(), self.troubles.len());
        self.package(folder, "npm");
        // It is the program that is told then.
        self.troubles.truncate(troubles);
        self.found.len() > found
    }

    fn item(&self, path: &Path, how: &str, (named, key): (&Path, &str)) -> Item {
        let (shown, named) = (path.display().to_string(), named.display().to_string());
        let (connector, key) = (&self.spec.connector, format!("{how} {key}"));
        let (kind, scope) = (ItemKind::Harness, self.base.scope);
        let mut item = Item::new(kind, connector, &shown, scope, (&named, &key));
        item.connectors = vec![connector.clone()];
        if let Ok(Some(stat)) = self.base.bounds.stat(path) {
            item.owner_uid = Some(stat.owner);
            item.modified_ns = Some(stat.modified_ns);
            item.link = stat.link;
            item.size = (!stat.is_dir && how != "dpkg").then_some(stat.size);
        }
        item.details = Details::Harness {
            product: self.spec.title.clone(),
            supplier: self.program.supplier.clone(),
            how: how.to_owned(),
            package: None,
        };
        item
    }
}

/// Says which package an installation is, in the version that was found.
fn set_package(item: &mut Item, registry: &str, name: String) {
    let version = item.version.clone();
    if let Details::Harness { package, .. } = &mut item.details {
        *package = Some(Package {
            registry: registry.to_owned(),
            name,
            version,
        });
    }
}

/// Where dpkg keeps what is installed, below the root.
const DPKG_STATUS: &str = "var/lib/dpkg/status";

/// What the host's package manager has installed, by name; none where there is no dpkg.
pub(crate) fn host_packages(root: &Path, troubles: &mut Vec<Trouble>) -> BTreeMap<String, String> {
    let path = root.join(DPKG_STATUS);
    match Bounds::default().text(&path, MAX_PACKAGE_LIST) {
        Ok(None) => BTreeMap::new(),
        Ok(Some((text, _))) => installed(&text),
        Err(trouble) => {
            troubles.push(trouble);
            BTreeMap::new()
        }
    }
}

/// Names and versions of the paragraphs whose state is installed.
fn installed(status: &str) -> BTreeMap<String, String> {
    let mut packages = BTreeMap::new();
    for paragraph in status.split("\n\n") {
        let field = |name: &str| {
            paragraph
                .lines()
                .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
                .map(str::trim)
        };
        let state = field("Status").unwrap_or_default();
        if let (Some(name), Some(version), true) =
            (field("Package"), field("Version"), state.ends_with(" installed"))
        {
            packages.insert(name.to_owned(), version.to_owned());
        }
    }
    packages
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_installed_packages_count() {
        let status = "Package: cursor\nStatus: install ok installed\nVersion: 2.4.1\n\nPackage: windsurf\n\
                      Status: deinstall ok config-files\nVersion: 1.0\nDescription: x\n more: text\n";
        let found = installed(status);
        assert_eq!(found.get("cursor").map(String::as_str), Some("2.4.1"));
        assert_eq!(found.len(), 1);
    }
}
