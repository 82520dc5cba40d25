//! Bundles against a real ledger, from files and from a server on loopback. What is refused has a twin that is not.

mod server;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use defenseclaw_artifact::{BundleTerms, MAX_BUNDLE, SignerKey, seal};
use defenseclaw_audit::{Ledger, Query, Reader};
use defenseclaw_model::config::Durability;
use defenseclaw_model::record::RecordBody;
use tempfile::TempDir;

use super::origin::read_file;
use super::*;
use crate::ledger_writer::Ended;

const DECISION: &str = include_str!("../../tests/gateway/policy/decision.rego");
const EFFECT: &str = include_str!("../../tests/gateway/policy/effect.rego");
const TEST: &str = "package defenseclaw.decision_test\n\nimport data.defenseclaw.decision\n\n\
                    test_denied if {\n\tdecision.decision.verdict == \"deny\" with input as {\"binding\": {\"state\": \"forged\"}}\n}\n";
const PACK: &str = "version: 1\nkind: facts\ncategory: command\nrules:\n  - id: company.nmap\n    severity: MEDIUM\n    confidence: 80\n    \
                    message: \"nobody scans here\"\n    when: {run: {name: nmap}}\n    tests:\n      positive: [\"nmap -sS host\"]\n      \
                    negative: [\"ls nmap\"]\n";
const DAY: u64 = 86_400;

fn now_s() -> u64 {
    clock::now_ns() / 1_000_000_000
}

/// Who makes bundles.
struct Signer(SignerKey);

impl Signer {
    fn new() -> Self {
        Self(SignerKey::generate("acme").unwrap())
    }

    fn archive(&self, revision: u64, change: impl FnOnce(&Path)) -> Vec<u8> {
        let folder = tempfile::tempdir().unwrap();
        let rego = folder.path().join("rego");
        fs::create_dir(&rego).unwrap();
        fs::create_dir(folder.path().join("rules")).unwrap();
        fs::write(rego.join("decision.rego"), format!("{DECISION}# {revision}\n")).unwrap();
        fs::write(rego.join("effect.rego"), EFFECT).unwrap();
        fs::write(rego.join("decision_test.rego"), TEST).unwrap();
        fs::write(folder.path().join("rules/company.yaml"), PACK).unwrap();
        change(folder.path());
        BundleFiles::of_folder(folder.path(), revision)
            .unwrap()
            .pack()
            .unwrap()
    }

    fn terms(revision: u64) -> BundleTerms {
        BundleTerms {
            group: "hosts".into(),
            ring: 9,
            revision,
            issued_s: now_s(),
            expires_s: now_s() + DAY,
        }
    }

    /// A bundle that every host of the group takes.
    fn good(&self, revision: u64) -> Vec<u8> {
        self.with(revision, |_| {})
    }

    /// The same with other terms.
    fn with(&self, revision: u64, change: impl FnOnce(&mut BundleTerms)) -> Vec<u8> {
        let mut terms = Self::terms(revision);
        change(&mut terms);
        seal(&self.archive(revision, |_| {}), &terms, &self.0).unwrap()
    }

    /// A bundle with other files.
    fn holding(&self, revision: u64, change: impl FnOnce(&Path)) -> Vec<u8> {
        seal(&self.archive(revision, change), &Self::terms(revision), &self.0).unwrap()
    }
}

/// A host that takes them.
struct Host {
    folder: TempDir,
    config: Config,
    parts: Option<Parts>,
}

struct Parts {
    keeper: Keeper,
    rules: Arc<RulesInForce>,
    ledger: LedgerWriter,
    ended: Ended,
    runtime: tokio::runtime::Runtime,
    changed: Arc<AtomicU64>,
    status: Arc<Mutex<BundleStatus>>,
}

impl Host {
    fn new(signer: &Signer, change: impl FnOnce(&mut BundleConfig)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut bundle = BundleConfig {
            path: Some(folder.path().join("offered")),
            group: "hosts".into(),
            keys: [("acme".to_owned(), signer.0.public_key())].into(),
            ..BundleConfig::default()
        };
        change(&mut bundle);
        let config = Config {
            state: folder.path().join("state"),
            bundle: Some(bundle),
            ..Config::default()
        };
        fs::create_dir(&config.state).unwrap();
        let mut host = Self {
            folder,
            config,
            parts: None,
        };
        host.start();
        host
    }

