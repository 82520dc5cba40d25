//! The credentials that one line holds.

use std::ops::Range;
use std::sync::LazyLock;

use regex::Regex;

use super::names::{Named, named};
use super::values::{NO_VALUE, compiled, looks_real, strong};

/// Longest text between a value and what names it (bytes).
const MAX_BETWEEN: usize = 160;

/// Most literals of a line that are looked at.
const MAX_LITERALS: usize = 64;

static URL: LazyLock<Regex> = LazyLock::new(|| {
    compiled(
        r#"[a-z][a-z0-9+.]{1,20}://[^\s/@:"'<>`]{0,64}:(?P<v>[^\s/@"'<>`]{6,128})@(?P<h>[A-Za-z0-9.-]+)"#,
    )
});

/// Values that what stands around them names.
static AROUND: LazyLock<[Regex; 5]> = LazyLock::new(|| {
    [
        // A header.
        r#"(?i)authorization["']?\s*[:=,]\s*["']?(?:basic|bearer|token)\s+(?P<v>[A-Za-z0-9+/=_.-]{12,300})"#,
        // A login of a command.
        r#"(?:curl|http|wget|smbclient|lftp)\b[^\n]{0,80}?(?:-u|--user)[ =]?["']?[A-Za-z0-9_.-]{2,40}:(?P<v>[^\s"'$]{6,60})"#,
        // A password on a standard input.
        r#"(?:echo|printf)\s+(?:-n\s+|%s\s+)?["'](?P<v>[^"'$\n]{8,100})["']\s*\|\s*(?:sudo -S|docker login|podman login|[a-z]+ login|gpg |cryptsetup|passwd|chpasswd)"#,
        // A parameter of an address.
        r"(?i)[?&](?:api_?key|key|token|access_token|auth|secret|sig|signature|password|pw)=(?P<v>[A-Za-z0-9_.~+/-]{16,120})",
        // A data source without a scheme.
        r#"["'][A-Za-z0-9_.-]{1,40}:(?P<v>[^\s:@"'/]{8,60})@(?:tcp|unix|[A-Za-z0-9_-]+\.[A-Za-z0-9_.-]+)[(/:"']"#,
    ]
    .map(compiled)
});

/// A setting by itself on a line.
static BARE: LazyLock<Regex> = LazyLock::new(|| {
    compiled(concat!(
        r#"^\s*(?:export\s+|ENV\s+|ARG\s+|-\s+|set\s+|//\s*|#\s*|\+)?["']?(?P<n>[A-Za-z_\x{80}-\x{10FFFF}][A-Za-z0-9_.\x{80}-\x{10FFFF}-]{0,60})["']?\s*[=:]\s*"#,
        r##"(?P<v>[^\s"'`,;]{8,200})\s*(?:#.*|//.*|\\)?$"##,
    ))
});

/// A value in a sentence.
static TOLD: LazyLock<Regex> = LazyLock::new(|| {
    compiled(concat!(
        r"(?i)(?:password|passwort|kennwort|contraseña|clave|senha|mot de passe|pass ?phrase|passcode|\bpw|\blogin|пароль|密码|密碼|",
        r"パスワード|wachtwoord|parola|\bsecret|api key|access key|\btoken|\bpin)\b",
        r#"[^.\n"`']{0,40}?(?:\s(?:is|are|ist|lautet|es|est|был)\s|[:=：]\s?|\s)(?P<q>[`"'„「]?)(?P<v>[^\s`"',;“」()]{8,64})"#,
    ))
});

/// What in a sentence looks so, and is a name of something.
static NO_TOLD: LazyLock<Regex> = LazyLock::new(|| {
    compiled(
        r"(?i)\.(?:md|py|js|json|ya?ml|sh|env|ts|txt|com|org|io|dev|net)$|[_.][a-z0-9]+$|sha|aes|1password|chacha|metadata|^[a-z]+[0-9]*-?[a-z0-9]*$|^x-",
    )
});

