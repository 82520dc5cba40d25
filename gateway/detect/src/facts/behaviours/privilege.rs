//! Becoming, or letting others become, more than one was.

use defenseclaw_model::facts::BehaviourKind::{Credential, Discovery, Privilege};

use super::super::Analysis;
use super::{Invocation, Table};
use crate::shell::Scope;

pub(super) const TABLE: Table = &[
    (
        &[
            "sudo",
            "doas",
            "pkexec",
            "su",
            "runuser",
            "sudoedit",
            "machinectl",
        ],
        raise,
    ),
    (&["setpriv", "capsh", "setcap"], capability),
    (&["unshare", "nsenter", "chroot"], namespace),
    (&["chmod", "install"], set_id),
    (&["visudo"], |analysis, call, _| {
        if !call.short("c") {
            analysis.behave(Privilege, "sudoers", "/etc/sudoers", None);
        }
    }),
    (
        &[
            "usermod",
            "gpasswd",
            "adduser",
            "addgroup",
            "groupmod",
            "groupmems",
        ],
        group,
    ),
    (&["useradd", "adduser", "newusers"], user),
    (
        &["passwd", "chpasswd", "usermod", "chage", "vipw", "vigr"],
        password,
    ),
    (
        &[
            "docker",
            "podman",
            "nerdctl",
            "docker-compose",
            "lxc",
            "incus",
            "ctr",
            "crictl",
        ],
        container,
    ),
    (&["curl", "socat", "nc"], container_socket),
    (&["kubectl", "oc"], pod),
    (&["pkaction", "pkcheck"], |analysis, _, _| {
        analysis.behave(Discovery, "permissions", "polkit", None);
    }),
];

/// Groups whose members can become root.
const STRONG_GROUPS: &[&str] = &[
    "sudo",
    "wheel",
    "root",
    "admin",
    "docker",
    "disk",
    "lxd",
    "incus-admin",
    "shadow",
    "adm",
    "libvirt",
    "kmem",
    "podman",
    "video",
    "staff",
];

fn raise(analysis: &mut Analysis, call: &Invocation<'_>, _: &Scope<'_>) {
    if matches!(call.name, "sudo" | "doas") && call.short("lL") && call.operand(0).is_none() {
        analysis.behave(Discovery, "permissions", call.name, None);
        return;
    }
    if call.name == "sudo"
        && (call.any(&["-k", "-K", "-V", "--version", "--help"]) && call.operand(0).is_none())
    {
        return;
    }
    if call.name == "machinectl" && call.operand(0) != Some("shell") {
        return;
    }
    // CVE-2019-14287: a user id of -1 becomes 0 where root itself was forbidden.
    if call.any(&["-u#-1", "#-1", "\\#-1", "#4294967295", "-u#4294967295"]) {
        analysis.behave(Privilege, "sudo", "uid -1", None);
    }
    // The password stands in the text or comes from a file.
    if call.name == "sudo" && call.short("S") {
        analysis.behave(Credential, "sudo-password", call.name, None);
    }
    analysis.behave(Privilege, "sudo", call.name, None);
}

fn capability(analysis: &mut Analysis, call: &Invocation<'_>, _: &Scope<'_>) {
    match call.name {
        "capsh" if call.any(&["--print"]) => analysis.behave(Discovery, "container", "capabilities", None),
        "setcap" if call.any(&["-r"]) => {}
        "setcap" => {
            let file = call.operands().last().unwrap_or_default();
            analysis.behave(Privilege, "capability", file, None);
            if call.holds(&[
                "cap_setuid",
                "cap_setgid",
                "cap_sys_admin",
                "cap_dac",
                "cap_sys_ptrace",
                "cap_chown",
                "cap_fowner",
                "=ep",
                "=eip",
            ]) {
                analysis.behave(Privilege, "capability-strong", file, None);
            }
        }
        _ => analysis.behave(Privilege, "capability", call.name, None),
    }
}

fn namespace(analysis: &mut Analysis, call: &Invocation<'_>, _: &Scope<'_>) {
    let object = match call.name {
        "nsenter" => call.value(&["-t", "--target"]).unwrap_or_default(),
        "chroot" => call.operand(0).unwrap_or_default(),
        name => name,
    };
    analysis.behave(Privilege, "namespace", object, None);
}

