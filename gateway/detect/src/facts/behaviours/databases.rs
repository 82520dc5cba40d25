//! Databases that are dropped or emptied.

use defenseclaw_model::facts::BehaviourKind::{Destruction, Execution};
use defenseclaw_model::facts::Radius;

use super::super::{Analysis, flows};
use super::{Invocation, Table};
use crate::shell::Scope;

pub(super) const TABLE: Table = &[
    (
        &[
            "psql",
            "mysql",
            "mariadb",
            "sqlite3",
            "mongosh",
            "mongo",
            "sqlcmd",
            "clickhouse-client",
            "cqlsh",
            "duckdb",
            "cockroach",
            "usql",
            "sqlite",
        ],
        client,
    ),
    (
        &[
            "dropdb",
            "mysqladmin",
            "redis-cli",
            "valkey-cli",
            "influx",
            "curl",
        ],
        tool,
    ),
    (
        &[
            "rails",
            "rake",
            "manage.py",
            "python",
            "prisma",
            "npx",
            "artisan",
            "php",
            "alembic",
            "flask",
            "sequelize",
            "knex",
            "mix",
            "bundle",
            "bin/rails",
        ],
        framework,
    ),
];

/// How far it reaches to drop what lies behind these words: a database on another host is not one of this project, one for
/// tests is built again.
fn reach(call: &Invocation<'_>, text: &str) -> Radius {
    let host = call.value(&["-h", "--host", "-S", "-H"]);
    let far = host.is_some_and(|host| !flows::is_near(host) && !host.starts_with('/'));
    let url = call.words().find(|word| word.contains("://"));
    let far_url = url.is_some_and(|url| {
        super::super::hosts::url_host(url).is_some_and(|host| {
            !flows::is_near(&host.host)
                && !matches!(
                    host.host.as_str(),
                    "db" | "postgres" | "mysql" | "redis" | "mongo"
                )
        })
    });
    let lower = text.to_ascii_lowercase();
    let test = [
        "test", "_dev", "tmp", "temp", "sandbox", "scratch", "example", "demo",
    ]
    .iter()
    .any(|part| lower.contains(part) || call.words().any(|word| word.to_ascii_lowercase().contains(part)));
    match (far || far_url, test) {
        (true, _) => Radius::Remote,
        (false, true) => Radius::Scratch,
        (false, false) => Radius::Project,
    }
}

fn client(analysis: &mut Analysis, call: &Invocation<'_>, _: &Scope<'_>) {
    let texts: Vec<&str> = call
        .words()
        .filter(|word| word.contains(' ') || word.contains('('))
        .chain(call.input())
        .collect();
    for text in texts {
        in_text(analysis, text, call.name, &|statement| reach(call, statement));
        // A client's own escape to the shell, and the server's.
        let upper = text.to_ascii_uppercase();
        if upper.contains("COPY") && upper.contains(" PROGRAM ")
            || upper.contains("XP_CMDSHELL")
            || upper.contains("SYS_EXEC(")
            || upper.contains("INTO OUTFILE") && text.contains(".php")
        {
            analysis.behave(Execution, "database-shell", call.name, None);
        }
    }
}

