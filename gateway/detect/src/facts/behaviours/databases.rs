//! Databases that are dropped or emptied.

use defenseclaw_model::facts::BehaviourKind::{Destruction, Evasion, Execution, Exfiltration, Privilege};
use defenseclaw_model::facts::Radius;

use super::super::{Analysis, deeds, flows};
use super::{Invocation, Table, stored};
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
            "clickhouse-local",
            "clickhouse",
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
        if reaches_shell(text) {
            analysis.behave(Execution, "database-shell", call.name, None);
        }
        stored::secrets(analysis, text, reach(call, text));
        if let Some(host) = sent_to(text) {
            analysis.behave(Exfiltration, "database-export", host, None);
        }
    }
}

/// The far host to which a statement has the database send rows by itself: DuckDB's `COPY … TO 'https://…'`, ClickHouse's
/// `INSERT INTO FUNCTION url('https://…')`, `INTO OUTFILE 'https://…'`.
fn sent_to(text: &str) -> Option<String> {
    const MOST: usize = 64;
    text.split(';').take(MOST).find_map(|statement| {
        let upper = statement.to_ascii_uppercase();
        let first = upper.split_whitespace().next().unwrap_or_default();
        let at = match first {
            "COPY" | "EXPORT" => upper.rfind(" TO ")?,
            "INSERT" => upper.find("FUNCTION")?,
            "SELECT" => upper.find("INTO OUTFILE")?,
            _ => return None,
        };
        let target = upper.get(at..)?;
        let target = &target[..target.floor_char_boundary(200)];
        let host = super::super::hosts::hosts_in(target).into_iter().next()?.host;
        let web = target.contains("'HTTP://") || target.contains("'HTTPS://");
        (web && !flows::is_near(&host)).then_some(host)
    })
}

