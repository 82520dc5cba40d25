//! What this kernel has, what that means for the protections, and how what is missing can be had.

use std::io::{ErrorKind, Read};

use defenseclaw_model::api::Status;
use defenseclaw_model::wire::Tier;

use super::Check;
use super::host::{Held, Host, open};

/// Where the kernel lists the security modules that are on.
const LSM: &str = "/sys/kernel/security/lsm";
/// What to type where that is missing.
const SECURITYFS: &str = "sudo mount -t securityfs securityfs /sys/kernel/security";
/// Where it says what even root may not do.
const LOCKDOWN: &str = "/sys/kernel/security/lockdown";
/// The kernel's own types, by which the sensor finds its way.
const BTF: &str = "/sys/kernel/btf/vmlinux";
/// Most that a packed configuration unpacks to (bytes).
const MAX_CONFIG: u64 = 4 << 20;

/// All of them.
pub(super) fn checks(host: &Host, status: Option<&Status>) -> Vec<Check> {
    let config = Config::of(host);
    vec![
        release(host),
        btf(host),
        bpffs(host),
        lsm(host, &config),
        lockdown(host),
        fanotify(host, &config, status),
        landlock(host),
        cgroup(host),
        seccomp(host),
        namespaces(host),
    ]
}

/// What the kernel was built with, where the host tells.
struct Config(Option<String>);

impl Config {
    fn of(host: &Host) -> Self {
        let release = &host.facts.release;
        let places = [
            format!("/boot/config-{release}"),
            format!("/lib/modules/{release}/config"),
        ];
        let plain = places.iter().find_map(|place| host.read(place).ok());
        Self(plain.or_else(|| {
            let packed = open(&host.path("/proc/config.gz")).ok()?;
            let mut text = String::new();
            let mut unpacked = flate2::read::GzDecoder::new(packed).take(MAX_CONFIG);
            unpacked.read_to_string(&mut text).ok()?;
            Some(text)
        }))
    }

    /// Whether an option is on; `None` where nobody tells.
    fn has(&self, option: &str) -> Option<bool> {
        let text = self.0.as_ref()?;
        let on = format!("CONFIG_{option}=y");
        Some(text.lines().any(|line| line == on))
    }
}

fn release(host: &Host) -> Check {
    let facts = &host.facts;
    let detail = format!(
        "Linux {} on {}, pages of {} KiB",
        facts.release,
        facts.machine,
        facts.page_size / 1024
    );
    let check = Check::ok("kernel", "", detail);
    match version(&facts.release) {
        Some(version) if version < (5, 15) => check.warn(
            "Run a kernel of at least 5.15: nothing older was tried. Those of Debian 12, Debian 13, Ubuntu 22.04 and later are",
        ),
        _ if facts.page_size > 4096 => check.note(
            "Nothing has to be done. The sensor's rings are whole pages, so the agent takes more memory than with pages of 4 KiB",
        ),
        _ => check,
    }
}