    fn start(&mut self) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let kept = Kept::load(&self.config).unwrap().unwrap();
        let rules =
            RulesInForce::start_layers(self.config.policies.as_deref(), kept.files(), Vec::new()).unwrap();
        let rules = Arc::new(rules);
        let ledger = Ledger::open(&self.config.ledger(), Durability::Process).unwrap();
        let (ledger, ended) = LedgerWriter::start(ledger, Durability::Process).unwrap();
        let changed = Arc::new(AtomicU64::new(0));
        let (counted, status) = (Arc::clone(&changed), Arc::new(Mutex::default()));
        let mut keeper = Keeper::new(
            kept,
            Arc::clone(&rules),
            ledger.clone(),
            runtime.handle().clone(),
            Arc::clone(&status),
            Box::new(move || {
                counted.fetch_add(1, Ordering::Relaxed);
            }),
        );
        keeper.begin();
        self.parts = Some(Parts {
            keeper,
            rules,
            ledger,
            ended,
            runtime,
            changed,
            status,
        });
    }

    fn restart(&mut self) {
        let parts = self.parts.take().unwrap();
        parts.runtime.block_on(async {
            parts.ledger.stop().await;
            let _ = parts.ended.await;
        });
        drop(parts.keeper);
        self.start();
    }

    fn parts(&mut self) -> &mut Parts {
        self.parts.as_mut().unwrap()
    }

    /// Puts a file where bundles come from.
    fn offer(&self, bytes: &[u8]) {
        fs::write(self.offered(), bytes).unwrap();
    }

    fn offered(&self) -> PathBuf {
        self.folder.path().join("offered")
    }

    /// What comes of a look: state and detail.
    fn look(&mut self) -> (String, String) {
        let answer = self.parts().keeper.look(None);
        (answer.state, answer.detail)
    }

    /// Offers and looks.
    fn take(&mut self, bytes: &[u8]) -> (String, String) {
        self.offer(bytes);
        self.look()
    }

    /// The state alone.
    fn takes(&mut self, bytes: &[u8]) -> String {
        self.take(bytes).0
    }

    /// It refuses these bytes with these words, and what was in force stays.
    fn refuses(&mut self, bytes: &[u8], words: &str) {
        let before = (self.policy(), self.revision());
        let (state, detail) = self.take(bytes);
        assert_eq!(state, "refused", "{words}");
        assert!(detail.contains(words), "{detail}");
        assert_eq!((self.policy(), self.revision()), before);
    }

    fn policy(&mut self) -> String {
        self.parts().rules.current().policy.revision().to_owned()
    }

    fn status(&mut self) -> BundleStatus {
        self.parts().status.lock().unwrap().clone()
    }

    /// The revision in force.
    fn revision(&mut self) -> Option<u64> {
        self.status().in_force.map(|bundle| bundle.revision)
    }

    /// The records about bundles: state, revision, detail.
    fn records(&self) -> Vec<(String, Option<u64>, String)> {
        let query = Query {
            kinds: vec!["bundle".into()],
            ..Query::default()
        };
        let records = Reader::open(&self.config.ledger())
            .unwrap()
            .query(&query)
            .unwrap();
        records
            .into_iter()
            .filter_map(|record| match record.draft.body {
                RecordBody::Bundle {
                    state,
                    revision,
                    detail,
                    ..
                } => Some((state, revision, detail)),
                _ => None,
            })
            .collect()
    }

    fn states(&self) -> Vec<String> {
        self.records().into_iter().map(|(state, _, _)| state).collect()
    }
}