/// `chmod u+s`, `chmod 4755`, `install -m 4755`.
fn set_id(analysis: &mut Analysis, call: &Invocation<'_>, _: &Scope<'_>) {
    let mode = if call.name == "install" {
        call.value(&["-m", "--mode"])
    } else {
        call.operands().find(|word| is_mode(word))
    };
    let Some(mode) = mode.filter(|mode| sets_id(mode)) else {
        return;
    };
    for file in call.operands().filter(|word| *word != mode) {
        analysis.behave(Privilege, "setuid", file, None);
    }
}

fn is_mode(word: &str) -> bool {
    !word.is_empty() && (word.bytes().all(|b| b.is_ascii_digit()) || word.contains(['+', '=']))
}

fn sets_id(mode: &str) -> bool {
    if mode.bytes().all(|b| (b'0'..=b'7').contains(&b)) {
        let digits = mode.trim_start_matches('0');
        return digits.len() == 4 && digits.starts_with(['2', '4', '6', '7', '3', '5']);
    }
    mode.split(',').any(|part| {
        part.split_once(['+', '=']).is_some_and(|(who, what)| {
            who.bytes().all(|b| b"ugoa".contains(&b))
                && what.contains('s')
                && what.bytes().all(|b| b"rwxXst".contains(&b))
        })
    })
}

fn group(analysis: &mut Analysis, call: &Invocation<'_>, _: &Scope<'_>) {
    for name in call
        .words()
        .flat_map(|word| word.rsplit('=').next().unwrap_or_default().split(','))
    {
        if STRONG_GROUPS.contains(&name) {
            analysis.behave(Privilege, "group-admin", name, None);
        }
    }
    if call.name == "usermod" && call.value(&["-u", "--uid"]) == Some("0") {
        analysis.behave(Privilege, "group-admin", "uid 0", None);
    }
}

fn user(analysis: &mut Analysis, call: &Invocation<'_>, _: &Scope<'_>) {
    if call.value(&["-u", "--uid"]) == Some("0") || call.any(&["-ou0", "-ou"]) && call.any(&["0"]) {
        analysis.behave(Privilege, "group-admin", "uid 0", None);
    }
    let values = &[
        "-u", "-g", "-G", "-s", "-d", "-c", "-p", "-e", "-k", "-K", "--uid", "--gid", "--groups", "--shell",
        "--home",
    ];
    let name = call.operands_after(values).last().unwrap_or_default();
    if name.is_empty() {
        return;
    }
    // A service's account cannot log in: images make one to run as somebody else than root.
    let technique = if call.any(&["--system", "-r", "-S"]) {
        "service-user-add"
    } else {
        "user-add"
    };
    analysis.behave(Privilege, technique, name, None);
    for group in call
        .values(&["-G", "--groups", "-g", "--ingroup"])
        .flat_map(|list| list.split(','))
    {
        if STRONG_GROUPS.contains(&group) {
            analysis.behave(Privilege, "group-admin", group, None);
        }
    }
}

fn password(analysis: &mut Analysis, call: &Invocation<'_>, _: &Scope<'_>) {
    let changes = match call.name {
        "passwd" => !call.any(&["-S", "--status", "-a", "--help"]),
        "usermod" => call.any(&["-p", "--password", "-U", "--unlock"]),
        "chage" => !call.short("l"),
        _ => true,
    };
    if changes {
        analysis.behave(
            Privilege,
            "password-change",
            call.operands().last().unwrap_or_default(),
            None,
        );
    }
}