fn version(release: &str) -> Option<(u32, u32)> {
    let mut parts = release.split(|c: char| !c.is_ascii_digit());
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

fn btf(host: &Host) -> Check {
    match host.path(BTF).metadata() {
        Ok(meta) if meta.len() > 0 => Check::ok("btf", "", format!("{BTF} has this kernel's types")),
        _ => Check::ok(
            "btf",
            "",
            format!("{BTF} is not there: the sensor cannot be loaded, and only hooks are in force"),
        )
        .warn(
            "Run a kernel that was built with CONFIG_DEBUG_INFO_BTF; Debian's and Ubuntu's are: \
             `sudo apt install linux-image-generic` (Debian: linux-image-$(dpkg --print-architecture)), then restart the host. In a \
             container, run the agent on its host",
        ),
    }
}

fn bpffs(host: &Host) -> Check {
    match mounted(host, "bpf", "/sys/fs/bpf") {
        Some(true) => Check::ok(
            "bpffs",
            "",
            "/sys/fs/bpf is mounted: the sensor outlives a restart of the agent",
        ),
        Some(false) => Check::ok(
            "bpffs",
            "",
            "/sys/fs/bpf is not mounted: the agent cannot keep its kernel programs",
        )
        .warn("sudo mount -t bpf bpf /sys/fs/bpf"),
        None => unseen(host, "bpffs", "/proc/self/mounts cannot be read"),
    }
}

/// Whether such a file system is mounted there; `None` where the host does not tell.
fn mounted(host: &Host, kind: &str, at: &str) -> Option<bool> {
    let mounts = host.read("/proc/self/mounts").ok()?;
    Some(mounts.lines().any(|line| {
        let mut words = line.split(' ').skip(1);
        words.next() == Some(at) && words.next() == Some(kind)
    }))
}

/// What takes the place of BPF LSM where it is not on. What this version of the sensor does, it does without.
const STAND_IN: &str = "this version needs nothing of it: the sensor watches through tracepoints, fanotify holds opens at the install \
                        gate, Landlock and mounts close sandboxes";

fn lsm(host: &Host, config: &Config) -> Check {
    let list = match host.read(LSM) {
        Ok(list) => list.trim().to_owned(),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            return Check::ok(
                "lsm",
                "",
                format!("{LSM} is not there: securityfs is not mounted"),
            )
            .note(SECURITYFS);
        }
        Err(error) => return unseen(host, "lsm", &format!("{LSM} cannot be read: {error}")),
    };
    if list.split(',').any(|name| name == "bpf") {
        return Check::ok("lsm", "", format!("{list}: `bpf` is among them"));
    }
    let check = Check::ok(
        "lsm",
        "",
        format!("{list}: no `bpf` (the default of Ubuntu and DGX OS); {STAND_IN}"),
    );
    if config.has("BPF_LSM") == Some(false) {
        return check.note("This kernel was built without CONFIG_BPF_LSM: only another kernel could have it");
    }
    // The kernel puts `capability` first by itself.
    let wanted: Vec<&str> = list
        .split(',')
        .filter(|name| !name.is_empty() && *name != "capability")
        .chain(["bpf"])
        .collect();
    let wanted = wanted.join(",");
    let line = host.read("/proc/cmdline").unwrap_or_default();
    if let Some(own) = line.split_whitespace().find(|word| word.starts_with("lsm=")) {
        return check.note(format!(
            "To have it: the kernel command line says `{own}`; make that `lsm={wanted}` where it stands (/etc/default/grub, \
             /etc/default/grub.d), then `sudo update-grub` and restart the host"
        ));
    }
    check.note(format!(
        "To have it: echo 'GRUB_CMDLINE_LINUX=\"$GRUB_CMDLINE_LINUX lsm={wanted}\"' | sudo tee \
         /etc/default/grub.d/60-defenseclaw.cfg && sudo update-grub, then restart the host"
    ))
}

fn lockdown(host: &Host) -> Check {
    let text = match host.read(LOCKDOWN) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => {
            return if host.path(LSM).exists() {
                Check::ok("lockdown", "", "this kernel has no lockdown")
            } else {
                Check::ok("lockdown", "", "is not told: securityfs is not mounted").note(SECURITYFS)
            };
        }
        Err(error) => return unseen(host, "lockdown", &format!("{LOCKDOWN} cannot be read: {error}")),
    };
    if text.contains("[confidentiality]") {
        return Check::ok(
            "lockdown",
            "",
            "confidentiality: no program may read kernel memory, the sensor's neither",
        )
        .warn("Boot with lockdown=integrity, or take lockdown=confidentiality off the kernel command line");
    }
    let word = text
        .split_whitespace()
        .find_map(|word| word.strip_prefix('[')?.strip_suffix(']'));
    Check::ok(
        "lockdown",
        "",
        format!("{}: the sensor may be loaded", word.unwrap_or("unknown")),
    )
}