#[test]
fn a_bundle_is_put_in_force_whole_and_recorded() {
    let signer = Signer::new();
    let mut host = Host::new(&signer, |_| {});
    let built_in = host.policy();
    let (state, detail) = host.take(&signer.good(7));
    assert_eq!(state, "accepted", "{detail}");
    assert_eq!(
        detail, "3 of its own tests pass",
        "one in Rego, two beside the rule"
    );
    assert_ne!(host.policy(), built_in);
    assert_eq!((host.revision(), host.status().highest), (Some(7), 7));
    assert_eq!(host.parts().changed.load(Ordering::Relaxed), 1);
    assert_eq!(host.look().0, "unchanged");
    assert_eq!(host.records(), [("accepted".to_owned(), Some(7), detail)]);
    // A reload reads the folder again, and the bundle stays below it.
    let policy = host.policy();
    host.parts().rules.reload().unwrap();
    assert_eq!(host.policy(), policy);
}

#[test]
fn nobody_else_s_bundle_is_taken() {
    let (signer, other) = (Signer::new(), Signer::new());
    let mut host = Host::new(&signer, |_| {});
    host.refuses(&other.good(7), "not made with the key of acme");
    host.refuses(b"{}\n", "no signed bundle");
    assert_eq!(host.takes(&signer.good(7)), "accepted");
    host.refuses(&other.good(8), "not made with the key of acme");
    let states = ["refused", "refused", "accepted", "refused"];
    assert_eq!(host.states(), states);
    assert!(host.records()[0].1.is_none(), "what it says of itself is no fact");
    // The same once more is no news.
    host.refuses(&other.good(8), "not made with the key of acme");
    assert_eq!(host.look().0, "refused");
    assert_eq!(host.status().refused, 5);
}

#[test]
fn what_has_expired_is_refused_and_what_is_in_force_stays_beyond_its_end() {
    let signer = Signer::new();
    let mut host = Host::new(&signer, |_| {});
    let past = |terms: &mut BundleTerms| {
        terms.issued_s = now_s() - 2 * DAY;
        terms.expires_s = now_s() - 1;
    };
    let ended = signer.with(7, past);
    host.refuses(&ended, "expired");
    let ahead = |terms: &mut BundleTerms| {
        terms.issued_s = now_s() + DAY;
        terms.expires_s = now_s() + 2 * DAY;
    };
    host.refuses(&signer.with(7, ahead), "in the future");
    assert_eq!(host.takes(&signer.good(7)), "accepted");
    // Time passes: what is kept is one that has ended.
    fs::write(host.config.state.join("bundle-current"), &ended).unwrap();
    host.restart();
    assert_eq!(host.revision(), Some(7));
    assert!(host.status().in_force.unwrap().expired);
    assert_eq!(host.takes(&ended), "unchanged");
    assert!(host.states().contains(&"expired".to_owned()));
    // Signed for longer, and nothing else.
    assert_eq!(host.takes(&signer.good(7)), "renewed");
    assert!(!host.status().in_force.unwrap().expired);
}

#[test]
fn nothing_goes_back_not_after_a_restart_and_not_without_the_file_that_remembers() {
    let signer = Signer::new();
    let mut host = Host::new(&signer, |_| {});
    assert_eq!(host.takes(&signer.good(7)), "accepted");
    host.refuses(&signer.good(6), "would go back");
    let other = signer.holding(7, |folder| {
        fs::write(folder.join("rego/more.rego"), "package more\n").unwrap()
    });
    host.refuses(&other, "had the revision 7");
    host.restart();
    assert_eq!(host.revision(), Some(7), "the last good one is in force at once");
    host.refuses(&signer.good(6), "would go back");
    for name in ["bundle-state.json", "bundle-current", "bundle-previous"] {
        let _ = fs::remove_file(host.config.state.join(name));
    }
    host.restart();
    assert_eq!(host.revision(), None);
    host.refuses(&signer.good(6), "would go back");
    assert_eq!(host.takes(&signer.good(7)), "accepted", "the same is not back");
    assert_eq!(host.takes(&signer.good(8)), "accepted");
}

#[test]
fn what_is_remembered_must_be_understood() {
    let signer = Signer::new();
    let host = Host::new(&signer, |_| {});
    let file = host.config.state.join("bundle-state.json");
    for text in ["", "{}", "{\"version\": 2, \"highest\": {}}"] {
        fs::write(&file, text).unwrap();
        let fault = Kept::load(&host.config).unwrap_err();
        assert!(fault.to_string().contains("bundle-state.json"), "{fault}");
    }
    fs::remove_file(&file).unwrap();
    assert!(Kept::load(&host.config).is_ok());
}