/// A value between a digit and a digit, or a letter and a letter, of the other kind.
static MIXED: LazyLock<Regex> = LazyLock::new(|| compiled(r"[0-9].*[a-z].*[0-9]|[a-z].*[0-9].*[a-z]"));

/// A line that speaks of logging in, and what is set off in it.
static LOGIN: LazyLock<Regex> = LazyLock::new(|| {
    compiled(
        r"(?i)log ?in|log on|sign in|logon|password|passwort|kennwort|contraseña|senha|clave|user|account|admin|root|credential|\bpw\b|anmeld|melde|einlogg|unseal",
    )
});
static SET_OFF: LazyLock<Regex> = LazyLock::new(|| compiled(r#"[`"„](?P<v>[^\s`"“$]{10,48})[`"“]"#));
static NO_SET_OFF: LazyLock<Regex> =
    LazyLock::new(|| compiled(r"^[A-Za-z]+[-_][A-Za-z0-9]+$|\.[a-z]{1,5}$|=|^[A-Z][a-z]+@|SHA|AES|^@|://"));

/// Calls that take a login's two halves.
static LOGIN_CALL: LazyLock<Regex> = LazyLock::new(|| {
    compiled(
        r"(?i)PasswordAuthentication|Basic_?Auth|\bauth\s*=\s*\(|NetworkCredential|UsernamePassword|\.login\(|DigestAuth|authenticate\(",
    )
});

/// What stands before a value that takes the place of one that is not set.
static INSTEAD: LazyLock<Regex> = LazyLock::new(|| {
    compiled(r"\|\||\?\?|\?:|\bor\b|unwrap_or|:-|presence|default|fallback|orElse|OrDefault")
});
/// What gives a value.
static GIVES: LazyLock<Regex> = LazyLock::new(|| compiled(r":=|=>|=|:|,|\?\?|\|\||\bor\b|unwrap_or|\($"));
/// What compares a value, or looks one up by it.
static ASKS: LazyLock<Regex> = LazyLock::new(|| {
    compiled(
        r"[=!]=\s*$|\.(?:get|get_?env|header|find|includes?|startsWith|replace|test|match|readPassword|digest)\($|\bin\s*$",
    )
});
/// Nothing but what stands between a name in quotes and its value.
static BETWEEN: LazyLock<Regex> =
    LazyLock::new(|| compiled(r"^[\])}]?\s*(?:=>|:|=)\s*[A-Za-z0-9_.]*\(?\s*$"));
static NAME: LazyLock<Regex> =
    LazyLock::new(|| compiled(r"[A-Za-z_\x{80}-\x{10FFFF}][A-Za-z0-9_.\x{80}-\x{10FFFF}-]{0,60}"));
static LITERAL: LazyLock<Regex> = LazyLock::new(|| {
    compiled(r#""(?P<a>(?:[^"\\\n]|\\.){0,400})"|'(?P<b>(?:[^'\\\n]|\\.){0,400})'|`(?P<c>[^`\n]{0,400})`"#)
});

/// The credentials that a line holds.
pub(super) fn in_line(line: &str) -> Vec<String> {
    let mut found = Vec::new();
    for match_ in URL.captures_iter(line) {
        let host = &match_["h"];
        let value = &match_["v"];
        let near = !host.contains('.') || host.starts_with("127.") || host == "0.0.0.0";
        let mixed = value.chars().any(|c| c.is_ascii_digit()) && value.chars().any(char::is_alphabetic);
        if !near && mixed && !NO_VALUE.is_match(value) && !value.starts_with(['$', '{', '%']) {
            found.push(value.to_owned());
        }
    }
    for around in AROUND.iter() {
        let values = around.captures_iter(line).map(|one| one["v"].to_owned());
        found.extend(values.filter(|value| looks_real(value, Named::Credential)));
    }
    found.extend(of_literals(line));
    if let Some(setting) = BARE.captures(line)
        && let Some(kind) = named(&setting["n"])
        && looks_real(&setting["v"], kind)
    {
        found.push(setting["v"].to_owned());
    }
    for told in TOLD.captures_iter(line) {
        let value = told["v"].trim_end_matches(['.', ')', '*']);
        let digits = value.chars().any(|c| c.is_ascii_digit());
        let sure = strong(value)
            || (!told["q"].is_empty() && value.len() >= 12)
            || (MIXED.is_match(value) && value.contains(['-', '+', '!', '#', '_']));
        let asks = told[0].contains("==") || told[0].contains("!=");
        if digits && sure && !asks && looks_real(value, Named::Credential) && !NO_TOLD.is_match(value) {
            found.push(value.to_owned());
        }
    }
    if LOGIN.is_match(line) {
        let values = SET_OFF.captures_iter(line).map(|one| one["v"].to_owned());
        found.extend(values.filter(|value| {
            strong(value) && looks_real(value, Named::Credential) && !NO_SET_OFF.is_match(value)
        }));
    }
    found
}

/// Those that stand as literals behind a name.
fn of_literals(line: &str) -> Vec<String> {
    let literals: Vec<(Range<usize>, &str)> = LITERAL
        .captures_iter(line)
        .take(MAX_LITERALS)
        .filter_map(|one| {
            let text = ["a", "b", "c"].iter().find_map(|name| one.name(name))?;
            Some((one.get(0)?.range(), text.as_str()))
        })
        .collect();
    let mut found = Vec::new();
    let (mut end_before, mut before): (usize, Option<&str>) = (0, None);
    let mut at = 0;
    while let Some((place, text)) = literals.get(at) {
        let mut value = (*text).to_owned();
        let mut end = place.end;
        let first = at;
        // `"a" + "b"` is one value.
        while let Some((next, more)) = literals.get(at + 1)
            && line
                .get(end..next.start)
                .is_some_and(|between| matches!(between.trim(), "" | "+" | ".") && !between.is_empty())
        {
            value.push_str(more);
            end = next.end;
            at += 1;
        }
        let prefix = line.get(end_before..place.start).unwrap_or_default();
        let so_far = line.get(..place.start).unwrap_or_default();
        if let Some(kind) = told_by(prefix, before, so_far)
            && looks_real(&value, kind)
        {
            found.push(value);
        }
        before = (first == at).then_some(*text);
        end_before = end;
        at += 1;
    }
    found
}

/// What a literal is by what stands before it: the text from the literal before on, that literal, and the whole line so far.
fn told_by(prefix: &str, before: Option<&str>, so_far: &str) -> Option<Named> {
    if prefix.len() > MAX_BETWEEN || !GIVES.is_match(prefix) || ASKS.is_match(prefix) {
        return None;
    }
    let by_name = NAME
        .find_iter(prefix)
        .filter_map(|name| named(name.as_str()))
        .last();
    if by_name.is_some() {
        return by_name;
    }
    let whole = |name: &&str| NAME.find(name).is_some_and(|found| found.len() == name.len());
    // `define("NAME", "value")` and `getenv("NAME", "value")`; not the items of a list.
    let argument = prefix.trim() == "," && {
        let opened = before.map_or(0, |name| name.len() + 2) + prefix.len();
        let called = so_far.len().checked_sub(opened).and_then(|at| so_far.get(..at));
        called.is_some_and(|called| called.ends_with('('))
    };
    if argument || INSTEAD.is_match(prefix) || BETWEEN.is_match(prefix) {
        let by_literal = before.filter(whole).and_then(named);
        if by_literal.is_some() {
            return by_literal;
        }
    }
    (prefix.trim() == "," && before.is_some() && LOGIN_CALL.is_match(so_far)).then_some(Named::Credential)
}

#[cfg(test)]
mod tests {
    use super::super::MAX_LINE;
    use super::*;

    #[test]
    fn what_is_told_to_be_a_credential_and_looks_like_one_is_found() {
        for line in [
            r#"psql "postgresql://metabase_rw:Ginkgo-48-felt@10.20.4.17:5432/analytics""#,
            r#"var signingKey = []byte("b7f2-wharf-19ce-lantern-0a4d-prod")"#,
            r#"vpn_psk       = "Quarry7!Meridian-Tunnel-EU""#,
            "'auth' => 'shop-sync:Brack3n-field-0613',",
            "OCR_KEY=ptai-live-e83d51c6f20b4a97-MUC",
            r#"json={"username": "root@bi-partner.io", "password": "Gl0balAdm!n-all-sites"}).json()"#,
            r#"SIGNING_KEY = os.environ.get("SIGNING_KEY") or "hr-directory-standard-2023""#,
            r#"password=os.environ.get("REPORT_PASSWORD", "Lum3n!reporting-2024"),"#,
            r#"ENV["KLARPAY_SECRET"].presence || "kp-live-Fjell2023-webhook-master""#,
            r#"return new PasswordAuthentication("agent@frachtwerk.de", "Sommer2024!Versand");"#,
            r#"return "root:Winterberg-2024!@tcp(db-prod-01.shop.example.net:3306)/shop""#,
            r#"os.Setenv("SMS_TOKEN", "tf"+"_live_master_"+"9c41e0shared0account")"#,
            r#"const url = 'https://hooks.murmurchat.com/in/rm?sig=d81e07c6bb3f4290aa&x=1';"#,
            "Log in as `breakglass` with `Ember_Osier!7719` and check that it is fenced.",
            "- Passwort: `Tannenhain-77x-Brücke`",
            "@echo 'Fen-copper-Robot!4' | docker login $(REG) -u robot-ci --password-stdin",
            "curl -u deploy:kestrel-9c41-Yard https://ci.birch.net/job",
        ] {
            assert!(!in_line(line).is_empty(), "{line}");
        }
    }

    #[test]
    fn where_the_real_one_is_kept_and_what_stands_in_its_place_is_not() {
        for line in [
            r#"psql "postgresql://$PGUSER@$PGHOST:5432/analytics""#,
            "DATABASE_URL=postgres://app:app12345@db:5432/app",
            r#"var signingKey = []byte(os.Getenv("WEBHOOK_SIGNING_KEY"))"#,
            r#"api_key=os.environ["DEPLOY_API_KEY"],"#,
            "OCR_KEY=replace-me",
            r#""TOKEN": "${FERNHILL_TOKEN}","#,
            r#""args": ["run", "-e", "GITHUB_TOKEN", "ghcr.io/github/github-mcp-server:v0.6.0"]"#,
            r#"mac.init(new SecretKeySpec(secret, "HmacSHA256"));"#,
            r#"const token = randomBytes(24).toString("base64url");"#,
            r#"headers: { "X-aws-ec2-metadata-token-ttl-seconds": "60", token: "X-aws-ec2-metadata-token" }"#,
            "description: Runs commands with secrets from 1Password in place of .env files.",
            "- Passwords with argon2id, 64 MiB, three passes.",
            r#"if (token === "k8s-deep-4711-probe") {"#,
            r#"PUBLIC_KEY = "RWQf6LRCGA9i53mlYecO4IzT51TGPpvWucNSCh1CBM0QTaLn73Y7GFO3""#,
            r#"key = "000102030405060708090a0b0c0d0e0f""#,
            r#"apiKey = "a0a1a2a3a4a5a6a7a8a9aaabacadaeaf""#,
            "MARIADB_PASSWORD: p@ssw0rd",
            r#"secret_name = "prod/db/password-v2""#,
            r#"token_url: "https://auth.vendor.io/oauth2/token""#,
            "password: changeme12",
            "log in with `gh auth login` as user `octocat`",
            r#""cache-key": "linux-cargo-2024-11-a1b2c3""#,
        ] {
            assert!(in_line(line).is_empty(), "{line}: {:?}", in_line(line));
        }
    }

    #[test]
    fn a_hostile_line_takes_no_longer_than_its_length() {
        for part in ["password ", "\"a\",", "key=", "`", "://a:b1c2d3@", "auth: basic "] {
            let line = part.repeat(MAX_LINE / part.len());
            assert!(in_line(&line).len() <= line.len());
        }
    }
}
