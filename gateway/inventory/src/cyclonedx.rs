//! The bill of materials: an inventory as CycloneDX 1.6 in JSON.
//!
//! | Here | There |
//! |---|---|
//! | the host | `metadata.component`, a `device` |
//! | harness, stdio server, hook | `application` |
//! | plugin, marketplace, skill, tool | `library` |
//! | prompt, memory, settings | `file` |
//! | model | `machine-learning-model` |
//! | server behind an address | a service |
//! | harness → what it reads → its parts | `dependencies` |
//! | finding | one of `vulnerabilities` for each rule, with all that it is about |
//! | what could not be looked at | `compositions`: the host is `incomplete` |
//!
//! Everything that the standard has no word for is a property that begins with `defenseclaw:`. The same inventory gives the same
//! bytes but for serial number and time.

mod findings;
mod purl;

use std::collections::{BTreeMap, BTreeSet};

use defenseclaw_model::admission::AdmissionAction;
use jiff::Timestamp;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use crate::item::{Details, Inventory, Item, ItemKind, Package, ServerDetails};

pub use purl::purl;

/// The host's reference.
const HOST: &str = "host";

/// SPDX identifiers that manifests commonly give. Any other text is a licence's name, which is right for every licence.
const SPDX: &[&str] = &[
    "0BSD",
    "AGPL-3.0-only",
    "AGPL-3.0-or-later",
    "Apache-2.0",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "CC-BY-4.0",
    "CC-BY-SA-4.0",
    "CC0-1.0",
    "GPL-2.0-only",
    "GPL-2.0-or-later",
    "GPL-3.0-only",
    "GPL-3.0-or-later",
    "ISC",
    "LGPL-2.1-only",
    "LGPL-3.0-only",
    "LGPL-3.0-or-later",
    "MIT",
    "MIT-0",
    "MPL-2.0",
    "Unlicense",
    "Zlib",
];

/// When a bill was written, and which one it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stamp {
    /// The time, ns since the Unix epoch.
    pub time_ns: u64,
    /// `urn:uuid:…`; `None`: made from the inventory itself, so that the same inventory has the same one.
    pub serial: Option<String>,
}

impl Stamp {
    /// Now, with a number of its own; or, where `SOURCE_DATE_EPOCH` (seconds) is given, that time and a number made from the
    /// inventory. An error names what is wrong with the variable, or that the system has no random numbers.
    pub fn new(source_date_epoch: Option<&str>, now_ns: u64) -> Result<Self, String> {
        if let Some(text) = source_date_epoch {
            let seconds: Option<u64> = text.trim().parse().ok();
            let time_ns = seconds.and_then(|seconds| seconds.checked_mul(1_000_000_000));
            let time_ns = time_ns
                .ok_or_else(|| format!("SOURCE_DATE_EPOCH is {text:?}: it counts seconds since 1970"))?;
            return Ok(Self {
                time_ns,
                serial: None,
            });
        }
        let mut bytes = [0; 16];
        getrandom::fill(&mut bytes)
            .map_err(|error| format!("the system gives no random numbers: {error}"))?;
        Ok(Self {
            time_ns: now_ns,
            serial: Some(uuid(bytes, 4)),
        })
    }
}

/// A UUID in its written form. Version 4 is random, version 8 is made by a rule of our own.
fn uuid(mut bytes: [u8; 16], version: u8) -> String {
    bytes[6] = bytes[6] & 0x0f | version << 4;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let hex = crate::item::hex(&bytes);
    format!(
        "urn:uuid:{}-{}-{}-{}-{}",
        &hex[..8],
        &hex[8..12],
        &hex[12..16],
        &hex[16..20],
        &hex[20..]
    )
}

