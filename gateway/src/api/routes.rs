//! Every path: the one table that the router and the OpenAPI document are made from.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{Method, Uri};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::Response;
use axum::routing::{MethodRouter, delete, get, post};
use axum::{Extension, Router};
use defenseclaw_inspect::{Inspected, Item};
use defenseclaw_model::api::{
    Approval, ApprovalAnswer, BundleAnswer, BundleRollback, SandboxAnswer, SandboxAsk, SandboxAsked, Status,
};
use defenseclaw_model::gate::{ListEntry, ListVerb, QuarantineEntry, Release};
use defenseclaw_model::pins::{Pin, PinApproval, PinCheck, Pins};
use defenseclaw_model::record::Record;
use defenseclaw_model::sandbox::{RoomAnswer, RoomQuestion, SandboxEntered, SandboxNoted};
use schemars::{JsonSchema, Schema, SchemaGenerator};

use super::{
    Api, Caller, Problem, bundle, events, gate, hooks, people, pins, questions, records, rules, sandbox,
    state,
};
use crate::approvals::Grant;

/// Who may ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Needs {
    /// Anyone on the socket, or the token.
    Nothing,
    /// An operator's user, or the token.
    Reader,
    /// A process of an operator that belongs to no agent's session; never over TCP.
    Operator,
}

