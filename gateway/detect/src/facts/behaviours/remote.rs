//! Clouds and clusters: what is deleted there, what is asked of them, and what their clients give away.

use defenseclaw_model::facts::BehaviourKind::{
    Credential, Destruction, Discovery, Evasion, Exfiltration, Persistence, Privilege,
};
use defenseclaw_model::facts::Radius;

use super::super::Analysis;
use super::{Invocation, Table};
use crate::shell::Scope;

pub(super) const TABLE: Table = &[
    (
        &[
            "kubectl", "oc", "helm", "kubeadm", "kind", "k3d", "minikube", "flux", "argocd",
        ],
        cluster,
    ),
    (&["aws"], aws),
    (&["gcloud", "gsutil", "bq"], google),
    (&["az"], azure),
    (
        &[
            "terraform",
            "tofu",
            "pulumi",
            "terragrunt",
            "cdk",
            "serverless",
            "sls",
            "sst",
            "sam",
        ],
        stacks,
    ),
    (
        &[
            "gh",
            "glab",
            "heroku",
            "fly",
            "flyctl",
            "vercel",
            "netlify",
            "doctl",
            "hcloud",
            "linode-cli",
            "railway",
            "supabase",
            "firebase",
            "wrangler",
            "eksctl",
        ],
        services,
    ),
    (
        &[
            "vault",
            "op",
            "bw",
            "doppler",
            "chamber",
            "infisical",
            "sops",
            "pass",
            "gopass",
            "lpass",
        ],
        vaults,
    ),
];

const KUBECTL_VALUES: &[&str] = &[
    "-n",
    "--namespace",
    "--context",
    "--kubeconfig",
    "-l",
    "-o",
    "--selector",
    "-f",
    "-c",
    "--cluster",
    "--user",
    "--server",
    "-s",
    "--token",
];

fn cluster(analysis: &mut Analysis, call: &Invocation<'_>, _: &Scope<'_>) {
    let words: Vec<_> = call.operands_after(KUBECTL_VALUES).take(3).collect();
    match words.as_slice() {
        ["delete", what, ..] if matches!(call.name, "kubectl" | "oc") => {
            let wide = matches!(
                what.split('/').next(),
                Some(
                    "ns" | "namespace"
                        | "namespaces"
                        | "node"
                        | "nodes"
                        | "pv"
                        | "pvc"
                        | "crd"
                        | "all"
                        | "persistentvolume"
                        | "persistentvolumeclaim"
                        | "customresourcedefinition"
                        | "project"
                        | "secret"
                        | "secrets"
                )
            ) || call.any(&["--all", "-A", "--all-namespaces"]);
            analysis.behave(
                Destruction,
                "cluster-delete",
                *what,
                if wide { Radius::Remote } else { Radius::Files },
            );
        }
        ["drain" | "cordon", node, ..] => {
            analysis.behave(Destruction, "cluster-delete", *node, Radius::Remote)
        }
        ["scale", ..] if call.words().any(|word| word == "--replicas=0") && call.any(&["--all", "-A"]) => {
            analysis.behave(Destruction, "cluster-delete", "scale to 0", Radius::Remote);
        }
        ["uninstall" | "delete" | "del", release, ..] if call.name == "helm" => {
            analysis.behave(Destruction, "cluster-delete", *release, Radius::Remote)
        }
        ["reset", ..] if call.name == "kubeadm" => {
            analysis.behave(Destruction, "cluster-delete", "kubeadm", Radius::System)
        }
        ["delete", "cluster", ..] | ["cluster", "delete", ..] => {
            analysis.behave(Destruction, "cluster-delete", call.name, Radius::Scratch)
        }
        ["delete", ..] if call.name == "minikube" => {
            analysis.behave(Destruction, "cluster-delete", call.name, Radius::Scratch)
        }
        ["get", what, ..]
            if matches!(*what, "secret" | "secrets")
                || what.starts_with("secret/")
                || what.starts_with("secrets/") =>
        {
            let shows = call.words().any(|word| {
                word.contains("yaml")
                    || word.contains("json")
                    || word.contains("template")
                    || word.contains("jsonpath")
            });
            if shows {
                analysis.behave(Credential, "cloud-token", "kubernetes secrets", None);
            } else if call.any(&["-A", "--all-namespaces"]) {
                analysis.behave(Discovery, "container", "kubernetes secrets", None);
            }
        }
        ["config", "view", ..] if call.any(&["--raw"]) => {
            analysis.behave(Credential, "cloud-token", "kubeconfig", None)
        }
        ["create", "token", account, ..] => analysis.behave(Credential, "cloud-token", *account, None),
        ["auth", "can-i", ..] => analysis.behave(Discovery, "container", "kubernetes permissions", None),
        _ => {}
    }
}