/// The bill of materials of an inventory.
pub fn bom(inventory: &Inventory, stamp: &Stamp) -> Value {
    let (services, components): (Vec<&Item>, Vec<&Item>) =
        inventory.items.iter().partition(|item| is_service(item));
    let mut bom = json!({
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "components": components.iter().map(|item| component(item)).collect::<Vec<_>>(),
        "services": services.iter().map(|item| service(item)).collect::<Vec<_>>(),
        "dependencies": dependencies(inventory),
        "vulnerabilities": findings::vulnerabilities(inventory),
        "compositions": [{
            "aggregate": if inventory.troubles.is_empty() { "complete" } else { "incomplete" },
            "assemblies": [HOST],
        }],
        "metadata": metadata(inventory),
    });
    let serial = stamp.serial.clone().unwrap_or_else(|| {
        let digest = Sha256::digest(bom.to_string());
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&digest[..16]);
        uuid(bytes, 8)
    });
    bom["serialNumber"] = json!(serial);
    bom["metadata"]["timestamp"] = json!(rfc3339(stamp.time_ns));
    bom
}

fn metadata(inventory: &Inventory) -> Value {
    let (name, version) = inventory.tool.rsplit_once(' ').unwrap_or((&inventory.tool, ""));
    let mut properties = Properties::default();
    properties.add("inventory:time", Some(rfc3339(inventory.time_ns)));
    for root in &inventory.roots {
        properties.add("inventory:root", Some(root.clone()));
    }
    properties.add("policy", inventory.policy.clone());
    if !inventory.troubles.is_empty() {
        properties.add(
            "inventory:not-looked-at",
            Some(inventory.troubles.len().to_string()),
        );
    }
    json!({
        "tools": { "components": [{ "type": "application", "name": name, "version": version }] },
        "component": { "type": "device", "bom-ref": HOST, "name": inventory.host },
        "properties": properties.0,
    })
}

fn rfc3339(time_ns: u64) -> String {
    // Every u64 of nanoseconds lies before the year 2555, inside jiff's range.
    let time = Timestamp::from_nanosecond(i128::from(time_ns)).unwrap_or(Timestamp::UNIX_EPOCH);
    time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// The reference of an item.
fn reference(item: &Item) -> String {
    format!("{}:{}", item.kind.as_str(), item.id)
}

/// Whether an item is reached by an address, and is no component of this host.
fn is_service(item: &Item) -> bool {
    matches!(&item.details, Details::Server(server) if server.command.is_none())
}

fn type_of(kind: ItemKind) -> &'static str {
    match kind {
        ItemKind::Harness | ItemKind::McpServer | ItemKind::Hook => "application",
        ItemKind::Plugin | ItemKind::Marketplace | ItemKind::Skill | ItemKind::Tool => "library",
        ItemKind::Prompt | ItemKind::Memory | ItemKind::Settings => "file",
        ItemKind::Model => "machine-learning-model",
    }
}

fn component(item: &Item) -> Value {
    let mut fields = Map::new();
    fields.insert("type".to_owned(), json!(type_of(item.kind)));
    fields.insert("bom-ref".to_owned(), json!(reference(item)));
    fields.insert("name".to_owned(), json!(item.name));
    if let Some(version) = &item.version {
        fields.insert("version".to_owned(), json!(version));
    }
    if let Some(hex) = item
        .digest
        .as_deref()
        .and_then(|digest| digest.strip_prefix("sha256:"))
    {
        // The standard's hash is of content: of folders it is over the canonical manifest, which the property says.
        fields.insert("hashes".to_owned(), json!([{ "alg": "SHA-256", "content": hex }]));
    }
    let package = match &item.details {
        Details::Harness {
            supplier, package, ..
        } => {
            fields.insert("supplier".to_owned(), json!({ "name": supplier }));
            package.as_ref()
        }
        Details::Server(server) => server.package.as_ref(),
        Details::Extension { license, author, .. } => {
            if let Some(license) = license {
                fields.insert("licenses".to_owned(), licenses(license));
            }
            if let Some(author) = author {
                fields.insert("authors".to_owned(), json!([{ "name": author }]));
            }
            None
        }
        Details::Model { provider, .. } => {
            if let Some(provider) = provider {
                fields.insert("publisher".to_owned(), json!(provider));
            }
            None
        }
        _ => None,
    };
    if let Some(purl) = package.and_then(purl) {
        fields.insert("purl".to_owned(), json!(purl));
    }
    fields.insert("properties".to_owned(), json!(properties(item).0));
    Value::Object(fields)
}