/// What is sent or received.
#[derive(Debug, Clone, Copy)]
pub enum Content {
    /// Nothing.
    None,
    /// JSON of that schema.
    Json(fn(&mut SchemaGenerator) -> Schema),
    /// Something else, of that type.
    Other(&'static str),
}

/// One path with one method.
pub struct Route {
    /// The method.
    pub method: Method,
    /// The path, with its parameters in braces.
    pub path: &'static str,
    /// Stable name.
    pub name: &'static str,
    /// What it is for, in one sentence.
    pub summary: &'static str,
    /// Who may ask.
    pub needs: Needs,
    /// Schema of the query's parameters, whose properties are the parameters.
    pub query: Option<fn(&mut SchemaGenerator) -> Schema>,
    /// The request's body.
    pub body: Content,
    /// The answer.
    pub answer: Content,
    handler: fn() -> MethodRouter<Arc<Api>>,
}

fn json<T: JsonSchema>() -> Content {
    Content::Json(|generator| generator.subschema_for::<T>())
}

/// All of them, in the order in which they are documented.
pub fn routes() -> Vec<Route> {
    let mut routes = about_the_gateway();
    routes.extend(about_records());
    routes.extend(about_people());
    routes.extend(about_pins());
    routes.extend(about_rules());
    routes.extend(about_artifacts());
    routes
}

/// A route without query and body that anyone may ask.
fn plain(
    path: &'static str,
    name: &'static str,
    summary: &'static str,
    answer: Content,
    handler: fn() -> MethodRouter<Arc<Api>>,
) -> Route {
    Route {
        method: Method::GET,
        path,
        name,
        summary,
        needs: Needs::Nothing,
        query: None,
        body: Content::None,
        answer,
        handler,
    }
}

fn about_the_gateway() -> Vec<Route> {
    vec![
        Route {
            method: Method::POST,
            body: Content::Other("application/json"),
            ..plain(
                "/v1/hooks/{connector}",
                "hook",
                "A harness's hook payload in; its native reply out, with the exit status for the hook client in \
                 x-defenseclaw-exit",
                Content::Other("application/json"),
                || post(hooks::hook),
            )
        },
        Route {
            method: Method::POST,
            body: json::<RoomQuestion>(),
            ..plain(
                "/v1/sandbox",
                "sandbox",
                "In which sandbox a shell line of the caller's harness runs; asked by defenseclaw-shell",
                json::<RoomAnswer>(),
                || post(sandbox::room),
            )
        },
        Route {
            method: Method::POST,
            body: json::<SandboxEntered>(),
            ..plain(
                "/v1/sandbox/entered",
                "sandbox_entered",
                "What is in force around a command that has entered a sandbox; told by its launcher",
                json::<SandboxNoted>(),
                || post(sandbox::entered),
            )
        },
        plain(
            "/v1/health",
            "health",
            "Whether decisions can be made and recorded; 503 if not",
            json::<state::Health>(),
            || get(state::health),
        ),
        plain(
            "/v1/status",
            "status",
            "Mode, policy, ledger, agent, sessions, counters",
            json::<Status>(),
            || get(state::state),
        ),
        plain(
            "/v1/metrics",
            "metrics",
            "Counters for Prometheus",
            Content::Other("text/plain"),
            || get(state::metrics),
        ),
        plain(
            "/v1/peer",
            "peer",
            "Who the caller is, and whether an agent's session owns it",
            json::<state::Peer>(),
            || get(state::peer),
        ),
        plain(
            "/v1/openapi.json",
            "openapi",
            "This document",
            Content::Other("application/json"),
            || get(state::document),
        ),
    ]
}

fn about_records() -> Vec<Route> {
    vec![
        Route {
            needs: Needs::Reader,
            query: Some(|generator| generator.subschema_for::<records::DecisionsQuery>()),
            ..plain(
                "/v1/decisions",
                "decisions",
                "The newest decisions on tool calls that match, the oldest of them first",
                json::<records::Decisions>(),
                || get(records::decisions),
            )
        },
        Route {
            needs: Needs::Reader,
            ..plain(
                "/v1/records/{seq}",
                "record",
                "One record of the ledger",
                json::<Record>(),
                || get(records::record),
            )
        },
        Route {
            needs: Needs::Reader,
            ..plain(
                "/v1/events",
                "events",
                "Every new record as a server-sent event; with Last-Event-ID, everything after that record. A client that is \
                 too slow gets the event `dropped` and is cut off",
                Content::Other("text/event-stream"),
                || get(events::events),
            )
        },
    ]
}

fn about_people() -> Vec<Route> {
    vec![
        plain(
            "/v1/approvals",
            "approvals",
            "The calls that wait for a person. Users who are no operators see those of their own sessions",
            json::<people::Waiting>(),
            || get(people::list),
        ),
        plain(
            "/v1/approvals/{id}",
            "approval",
            "One call that waits",
            json::<Approval>(),
            || get(people::one),
        ),
        Route {
            method: Method::POST,
            needs: Needs::Operator,
            body: json::<ApprovalAnswer>(),
            ..plain(
                "/v1/approvals/{id}",
                "answer",
                "Approve a call that waits, or refuse it",
                json::<Approval>(),
                || post(people::answer),
            )
        },
        Route {
            needs: Needs::Reader,
            ..plain(
                "/v1/grants",
                "grants",
                "The approvals that hold for more than one call",
                json::<people::Held>(),
                || get(people::grants),
            )
        },
        Route {
            method: Method::DELETE,
            needs: Needs::Operator,
            ..plain(
                "/v1/grants/{id}",
                "revoke",
                "Take back an approval",
                json::<Grant>(),
                || delete(people::revoke),
            )
        },
        Route {
            method: Method::POST,
            body: json::<SandboxAsk>(),
            ..plain(
                "/v1/sandbox/questions",
                "ask_person",
                "Put an action outside a sandbox's profile before a person",
                json::<SandboxAsked>(),
                || post(questions::ask),
            )
        },
        plain(
            "/v1/sandbox/questions/{id}",
            "question",
            "What became of a sandbox's question; an answer is given once",
            json::<SandboxAnswer>(),
            || get(questions::fetch),
        ),
    ]
}

fn about_pins() -> Vec<Route> {
    vec![
        plain(
            "/v1/pins",
            "pins",
            "The pins of MCP servers. Users who are no operators see their own",
            json::<Pins>(),
            || get(pins::list),
        ),
        plain(
            "/v1/pins/{id}",
            "pin",
            "One pin, with what is different",
            json::<Pin>(),
            || get(pins::one),
        ),
        Route {
            method: Method::POST,
            body: json::<PinCheck>(),
            ..plain(
                "/v1/pins/check",
                "check_pins",
                "Compare what was seen of the caller's own servers with their pins; what changed is held from then on",
                json::<Pins>(),
                || post(pins::check),
            )
        },
        Route {
            method: Method::POST,
            needs: Needs::Operator,
            body: json::<PinApproval>(),
            ..plain(
                "/v1/pins/approve",
                "approve_pin",
                "Pin what was seen of a server last, if it is what was looked at",
                json::<Pin>(),
                || post(pins::approve),
            )
        },
        Route {
            method: Method::DELETE,
            needs: Needs::Operator,
            ..plain(
                "/v1/pins/{id}",
                "forget_pin",
                "Forget a pin: when its server is seen again, it is new",
                json::<Pin>(),
                || delete(pins::forget),
            )
        },
    ]
}

fn about_rules() -> Vec<Route> {
    vec![
        Route {
            method: Method::POST,
            body: json::<Item>(),
            ..plain(
                "/v1/inspect",
                "inspect",
                "What the rules say of a tool call or a text; nothing is recorded",
                json::<Inspected>(),
                || post(rules::inspect),
            )
        },
        Route {
            method: Method::POST,
            needs: Needs::Operator,
            ..plain(
                "/v1/policy/reload",
                "reload",
                "Read the rules again; if they are refused, those before stay in force",
                json::<rules::Reloaded>(),
                || post(rules::reload),
            )
        },
        Route {
            method: Method::POST,
            needs: Needs::Operator,
            ..plain(
                "/v1/policy/bundle/pull",
                "pull_bundle",
                "Look for a signed policy bundle now, and put it in force if it is in order",
                json::<BundleAnswer>(),
                || post(bundle::pull),
            )
        },
        Route {
            method: Method::POST,
            needs: Needs::Operator,
            body: json::<BundleRollback>(),
            ..plain(
                "/v1/policy/bundle/rollback",
                "roll_back_bundle",
                "Go back to the bundle before; the one that is left is not taken again",
                json::<BundleAnswer>(),
                || post(bundle::roll_back),
            )
        },
    ]
}

fn about_artifacts() -> Vec<Route> {
    let verb = |path, name, summary, body, handler| Route {
        method: Method::POST,
        needs: Needs::Operator,
        body,
        ..plain(path, name, summary, json::<QuarantineEntry>(), handler)
    };
    vec![
        Route {
            needs: Needs::Reader,
            ..plain(
                "/v1/artifacts",
                "artifacts",
                "The last answer of the install gate about each path",
                json::<gate::Artifacts>(),
                || get(gate::artifacts),
            )
        },
        Route {
            needs: Needs::Reader,
            ..plain(
                "/v1/quarantine",
                "quarantine",
                "What lies in quarantine; asked of the agent, which holds it",
                json::<gate::Held>(),
                || get(gate::held),
            )
        },
        verb(
            "/v1/quarantine/{id}/restore",
            "restore",
            "Put it back where it was; it is scanned again when it is opened",
            Content::None,
            || post(gate::restore),
        ),
        verb(
            "/v1/quarantine/{id}/release",
            "release",
            "Allow exactly this content for a time, and put it back",
            json::<Release>(),
            || post(gate::release),
        ),
        verb(
            "/v1/quarantine/{id}/delete",
            "delete_quarantined",
            "Delete it for good",
            Content::None,
            || post(gate::delete),
        ),
        Route {
            needs: Needs::Reader,
            ..plain(
                "/v1/artifact-lists",
                "artifact_lists",
                "What operators allow and block at run time, beside lists.yaml",
                json::<gate::Listed>(),
                || get(gate::lists),
            )
        },
        Route {
            method: Method::POST,
            needs: Needs::Operator,
            body: json::<ListVerb>(),
            ..plain(
                "/v1/artifact-lists",
                "change_artifact_lists",
                "Allow or block an artifact, or take that back",
                json::<ListEntry>(),
                || post(gate::change),
            )
        },
    ]
}

/// The router over all of them.
pub fn router(api: &Arc<Api>) -> Router {
    let mut router = Router::new();
    for route in routes() {
        let handler = (route.handler)();
        let handler = match route.needs {
            Needs::Reader => handler.layer(from_fn_with_state(Arc::clone(api), reader)),
            // An operator's verb asks for itself: whose session it is about may matter.
            Needs::Nothing | Needs::Operator => handler,
        };
        router = router.route(route.path, handler);
    }
    router
        .fallback(nothing_here)
        .method_not_allowed_fallback(other_method)
        .with_state(Arc::clone(api))
}

async fn reader(
    State(api): State<Arc<Api>>,
    Extension(caller): Extension<Caller>,
    request: Request,
    next: Next,
) -> Result<Response, Problem> {
    api.access.reader(&caller)?;
    Ok(next.run(request).await)
}

async fn nothing_here() -> Problem {
    let mut known: Vec<_> = routes().iter().map(|route| route.path).collect();
    known.dedup();
    Problem::missing("there is nothing at this path; /v1/openapi.json tells what there is").known(known)
}

async fn other_method(method: Method, uri: Uri) -> Problem {
    let path: String = uri.path().chars().take(128).collect();
    Problem::new(
        axum::http::StatusCode::METHOD_NOT_ALLOWED,
        format!("{path} does not take {method}; the Allow header tells what it takes"),
    )
}
