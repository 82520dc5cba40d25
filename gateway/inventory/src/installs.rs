//! Installed harnesses and their versions, found without running anything.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use defenseclaw_harness::install::spec::Spec;
use serde_json::Value;

use crate::files::{Bounds, MAX_PACKAGE_LIST, MAX_SETTINGS};
use crate::item::{Details, Item, ItemKind, Package, Scope, Trouble};
use crate::programs::{Pattern, Program, Programs};
use crate::survey::Base;
use crate::tidy;
use crate::walk;

/// How far above a program its package's `package.json` may lie: `bin/x.js`, `dist/bin/x.js`.
const MAX_UP: usize = 5;

/// What is installed for one base: a home, or the host.
pub(crate) struct Installs<'a> {
    pub(crate) programs: &'a Programs,
    pub(crate) bounds: Bounds,
    /// Where the host's files begin.
    pub(crate) root: &'a Path,
    /// Versions by name of the packages that the host's package manager has installed.
    pub(crate) host_packages: &'a BTreeMap<String, String>,
}

impl Installs<'_> {
    /// The installations of a harness below a base.
    pub(crate) fn of(&self, spec: &Spec, base: &Base, troubles: &mut Vec<Trouble>) -> Vec<Item> {
        let Some(program) = self.programs.connectors.get(&spec.connector) else {
            return Vec::new();
        };
        let mut found = Vec::new();
        self.packages(spec, program, base, troubles, &mut found);
        self.distributions(spec, program, base, troubles, &mut found);
        self.versions(spec, program, base, troubles, &mut found);
        if base.scope == Scope::System {
            self.host(spec, program, &mut found);
        }
        self.programs(spec, program, base, troubles, &mut found);
        found
    }

    fn expand(&self, pattern: &Pattern, base: &Base, troubles: &mut Vec<Trouble>) -> Vec<walk::Found> {
        let from = match (pattern.in_home, base.scope) {
            (true, Scope::User) => &base.path,
            (false, Scope::System) => self.root,
            _ => return Vec::new(),
        };
        walk::expand(from, &pattern.components, &self.bounds, troubles)
    }

    /// npm packages, and folders of the harness with a `package.json`.
    fn packages(
        &self,
        spec: &Spec,
        program: &Program,
        base: &Base,
        troubles: &mut Vec<Trouble>,
        found: &mut Vec<Item>,
    ) {
        for pattern in &self.programs.node {
            for folder in self.expand(pattern, base, troubles) {
                for name in &program.npm {
                    self.package(
                        spec,
                        program,
                        (&folder.path.join(name), base.scope),
                        "npm",
                        troubles,
                        found,
                    );
                }
            }
        }
        for pattern in &program.packages {
            let how = if pattern.components.iter().any(|part| part == "node_modules") {
                "npm"
            } else {
                "package"
            };
            for folder in self.expand(pattern, base, troubles) {
                self.package(spec, program, (&folder.path, base.scope), how, troubles, found);
            }
        }
    }

    fn package(
        &self,
        spec: &Spec,
        program: &Program,
        (folder, scope): (&Path, Scope),
        how: &str,
        troubles: &mut Vec<Trouble>,
        found: &mut Vec<Item>,
    ) {
        let manifest = folder.join("package.json");
        let text = match self.bounds.text(&manifest, MAX_SETTINGS) {
            Ok(None) => return,
            Ok(Some((text, _))) => text,
            Err(trouble) => {
                troubles.push(trouble);
                return;
            }
        };
        let value: Value = serde_json::from_str(&text).unwrap_or_else(|error| {
            let message = format!("It is no valid JSON, so that the version is not known: {error}");
            troubles.push(Trouble::new(manifest.display().to_string(), "invalid", message));
            Value::Null
        });
        let text_at = |key: &str| value.get(key).and_then(Value::as_str).map(tidy::name);
        let version = text_at("version");
        let package = (how == "npm").then(|| Package {
            registry: "npm".to_owned(),
            name: text_at("name").unwrap_or_else(|| program.npm.first().cloned().unwrap_or_default()),
            version: version.clone(),
        });
        let mut item = self.item(spec, program, (folder, scope), how, (folder, ""));
        item.version = version;
        set_package(&mut item, package);
        found.push(item);
    }

    /// Python distributions: `NAME-VERSION.dist-info`, where `-` and `.` of a name are written `_`.
    fn distributions(
        &self,
        spec: &Spec,
        program: &Program,
        base: &Base,
        troubles: &mut Vec<Trouble>,
        found: &mut Vec<Item>,
    ) {
        if program.pypi.is_empty() {
            return;
        }
        for pattern in &self.programs.python {
            for folder in self.expand(pattern, base, troubles) {
                let (names, trouble) = self.bounds.names(&folder.path);
                troubles.extend(trouble);
                for name in names {
                    let shown = name.to_string_lossy();
                    let Some((written, version)) = shown
                        .strip_suffix(".dist-info")
                        .and_then(|stem| stem.rsplit_once('-'))
                    else {
                        continue;
                    };
                    let Some(known) = program.pypi.iter().find(|known| plain(known) == plain(written)) else {
                        continue;
                    };
                    let path = folder.path.join(&name);
                    let mut item =
                        self.item(spec, program, (&path, base.scope), "pypi", (&folder.path, known));
                    item.version = Some(tidy::name(version));
                    let package = Package {
                        registry: "pypi".to_owned(),
                        name: known.clone(),
                        version: item.version.clone(),
                    };
                    set_package(&mut item, Some(package));
                    found.push(item);
                }
            }
        }
    }

    /// Folders or files that a harness's own installer calls after the version. The newest is the one that is in use.
    fn versions(
        &self,
        spec: &Spec,
        program: &Program,
        base: &Base,
        troubles: &mut Vec<Trouble>,
        found: &mut Vec<Item>,
    ) {
        for pattern in &program.versions {
            let mut there = Vec::new();
            for one in self.expand(pattern, base, troubles) {
                let version = one.stars.last().cloned().unwrap_or_default();
                if !version.starts_with(|c: char| c.is_ascii_digit()) {
                    continue;
                }
                match self.bounds.stat(&one.path) {
                    Ok(Some(stat)) => there.push((stat.modified_ns, one.path, version)),
                    Ok(None) => {}
                    Err(trouble) => troubles.push(trouble),
                }
            }
            there.sort();
            // The newest keeps the identity of the installation; older ones lie there by their own paths.
            for (i, (_, path, version)) in there.into_iter().rev().enumerate() {
                let named = if i == 0 { pattern.written() } else { path.clone() };
                let key = if i == 0 {
                    base.path.display().to_string()
                } else {
                    String::new()
                };
                let mut item = self.item(spec, program, (&path, base.scope), "native", (&named, &key));
                item.version = Some(tidy::name(&version));
                found.push(item);
            }
        }
    }

    fn host(&self, spec: &Spec, program: &Program, found: &mut Vec<Item>) {
        for name in &program.dpkg {
            let Some(version) = self.host_packages.get(name) else {
                continue;
            };
            let status = self.root.join(DPKG_STATUS);
            let mut item = self.item(spec, program, (&status, Scope::System), "dpkg", (&status, name));
            item.version = Some(tidy::name(version));
            let package = Package {
                registry: "deb".to_owned(),
                name: name.clone(),
                version: item.version.clone(),
            };
            set_package(&mut item, Some(package));
            found.push(item);
        }
    }

    /// Programs by name, unless they lead into something that was found already.
    fn programs(
        &self,
        spec: &Spec,
        program: &Program,
        base: &Base,
        troubles: &mut Vec<Trouble>,
        found: &mut Vec<Item>,
    ) {
        for pattern in &self.programs.folders {
            for folder in self.expand(pattern, base, troubles) {
                for name in &spec.detect.programs {
                    let path = folder.path.join(name);
                    let Ok(metadata) = std::fs::metadata(&path) else {
                        continue;
                    };
                    if !metadata.is_file() || metadata.mode() & 0o111 == 0 {
                        continue;
                    }
                    let real = path.canonicalize().unwrap_or_else(|_| path.clone());
                    let packaged = self.host_packages_own(program, &real);
                    if packaged
                        || known(found, &real)
                        || self.in_package(spec, program, (&real, base.scope), found)
                    {
                        continue;
                    }
                    found.push(self.item(spec, program, (&path, base.scope), "program", (&path, "")));
                }
            }
        }
    }

    /// Whether a program in a folder of the host's package manager belongs to a package that was found.
    fn host_packages_own(&self, program: &Program, real: &Path) -> bool {
        let local = self.root.join("usr/local");
        let own = real.starts_with(self.root.join("usr")) || real.starts_with(self.root.join("opt"));
        own && !real.starts_with(local)
            && program
                .dpkg
                .iter()
                .any(|name| self.host_packages.contains_key(name))
    }

    /// A program that lies in an npm package whose folder the table does not name.
    fn in_package(
        &self,
        spec: &Spec,
        program: &Program,
        (real, scope): (&Path, Scope),
        found: &mut Vec<Item>,
    ) -> bool {
        for folder in real.ancestors().skip(1).take(MAX_UP) {
            if !program.npm.iter().any(|name| folder.ends_with(name)) {
                continue;
            }
            let before = found.len();
            self.package(spec, program, (folder, scope), "npm", &mut Vec::new(), found);
            return found.len() > before;
        }
        false
    }

    fn item(
        &self,
        spec: &Spec,
        program: &Program,
        (path, scope): (&Path, Scope),
        how: &str,
        (named, key): (&Path, &str),
    ) -> Item {
        let (shown, named) = (path.display().to_string(), named.display().to_string());
        let key = format!("{how} {key}");
        let mut item = Item::new(ItemKind::Harness, &spec.connector, &shown, scope, (&named, &key));
        item.connectors = vec![spec.connector.clone()];
        if let Ok(Some(stat)) = self.bounds.stat(path) {
            item.owner_uid = Some(stat.owner);
            item.modified_ns = Some(stat.modified_ns);
            item.link = stat.link;
            item.size = (!stat.is_dir && how != "dpkg").then_some(stat.size);
        }
        item.details = Details::Harness {
            product: spec.title.clone(),
            supplier: program.supplier.clone(),
            how: how.to_owned(),
            package: None,
        };
        item
    }

    /// A harness that is not installed here, but of which something lies in a home.
    pub(crate) fn traces(&self, spec: &Spec, base: &Base) -> Option<Item> {
        let program = self.programs.connectors.get(&spec.connector)?;
        let trace = spec.detect.traces.iter().find(|trace| {
            let path = base.path.join(trace);
            path.symlink_metadata().is_ok()
        })?;
        let path = base.path.join(trace);
        Some(self.item(spec, program, (&path, base.scope), "traces", (&path, "")))
    }
}

fn set_package(item: &mut Item, found: Option<Package>) {
    if let Details::Harness { package, .. } = &mut item.details {
        *package = found;
    }
}

/// Whether a program lies in something that was found.
fn known(found: &[Item], real: &Path) -> bool {
    found.iter().any(|item| {
        let path = PathBuf::from(&item.path);
        let path = path.canonicalize().unwrap_or(path);
        real.starts_with(path)
    })
}

/// A distribution's name as registries compare it: lower case, with one kind of dash.
fn plain(name: &str) -> String {
    name.to_ascii_lowercase().replace(['-', '.'], "_")
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

    #[test]
    fn names_of_distributions_are_compared_as_registries_do() {
        assert_eq!(plain("OpenHands-AI"), plain("openhands_ai"));
        assert_ne!(plain("openhands"), plain("openhands_ai"));
    }
}
