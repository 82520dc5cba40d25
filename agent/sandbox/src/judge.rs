//! The plan as the supervisor's judge: what it grants is allowed, what lies outside is asked about, what is closed stays closed.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use crate::hosts::Hosts;
use crate::plan::{GATEWAY, Plan};
use crate::profile::{NetworkMode, Profile, UnixSockets};
use crate::supervise::{Address, ConnectRequest, Errno, Judge, OpenRequest, Transport, Verdict};

/// Where nothing is ever asked about: what a program writes there by habit, and what a person cannot judge.
const NEVER_ASKED: [&str; 3] = ["/proc", "/sys", "/dev"];

/// How the gateway is refused. No Unix socket answers a connect so: programs of ours tell by it what to do instead.
pub const NOT_SUPERVISED: Errno = Errno::EOPNOTSUPP;

/// The judge of one launch.
#[derive(Debug)]
pub struct PlanJudge {
    plan: Plan,
    profile: String,
    network: NetworkMode,
    sockets: UnixSockets,
    hosts: Hosts,
    gateway: Option<Gateway>,
}

/// The gateway's socket. Whoever may write in its folder can give it another name, but not make it another socket.
#[derive(Debug)]
struct Gateway {
    path: PathBuf,
    /// When the sandbox was made: a name that it is given later leads here.
    object: Option<(u64, u64)>,
}

impl Gateway {
    fn new(path: PathBuf) -> Self {
        // As the kernel will name it.
        let path = fs::canonicalize(&path).unwrap_or(path);
        let object = identity(&path);
        Self { path, object }
    }

    fn is(&self, path: &Path, object: Option<(u64, u64)>) -> bool {
        // It may have been started anew since.
        path == self.path || object.is_some() && (object == self.object || object == identity(&self.path))
    }
}

fn identity(path: &Path) -> Option<(u64, u64)> {
    fs::metadata(path).ok().map(|meta| (meta.dev(), meta.ino()))
}

impl PlanJudge {
    /// For `plan`, made from `profile`.
    pub fn new(plan: &Plan, profile: &Profile, hosts: Hosts, gateway: Option<PathBuf>) -> Self {
        Self {
            plan: plan.clone(),
            profile: profile.name.clone(),
            network: profile.network.mode,
            sockets: profile.unix_sockets,
            hosts,
            gateway: gateway.map(Gateway::new),
        }
    }

    fn outside(&self) -> Verdict {
        Verdict::Ask(format!("It lies outside of the profile {}.", self.profile))
    }

    fn written(&self, path: &Path) -> bool {
        under(path, &self.plan.write) || under(path, &self.plan.private_tmp)
    }
}

fn under(path: &Path, roots: &[PathBuf]) -> bool {
    roots.iter().any(|root| path.starts_with(root))
}

impl Judge for PlanJudge {
    fn open(&self, request: &OpenRequest) -> Verdict {
        let (path, plan) = (request.path.as_path(), &self.plan);
        let writes = request.access.write || request.access.create;
        let shut = under(path, &plan.closed) || under(path, &plan.sockets);
        let changed = writes && (under(path, &plan.sealed) || under(path, &plan.reserved));
        if shut || changed {
            return Verdict::REFUSED;
        }
        // By its name it would be closed in the next sandbox; the command may have made it itself.
        if plan.closes(path) {
            return Verdict::Ask(
                "It came after the sandbox was closed, with the name of a secret.".to_owned(),
            );
        }
        let granted = self.written(path) || under(path, &plan.devices) || !writes && under(path, &plan.read);
        if granted {
            return Verdict::Allow;
        }
        if NEVER_ASKED.iter().any(|root| path.starts_with(root)) {
            return Verdict::REFUSED;
        }
        self.outside()
    }