/// The verb of a cloud's client.
fn verb<'c>(words: &[&'c str]) -> &'c str {
    words.get(1).copied().unwrap_or_default()
}

fn aws(analysis: &mut Analysis, call: &Invocation<'_>, _: &Scope<'_>) {
    let words: Vec<_> = call
        .operands_after(&["--profile", "--region", "--output", "--query", "--endpoint-url"])
        .take(4)
        .collect();
    let near = call.holds(&["localhost", "127.0.0.1", "localstack"]);
    let service = words.first().copied().unwrap_or_default();
    let verb = verb(&words);
    if call.any(&["--dry-run", "--dryrun", "help"]) || near {
        return;
    }
    let deletes = verb.starts_with("delete-")
        || verb.starts_with("terminate-")
        || verb.starts_with("deregister-")
        || verb.starts_with("purge-")
        || verb.starts_with("schedule-key-deletion")
        || verb == "rb"
        || (verb == "rm" && (call.any(&["--recursive"])));
    let logs = matches!(
        service,
        "cloudtrail"
            | "guardduty"
            | "config"
            | "configservice"
            | "logs"
            | "securityhub"
            | "macie2"
            | "wafv2"
            | "cloudwatch"
            | "inspector2"
            | "accessanalyzer"
    );
    if logs
        && (deletes
            || matches!(
                verb,
                "stop-logging"
                    | "stop-configuration-recorder"
                    | "disable-security-hub"
                    | "update-trail"
                    | "put-event-selectors"
                    | "update-detector"
                    | "disable-macie"
                    | "disable-alarm-actions"
                    | "disable"
            ))
    {
        let technique = if service == "logs" {
            "log-delete"
        } else {
            "security-stop"
        };
        analysis.behave(Evasion, technique, format!("aws {service}"), None);
    }
    if deletes {
        analysis.behave(
            Destruction,
            "cloud-delete",
            format!("aws {service} {verb}"),
            Radius::Remote,
        );
    }
    aws_access(analysis, call, service, verb);
}

/// What is asked of AWS that gives secrets, accounts or rights.
fn aws_access(analysis: &mut Analysis, call: &Invocation<'_>, service: &str, verb: &str) {
    match (service, verb) {
        ("secretsmanager", "get-secret-value" | "batch-get-secret-value")
        | ("ssm", "get-parameter" | "get-parameters" | "get-parameters-by-path")
            if service == "secretsmanager" || call.any(&["--with-decryption"]) =>
        {
            analysis.behave(Credential, "cloud-token", format!("aws {service}"), None);
        }
        (
            "sts",
            "assume-role" | "get-session-token" | "get-federation-token" | "assume-role-with-web-identity",
        )
        | ("configure", "export-credentials")
        | ("ec2", "get-password-data")
        | ("cognito-identity", "get-credentials-for-identity") => {
            analysis.behave(Credential, "cloud-token", format!("aws {service} {verb}"), None);
        }
        ("configure", "get") if call.holds(&["secret", "access_key", "token"]) => {
            analysis.behave(Credential, "cloud-token", "aws configure", None)
        }
        (
            "iam",
            "create-access-key"
            | "create-login-profile"
            | "update-login-profile"
            | "create-user"
            | "create-service-specific-credential",
        ) => {
            analysis.behave(Persistence, "cloud-account", format!("aws iam {verb}"), None);
        }
        (
            "iam",
            "attach-user-policy"
            | "attach-role-policy"
            | "put-user-policy"
            | "put-role-policy"
            | "add-user-to-group"
            | "update-assume-role-policy"
            | "attach-group-policy"
            | "create-policy-version"
            | "set-default-policy-version",
        ) => {
            let strong = call.holds(&[
                "AdministratorAccess",
                "PowerUser",
                "IAMFullAccess",
                "\"*\"",
                "Admin",
            ]) || verb.contains("assume-role")
                || verb.starts_with("put-user");
            analysis.behave(
                Privilege,
                if strong { "cloud-admin" } else { "cloud-policy" },
                format!("aws iam {verb}"),
                None,
            );
        }
        ("ec2", "modify-snapshot-attribute" | "modify-image-attribute")
        | ("rds", "modify-db-snapshot-attribute")
        | ("s3api", "put-bucket-policy" | "put-bucket-acl")
        | ("lambda", "add-permission") => {
            analysis.behave(Exfiltration, "cloud-copy", format!("aws {service} {verb}"), None);
        }
        ("ec2", "authorize-security-group-ingress") if call.holds(&["0.0.0.0/0", "::/0"]) => {
            analysis.behave(Evasion, "firewall-off", "aws security group", None)
        }
        ("sts", "get-caller-identity") | ("iam", _) | ("organizations", _)
            if verb.starts_with("list-") || verb.starts_with("get-") =>
        {
            analysis.behave(Discovery, "cloud", format!("aws {service} {verb}"), None);
        }
        _ => {}
    }
}