fn fanotify(host: &Host, config: &Config, status: Option<&Status>) -> Check {
    let said = |detail: &str| Check::ok("fanotify", "", detail);
    let gate = status.and_then(|status| status.gate.as_ref());
    if gate.is_some_and(|gate| gate.tier == Tier::Fanotify) {
        return said("permission events: the agent has proven them");
    }
    let missing = "The install gate needs a kernel with CONFIG_FANOTIFY_ACCESS_PERMISSIONS; those of Debian and Ubuntu have it. In a \
                   container, run the agent on its host";
    match (&host.facts.fanotify, config.has("FANOTIFY_ACCESS_PERMISSIONS")) {
        (Held::Yes, _) => said("permission events: this kernel holds opens until they are answered"),
        (Held::No(why), _) => said(&format!(
            "permission events are refused ({why}): nothing holds an open until it was scanned"
        ))
        .warn(missing),
        (Held::NotAsked, Some(true)) => said("permission events: this kernel was built with them"),
        (Held::NotAsked, Some(false)) => said(
            "this kernel was built without permission events: nothing holds an open until it was scanned",
        )
        .warn(missing),
        (Held::NotAsked, None) => unseen(
            host,
            "fanotify",
            "only root may ask for permission events, and the kernel's configuration is not there",
        ),
    }
}

/// What each version of Landlock brought, newest first; of what sandboxes use.
const LANDLOCK: [(i32, &str); 5] = [
    (9, "everything that sandboxes use"),
    (
        6,
        "files, TCP ports, signals and abstract sockets; path sockets are covered by mounts (complete from Linux 7.1)",
    ),
    (
        4,
        "files and TCP ports; signals and abstract sockets from Linux 6.12",
    ),
    (3, "files; TCP ports from Linux 6.7"),
    (
        1,
        "files; cutting them short can be prevented from Linux 6.2, TCP ports from 6.7",
    ),
];

fn landlock(host: &Host) -> Check {
    let version = host.facts.landlock;
    match LANDLOCK.iter().find(|(least, _)| version >= *least) {
        Some((_, what)) => Check::ok("landlock", "", format!("version {version}: {what}")),
        None => Check::ok(
            "landlock",
            "",
            "is missing or off: profiles that require it do not start, and sandboxes are closed by mounts alone",
        )
        .warn(format!(
            "Put `landlock` into the list of the kernel command line (lsm=landlock,…), or run a kernel from 5.13 on; \
             `defenseclaw-cli run --explain` says what is in force ({LSM} has the list)"
        )),
    }
}

fn cgroup(host: &Host) -> Check {
    if host.path("/sys/fs/cgroup/cgroup.controllers").exists() {
        return Check::ok("cgroup", "", "version 2 at /sys/fs/cgroup");
    }
    let both = host.path("/sys/fs/cgroup/unified/cgroup.controllers").exists();
    let found = if both {
        "version 2 is only at /sys/fs/cgroup/unified"
    } else {
        "version 2 is not at /sys/fs/cgroup"
    };
    Check::ok(
        "cgroup",
        "",
        format!("{found}: limits of the services may not hold"),
    )
    .note("Boot with systemd.unified_cgroup_hierarchy=1; in a container, mount the host's")
}

fn seccomp(host: &Host) -> Check {
    let Ok(actions) = host.read("/proc/sys/kernel/seccomp/actions_avail") else {
        return Check::ok(
            "seccomp",
            "",
            "this kernel tells no actions: sandboxes do not start, nor does the scanner close itself in",
        )
        .warn("Run a kernel with CONFIG_SECCOMP_FILTER; those of Debian and Ubuntu have it");
    };
    if actions.split_whitespace().any(|action| action == "user_notif") {
        Check::ok("seccomp", "", "filters, and questions to a supervisor")
    } else {
        Check::ok(
            "seccomp",
            "",
            "filters; no questions to a supervisor: `run --supervise` does not start",
        )
        .note("Run a kernel from 5.0 on")
    }
}

/// A sandbox of an ordinary user hides files by mounts in a user namespace of its own.
fn namespaces(host: &Host) -> Check {
    let value = |path: &str| host.read(path).ok().map(|text| text.trim().to_owned());
    let off = "ordinary users' sandboxes cannot cover files by mounts; profiles that require it do not start";
    let knobs = [
        (
            "/proc/sys/kernel/unprivileged_userns_clone",
            "0",
            "kernel.unprivileged_userns_clone=1",
        ),
        (
            "/proc/sys/user/max_user_namespaces",
            "0",
            "user.max_user_namespaces=15000",
        ),
    ];
    for (path, bad, mend) in knobs {
        if value(path).as_deref() == Some(bad) {
            return Check::ok(
                "namespaces",
                "",
                format!("user namespaces are off ({path} is {bad}): {off}"),
            )
            .warn(format!(
                "echo '{mend}' | sudo tee /etc/sysctl.d/60-defenseclaw.conf && sudo sysctl --system"
            ));
        }
    }
    if value("/proc/sys/kernel/apparmor_restrict_unprivileged_userns").as_deref() == Some("1") {
        let detail = "AppArmor lets only named programs make user namespaces (Ubuntu 24.04 and later, DGX OS 7): elsewhere ";
        return Check::ok("namespaces", "", format!("{detail}{off}")).note(
            "`defenseclaw-cli run --explain` says what is in force; `sudo sysctl kernel.apparmor_restrict_unprivileged_userns=0` \
             lifts it for every program",
        );
    }
    Check::ok("namespaces", "", "ordinary users may make user namespaces")
}

