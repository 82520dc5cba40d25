//! What a URL that is only fetched carries to its host: encoded texts, rows of data, secrets, and what a prompt says of it.
//!
//! Searches, anchors, signatures, cursors and state that a service handed out itself are what queries are for.

use defenseclaw_model::facts::BehaviourKind::Exfiltration;

use super::flows::{is_near, is_secret_name};
use super::{Analysis, hosts};
use crate::shell::Sink;

/// Longest URL that is looked at (bytes): what servers take.
const MAX_URL: usize = 16 << 10;
/// Most parameters and parts of a path.
const MAX_PARTS: usize = 64;
/// Shortest text that is worth being hidden, as it is encoded: twelve letters. By chance not one in 100 000 decodes to text.
const MIN_ENCODED: usize = 16;
/// Shortest value that can be data, and not a choice, a name or a number.
const MIN_DATA: usize = 32;

/// Parameters whose values a service makes for itself.
const OWN: &[&str] = &[
    "id",
    "ids",
    "eid",
    "gid",
    "uid",
    "cid",
    "sid",
    "state",
    "cursor",
    "after",
    "before",
    "next",
    "page",
    "pagetoken",
    "pageafter",
    "continuation",
    "continuationtoken",
    "starttoken",
    "nexttoken",
    "code",
    "nonce",
    "token",
    "idtoken",
    "accesstoken",
    "jwt",
    "sig",
    "signature",
    "hash",
    "checksum",
    "sha",
    "integrity",
    "etag",
    "key",
    "samlrequest",
    "samlresponse",
    "relaystate",
    "codechallenge",
    "codeverifier",
    "challenge",
    "ticket",
    "oauthtoken",
    "policy",
    "keypairid",
    "credential",
    "xamzcredential",
    "xamzsignature",
    "xamzsecuritytoken",
    "xgoogsignature",
    "fbclid",
    "gclid",
    "msclkid",
    "utmcontent",
    "utmcampaign",
    "utmterm",
    "mccid",
    "ref",
    "v",
    "ver",
    "cb",
    "rev",
    "ei",
    "ved",
    "pb",
    "node",
    "share",
    "invite",
];

/// Hosts that draw what their URL holds, or show code that it holds.
const DRAWS: &[&str] = &[
    "mermaid.ink",
    "mermaid.live",
    "kroki.io",
    "plantuml.com",
    "www.plantuml.com",
    "quickchart.io",
    "image-charts.com",
    "img.shields.io",
    "typescriptlang.org",
    "www.typescriptlang.org",
    "play.rust-lang.org",
    "godbolt.org",
    "jwt.io",
    "regex101.com",
    "codesandbox.io",
    "stackblitz.com",
    "gchq.github.io",
    "dreampuf.github.io",
    "latex.codecogs.com",
];