/// A client's own escape to the shell, and the server's.
fn reaches_shell(text: &str) -> bool {
    let upper = text.to_ascii_uppercase();
    upper.contains("COPY") && upper.contains(" PROGRAM ")
        || upper.contains("XP_CMDSHELL")
        || upper.contains("SYS_EXEC(")
        || upper.contains("INTO OUTFILE") && text.contains(".php")
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
            ["DELETE", "FROM", table, ..] if names_log(table) => {
                analysis.behave(
                    Evasion,
                    "database-guard-off",
                    table.to_ascii_lowercase(),
                    reach(statement),
                );
            }
            ["GRANT", ..] | ["CREATE" | "ALTER", "ROLE" | "USER", ..] | ["UPDATE", _, "SET", ..]
                if raises(statement) =>
            {
                analysis.behave(
                    Privilege,
                    "database-grant",
                    object(words.len().min(3) - 1),
                    reach(statement),
                );
            }
            ["DROP", "POLICY" | "TRIGGER" | "AUDIT", ..]
            | ["ALTER", "SYSTEM", "SET", ..]
            | ["ALTER", "TABLE", _, "DISABLE", ..]
            | ["ALTER", "TABLE", _, _, _, "DISABLE", ..]
            | ["SET", "GLOBAL", ..]
                if holds_back(&words) =>
            {
                analysis.behave(
                    Evasion,
                    "database-guard-off",
                    object(words.len().min(3) - 1),
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

/// Statements that a tool is given which is not known. `reach` is how far its other arguments say that it reaches.
pub(in super::super) fn statements(analysis: &mut Analysis, text: &str, reach: Radius) {
    in_text(analysis, text, "", &|statement| {
        if reach == Radius::Remote && is_of_tests(statement) {
            Radius::Scratch
        } else {
            reach
        }
    });
    if reaches_shell(text) {
        analysis.behave(Execution, "database-shell", "", None);
    }
    stored::secrets(analysis, text, reach);
    stored::exports(analysis, text, reach);
    // Statements that a loop over the catalogue puts together, one for each table.
    let upper = text.to_ascii_uppercase();
    let catalogue = upper.contains("PG_TABLES") || upper.contains("INFORMATION_SCHEMA");
    let loops = catalogue && upper.contains("LOOP") && upper.contains("EXECUTE");
    if loops
        && ["DROP", "TRUNCATE", "DELETE FROM", "'||'"]
            .iter()
            .any(|word| upper.contains(word))
    {
        analysis.behave(Destruction, "drop-database", "every table", reach);
    }
}

/// Whether each table that a statement names has a name that says that it is there to try things in.
fn is_of_tests(statement: &str) -> bool {
    const BEFORE: &[&str] = &[
        "DROP", "TRUNCATE", "DELETE", "UPDATE", "TABLE", "FROM", "IF", "EXISTS", "ONLY", "SCHEMA", "DATABASE",
    ];
    const BEHIND: &[&str] = &[
        "SET", "WHERE", "RESTART", "CASCADE", "RESTRICT", "CONTINUE", "USING",
    ];
    let words = statement.split(|c: char| c.is_whitespace() || c == ',');
    let mut tables = words
        .filter(|word| !word.is_empty() && !BEFORE.contains(&word.to_ascii_uppercase().as_str()))
        .take_while(|word| !BEHIND.contains(&word.to_ascii_uppercase().as_str()))
        .peekable();
    tables.peek().is_some() && tables.all(deeds::is_scratch)
}

/// Whether a table's name says that it keeps what was done.
fn names_log(table: &str) -> bool {
    ["AUDIT", "ACCESS_LOG", "SECURITY_LOG", "EVENT_LOG", "LOGIN_LOG"]
        .iter()
        .any(|part| table.contains(part))
}

/// Whether a statement makes somebody a ruler over the database, or over the application by its own table of users.
fn raises(statement: &str) -> bool {
    let text: String = statement
        .chars()
        .filter(|c| !matches!(c, '"' | '\'' | '`'))
        .map(|c| c.to_ascii_uppercase())
        .collect();
    let words: Vec<&str> = text
        .split(|c: char| !c.is_ascii_alphanumeric() && c != '_' && c != '*' && c != '.')
        .filter(|word| !word.is_empty())
        .collect();
    match words.first() {
        Some(&"UPDATE") => words.windows(2).any(|pair| {
            matches!(
                pair,
                [
                    "ROLE" | "ROLES" | "USER_ROLE" | "ACCESS_LEVEL",
                    "ADMIN" | "OWNER" | "SUPERUSER" | "SUPERADMIN" | "SUPER_ADMIN" | "ROOT"
                ] | [
                    "IS_ADMIN" | "IS_SUPERUSER" | "IS_STAFF" | "ADMIN" | "SUPERUSER",
                    "TRUE" | "1" | "T"
                ]
            )
        }),
        Some(&"GRANT") => {
            words.starts_with(&["GRANT", "ALL"])
                || words.windows(2).any(|pair| pair == ["GRANT", "OPTION"])
                || words.iter().any(|word| {
                    matches!(
                        *word,
                        "*.*"
                            | "SUPERUSER"
                            | "RDS_SUPERUSER"
                            | "CLOUDSQLSUPERUSER"
                            | "SUPER"
                            | "PG_EXECUTE_SERVER_PROGRAM"
                            | "PG_READ_SERVER_FILES"
                            | "PG_WRITE_SERVER_FILES"
                            | "ACCOUNTADMIN"
                            | "SYSADMIN"
                            | "DBA"
                    )
                })
        }
        _ => words
            .iter()
            .any(|word| matches!(*word, "SUPERUSER" | "BYPASSRLS" | "CREATEROLE")),
    }
}

/// Whether what such a statement changes is what records or holds back.
fn holds_back(words: &[&str]) -> bool {
    const GUARDS: &[&str] = &[
        "POLICY",
        "AUDIT",
        "LOG_STATEMENT",
        "LOGGING_COLLECTOR",
        "GENERAL_LOG",
        "SLOW_QUERY_LOG",
        "ROW",
        "LOG_CONNECTIONS",
        "SSL",
        "PGAUDIT",
    ];
    words.iter().any(|word| {
        GUARDS
            .iter()
            .any(|guard| word.starts_with(guard) || names_log(word))
    })
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