/// Something could not be looked at, which is no finding about it.
fn unseen(host: &Host, name: &'static str, why: &str) -> Check {
    let check = Check::ok(name, "", why);
    if host.is_root() {
        check.note("Run it on the host itself, not in a container")
    } else {
        check.note(host.as_root())
    }
}

#[cfg(test)]
mod tests {
    use super::super::State;
    use super::super::testing::Place;
    use super::*;

    fn state(check: &Check) -> State {
        check.state
    }

    #[test]
    fn a_kernel_too_old_and_one_with_large_pages_are_told() {
        let mut place = Place::new();
        assert_eq!(state(&release(&place.host)), State::Ok);
        place.host.facts.page_size = 65_536;
        let large = release(&place.host);
        assert_eq!(state(&large), State::Note);
        assert!(large.detail.contains("64 KiB"), "{large:?}");
        place.host.facts.release = "5.10.0-30-amd64".to_owned();
        assert_eq!(state(&release(&place.host)), State::Warning);
    }

    #[test]
    fn types_and_their_absence() {
        let place = Place::new();
        assert_eq!(state(&btf(&place.host)), State::Warning);
        place.file(BTF, "");
        assert_eq!(
            state(&btf(&place.host)),
            State::Warning,
            "an empty file has no types"
        );
        place.file(BTF, "types");
        assert_eq!(state(&btf(&place.host)), State::Ok);
    }

    #[test]
    fn mounts_are_told_by_place_and_kind() {
        let place = Place::new();
        assert_eq!(state(&bpffs(&place.host)), State::Note, "nobody tells");
        place.file("/proc/self/mounts", "tmpfs /sys/fs/bpf tmpfs rw 0 0\n");
        assert_eq!(state(&bpffs(&place.host)), State::Warning);
        place.file("/proc/self/mounts", "bpf /sys/fs/bpf bpf rw,nosuid 0 0\n");
        assert_eq!(state(&bpffs(&place.host)), State::Ok);
    }

    #[test]
    fn a_list_without_bpf_comes_with_the_line_to_type() {
        let place = Place::new();
        let look = |place: &Place| lsm(&place.host, &Config::of(&place.host));
        assert!(look(&place).remedy.contains("mount -t securityfs"));
        place.file(LSM, "lockdown,capability,landlock,yama,apparmor,bpf\n");
        assert_eq!(state(&look(&place)), State::Ok);
        place.file(LSM, "lockdown,capability,landlock,yama,apparmor\n");
        let without = look(&place);
        assert_eq!(state(&without), State::Note);
        assert!(
            without.detail.contains("fanotify holds opens")
                && without
                    .remedy
                    .contains("lsm=lockdown,landlock,yama,apparmor,bpf\"'"),
            "{without:?}"
        );
        place.file("/proc/cmdline", "root=/dev/sda1 lsm=landlock,apparmor quiet\n");
        assert!(look(&place).remedy.contains("`lsm=landlock,apparmor`"));
        place.file(
            "/boot/config-6.12.0-test",
            "CONFIG_BPF=y\n# CONFIG_BPF_LSM is not set\n",
        );
        assert!(look(&place).remedy.contains("another kernel"));
        place.file("/boot/config-6.12.0-test", "CONFIG_BPF=y\nCONFIG_BPF_LSM=y\n");
        assert!(look(&place).remedy.contains("update-grub"));
    }