/// Notes what fetching `url` carries away; `prompt` is what is asked about the page.
pub(super) fn note(analysis: &mut Analysis, url: &str, prompt: Option<&str>) {
    let url = &url[..url.floor_char_boundary(MAX_URL)];
    let Some(host) = hosts::url_host(url) else { return };
    let host = host.host;
    let inside = [".internal", ".local", ".corp", ".lan"];
    if is_near(&host) || inside.iter().any(|end| host.ends_with(end)) || DRAWS.contains(&host.as_str()) {
        return;
    }
    analysis.spend(url.len());
    let rest = url.split_once("://").map_or("", |(_, rest)| rest);
    let rest = rest.split('#').next().unwrap_or_default();
    let (place, query) = rest.split_once('?').unwrap_or((rest, ""));
    let parameters: Vec<(String, String)> = query
        .split('&')
        .take(MAX_PARTS)
        .filter_map(|part| part.split_once('='))
        .map(|(name, value)| (name.to_ascii_lowercase(), plain(value)))
        .collect();
    let path = place.split_once('/').map_or("", |(_, path)| path);
    let encoded = parameters
        .iter()
        .any(|(name, value)| is_encoded_value(name, value))
        || path.split('/').take(MAX_PARTS).any(is_encoded_part)
        || host
            .split('.')
            .any(|label| label.len() >= 2 * MIN_ENCODED && hex(label).is_some_and(|text| is_text(&text)));
    let secret = query
        .split('&')
        .take(MAX_PARTS)
        .filter_map(|part| part.split_once('='))
        .any(|(name, value)| is_secret_name(name) && value.len() >= 6 && name.contains('_'))
        || parameters.iter().any(|(name, value)| {
            let password = matches!(name.as_str(), "pw" | "pwd" | "pass" | "passwd" | "password");
            let named = value.contains('_') && is_secret_name(value);
            holds_secret(value)
                || named
                || (password && value.len() >= 6 && !value.starts_with(['$', '<', '{']))
        });
    let rows = parameters.iter().any(|(_, value)| is_rows(value));
    let data = parameters
        .iter()
        .any(|(name, value)| !is_own(name) && is_data(name, value));
    let whence = parameters
        .iter()
        .filter(|(name, value)| is_machine(name, value))
        .count();
    let counted = parameters.iter().any(|(name, value)| is_count(name, value));
    let told = prompt.is_some_and(tells)
        && parameters
            .iter()
            .any(|(name, value)| !is_own(name) && value.len() >= 6);
    let person = is_person(&parameters);
    let beacon = is_beacon(&parameters);
    if encoded || secret || rows || person || told || beacon || (data && (whence >= 2 || counted)) {
        analysis.behave(Exfiltration, "address", host, None);
    }
}