fn google(analysis: &mut Analysis, call: &Invocation<'_>, _: &Scope<'_>) {
    let words: Vec<_> = call
        .operands_after(&["--project", "--zone", "--region", "--format", "--account"])
        .take(5)
        .collect();
    let object = || words.iter().take(3).copied().collect::<Vec<_>>().join(" ");
    match call.name {
        "gsutil"
            if matches!(words.as_slice(), ["rm" | "rb", ..])
                && (call.short("r") || call.any(&["rb"]) || call.words().any(|word| word.contains("**"))) =>
        {
            analysis.behave(Destruction, "cloud-delete", "gsutil rm", Radius::Remote);
        }
        "gsutil" if call.holds(&["allUsers", "public-read"]) => {
            analysis.behave(Exfiltration, "cloud-copy", "gsutil public", None)
        }
        "bq" if call.any(&["rm"]) => analysis.behave(Destruction, "drop-database", "bq rm", Radius::Remote),
        "gcloud" => {
            if words
                .iter()
                .skip(1)
                .any(|word| *word == "delete" || *word == "destroy")
            {
                analysis.behave(Destruction, "cloud-delete", object(), Radius::Remote);
            }
            match words.as_slice() {
                [
                    "auth",
                    "print-access-token" | "print-identity-token" | "print-refresh-token",
                    ..,
                ]
                | ["auth", "application-default", "print-access-token", ..]
                | ["secrets", "versions", "access", ..] => {
                    analysis.behave(Credential, "cloud-token", object(), None);
                }
                ["iam", "service-accounts", "keys", "create", ..] => {
                    analysis.behave(Persistence, "cloud-account", object(), None)
                }
                [_, "add-iam-policy-binding", ..] | [_, _, "add-iam-policy-binding", ..] => {
                    let strong = call.holds(&["roles/owner", "roles/editor", "allUsers", "admin"]);
                    analysis.behave(
                        Privilege,
                        if strong { "cloud-admin" } else { "cloud-policy" },
                        object(),
                        None,
                    );
                }
                ["logging", "sinks" | "logs", "delete" | "update", ..] => {
                    analysis.behave(Evasion, "log-delete", object(), None)
                }
                _ => {}
            }
        }
        _ => {}
    }
}

fn azure(analysis: &mut Analysis, call: &Invocation<'_>, _: &Scope<'_>) {
    let words: Vec<_> = call
        .operands_after(&[
            "-g",
            "-n",
            "--name",
            "--resource-group",
            "-o",
            "--query",
            "--subscription",
        ])
        .take(4)
        .collect();
    let object = || {
        format!(
            "az {}",
            words.iter().take(3).copied().collect::<Vec<_>>().join(" ")
        )
    };
    if words
        .iter()
        .skip(1)
        .any(|word| matches!(*word, "delete" | "delete-batch" | "purge"))
    {
        analysis.behave(Destruction, "cloud-delete", object(), Radius::Remote);
    }
    match words.as_slice() {
        ["account", "get-access-token", ..]
        | ["keyvault", "secret", "show" | "download", ..]
        | ["ad", "sp", "create-for-rbac" | "credential", ..]
        | ["storage", "account", "keys", ..]
        | ["acr", "credential", ..] => {
            analysis.behave(Credential, "cloud-token", object(), None);
        }
        ["role", "assignment", "create", ..] => {
            let strong = call.holds(&["Owner", "Contributor", "User Access Administrator"]);
            analysis.behave(
                Privilege,
                if strong { "cloud-admin" } else { "cloud-policy" },
                object(),
                None,
            );
        }
        ["monitor", "diagnostic-settings" | "log-profiles", "delete", ..] => {
            analysis.behave(Evasion, "log-delete", object(), None)
        }
        ["account" | "ad", "list", ..] => analysis.behave(Discovery, "cloud", object(), None),
        _ => {}
    }
}