#[test]
fn files_that_are_cut_off_too_large_or_replaced_meanwhile_are_refused() {
    let signer = Signer::new();
    let mut host = Host::new(&signer, |_| {});
    let good = signer.good(7);
    host.refuses(&good[..good.len() - 10], "cut off");
    assert_eq!(host.takes(&vec![b' '; MAX_BUNDLE as usize + 1]), "unavailable");
    assert_eq!(host.takes(&good), "accepted");
    let path = host.offered();
    assert_eq!(read_file(&path, || {}).unwrap(), good);
    let longer = [good.as_slice(), b"x"].concat();
    let fault = read_file(&path, || fs::write(&path, &longer).unwrap()).unwrap_err();
    assert!(fault.to_string().contains("changed while"), "{fault}");
    // Renamed into its place is the way: what was opened is whole.
    let beside = path.with_extension("new");
    fs::write(&beside, signer.good(8)).unwrap();
    assert_eq!(
        read_file(&path, || fs::rename(&beside, &path).unwrap()).unwrap(),
        longer
    );
    assert_eq!(host.look().0, "accepted");
    // A FIFO keeps nobody waiting.
    fs::remove_file(&path).unwrap();
    nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
    assert_eq!(host.look().0, "unavailable");
    assert_eq!(host.revision(), Some(8));
}

#[test]
fn a_host_takes_what_is_for_its_group_and_its_ring() {
    let signer = Signer::new();
    let mut host = Host::new(&signer, |bundle| bundle.ring = 2);
    host.refuses(
        &signer.with(7, |terms| terms.group = "servers".into()),
        "for the group \"servers\"",
    );
    let first = signer.with(7, |terms| terms.ring = 1);
    let (state, detail) = host.take(&first);
    assert_eq!(state, "held");
    assert!(detail.contains("rings up to 1"), "{detail}");
    assert_eq!((host.revision(), host.status().highest), (None, 0));
    assert_eq!(host.takes(&signer.with(7, |terms| terms.ring = 2)), "accepted");
    assert_eq!(host.states(), ["refused", "held", "accepted"]);
}

#[test]
fn a_bundle_that_does_not_hold_by_itself_changes_nothing() {
    let signer = Signer::new();
    let mut host = Host::new(&signer, |_| {});
    assert_eq!(host.takes(&signer.good(7)), "accepted");
    let broken = signer.holding(8, |folder| {
        fs::write(
            folder.join("rego/decision.rego"),
            "package defenseclaw.decision\n\ndecision := {\n",
        )
        .unwrap();
    });
    host.refuses(&broken, "decision.rego");
    let failing = signer.holding(9, |folder| {
        fs::write(
            folder.join("rego/decision_test.rego"),
            TEST.replace("deny", "allow"),
        )
        .unwrap();
    });
    host.refuses(&failing, "test_denied");
    let rule = signer.holding(10, |folder| {
        fs::write(folder.join("rules/company.yaml"), PACK.replace("nmap -sS", "ls")).unwrap();
    });
    host.refuses(&rule, "company.yaml");
    let said_otherwise = seal(&signer.archive(11, |_| {}), &Signer::terms(12), &signer.0).unwrap();
    host.refuses(&said_otherwise, "manifest says revision \"11\"");
    let no_archive = seal(b"no archive", &Signer::terms(13), &signer.0).unwrap();
    host.refuses(&no_archive, "no tar.gz");
    assert_eq!(
        host.takes(&signer.good(8)),
        "accepted",
        "what was refused does not count"
    );
}