fn licenses(license: &str) -> Value {
    match SPDX.iter().find(|id| id.eq_ignore_ascii_case(license)) {
        Some(id) => json!([{ "license": { "id": id } }]),
        None => json!([{ "license": { "name": license } }]),
    }
}

fn service(item: &Item) -> Value {
    let mut fields = Map::new();
    fields.insert("bom-ref".to_owned(), json!(reference(item)));
    fields.insert("name".to_owned(), json!(item.name));
    if let Details::Server(server) = &item.details {
        // An address that holds a reference to a variable is no address to the standard; the property has it.
        if let Some(url) = server.url.as_deref().filter(|url| is_address(url)) {
            fields.insert("endpoints".to_owned(), json!([url]));
            fields.insert("x-trust-boundary".to_owned(), json!(!is_local(url)));
        }
        if !server.headers.is_empty() {
            fields.insert("authenticated".to_owned(), json!(true));
        }
    }
    fields.insert("properties".to_owned(), json!(properties(item).0));
    Value::Object(fields)
}

fn is_address(url: &str) -> bool {
    let legal = |c: char| c.is_ascii_alphanumeric() || "-._~:/?#@!$&'()*+,;=%".contains(c);
    // Brackets stand around an IPv6 address alone, which no parser agrees about.
    url.contains("://") && url.chars().all(legal)
}

fn is_local(url: &str) -> bool {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let host = rest.split('/').next().unwrap_or_default();
    let host = host.rsplit('@').next().unwrap_or_default();
    let host = host.split(':').next().unwrap_or_default();
    host == "localhost" || host.starts_with("127.")
}

/// Properties in the order in which they are added.
#[derive(Debug, Default)]
struct Properties(Vec<Value>);

impl Properties {
    fn add(&mut self, name: &str, value: Option<String>) {
        if let Some(value) = value {
            self.0
                .push(json!({ "name": format!("defenseclaw:{name}"), "value": value }));
        }
    }

    fn all(&mut self, name: &str, values: &[String]) {
        for value in values {
            self.add(name, Some(value.clone()));
        }
    }
}

fn properties(item: &Item) -> Properties {
    let mut all = Properties::default();
    all.add("kind", Some(item.kind.as_str().to_owned()));
    all.add("path", Some(item.path.clone()));
    all.add("link", item.link.clone());
    all.add("level", Some(item.level.as_str().to_owned()));
    all.all("harness", &item.connectors);
    all.add("owner-uid", item.owner_uid.map(|uid| uid.to_string()));
    all.add("digest", item.digest.clone());
    all.add("size", item.size.map(|size| size.to_string()));
    all.add("modified", item.modified_ns.map(rfc3339));
    all.add(
        "severity",
        item.severity().map(|severity| severity.as_str().to_owned()),
    );
    if let Some(state) = &item.admission {
        all.add("admission", Some(state.action.as_str().to_owned()));
        all.add(
            "admission:reason",
            Some(state.reason.clone()).filter(|_| state.action != AdmissionAction::Allow),
        );
        all.add("admission:signed-by", state.signed_by.clone());
    }
    match &item.details {
        Details::Harness { product, how, .. } => {
            all.add("harness:product", Some(product.clone()));
            all.add("harness:installed-by", Some(how.clone()));
        }
        Details::Extension {
            marketplace, ours, ..
        } => {
            all.add("plugin:marketplace", marketplace.clone());
            all.add("plugin:defenseclaw", ours.then(|| "true".to_owned()));
        }
        Details::Server(server) => of_server(server, &mut all),
        Details::Hook {
            event,
            matcher,
            command,
            ours,
        } => {
            all.add("hook:event", Some(event.clone()));
            all.add("hook:matcher", matcher.clone());
            all.add("hook:command", Some(command.clone()));
            all.add("hook:defenseclaw", Some(ours.to_string()));
        }
        Details::Model { setting, .. } => all.add("model:setting", Some(setting.clone())),
        Details::Tool { source } => all.add("tool:source", Some(source.clone())),
        Details::None => {}
    }
    all
}