/// Options by which a container is no longer one.
fn container(analysis: &mut Analysis, call: &Invocation<'_>, _: &Scope<'_>) {
    const OPEN: &[&str] = &[
        "--privileged",
        "--pid=host",
        "--cap-add=ALL",
        "--cap-add=SYS_ADMIN",
        "--cap-add=SYS_PTRACE",
        "--cap-add=SYS_MODULE",
        "--cap-add=DAC_READ_SEARCH",
        "--cap-add=all",
        "--userns=host",
        "--security-opt=apparmor=unconfined",
        "--security-opt=seccomp=unconfined",
        "--privileged=true",
        "--ipc=host",
        "--uts=host",
        "security.privileged=true",
        "--cgroupns=host",
    ];
    let mut before = "";
    for word in call.words() {
        let pair = matches!(
            (before, word),
            ("--pid" | "--userns" | "--ipc" | "--uts", "host")
                | (
                    "--cap-add",
                    "ALL"
                        | "all"
                        | "SYS_ADMIN"
                        | "SYS_PTRACE"
                        | "SYS_MODULE"
                        | "DAC_READ_SEARCH"
                        | "CAP_SYS_ADMIN"
                )
                | (
                    "--security-opt",
                    "apparmor=unconfined"
                        | "seccomp=unconfined"
                        | "apparmor:unconfined"
                        | "seccomp:unconfined"
                        | "label=disable"
                )
        );
        if OPEN.contains(&word) || pair {
            analysis.behave(Privilege, "container-privileged", word, None);
        }
        if word.starts_with("--device=/dev/") || (before == "--device" && word.starts_with("/dev/")) {
            let device = word.trim_start_matches("--device=");
            if [
                "/dev/sd",
                "/dev/nvme",
                "/dev/vd",
                "/dev/mem",
                "/dev/dm-",
                "/dev/xvd",
            ]
            .iter()
            .any(|disk| device.starts_with(disk))
            {
                analysis.behave(Privilege, "container-host-mount", device, None);
            }
        }
        let volume = matches!(before, "-v" | "--volume" | "--mount")
            .then_some(word)
            .or_else(|| {
                ["-v=", "--volume=", "--mount=", "-v/"].iter().find_map(|start| {
                    word.strip_prefix(start)
                        .map(|rest| if *start == "-v/" { &word[2..] } else { rest })
                })
            })
            .or_else(|| (word.contains("source=") && matches!(call.name, "lxc" | "incus")).then_some(word));
        if let Some(volume) = volume {
            mounted(analysis, volume);
        }
        if matches!(before, "-H" | "--host") && word.starts_with("tcp://") {
            analysis.behave(Privilege, "docker-socket", word, None);
        }
        before = word;
    }
}

fn mounted(analysis: &mut Analysis, volume: &str) {
    let named = volume
        .split(',')
        .find_map(|part| part.strip_prefix("source=").or_else(|| part.strip_prefix("src=")));
    let source = named.unwrap_or_else(|| volume.split(':').next().unwrap_or_default());
    match source.trim_end_matches('/') {
        "/var/run/docker.sock"
        | "/run/docker.sock"
        | "/run/containerd/containerd.sock"
        | "/run/podman/podman.sock"
        | "/run/crio/crio.sock" => {
            analysis.behave(Privilege, "docker-socket", source, None);
        }
        "" if source == "/" => analysis.behave(Privilege, "container-host-mount", "/", None),
        "/etc" | "/root" | "/home" | "/var" | "/proc" | "/sys" | "/boot" | "/usr" | "/bin" | "/dev"
        | "/var/lib/docker" | "/var/log" | "/run" | "/etc/cron.d" | "/etc/kubernetes"
        | "/var/lib/kubelet" | "/lib/modules" => {
            analysis.behave(Privilege, "container-host-mount", source, None);
        }
        _ => {}
    }
}

fn container_socket(analysis: &mut Analysis, call: &Invocation<'_>, _: &Scope<'_>) {
    const SOCKETS: &[&str] = &["docker.sock", "containerd.sock", "podman.sock", "crio.sock"];
    if let Some(word) = call
        .words()
        .find(|word| SOCKETS.iter().any(|socket| word.contains(socket)))
    {
        analysis.behave(Privilege, "docker-socket", word, None);
    }
}

/// Pods that reach out of their cluster's isolation.
fn pod(analysis: &mut Analysis, call: &Invocation<'_>, _: &Scope<'_>) {
    let open = |text: &str| {
        let text: String = text.split_whitespace().collect();
        [
            "\"privileged\":true",
            "\"hostPID\":true",
            "privileged:true",
            "hostPID:true",
            "\"hostNetwork\":true",
            "\"hostPath\":{\"path\":\"/\"",
        ]
        .iter()
        .any(|part| text.contains(part))
    };
    if call.words().any(open) || call.input().is_some_and(open) {
        analysis.behave(Privilege, "container-privileged", "pod", None);
    }
    match (call.operand(0), call.operand(1)) {
        (Some("create"), Some("clusterrolebinding")) if call.holds(&["cluster-admin"]) => {
            analysis.behave(Privilege, "group-admin", "cluster-admin", None);
        }
        (Some("debug"), Some(target)) if target.starts_with("node/") => {
            analysis.behave(Privilege, "container-host-mount", target, None);
        }
        _ => {}
    }
    if call.any(&["--as=system:masters", "--as-group=system:masters"]) {
        analysis.behave(Privilege, "group-admin", "system:masters", None);
    }
}