#[test]
fn a_host_s_own_folder_goes_before_the_bundle_and_must_fit_it() {
    let signer = Signer::new();
    let mut host = Host::new(&signer, |_| {});
    let own = host.folder.path().join("own");
    fs::create_dir(&own).unwrap();
    fs::write(
        own.join("lists.yaml"),
        "version: 1\nblock: [{ program: nmap, owner: o, reason: r }]\n",
    )
    .unwrap();
    host.config.policies = Some(own.clone());
    host.restart();
    let with_lists = signer.holding(7, |folder| {
        let lists = "version: 1\nblock: [{ program: nc, owner: o, reason: r }]\n";
        fs::write(folder.join("lists.yaml"), lists).unwrap();
    });
    assert_eq!(host.takes(&with_lists), "accepted");
    let both = host.policy();
    // Without its own list the policy is another: both count.
    fs::write(own.join("lists.yaml"), "version: 1\n").unwrap();
    host.parts().rules.reload().unwrap();
    assert_ne!(host.policy(), both);
    // A rule in a folder of its own takes the place of the bundle's, and one that is wrong lets no bundle in.
    fs::create_dir(own.join("rules")).unwrap();
    fs::write(own.join("rules/mine.yaml"), "version: 1\nkind: odd\n").unwrap();
    host.refuses(&signer.good(8), "together with this host's own policies");
    fs::write(own.join("rules/mine.yaml"), PACK).unwrap();
    assert_eq!(
        host.parts().keeper.look(Some(0)).state,
        "accepted",
        "who asks has it tried again"
    );
}

#[test]
fn an_operator_goes_back_and_what_was_left_does_not_return() {
    let signer = Signer::new();
    let mut host = Host::new(&signer, |_| {});
    let back = |host: &mut Host| host.parts().keeper.roll_back(7, "asks about everything");
    assert!(back(&mut host).unwrap_err().contains("no bundle in force"));
    let seven = signer.good(7);
    assert_eq!(host.takes(&seven), "accepted");
    assert!(back(&mut host).unwrap_err().contains("no bundle before"));
    let seventh = host.policy();
    assert_eq!(host.takes(&signer.good(8)), "accepted");
    let answer = back(&mut host).unwrap();
    assert_eq!(
        (answer.state.as_str(), answer.status.in_force.unwrap().revision),
        ("rolled_back", 7)
    );
    assert_eq!(host.policy(), seventh);
    for _ in 0..2 {
        assert_eq!(host.look().0, "held", "the eighth is still offered");
        assert_eq!(host.revision(), Some(7));
        host.restart();
    }
    host.refuses(&signer.good(6), "would go back");
    assert_eq!(host.takes(&seven), "unchanged");
    assert_eq!(host.takes(&signer.good(9)), "accepted");
    let records = host.records();
    let rolled = records
        .iter()
        .find(|(state, _, _)| state == "rolled_back")
        .unwrap();
    assert_eq!(
        (rolled.1, rolled.2.as_str()),
        (Some(7), "from revision 8: asks about everything")
    );
}

#[test]
fn what_is_configured_must_make_sense() {
    let signer = Signer::new();
    let host = Host::new(&signer, |_| {});
    let load = |change: fn(&mut BundleConfig)| {
        let mut config = host.config.clone();
        change(config.bundle.as_mut().unwrap());
        Kept::load(&config).map(|_| ()).map_err(|fault| fault.to_string())
    };
    assert_eq!(load(|_| {}), Ok(()));
    let https = |bundle: &mut BundleConfig| {
        bundle.path = None;
        bundle.url = Some("https://policies.example/{group}".into());
    };
    assert_eq!(load(https), Ok(()));
    for (change, words) in [
        ((|bundle| bundle.path = None) as fn(&mut BundleConfig), "neither"),
        (|bundle| bundle.url = Some("https://x.example/".into()), "both"),
        (|bundle| bundle.path = Some("offered".into()), "absolute"),
        (
            |bundle| {
                bundle.path = None;
                bundle.url = Some("http://127.0.0.1/".into());
            },
            "https",
        ),
        (|bundle| bundle.keys.clear(), "names nobody"),
        (
            |bundle| drop(bundle.keys.insert("x".into(), "AAAA".into())),
            "bundle.keys.x",
        ),
        (|bundle| bundle.group = "All Hosts".into(), "bundle.group"),
        (|bundle| bundle.ring = 10, "bundle.ring"),
        (|bundle| bundle.interval_s = 0, "bundle.interval_s"),
    ] {
        let error = load(change).unwrap_err();
        assert!(error.contains(words), "{error}");
    }
}