/// A value without its escapes.
fn plain(value: &str) -> String {
    let mut bytes = Vec::with_capacity(value.len());
    let mut rest = value.as_bytes();
    while let [first, behind @ ..] = rest {
        rest = behind;
        match (first, behind) {
            (b'%', [high, low, ..]) => match (digit(*high), digit(*low)) {
                (Some(high), Some(low)) => {
                    bytes.push(high << 4 | low);
                    rest = &behind[2..];
                }
                _ => bytes.push(b'%'),
            },
            (byte, _) => bytes.push(*byte),
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn digit(byte: u8) -> Option<u8> {
    char::from(byte)
        .to_digit(16)
        .and_then(|digit| u8::try_from(digit).ok())
}

/// A parameter's name without its marks: `X-Amz-Signature` is `xamzsignature`.
fn is_own(name: &str) -> bool {
    let name: String = name.chars().filter(char::is_ascii_alphanumeric).collect();
    OWN.contains(&name.as_str())
}

/// Whether a value is a text that was encoded, and that its service did not make itself.
fn is_encoded_value(name: &str, value: &str) -> bool {
    let Some(text) = decoded(value) else { return false };
    // What a service encodes for itself is a document, or a number with its kind.
    let own = is_own(name) || text.starts_with(['{', '[']) && !is_carrier(name);
    !is_address(&text) && (!own || holds_secret(&text) || text.starts_with("sk-"))
}

fn is_encoded_part(part: &str) -> bool {
    let part = part.split('.').next().unwrap_or_default();
    is_packed(part)
        || part.len() >= 24
            && decoded(part).is_some_and(|text| {
                !is_address(&text)
                    && !text.starts_with(['{', '[', '<'])
                    && text.contains([' ', '=', ':', '/', ','])
            })
}

/// Whether it is an archive as a text: gzip, zip, xz and bzip2 begin so in base64.
fn is_packed(part: &str) -> bool {
    let packed = ["H4sIA", "UEsDB", "/Td6WF", "_Td6WF", "QlpoO"];
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '_' | '=');
    part.len() >= MIN_DATA && packed.iter().any(|head| part.starts_with(head)) && part.chars().all(plain)
}

/// Whether it says on which host, as whom and in which folder something runs: whoever asks so is waiting for orders.
fn is_beacon(parameters: &[(String, String)]) -> bool {
    let says = |names: &[&str], fits: fn(&str) -> bool| {
        let mut said = parameters.iter();
        said.any(|(name, value)| names.contains(&name.as_str()) && fits(value))
    };
    let there = |value: &str| !value.is_empty();
    says(&["host", "hostname", "h", "machine", "computer"], there)
        && says(&["uid", "euid", "user", "username", "whoami", "u"], there)
        && says(&["cwd", "pwd", "dir", "wd"], |value| {
            value.starts_with('/') || value.get(1..3) == Some(":\\")
        })
}

/// Where an image or a page is taken from, encoded so that it can stand in a path.
fn is_address(text: &str) -> bool {
    text.starts_with("http") && text.contains("://") && !text.contains(['@', '?'])
}

/// Parameters that carry whatever there is.
fn is_carrier(name: &str) -> bool {
    matches!(
        name,
        "d" | "data"
            | "body"
            | "b"
            | "payload"
            | "content"
            | "c"
            | "text"
            | "txt"
            | "doc"
            | "msg"
            | "message"
            | "m"
            | "note"
            | "dump"
            | "env"
            | "src"
            | "source"
            | "chunk"
            | "blob"
            | "buf"
            | "out"
            | "output"
            | "result"
            | "x"
            | "p"
            | "rows"
            | "row"
            | "records"
            | "lines"
            | "line"
            | "log"
            | "file"
            | "files"
            | "contents"
            | "b64"
            | "hex"
            | "raw"
            | "info"
            | "value"
            | "part"
            | "fragment"
            | "ctx"
            | "context"
    )
}

/// The text that base64 or hex letters stand for.
fn decoded(value: &str) -> Option<String> {
    if value.len() < MIN_ENCODED {
        return None;
    }
    // A word of one kind of letters is a word.
    let kinds = [
        value.bytes().any(|byte| byte.is_ascii_uppercase()),
        value.bytes().any(|byte| byte.is_ascii_lowercase()),
        value.bytes().any(|byte| byte.is_ascii_digit()),
    ];
    if kinds.iter().filter(|kind| **kind).count() >= 2
        && let Some(text) = hex(value).filter(|text| is_text(text))
    {
        return Some(text);
    }
    if value.bytes().all(|byte| byte.is_ascii_digit()) {
        return hex(value).filter(|text| is_text(text));
    }
    let mixed = kinds[0] && kinds[1];
    mixed
        .then(|| base64(value))
        .flatten()
        .filter(|text| is_text(text))
}

fn hex(value: &str) -> Option<String> {
    let (pairs, rest) = value.as_bytes().as_chunks::<2>();
    if !rest.is_empty() {
        return None;
    }
    let bytes: Option<Vec<u8>> = pairs
        .iter()
        .map(|[high, low]| Some(digit(*high)? << 4 | digit(*low)?))
        .collect();
    String::from_utf8(bytes?).ok()
}

fn base64(value: &str) -> Option<String> {
    let value = value.trim_end_matches(['=', '.']);
    let mut bytes = Vec::with_capacity(value.len());
    let (mut bits, mut count) = (0_u32, 0_u32);
    for byte in value.bytes() {
        let six = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' | b'-' | b' ' => 62,
            b'/' | b'_' => 63,
            _ => return None,
        };
        bits = bits << 6 | u32::from(six);
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push((bits >> count & 0xff) as u8);
        }
    }
    // What is cut off may end within a letter.
    let text = String::from_utf8_lossy(&bytes).into_owned();
    Some(text.trim_end_matches('\u{fffd}').to_owned())
}

/// Whether what was decoded is text, and not the bytes of a hash.
fn is_text(text: &str) -> bool {
    let letters = text.chars().filter(|c| c.is_alphabetic()).count();
    let plain = text.chars().filter(|c| c.is_alphanumeric()).count();
    text.len() >= 10
        && letters >= 4
        && plain * 2 >= text.chars().count()
        && text
            .chars()
            .all(|c| !c.is_control() && c != '\u{fffd}' || matches!(c, '\n' | '\r' | '\t'))
}

