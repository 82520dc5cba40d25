//! Hostile programs inside `defenseclaw-cli run`: what they try must be refused, and what their benign twins do must work.

#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod e2e {
    use std::collections::BTreeMap;
    use std::fs::OpenOptions;
    use std::io::Write as _;
    use std::path::Path;
    use std::process::Command;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::{Mutex, PoisonError};

    use defenseclaw_testkit::escape::cage::Cage;
    use defenseclaw_testkit::escape::trial::{Outcome, Role, Trials, Verdict};
    use defenseclaw_testkit::escape::{CaseInfo, Facility, PROFILES, UNPRIVILEGED};
    use defenseclaw_testkit::stack::default_programs;
    use defenseclaw_testkit::{Need, helper, require};
    use serde_json::json;

    /// What `strict` cannot do without; a kernel with less must not start it.
    const STRICT_NEEDS: u32 = 6;
    /// From this version of Landlock on, shortening a file can be told from writing it; before that the filter refuses it by name.
    const TELLS_TRUNCATION: u32 = 3;
    /// Fewer would say little.
    const CASES: usize = 50;
    /// A case that no profile promises to hold is run under these, and reported.
    const REPORTED_UNDER: [&str; 2] = ["workspace", "strict"];

    /// Whom an exception is for.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    enum Who {
        Everybody,
        Root,
        Ordinary,
    }

    impl Who {
        fn is(self, user: u32) -> bool {
            self == Self::Everybody || (user == 0) == (self == Self::Root)
        }
    }

    /// Attacks that are held without any sandbox, and so prove nothing about one; why, and by that where they are not: on another
    /// host, or as another user.
    const HELD_ANYWAY: &[(&[&str], Who, &str)] = &[
        (
            &["write-read-only-mapping"],
            Who::Everybody,
            "the kernel refuses it by itself; it is here because /proc/self/mem once did not",
        ),
        (
            &["ping-socket"],
            Who::Everybody,
            "net.ipv4.ping_group_range names no group on many hosts",
        ),
        (
            &[
                "forge-program-name",
                "immune-to-memory-killer",
                "raw-disk",
                "physical-memory",
            ],
            Who::Everybody,
            "root of a container has neither CAP_SYS_RESOURCE nor disks",
        ),
        (
            &[
                "add-swap",
                "ambient-capability",
                "become-root",
                "bpf-map",
                "device-node",
                "fanotify",
                "host-name",
                "kernel-log",
                "kernel-log-device",
                "load-kernel",
                "load-module",
                "odd-families",
                "open-by-handle",
                "packet-socket",
                "perf-event",
                "powerful-capabilities",
                "raw-socket",
                "reboot",
                "set-interface-flags",
                "setns-file",
                "setns-process",
                "unload-module",
            ],
            Who::Ordinary,
            "it takes a capability",
        ),
        (
            &["mount-proc"],
            Who::Ordinary,
            "a user namespace mounts procfs only together with a process namespace",
        ),
        (
            &[
                "cgroup-release-agent",
                "core-pattern",
                "kernel-hook-program",
                "leave-cgroup",
                "overwrite-launcher",
                "sysctl-vm",
                "sysrq",
            ],
            Who::Ordinary,
            "the file is root's",
        ),
    ];

    /// Twins that a sandbox refuses, under which profiles, and why that is so.
    const REFUSED_ON_PURPOSE: &[(&str, &[&str], &str)] = &[
        (
            "rename-closed-file",
            &PROFILES,
            "a folder with a closed file in it is pinned by a mount: renaming out of it gives EXDEV, and `mv` copies",
        ),
        (
            "abstract-stream",
            &["network-allowlist"],
            "the supervisor connects in the command's stead, and cannot tell whose an abstract name is",
        ),
    ];

    #[test]
    fn no_attack_as_root_gets_out_and_every_twin_works() {
        if require(&[Need::Root]) {
            hold(0);
        }
    }

    #[test]
    fn no_attack_as_an_ordinary_user_gets_out_and_every_twin_works() {
        let own = nix::unistd::geteuid();
        hold(if own.is_root() { UNPRIVILEGED } else { own.as_raw() });
    }

    /// One case under one profile.
    struct Line<'a> {
        case: &'a CaseInfo,
        profile: &'a str,
        attack: Outcome,
        twin: Outcome,
    }

    /// One at a time: together the floods of sockets are more than any sandbox closes.
    static ALONE: Mutex<()> = Mutex::new(());

    fn hold(user: u32) {
        let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
        let cli = default_programs().join("defenseclaw-cli");
        assert!(
            cli.is_file(),
            "no program {}: run `cargo xtask build`",
            cli.display()
        );
        let escape = &helper("escape").unwrap();
        let trials = Trials::new(escape, &cli).unwrap();
        let cases = cases(escape);
        // For a person who works on one case.
        let part = std::env::var_os("DEFENSECLAW_ESCAPE_ONLY").is_some_and(|part| !part.is_empty());
        assert!(part || cases.len() >= CASES, "only {} cases", cases.len());
        let controls: BTreeMap<&str, Line<'_>> = everywhere(
            &cases,
            |case| vec![(case, "none")],
            |case, profile| Line {
                case,
                profile,
                attack: trials.run(case, Role::Attack, &Cage::None, user).unwrap(),
                twin: trials.run(case, Role::Twin, &Cage::None, user).unwrap(),
            },
        )
        .into_iter()
        .map(|line| (line.case.name.as_str(), line))
        .collect();
        let cage = |case: &CaseInfo, profile: &str| Cage::Ours {
            cli: trials.launcher().to_owned(),
            profile: profile.to_owned(),
            watch: case.renewed,
        };
        let mut wrong = Vec::new();
        let mut startable = Vec::new();
        for profile in PROFILES {
            let first = trials
                .run(&cases[0], Role::Twin, &cage(&cases[0], profile), user)
                .unwrap();
            let refused = first.detail.contains("requires what cannot be had here");
            if refused && profile == "strict" && landlock() < STRICT_NEEDS {
                announce(&format!(
                    "user {user}: {profile} does not start here, as it must: it requires Landlock ABI {STRICT_NEEDS}"
                ));
            } else if first.verdict == Verdict::Broken {
                wrong.push(format!("{profile}: does not start: {}", first.detail));
            } else {
                startable.push(profile);
            }
        }
        let lines = everywhere(
            &cases,
            |case| {
                let wanted = profiles(case);
                let able = startable.iter().filter(|name| wanted.contains(name));
                let pairs: Vec<_> = able.map(|&name| (case, name)).collect();
                match in_turn() {
                    // A case's name decides, so that all profiles get about as many.
                    true => pairs
                        .get(turn(&case.name, pairs.len()))
                        .copied()
                        .into_iter()
                        .collect(),
                    false => pairs,
                }
            },
            |case, profile| Line {
                case,
                profile,
                attack: trials
                    .run(case, Role::Attack, &cage(case, profile), user)
                    .unwrap(),
                twin: trials.run(case, Role::Twin, &cage(case, profile), user).unwrap(),
            },
        );
        for line in controls.values() {
            wrong.extend(wrong_without_sandbox(line, user));
            report(line, &line.attack, user);
        }
        let mut told = BTreeMap::new();
        for line in &lines {
            let control = &controls[line.case.name.as_str()];
            wrong.extend(wrong_inside(line, control, user));
            report(line, &control.attack, user);
            *told.entry(word(line, control, user)).or_insert(0) += 1;
        }
        announce(&format!(
            "user {user}: {} attacks, {} trials: {told:?}",
            cases.len(),
            lines.len()
        ));
        assert!(
            wrong.is_empty(),
            "{} of user {user}:\n{}",
            wrong.len(),
            wrong.join("\n")
        );
    }

    fn cases(escape: &Path) -> Vec<CaseInfo> {
        let output = Command::new(escape).args(["list", "--json"]).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let only = std::env::var("DEFENSECLAW_ESCAPE_ONLY").unwrap_or_default();
        text.lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .filter(|case: &CaseInfo| case.name.contains(&only))
            .collect()
    }

    /// Whether each attack runs under one profile only, of those that it should: an emulated processor takes an hour for all.
    fn in_turn() -> bool {
        std::env::var_os("DEFENSECLAW_ESCAPE_IN_TURN").is_some()
    }

    fn turn(name: &str, of: usize) -> usize {
        name.bytes().map(usize::from).sum::<usize>() % of.max(1)
    }

    fn profiles(case: &CaseInfo) -> Vec<&str> {
        if case.holds.is_empty() {
            return REPORTED_UNDER.to_vec();
        }
        case.holds.iter().map(String::as_str).collect()
    }

    /// Runs every pair that `of` names for a case, on all processors.
    fn everywhere<'a>(
        cases: &'a [CaseInfo],
        of: impl Fn(&'a CaseInfo) -> Vec<(&'a CaseInfo, &'a str)>,
        run: impl Fn(&'a CaseInfo, &'a str) -> Line<'a> + Sync,
    ) -> Vec<Line<'a>> {
        let pairs: Vec<_> = cases.iter().flat_map(of).collect();
        let (next, lines) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
        // A trial waits more than it works.
        let threads = std::thread::available_parallelism().map_or(1, usize::from) * 2;
        std::thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(|| {
                    loop {
                        let at = next.fetch_add(1, Ordering::Relaxed);
                        let Some((case, profile)) = pairs.get(at) else {
                            break;
                        };
                        if at % 100 == 0 && in_turn() {
                            announce(&format!("{at} of {} under way", pairs.len()));
                        }
                        let line = run(case, profile);
                        lines.lock().unwrap_or_else(PoisonError::into_inner).push(line);
                    }
                });
            }
        });
        let mut lines = lines.into_inner().unwrap_or_else(PoisonError::into_inner);
        lines.sort_by_key(|line| (line.case.name.clone(), line.profile));
        lines
    }

    /// What a control shows that should not be: the case itself is at fault.
    fn wrong_without_sandbox(line: &Line<'_>, user: u32) -> Vec<String> {
        let name = &line.case.name;
        let mut wrong = Vec::new();
        let excused = HELD_ANYWAY
            .iter()
            .any(|(cases, who, _)| cases.contains(&name.as_str()) && who.is(user));
        match line.attack.verdict {
            Verdict::Held if !excused => wrong.push(format!(
                "{name}: held without any sandbox, so it proves nothing: {}",
                line.attack.detail
            )),
            Verdict::Broken => wrong.push(format!(
                "{name}: does not run without sandbox: {}",
                line.attack.detail
            )),
            _ => {}
        }
        if matches!(line.twin.verdict, Verdict::Held | Verdict::Broken) {
            wrong.push(format!(
                "{name}: the twin fails without any sandbox: {}",
                line.twin.detail
            ));
        }
        wrong
    }

    fn wrong_inside(line: &Line<'_>, control: &Line<'_>, user: u32) -> Vec<String> {
        let (name, profile) = (&line.case.name, line.profile);
        let mut wrong = Vec::new();
        let promised = !line.case.holds.is_empty() && line.case.needs.iter().all(|need| has(*need, user));
        match line.attack.verdict_beside(&control.attack) {
            Verdict::Escaped if promised => {
                wrong.push(format!("{name} ({profile}): ESCAPED: {}", line.attack.detail));
            }
            Verdict::Broken => wrong.push(format!("{name} ({profile}): did not run: {}", line.attack.detail)),
            _ => {}
        }
        let on_purpose = REFUSED_ON_PURPOSE
            .iter()
            .any(|(case, profiles, _)| case == name && profiles.contains(&profile));
        let blunt = name == "truncate-outside" && landlock() < TELLS_TRUNCATION;
        if over_blocked(line, control) && !on_purpose && !blunt {
            wrong.push(format!(
                "{name} ({profile}): OVER-BLOCKED: {}: {}",
                line.case.twin, line.twin.detail
            ));
        }
        wrong
    }

    fn over_blocked(line: &Line<'_>, control: &Line<'_>) -> bool {
        control.twin.verdict == Verdict::Escaped
            && matches!(line.twin.verdict, Verdict::Held | Verdict::Broken)
    }

    fn word(line: &Line<'_>, control: &Line<'_>, user: u32) -> &'static str {
        match line.attack.verdict_beside(&control.attack) {
            Verdict::Held if control.attack.verdict == Verdict::Held => "held, but so without a sandbox",
            Verdict::Held => "held",
            Verdict::Escaped if line.case.holds.is_empty() => "escaped, and nothing promised",
            Verdict::Escaped if !line.case.needs.iter().all(|need| has(*need, user)) => {
                "escaped, and this kernel cannot"
            }
            Verdict::Escaped => "escaped",
            Verdict::Absent => "not applicable",
            Verdict::Broken => "did not run",
        }
    }

    /// Whether this host has it.
    fn has(facility: Facility, user: u32) -> bool {
        match facility {
            Facility::Landlock(version) => landlock() >= version,
            Facility::MountNamespace => user == 0 || user_namespaces(),
            Facility::IpcNamespace | Facility::Seccomp | Facility::Capabilities => true,
        }
    }

    fn landlock() -> u32 {
        // SAFETY: LANDLOCK_CREATE_RULESET_VERSION reads no memory.
        let version = unsafe { nix::libc::syscall(nix::libc::SYS_landlock_create_ruleset, 0, 0, 1) };
        u32::try_from(version).unwrap_or(0)
    }

    fn user_namespaces() -> bool {
        let is = |name: &str, value: &str| {
            std::fs::read_to_string(Path::new("/proc/sys").join(name)).is_ok_and(|text| text.trim() == value)
        };
        !is("user/max_user_namespaces", "0")
            && !is("kernel/unprivileged_userns_clone", "0")
            && !is("kernel/apparmor_restrict_unprivileged_userns", "1")
    }

    /// Adds a line to the file that `DEFENSECLAW_ESCAPE_REPORT` names.
    fn report(line: &Line<'_>, control: &Outcome, user: u32) {
        let Some(file) = std::env::var_os("DEFENSECLAW_ESCAPE_REPORT") else {
            return;
        };
        let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        let line = json!({
            "attack": line.case.name,
            "theme": line.case.theme,
            "text": line.case.attack,
            "profile": line.profile,
            "uid": user,
            "kernel": kernel.trim(),
            "landlock": landlock(),
            "needs": line.case.needs,
            "promised": !line.case.holds.is_empty(),
            "result": line.attack.verdict_beside(control),
            "control": control.verdict,
            "detail": line.attack.detail,
            "twin": line.twin.verdict,
            "twin_detail": line.twin.detail,
            "left": line.attack.left,
        });
        let mut file = OpenOptions::new().create(true).append(true).open(file).unwrap();
        writeln!(file, "{line}").unwrap();
    }

    /// Past the test harness's capture: a person wants to see it when everything passes too.
    fn announce(text: &str) {
        std::io::stderr()
            .write_all(format!("{text}\n").as_bytes())
            .unwrap();
    }
}