fn of_server(server: &ServerDetails, all: &mut Properties) {
    all.add("mcp:transport", Some(server.transport.clone()));
    all.add("mcp:command", server.command.clone());
    all.all("mcp:argument", &server.args);
    all.add("mcp:url", server.url.clone());
    all.all("mcp:env", &server.env);
    all.all("mcp:header", &server.headers);
    all.add("mcp:disabled", server.disabled.then(|| "true".to_owned()));
    all.add("mcp:project", server.project.clone());
    if let Some(Package { version: None, .. }) = &server.package {
        all.add("mcp:unpinned", Some("true".to_owned()));
    }
}

/// Who needs whom: the host its harnesses, a harness what it reads, that its parts.
fn dependencies(inventory: &Inventory) -> Vec<Value> {
    let by_id: BTreeMap<&str, &Item> = inventory
        .items
        .iter()
        .map(|item| (item.id.as_str(), item))
        .collect();
    let mut harnesses: BTreeMap<&str, Vec<&Item>> = BTreeMap::new();
    for item in inventory
        .items
        .iter()
        .filter(|item| item.kind == ItemKind::Harness)
    {
        harnesses.entry(&item.name).or_default().push(item);
    }
    let mut edges: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut edge = |from: String, to: &Item| {
        edges.entry(from).or_default().insert(reference(to));
    };
    for item in &inventory.items {
        if item.kind == ItemKind::Harness {
            edge(HOST.to_owned(), item);
            continue;
        }
        if let Some(whole) = item.part_of.as_deref().and_then(|id| by_id.get(id)) {
            edge(reference(whole), item);
            continue;
        }
        let mut read = false;
        let readers = item
            .connectors
            .iter()
            .filter_map(|connector| harnesses.get(connector.as_str()));
        for harness in readers.flatten() {
            edge(reference(harness), item);
            read = true;
        }
        // A project may bring things for a harness that is not installed here.
        if !read {
            edge(HOST.to_owned(), item);
        }
    }
    let all = std::iter::once(HOST.to_owned()).chain(inventory.items.iter().map(reference));
    all.map(|from| match edges.get(&from) {
        Some(to) => json!({ "ref": from, "dependsOn": to }),
        None => json!({ "ref": from }),
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stamp_is_its_own_or_the_source_s() {
        let one = Stamp::new(None, 5).unwrap();
        let two = Stamp::new(None, 5).unwrap();
        assert_ne!(one.serial, two.serial);
        let serial = one.serial.unwrap();
        assert_eq!(
            (&serial[..9], &serial[23..24], serial.len()),
            ("urn:uuid:", "4", 45)
        );
        let given = Stamp::new(Some("1795255200"), 5).unwrap();
        assert_eq!(
            (given.serial, rfc3339(given.time_ns).as_str()),
            (None, "2026-11-21T10:00:00Z")
        );
        for bad in ["", "yesterday", "-1", "99999999999999999999"] {
            assert!(
                Stamp::new(Some(bad), 5)
                    .unwrap_err()
                    .contains("SOURCE_DATE_EPOCH"),
                "{bad}"
            );
        }
    }

    #[test]
    fn licences_that_are_known_by_an_identifier_have_it() {
        assert_eq!(licenses("mit")[0]["license"]["id"], "MIT");
        assert_eq!(
            licenses("Proprietary. LICENSE.txt has complete terms")[0]["license"]["id"],
            Value::Null
        );
    }

    #[test]
    fn addresses_are_local_by_their_host_alone() {
        assert!(is_local("http://localhost:3000/x") && is_local("http://127.0.0.1/x"));
        assert!(!is_local("http://localhost.evil.example/") && !is_local("https://evil.example/localhost"));
        assert!(!is_address("https://h.example/?k=${TOKEN}") && is_address("https://h.example/a?b=***"));
    }
}