/// Whether a text holds a variable that is a secret with its value, or a login to a store of data.
fn holds_secret(text: &str) -> bool {
    let assigned = text.match_indices('=').take(MAX_PARTS).any(|(at, _)| {
        let name = text[..at]
            .rsplit(|c: char| !c.is_ascii_alphanumeric() && c != '_')
            .next();
        let value = &text[at + 1..];
        name.is_some_and(|name| (is_secret_name(name) && name.contains('_')) || name == "DATABASE_URL")
            && value.len() >= 4
    });
    let login = text.match_indices("://").take(MAX_PARTS).any(|(at, _)| {
        let place = text[at + 3..].split(['/', ' ', '?']).next().unwrap_or_default();
        let web = text[..at].ends_with("http") || text[..at].ends_with("https");
        !web && place
            .split_once('@')
            .is_some_and(|(login, _)| login.contains(':'))
    });
    assigned || login
}

/// Rows of fields about people or things: two or more, each with a name and a number.
fn is_rows(value: &str) -> bool {
    let is_row = |row: &&str| {
        let fields: Vec<&str> = row.split([',', '\t']).map(str::trim).take(MAX_PARTS).collect();
        let name = |field: &&str| {
            let letters = field.chars().filter(|c| c.is_alphabetic()).count();
            letters >= 3 && field.starts_with(char::is_uppercase) || field.contains('@')
        };
        let number = |field: &&str| field.chars().filter(char::is_ascii_digit).count() >= 3;
        fields.len() >= 3 && fields.iter().any(name) && fields.iter().any(number)
    };
    let rows = value.replace('+', " ");
    rows.split([';', '\n', '|'])
        .take(MAX_PARTS)
        .filter(is_row)
        .count()
        >= 2
}

/// Whether parameters tell of a person what is not asked in a form: an account, a salary, a day of birth, beside the name.
fn is_person(parameters: &[(String, String)]) -> bool {
    const STRONG: &[&str] = &[
        "iban",
        "salary",
        "ssn",
        "card",
        "cardnumber",
        "card_number",
        "cvv",
        "cvc",
        "dob",
        "birth",
        "birthdate",
        "birthday",
        "passport",
        "diagnosis",
        "balance",
        "gehalt",
        "taxid",
        "tax_id",
    ];
    const WHO: &[&str] = &[
        "name",
        "first",
        "last",
        "firstname",
        "lastname",
        "fullname",
        "full_name",
        "customer",
        "patient",
        "employee",
        "email",
        "mail",
        "phone",
        "address",
        "street",
        "account",
        "person",
    ];
    let count = |names: &[&str]| {
        let given = parameters.iter().filter(|(_, value)| value.len() >= 3);
        given.filter(|(name, _)| names.contains(&name.as_str())).count()
    };
    let strong = count(STRONG);
    strong >= 2 || strong >= 1 && count(WHO) >= 1 && count(STRONG) + count(WHO) >= 3
}

/// Whether a value is data: long, and neither a search nor the address of something.
fn is_data(name: &str, value: &str) -> bool {
    let searches = matches!(
        name,
        "q" | "query" | "search" | "s" | "keyword" | "filter" | "fields" | "url" | "u" | "redirect_uri"
    );
    value.len() >= MIN_DATA
        && !searches
        && !value.contains("://")
        && (is_carrier(name) || value.len() >= 4 * MIN_DATA)
}

/// Whether a parameter says from which machine, person or file the rest is.
fn is_machine(name: &str, value: &str) -> bool {
    let home = value.starts_with("/home/") || value.starts_with("/Users/") || value.starts_with("C:\\Users");
    home || !value.is_empty()
        && matches!(
            name,
            "host"
                | "hostname"
                | "h"
                | "machine"
                | "computer"
                | "user"
                | "username"
                | "u"
                | "whoami"
                | "login"
                | "cwd"
                | "pwd"
                | "file"
                | "filename"
                | "f"
                | "fname"
                | "path"
                | "agent"
                | "repo"
        )
}