fn stacks(analysis: &mut Analysis, call: &Invocation<'_>, _: &Scope<'_>) {
    let verb = call
        .operands_after(&["-chdir", "-C", "--stack", "-s"])
        .next()
        .unwrap_or_default();
    let removes = matches!(verb, "destroy" | "remove" | "delete")
        || (verb == "apply" && call.any(&["-destroy", "--destroy"]))
        || verb == "run-all" && call.any(&["destroy"]);
    if removes {
        analysis.behave(
            Destruction,
            "cloud-delete",
            format!("{} {verb}", call.name),
            Radius::Remote,
        );
    } else if verb == "state" && call.any(&["rm"]) {
        analysis.behave(
            Destruction,
            "cloud-delete",
            format!("{} state rm", call.name),
            Radius::Project,
        );
    }
}

fn services(analysis: &mut Analysis, call: &Invocation<'_>, _: &Scope<'_>) {
    let words: Vec<_> = call
        .operands_after(&["-R", "--repo", "-a", "--app"])
        .take(4)
        .collect();
    let object = || {
        format!(
            "{} {}",
            call.name,
            words.iter().take(2).copied().collect::<Vec<_>>().join(" ")
        )
    };
    match words.as_slice() {
        ["repo" | "release" | "secret" | "project", "delete", ..]
        | ["apps:destroy" | "addons:destroy" | "pg:reset", ..]
        | ["apps" | "volumes" | "machine" | "postgres", "destroy", ..]
        | ["destroy", ..]
        | ["rm" | "remove", _, ..]
            if call.name != "wrangler" || words[0] == "delete" =>
        {
            analysis.behave(Destruction, "cloud-delete", object(), Radius::Remote);
        }
        [.., "delete"] | [_, "delete", ..] | [_, _, "delete", ..] if !matches!(call.name, "gh" | "glab") => {
            analysis.behave(Destruction, "cloud-delete", object(), Radius::Remote);
        }
        ["auth", "token", ..] => analysis.behave(Credential, "cloud-token", object(), None),
        ["api", path, ..] if call.value(&["-X", "--method"]) == Some("DELETE") => {
            analysis.behave(Destruction, "cloud-delete", *path, Radius::Remote)
        }
        ["repo", "edit", ..]
            if call.holds(&["--visibility=public", "public"]) && call.holds(&["--visibility"]) =>
        {
            analysis.behave(Exfiltration, "git-remote", "repository made public", None);
        }
        ["ssh-key" | "deploy-key", "add", ..] | ["repo", "deploy-key", "add", ..] => {
            analysis.behave(Persistence, "cloud-account", object(), None)
        }
        ["config", ..] if call.name == "heroku" && !call.any(&["set", "unset"]) => {
            analysis.behave(Credential, "cloud-token", object(), None)
        }
        ["env", "pull", ..] if call.name == "vercel" => {
            analysis.behave(Credential, "cloud-token", object(), None)
        }
        _ => {}
    }
}

/// Stores of secrets that are opened by their own client.
fn vaults(analysis: &mut Analysis, call: &Invocation<'_>, _: &Scope<'_>) {
    let words: Vec<_> = call.operands().take(3).collect();
    let reads = match (call.name, words.as_slice()) {
        (
            "vault",
            ["kv", "get", ..] | ["read", ..] | ["token", "lookup" | "create", ..] | ["print", "token"],
        ) => true,
        ("op", ["read", ..] | ["item", "get", ..] | ["document", "get", ..] | ["get", ..]) => true,
        ("bw", ["get" | "list" | "export", ..]) => true,
        ("doppler", ["secrets", "get" | "download", ..] | ["secrets"]) => true,
        ("chamber", ["read" | "export" | "env", ..]) | ("infisical", ["export" | "secrets", ..]) => true,
        ("sops", _) => call.any(&["-d", "--decrypt", "decrypt"]),
        ("pass" | "gopass", ["show", ..]) => true,
        ("pass" | "gopass", [entry]) => entry.contains('/'),
        ("lpass", ["show" | "export", ..]) => true,
        _ => false,
    };
    if reads {
        analysis.behave(Credential, "vault", call.name, None);
    }
}