    fn connect(&self, request: &ConnectRequest) -> Verdict {
        match &request.address {
            Address::Ip(address) => match (self.network, request.transport) {
                (NetworkMode::Full, _) => Verdict::Allow,
                (NetworkMode::Allowlist, Transport::Stream) if self.hosts.allow(*address) => Verdict::Allow,
                (NetworkMode::Allowlist, Transport::Stream) => self.outside(),
                (NetworkMode::Allowlist | NetworkMode::None, _) => Verdict::REFUSED,
            },
            Address::UnixPath(path) => {
                let inside = self.written(path);
                // The gateway would see the supervisor, which may belong to no agent's session though the command does.
                let gateway = self
                    .gateway
                    .as_ref()
                    .is_some_and(|it| it.is(path, request.object))
                    || path.starts_with(GATEWAY);
                match self.sockets {
                    _ if gateway => Verdict::Deny(NOT_SUPERVISED),
                    UnixSockets::Any => Verdict::Allow,
                    UnixSockets::Inside if inside => Verdict::Allow,
                    UnixSockets::Inside if under(path, &self.plan.sockets) => Verdict::REFUSED,
                    UnixSockets::Inside => self.outside(),
                }
            }
            // The supervisor would connect from outside, where every name leads out of the sandbox.
            Address::UnixAbstract(_) => Verdict::Deny(Errno::EPERM),
            // Netlink's routes, which resolvers ask; other families have no sockets here.
            Address::Other(_) => match self.network {
                NetworkMode::Full => Verdict::Allow,
                NetworkMode::Allowlist | NetworkMode::None => Verdict::REFUSED,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::Profiles;
    use crate::supervise::Access;

    fn judge(profile: &str) -> PlanJudge {
        let profile = Profiles::embedded().get(profile).expect("a profile");
        let plan = Plan {
            read: vec!["/".into()],
            write: vec!["/project".into()],
            devices: vec!["/dev/null".into()],
            closed: vec!["/home/ada/.ssh".into(), "/project/.env".into()],
            sealed: vec!["/project/.git/hooks".into()],
            ..Plan::default()
        };
        let hosts = Hosts::look_up(&["127.0.0.9:443".to_owned()]).expect("looked up");
        PlanJudge::new(
            &plan,
            &profile,
            hosts,
            Some("/run/defenseclaw/gateway.sock".into()),
        )
    }

    fn open(judge: &PlanJudge, path: &str, access: Access) -> Verdict {
        judge.open(&OpenRequest {
            pid: 1,
            path: path.into(),
            access,
            folder: false,
            removed: false,
            given: path.into(),
        })
    }

    #[test]
    fn what_is_granted_passes_what_is_closed_does_not_and_the_rest_is_asked() {
        let judge = judge("workspace");
        let asks = |verdict: Verdict| matches!(verdict, Verdict::Ask(_));
        assert_eq!(open(&judge, "/usr/lib/x", Access::READ), Verdict::Allow);
        assert_eq!(open(&judge, "/project/a", Access::WRITE), Verdict::Allow);
        assert_eq!(open(&judge, "/dev/null", Access::WRITE), Verdict::Allow);
        assert_eq!(open(&judge, "/project/.env", Access::READ), Verdict::REFUSED);
        assert_eq!(open(&judge, "/home/ada/.ssh/id", Access::READ), Verdict::REFUSED);
        assert_eq!(
            open(&judge, "/project/.git/hooks/x", Access::READ),
            Verdict::Allow
        );
        assert_eq!(
            open(&judge, "/project/.git/hooks/x", Access::WRITE),
            Verdict::REFUSED
        );
        assert_eq!(open(&judge, "/proc/1/oom_adj", Access::WRITE), Verdict::REFUSED);
        assert!(asks(open(&judge, "/home/ada/.bashrc", Access::WRITE)));
        assert!(
            asks(open(&judge, "/projects", Access::WRITE)),
            "no name's beginning"
        );
    }

    #[test]
    fn what_comes_with_a_secret_s_name_is_asked_about() {
        let home = tempfile::tempdir().expect("a folder");
        let home = fs::canonicalize(home.path()).expect("there");
        let project = home.join("project");
        fs::create_dir(&project).expect("made");
        let mut profile = Profiles::embedded().get("workspace").expect("a profile");
        profile.files.write.retain(|path| path != "{tmp}");
        let setting = crate::plan::Setting {
            project: project.clone(),
            home: Some(home),
            gateway: None,
        };
        let plan = Plan::new(&profile, &setting).expect("a plan");
        let judge = PlanJudge::new(&plan, &profile, Hosts::default(), None);
        let of = |name: &str| open(&judge, &project.join(name).display().to_string(), Access::READ);
        assert!(matches!(of(".env.later"), Verdict::Ask(_)));
        assert_eq!(of(".env.example"), Verdict::Allow);
    }

    #[test]
    fn connections_go_where_the_profile_says() {
        let connect = |judge: &PlanJudge, address: Address, transport| {
            judge.connect(&ConnectRequest {
                pid: 1,
                address,
                transport,
                object: None,
            })
        };
        let to = |text: &str| Address::Ip(text.parse().expect("an address"));
        let narrow = judge("network-allowlist");
        assert_eq!(
            connect(&narrow, to("127.0.0.9:443"), Transport::Stream),
            Verdict::Allow
        );
        assert!(matches!(
            connect(&narrow, to("127.0.0.9:80"), Transport::Stream),
            Verdict::Ask(_)
        ));
        assert_eq!(
            connect(&narrow, to("127.0.0.9:443"), Transport::Datagram),
            Verdict::REFUSED
        );
        assert_eq!(
            connect(&narrow, Address::UnixAbstract(b"x".to_vec()), Transport::Stream),
            Verdict::Deny(Errno::EPERM)
        );
        let gateway = Address::UnixPath("/run/defenseclaw/gateway.sock".into());
        assert_eq!(
            connect(&narrow, gateway, Transport::Stream),
            Verdict::Deny(NOT_SUPERVISED)
        );
        assert_eq!(
            connect(&judge("workspace"), to("192.0.2.1:1"), Transport::Datagram),
            Verdict::Allow
        );
    }

    #[test]
    fn the_gateway_s_socket_stays_out_of_reach_by_any_name() {
        let folder = tempfile::tempdir().expect("a folder");
        let (path, moved) = (
            folder.path().join("gateway.sock"),
            folder.path().join("moved.sock"),
        );
        let _gateway = std::os::unix::net::UnixListener::bind(&path).expect("bound");
        let linked = folder.path().join("linked");
        std::os::unix::fs::symlink(folder.path(), &linked).expect("linked");
        let profile = Profiles::embedded().get("workspace").expect("a profile");
        let by_link = linked.join("gateway.sock");
        let plan = Plan {
            write: vec![fs::canonicalize(folder.path()).expect("there")],
            ..Plan::default()
        };
        let judge = PlanJudge::new(&plan, &profile, Hosts::default(), Some(by_link));
        let connect = |path: &Path| {
            judge.connect(&ConnectRequest {
                pid: 1,
                address: Address::UnixPath(path.to_owned()),
                transport: Transport::Stream,
                object: identity(path),
            })
        };
        let refused = Verdict::Deny(NOT_SUPERVISED);
        assert_eq!(connect(&path), refused);
        fs::rename(&path, &moved).expect("moved");
        assert_eq!(connect(&moved), refused, "moved away");
        let _anew = std::os::unix::net::UnixListener::bind(&path).expect("bound");
        let hard = folder.path().join("hard.sock");
        fs::hard_link(&path, &hard).expect("linked");
        assert_eq!(connect(&hard), refused, "started anew, and another name for it");
        let other = folder.path().join("other.sock");
        let _other = std::os::unix::net::UnixListener::bind(&other).expect("bound");
        assert_eq!(connect(&other), Verdict::Allow);
    }
}
