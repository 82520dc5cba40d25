//! Secrets under names that a bundler puts into what every visitor gets.

use defenseclaw_model::facts::BehaviourKind::Credential;

use super::Analysis;
use super::handed::identifiers;
use super::published::{MAX_BACK, head};

/// Begins of names that bundlers put into what the browser gets.
const PUBLIC: &[&str] = &[
    "NEXT_PUBLIC_",
    "VITE_",
    "REACT_APP_",
    "EXPO_PUBLIC_",
    "NUXT_PUBLIC_",
    "PUBLIC_",
    "GATSBY_",
    "VUE_APP_",
    "NG_APP_",
    "STORYBOOK_",
    "PLASMO_PUBLIC_",
    "TARO_APP_",
];

/// Notes the secret that `text`, written to `path`, publishes.
pub(super) fn note(analysis: &mut Analysis, path: &str, text: &str) {
    if let Some(name) = renamed(path, text) {
        analysis.behave(Credential, "secret-made-public", name, None);
    }
}

/// Notes what a line that is put into the file at `path` makes public: it may be only a name, before a value that is there.
pub(super) fn put_in(analysis: &mut Analysis, path: &str, text: &str) {
    note(analysis, path, text);
    let name = identifiers(text)
        .map(|(_, name)| name)
        .find(|name| is_secret(name) && PUBLIC.iter().any(|begin| name.starts_with(begin)));
    if let Some(name) = name {
        analysis.behave(Credential, "secret-made-public", name, None);
    }
}

/// A name that bundlers publish, and that a secret is given to.
fn renamed<'t>(path: &str, text: &'t str) -> Option<&'t str> {
    let mut at = 0;
    for line in text.split('\n') {
        let begin = at;
        at += line.len() + 1;
        let trimmed = line.trim_start();
        if trimmed.starts_with(['#', '*']) || trimmed.starts_with("//") {
            continue;
        }
        // A page that reads a secret by a public name, or is given one by its own.
        let page = line.contains("EnvironmentPlugin(") || line.trim_start().starts_with("window.");
        let given = identifiers(line).find(|(place, name)| {
            let public = PUBLIC.iter().any(|begin| name.starts_with(begin));
            is_secret(name) && (public && line[..*place].ends_with("env.") || page)
        });
        if let Some((_, name)) = given {
            return Some(name);
        }
        let public = identifiers(line).find(|(_, name)| PUBLIC.iter().any(|begin| name.starts_with(begin)));
        if let Some((place, name)) = public {
            let rest = line[place + name.len()..].trim_start_matches(['"', '\'', ']', ')', '`', ' ', ',']);
            let value = rest
                .strip_prefix([':', '='])
                .map(|rest| rest.trim_start_matches(['=', '>', '?']).trim())
                .filter(|value| !value.is_empty());
            let Some(value) = value else { continue };
            let secret = identifiers(value).any(|(_, given)| is_secret(given));
            // A value that only says what kind of secret it is: a number, a switch, an address of a page.
            let plain = value.trim_matches(['"', '\'', ',', ';', ' ']);
            let own = is_secret(name)
                && plain.len() >= 8
                && !plain.starts_with(['/', '<'])
                && !plain.contains("...");
            if secret || own {
                return Some(name);
            }
        } else if line.contains("process.env.") && (path.contains(".config.") || path.contains("webpack")) {
            let given = identifiers(line)
                .find(|(place, name)| line[..*place].ends_with("process.env.") && is_secret(name));
            if let Some((place, name)) = given
                && shipped_around(path, text, begin + place)
            {
                return Some(name);
            }
        }
    }
    None
}

/// Whether an object around `at` is put into what the browser gets.
fn shipped_around(path: &str, text: &str, at: usize) -> bool {
    let from = text.ceil_char_boundary(at.saturating_sub(MAX_BACK));
    let window = &text[from..at];
    let mut depth = 0_usize;
    for (place, byte) in window.bytes().enumerate().rev() {
        match byte {
            b')' | b']' | b'}' => depth += 1,
            b'(' | b'[' | b'{' if depth > 0 => depth -= 1,
            b'{' if is_shipped(path, window[..place].trim_end()) => return true,
            b'(' if matches!(head(&window[..place]), "DefinePlugin" | "webpack.DefinePlugin") => return true,
            _ => {}
        }
    }
    false
}

