//! The features of a passage that are places: hosts, paths, and the names of secrets.

use super::features::{CONDUCT, Look, MAX_COMBINED, MAX_WORDS, MEANING, PLAIN, parts};
use super::hosts::{self, Host};
use crate::linear::{Part, Say};
use crate::paths::PathRules;

impl Look<'_, '_> {
    /// Hosts, with what is done there.
    pub(super) fn addresses(&mut self) {
        let lower = std::mem::take(&mut self.lower);
        let named = hosts::named(&lower);
        for host in &named {
            let class = hosts::class(host, &self.about.topic);
            let here = named.iter().filter(|other| other.name == host.name).count();
            let all = self.about.hosts.get(host.name).copied().unwrap_or(0);
            let once = if all as usize <= here { "once" } else { "again" };
            let mut marks = vec!["", once];
            marks.extend(self.marks(host, &lower));
            for mark in marks {
                self.hosts.insert((format!("{class}{mark}"), class));
            }
        }
        if named.is_empty() {
            self.hosts.insert(("none".to_owned(), ""));
        }
        self.lower = lower;
        let role = Part::from(self.passage.role.name());
        let effects: Vec<Part<'_>> = self.effects.iter().map(|&effect| effect.into()).collect();
        let (acts, wide) = (
            parts(self.acts.values()),
            parts(self.wide.iter().map(|(name, _)| name)),
        );
        for (host, class) in self.hosts.iter().take(MAX_COMBINED) {
            let say = if class.is_empty() {
                Say::Setting
            } else {
                Say::Host(class)
            };
            let host = Part::from(host.as_str());
            let mut put =
                |space: &str, group: u8, parts: &[Part<'_>]| self.found.combine((space, group), say, parts);
            put("h", PLAIN, &[host]);
            put("hr", CONDUCT, &[role, host]);
            effects
                .iter()
                .for_each(|&effect| put("he", CONDUCT, &[host, effect]));
            acts.iter().for_each(|&act| put("hx", CONDUCT, &[host, act]));
            wide.iter().for_each(|&said| put("hc", MEANING, &[host, said]));
        }
    }

    fn marks(&self, host: &Host<'_>, lower: &str) -> Vec<&'static str> {
        let mut marks = Vec::new();
        let rest = host.rest;
        if host.mail {
            marks.push("-mail");
        }
        if rest.contains(['{', '$', '<']) || rest.ends_with('=') {
            marks.push("-holed");
        }
        if rest.contains('?') {
            marks.push("-query");
        }
        if lower
            .get(..host.start)
            .is_some_and(|before| before.ends_with("http://"))
        {
            marks.push("-plain");
        }
        if [".sh", ".py", ".js", ".ps1"]
            .iter()
            .any(|end| rest.ends_with(end))
        {
            marks.push("-program");
        }
        marks
    }

    /// Paths by their class.
    pub(super) fn paths(&mut self) {
        let text = self.passage.text.replace("${HOME}", "~").replace("$HOME", "~");
        let ends = |c: char| c.is_whitespace() || "\"'`()<>,;=|@{}[]".contains(c);
        for word in text.split(ends).take(2 * MAX_WORDS) {
            let word = word.trim_end_matches([':', '.', '!', '?', '*']);
            if word.len() < 3 || word.contains("://") || !(word.contains('/') || word.starts_with('.')) {
                continue;
            }
            let class = match PathRules::embedded().classify(word) {
                Some(class) => class,
                None if word.starts_with("~/") => "home",
                None if ["/tmp", "/dev/shm", "/var/tmp"]
                    .iter()
                    .any(|begin| word.starts_with(begin)) =>
                {
                    "tmp"
                }
                None if word.starts_with("../") => "up",
                None if word.starts_with('/') => "abs",
                None => "rel",
            };
            self.places.insert(class.to_owned());
        }
        for place in &self.places {
            let say = if matches!(place.as_str(), "tmp" | "up" | "abs" | "rel") {
                Say::Setting
            } else {
                Say::Place
            };
            self.found.add(("p", PLAIN), say, &[place]);
            self.found
                .add(("pr", CONDUCT), say, &[self.passage.role.name(), place]);
            for effect in &self.effects {
                self.found.add(("pe", CONDUCT), say, &[place, effect]);
            }
            for (host, _) in self.hosts.iter().take(MAX_COMBINED) {
                self.found.add(("ph", CONDUCT), say, &[place, host]);
            }
        }
    }

    /// Names of environment variables, above all of secrets: the artifact's own, or somebody else's.
    pub(super) fn names(&mut self) {
        const SECRET: [&str; 9] = [
            "key", "token", "secret", "pass", "pat", "cred", "auth", "cookie", "session",
        ];
        const VENDORS: [&str; 10] = [
            "aws",
            "openai",
            "anthropic",
            "github",
            "gh",
            "npm",
            "stripe",
            "slack",
            "google",
            "azure",
        ];
        let part = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let names = self.passage.text.split(|c: char| !part(c)).filter(|name| {
            name.len() >= 5
                && name.contains('_')
                && name
                    .bytes()
                    .all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_')
        });
        let here = hosts::named(&self.lower);
        for name in names.take(MAX_COMBINED) {
            let lower = name.to_ascii_lowercase();
            let mut parts = lower.split('_');
            let first = parts.clone().next().unwrap_or_default();
            let own = first.len() >= 3 && self.about.topic.contains(first);
            let secret = parts.any(|part| SECRET.iter().any(|begin| part.starts_with(begin)));
            let class = match (secret, own) {
                (true, true) => "secret-own",
                (true, false) => "secret-foreign",
                (false, true) => "plain-own",
                (false, false) => "plain",
            };
            self.secrets.insert(class);
            if secret && first.len() >= 3 {
                // `GITHUB_TOKEN` belongs to a host that has `github` in its name.
                let its = |host: &str| host.contains(first);
                self.secrets.insert(match () {
                    () if here.iter().any(|host| its(host.name)) => "to-its-host",
                    () if !here.is_empty() => "to-another-host",
                    () if self.about.hosts.keys().any(|host| its(host)) => "its-host-elsewhere",
                    () => "no-host-of-its-own",
                });
            }
            if secret && !own && VENDORS.contains(&first) {
                self.secrets.insert("secret-vendor");
            }
        }
        for name in &self.secrets {
            let say = if name.starts_with("plain") || name.starts_with("to-its") || name.starts_with("its") {
                Say::Setting
            } else {
                Say::Secret
            };
            self.found.add(("e", PLAIN), say, &[name]);
            self.found
                .add(("er", CONDUCT), say, &[self.passage.role.name(), name]);
            for effect in &self.effects {
                self.found.add(("ee", CONDUCT), say, &[name, effect]);
            }
            for (host, _) in self.hosts.iter().take(MAX_COMBINED) {
                self.found.add(("eh", CONDUCT), say, &[name, host]);
            }
        }
    }
}