    #[test]
    fn a_lockdown_that_shuts_the_sensor_out_is_told_from_one_that_does_not() {
        let place = Place::new();
        assert_eq!(state(&lockdown(&place.host)), State::Note, "nobody tells");
        place.file(LSM, "capability\n");
        assert_eq!(state(&lockdown(&place.host)), State::Ok);
        place.file(LOCKDOWN, "none [integrity] confidentiality\n");
        assert_eq!(state(&lockdown(&place.host)), State::Ok);
        place.file(LOCKDOWN, "none integrity [confidentiality]\n");
        assert_eq!(state(&lockdown(&place.host)), State::Warning);
    }

    #[test]
    fn permission_events_are_asked_for_read_of_or_left_open() {
        let mut place = Place::new();
        let look = |place: &Place| fanotify(&place.host, &Config::of(&place.host), None);
        place.host.facts.fanotify = Held::Yes;
        assert_eq!(state(&look(&place)), State::Ok);
        place.host.facts.fanotify = Held::No("EINVAL".to_owned());
        assert_eq!(state(&look(&place)), State::Warning);
        place.host.facts.fanotify = Held::NotAsked;
        place.host.uid = place.host.superuser + 1;
        let open = look(&place);
        assert_eq!(
            (state(&open), open.remedy.as_str()),
            (State::Note, "sudo defenseclaw-cli doctor")
        );
        place.file(
            "/boot/config-6.12.0-test",
            "CONFIG_FANOTIFY_ACCESS_PERMISSIONS=y\n",
        );
        assert_eq!(state(&look(&place)), State::Ok);
        place.file("/boot/config-6.12.0-test", "CONFIG_FANOTIFY=y\n");
        assert_eq!(state(&look(&place)), State::Warning);
        let proven = super::super::testing::status(Some(Tier::Fanotify));
        let check = fanotify(&place.host, &Config::of(&place.host), Some(&proven));
        assert_eq!(
            state(&check),
            State::Ok,
            "what was proven counts more than a file"
        );
    }

    #[test]
    fn each_version_of_landlock_says_what_it_closes() {
        let mut place = Place::new();
        for (version, words) in [
            (0, "missing"),
            (1, "cutting them short"),
            (2, "cutting them short"),
            (3, "TCP ports from Linux 6.7"),
            (5, "files and TCP ports"),
            (7, "abstract sockets; path sockets"),
            (10, "everything"),
        ] {
            place.host.facts.landlock = version;
            let check = landlock(&place.host);
            assert!(check.detail.contains(words), "{version}: {check:?}");
            assert_eq!(state(&check) == State::Warning, version == 0);
        }
    }

    #[test]
    fn cgroups_and_filters_and_their_absence() {
        let place = Place::new();
        assert_eq!(state(&cgroup(&place.host)), State::Note);
        place.file("/sys/fs/cgroup/cgroup.controllers", "cpu memory\n");
        assert_eq!(state(&cgroup(&place.host)), State::Ok);
        let actions = "/proc/sys/kernel/seccomp/actions_avail";
        assert_eq!(state(&seccomp(&place.host)), State::Warning);
        place.file(actions, "kill_process errno allow\n");
        assert_eq!(state(&seccomp(&place.host)), State::Note);
        place.file(actions, "kill_process user_notif errno allow\n");
        assert_eq!(state(&seccomp(&place.host)), State::Ok);
    }

    #[test]
    fn each_way_in_which_user_namespaces_are_off() {
        let place = Place::new();
        assert_eq!(state(&namespaces(&place.host)), State::Ok);
        let apparmor = "/proc/sys/kernel/apparmor_restrict_unprivileged_userns";
        place.file(apparmor, "0\n");
        assert_eq!(state(&namespaces(&place.host)), State::Ok);
        place.file(apparmor, "1\n");
        assert_eq!(state(&namespaces(&place.host)), State::Note);
        place.file("/proc/sys/user/max_user_namespaces", "0\n");
        let off = namespaces(&place.host);
        assert_eq!(state(&off), State::Warning);
        assert!(off.remedy.contains("user.max_user_namespaces"), "{off:?}");
        place.file("/proc/sys/user/max_user_namespaces", "15000\n");
        assert_eq!(state(&namespaces(&place.host)), State::Note);
    }
}