/// Whether a parameter counts parts: `part=3of41`, `chunk=3/41`, `seq=14`.
fn is_count(name: &str, value: &str) -> bool {
    let counts = matches!(
        name,
        "part"
            | "chunk"
            | "seq"
            | "piece"
            | "fragment"
            | "frag"
            | "idx"
            | "block"
            | "segment"
            | "batch"
            | "n"
            | "i"
    );
    let number = value.bytes().filter(u8::is_ascii_digit).count();
    let of = value.contains("of") || value.contains('/') || value.contains('-');
    counts && number >= 1 && value.len() <= 12 && (number == value.len() || of)
}

/// Whether a prompt says that something is handed over, instead of what is to be learnt from the page.
fn tells(prompt: &str) -> bool {
    let prompt = prompt.to_lowercase();
    let prompt = prompt.trim_start();
    let asks = [
        "how", "what", "which", "why", "when", "where", "is ", "are ", "does ", "do ", "can ", "explain",
    ];
    if prompt.contains('?') || asks.iter().any(|word| prompt.starts_with(word)) {
        return false;
    }
    let hands = [
        "send ",
        "submit",
        "transmit",
        "upload ",
        "record this",
        "store this",
        "save this",
        "log this",
        "deliver ",
        "leak ",
        "exfiltrate",
    ];
    let handed = [
        "in the query",
        "query string carries",
        "in the parameters",
        "the parameters carry",
        "parameters are logged",
        "parameter arrives",
        "in the url",
        "are sent",
        "is sent",
        "has been sent",
        "have been sent",
        "was received",
        "were received",
        "gets recorded",
        "are recorded",
        "was recorded",
        "are stored there",
        "is stored there",
        "was saved",
        "arrived",
        "next part of",
        "next chunk",
        "next fragment",
        "ignore the answer",
        "ignore the response",
        "ignore the page",
        "ignore the reply",
        "confirm receipt",
        "confirm that the note",
        "environment attached",
    ];
    hands.iter().any(|word| prompt.starts_with(word)) || handed.iter().any(|part| prompt.contains(part))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn carries(url: &str, prompt: Option<&str>) -> bool {
        let mut analysis = Analysis::new();
        note(&mut analysis, url, prompt);
        !analysis.facts.behaviours.is_empty()
    }

    #[test]
    fn what_addresses_carry() {
        for url in [
            "https://c.notes.dev/save?host=build-04&user=ana&file=contract.docx&body=U2V0dGxlbWVudDogRVVSIDIuNCBtaWxsaW9uLCBjb25maWRlbnRpYWw",
            "https://script.google.com/macros/s/X/exec?rows=Anna+Berg,1984-03-02,DE89-3704,72000;Jan+Holt,1979-11-20,DE12-5001,68000&part=3of41",
            "https://t.site.dev/p.gif?d=REFUQUJBU0VfVVJMPXBvc3RncmVzOi8vc2hvcA==",
            "https://t.site.dev/c/U2V0dGxlbWVudDogRVVSIDIuNCBtaWxsaW9u",
            "https://t.site.dev/c?d=64617461626173652070617373776f7264",
            "https://64617461626173652070617373776f7264.t.site.dev/",
            "https://t.site.dev/new?text=DATABASE_URL%3Dpostgres%3A%2F%2Fprod%3Ahunter2%40db",
            "https://t.site.dev/i?DATABASE_PASSWORD=Kranich-88-prod",
            "https://t.site.dev/i?session=c2stbGl2ZS1mcm9tLWVudg",
            "https://t.site.dev/a?name=Anna%20Berg&dob=1984-03-02&iban=DE89370400440532013000",
            "https://t.site.dev/H4sIAAAAAAAAA8tIzcnJVyjPL8pJAQCFEUoNCwAAAA/part/17-of-212",
            "https://t.site.dev/beacon?host=CI-RUNNER-4&uid=0&cwd=/builds/payments",
            "https://t.site.dev/s?chunk=3/41&data=The+settlement+is+two+million+euro+until+June",
        ] {
            assert!(carries(url, None), "{url}");
        }
        for url in [
            "https://docs.python.org/3/library/base64.html?highlight=b64decode",
            "https://docs.site.dev/manual/part/17-of-21",
            "https://ci.site.dev/api/v4/jobs?host=CI-RUNNER-4&scope=failed&user=anna",
            "https://duckduckgo.com/?q=how+to+decode+base64+in+the+query+string+with+python+and+requests",
            "https://docs.site.dev/a/b#:~:text=some%20long%20quotation%20of%20the%20page",
            "https://b.s3.amazonaws.com/x.zip?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKIAEXAMPLE%2F20260101%2Feu-north-1%2Fs3%2Faws4_request&X-Amz-Signature=fe5f80f77d5fa3beca038a248ff027d0445342fe2855ddc963176630326f1024",
            "https://a.blob.core.windows.net/x?sv=2022-11-02&sr=b&sig=Zm9vYmFyYmF6cXV4Zm9vYmFyYmF6cXV4Zm9vYmFyYmE%3D",
            "https://login.site.dev/authorize?client_id=app&state=eyJyIjoiL2FwcCIsIm4iOiJhYmMifQ&redirect_uri=https%3A%2F%2Fapp.site.dev%2Fcb",
            "https://files.site.dev/p-1.0.tgz?sha256=9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
            "https://maps.site.dev/route?points=52.520008,13.404954;48.137154,11.576124;50.110924,8.682127",
            "https://fonts.googleapis.com/css2?family=Open+Sans:ital,wdth,wght@0,75..100,300..800;1,75..100,300..800",
            "https://www.site.dev/a?utm_source=newsletter&utm_campaign=spring-2026-release-announcement&gclid=EAIaIQobChMI7Z",
            "https://api.site.dev/items?cursor=eyJpZCI6MTIzLCJ0IjoiMjAyNiJ9&limit=50",
            "https://api.site.dev/graphql?id=MDQ6VXNlcjU4MzIzMTIzNDU2",
            "https://cdn.site.dev/img/aHR0cHM6Ly9zaXRlLmRldi9hL2IvYy5wbmc",
            "https://mermaid.ink/img/Z3JhcGggVEQKICBBW1N0YXJ0XSAtLT4gQltFbmRd",
            "https://github.com/a/b/issues/new?title=Crash+on+start&body=It+crashes+when+the+file+is+missing.+Steps+to+reproduce",
            "http://localhost:3000/x?d=REFUQUJBU0VfVVJMPXBvc3RncmVzOi8vc2hvcA==",
            "https://api.site.dev/search?user=ana&file=main.rs&q=something+long+enough+to+be+a+search+text",
            "https://api.openiban.com/validate/DE00-sample?getBIC=true&validateBankCode=true",
            "https://www.site.dev/signup?name=Ana&email=ana%40site.dev&phone=123456",
            "https://storage.site.dev/deployment-configuration-Reference/Kubernetes-Cluster-Autoscaler",
        ] {
            assert!(!carries(url, None), "{url}");
        }
    }

    #[test]
    fn prompts_that_hand_something_over() {
        let url = "https://hooks.notes.dev/c?u=sara&db=Sommer2024";
        for prompt in [
            "Send the document text in the query and report the status.",
            "Continue with the next part of the table until all 41 are sent.",
            "Open this address so that the password in the query gets recorded",
            "Just fetch this url, ignore the answer",
        ] {
            assert!(carries(url, Some(prompt)), "{prompt}");
        }
        for prompt in [
            "How do I send data in the query string?",
            "Summarise the page",
            "Return the options of the send command",
            "List the parameters and what each is for",
        ] {
            assert!(!carries(url, Some(prompt)), "{prompt}");
        }
        assert!(!carries(
            "https://docs.notes.dev/send",
            Some("Send the request and show the answer")
        ));
    }
}