/// Whether a variable's name says that nobody else may see what it holds; many keys are made to be seen.
fn is_secret(name: &str) -> bool {
    const SECRET: &[&str] = &[
        "SECRET",
        "PRIVATE_KEY",
        "PASSWORD",
        "PASSWD",
        "SERVICE_ROLE",
        "DATABASE_URL",
        "DATABASE_URI",
        "DB_URL",
        "DB_PASS",
        "MONGO_URI",
        "MONGODB_URI",
        "MONGO_URL",
        "POSTGRES_URL",
        "REDIS_URL",
        "ENCRYPTION_KEY",
        "SIGNING_KEY",
        "MASTER_KEY",
        "ADMIN_KEY",
        "ADMIN_TOKEN",
        "REFRESH_TOKEN",
        "BOT_TOKEN",
        "GITHUB_TOKEN",
        "GH_TOKEN",
        "NPM_TOKEN",
        "VAULT_TOKEN",
        "OPENAI_API_KEY",
        "ANTHROPIC_API_KEY",
        "SENDGRID_API_KEY",
        "STRIPE_KEY_LIVE",
        "SMTP_PASS",
        "CONNECTION_STRING",
    ];
    const SHOWN: &[&str] = &[
        "PUBLISHABLE",
        "ANON",
        "SITE_KEY",
        "_ID",
        "ENABLED",
        "LENGTH",
        "_MIN",
        "_MAX",
        "RESET",
        "POLICY",
        "HINT",
        "LABEL",
        "ROUTE",
        "_PATH",
        "_PAGE",
        "FORGOT",
        "REQUIRE",
        "_TTL",
        "_NAME",
        "_FILE",
        "EXPIR",
    ];
    SECRET.iter().any(|part| name.contains(part)) && !SHOWN.iter().any(|part| name.contains(part))
}

/// Whether an object that is opened behind `before` is put into what the browser gets.
pub(super) fn is_shipped(path: &str, before: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or_default();
    let key = before.trim_end_matches([' ', ':', '=']);
    let key = key
        .rsplit(|c: char| !c.is_alphanumeric() && c != '_')
        .next()
        .unwrap_or_default();
    if name.starts_with("next.config") {
        return matches!(key, "env" | "publicRuntimeConfig");
    }
    let bundler = [
        "vite.config",
        "webpack.",
        "rspack.config",
        "rsbuild.config",
        "esbuild",
        "rollup.config",
    ];
    if bundler.iter().any(|bundler| name.starts_with(bundler)) {
        return matches!(key, "define" | "DefinePlugin");
    }
    name.starts_with("app.config") && key == "extra" || name.starts_with("nuxt.config") && key == "public"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_that_get_a_public_name() {
        for (path, text, public) in [
            (
                "next.config.js",
                "env: {\n NEXT_PUBLIC_PAY_KEY: process.env.STRIPE_SECRET_KEY,\n}",
                true,
            ),
            (
                "next.config.js",
                "env: {\n STRIPE_SECRET_KEY: process.env.STRIPE_SECRET_KEY,\n}",
                true,
            ),
            (".env", "VITE_DB=$DATABASE_URL", true),
            ("a.ts", "new Stripe(import.meta.env.VITE_STRIPE_SECRET_KEY)", true),
            ("w.js", "new webpack.EnvironmentPlugin(['DATABASE_URL'])", true),
            ("w.js", "new webpack.EnvironmentPlugin(['NODE_ENV'])", false),
            (
                "a.ts",
                "const k = import.meta.env.VITE_STRIPE_PUBLISHABLE_KEY",
                false,
            ),
            (".env", "EXPO_PUBLIC_DB_PASSWORD=hunter2hunter2", true),
            ("ci.yml", "  REACT_APP_KEY: ${{ secrets.JWT_SECRET }}", true),
            (
                "vite.config.ts",
                "define: {\n __K__: JSON.stringify(process.env.API_SECRET),\n}",
                true,
            ),
            (
                "Dockerfile",
                "ENV NUXT_PUBLIC_X=${SUPABASE_SERVICE_ROLE_KEY}",
                true,
            ),
            (
                ".env",
                "NEXT_PUBLIC_STRIPE_PUBLISHABLE_KEY=$STRIPE_PUBLISHABLE_KEY",
                false,
            ),
            (".env", "NEXT_PUBLIC_SUPABASE_ANON_KEY=$SUPABASE_ANON_KEY", false),
            ("ci.yml", "  VITE_SENTRY_DSN: ${{ secrets.SENTRY_DSN }}", false),
            ("ci.yml", "  VITE_MAPS: ${{ secrets.GOOGLE_MAPS_API_KEY }}", false),
            (
                "a.ts",
                "const url = process.env.NEXT_PUBLIC_API_URL ?? process.env.DATABASE_URL;",
                false,
            ),
            (".env", "VITE_PASSWORD_MIN_LENGTH=12", false),
            (
                "next.config.js",
                "serverRuntimeConfig: {\n S: process.env.APP_SECRET,\n}",
                false,
            ),
            (".env.example", "# VITE_DB=$DATABASE_URL", false),
        ] {
            assert_eq!(renamed(path, text).is_some(), public, "{text}");
        }
    }
}