/// Looks at each statement of a text in a database's language.
fn in_text(analysis: &mut Analysis, text: &str, name: &str, reach: &dyn Fn(&str) -> Radius) {
    /// Most statements that are looked at.
    const MOST: usize = 64;
    for statement in text.split(';').take(MOST) {
        let words: Vec<String> = statement
            .split_whitespace()
            .take(12)
            .map(str::to_ascii_uppercase)
            .collect();
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let object = |at: usize| {
            words
                .get(at)
                .map_or(String::new(), |word| word.to_ascii_lowercase())
        };
        match words.as_slice() {
            [
                "DROP",
                "DATABASE" | "SCHEMA" | "TABLE" | "KEYSPACE" | "TABLESPACE" | "OWNED",
                ..,
            ]
            | ["TRUNCATE", ..] => {
                analysis.behave(
                    Destruction,
                    "drop-database",
                    object(if words.get(2) == Some(&"IF") {
                        4
                    } else {
                        words.len().min(3) - 1
                    }),
                    reach(statement),
                );
            }
            ["DELETE", "FROM", table, ..] if !has_condition(statement) => {
                analysis.behave(
                    Destruction,
                    "delete-rows",
                    table.to_ascii_lowercase(),
                    reach(statement),
                );
            }
            ["UPDATE", table, "SET", ..] if !has_condition(statement) => {
                analysis.behave(
                    Destruction,
                    "delete-rows",
                    table.to_ascii_lowercase(),
                    reach(statement),
                );
            }
            _ if statement.contains("dropDatabase(")
                || statement.contains(".drop()")
                || statement.contains("deleteMany({})")
                || statement.contains("deleteMany()") =>
            {
                analysis.behave(Destruction, "drop-database", name, reach(statement));
            }
            _ => {}
        }
    }
}

/// Statements that a tool is given which is not known: of which database cannot be told.
pub(in super::super) fn statements(analysis: &mut Analysis, text: &str) {
    in_text(analysis, text, "", &|_| Radius::Remote);
}

/// `WHERE` with a condition that does not hold for every row.
fn has_condition(statement: &str) -> bool {
    let upper = statement.to_ascii_uppercase();
    upper.split_once("WHERE").is_some_and(|(_, condition)| {
        let bare: String = condition.split_whitespace().collect();
        !matches!(
            bare.trim_end_matches(['"', '\'']),
            "1=1" | "TRUE" | "1" | "'1'='1'" | "'1'='1"
        )
    })
}

fn tool(analysis: &mut Analysis, call: &Invocation<'_>, _: &Scope<'_>) {
    let object = match call.name {
        "dropdb" => call
            .operands_after(&["-h", "-p", "-U", "-T", "--host", "--port", "--username"])
            .next(),
        "mysqladmin" if call.any(&["drop"]) => call.operands().last(),
        "redis-cli" | "valkey-cli" => call
            .words()
            .find(|word| matches!(word.to_ascii_uppercase().as_str(), "FLUSHALL" | "FLUSHDB")),
        "influx" if call.holds(&["DROP DATABASE", "drop database"]) => Some("influx"),
        // A search index is deleted by its address.
        "curl" if call.value(&["-X", "--request"]) == Some("DELETE") && call.holds(&[":9200/"]) => {
            call.words().find(|word| word.contains(":9200/"))
        }
        _ => None,
    };
    if let Some(object) = object {
        analysis.behave(Destruction, "drop-database", object, reach(call, object));
    }
}

fn framework(analysis: &mut Analysis, call: &Invocation<'_>, _: &Scope<'_>) {
    let words: Vec<_> = call.operands().take(4).collect();
    let drops = words.iter().any(|word| {
        matches!(
            *word,
            "db:drop"
                | "db:reset"
                | "db:purge"
                | "migrate:fresh"
                | "migrate:reset"
                | "db:wipe"
                | "ecto.drop"
                | "ecto.reset"
        )
    }) || matches!(
        words.as_slice(),
        ["prisma", "migrate", "reset", ..] | ["migrate", "reset", ..] | ["downgrade", "base", ..]
    ) || words
        .iter()
        .zip(words.iter().skip(1))
        .any(|(a, b)| a.ends_with("manage.py") && matches!(*b, "flush" | "reset_db"));
    if drops {
        let production = call.holds(&["prod"])
            || call
                .call
                .command
                .assignments
                .iter()
                .any(|assignment| assignment.values.iter().any(|value| value.text.contains("prod")));
        analysis.behave(
            Destruction,
            "drop-database",
            call.name,
            if production {
                Radius::Remote
            } else {
                Radius::Project
            },
        );
    }
}
