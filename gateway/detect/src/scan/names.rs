//! Names of hosts and registries: whether one is nearly another's.

use unicode_normalization::UnicodeNormalization as _;

use super::packages::slips;

/// Hosts that many people know, by their registrable name. Those that are near each other and both honest stand here both.
const KNOWN: &[&str] = &[
    "github.com",
    "githubusercontent.com",
    "gitlab.com",
    "bitbucket.org",
    "npmjs.org",
    "npmjs.com",
    "pypi.org",
    "pythonhosted.org",
    "anthropic.com",
    "openai.com",
    "claude.ai",
    "claude.com",
    "googleapis.com",
    "google.com",
    "microsoft.com",
    "amazonaws.com",
    "cloudflare.com",
    "docker.com",
    "docker.io",
    "huggingface.co",
    "slack.com",
    "stripe.com",
    "notion.com",
    "notion.so",
    "linear.app",
    "atlassian.com",
    "atlassian.net",
    "figma.com",
    "sentry.io",
    "supabase.com",
    "supabase.co",
    "vercel.com",
    "netlify.com",
    "crates.io",
    "rubygems.org",
    "packagist.org",
    "golang.org",
    "nodejs.org",
    "python.org",
    "debian.org",
    "ubuntu.com",
    "paypal.com",
    "dropbox.com",
    "salesforce.com",
    "hubspot.com",
    "zapier.com",
    "postman.com",
    "mongodb.com",
    "elastic.co",
    "datadoghq.com",
    "jsdelivr.net",
    "unpkg.com",
    "modelcontextprotocol.io",
    "smithery.ai",
    "cursor.com",
    "deno.land",
];

/// Registries that everyone uses.
const REGISTRIES: &[&str] = &[
    "pypi.org",
    "npmjs.org",
    "npmjs.com",
    "pythonhosted.org",
    "yarnpkg.com",
    "pytorch.org",
    "crates.io",
    "rubygems.org",
    "pkg.github.com",
    "nvidia.com",
    "googleapis.com",
    "pkg.dev",
    "amazonaws.com",
    "gitlab.com",
    "jsr.io",
    "localhost",
    "127.0.0.1",
];

/// Hosts of those who make models, or sell what others have made: an address of a model there is where it points by itself. Of those who
/// let anybody have a host below theirs, only the one that models are behind.
const MODELS: &[&str] = &[
    "anthropic.com",
    "openai.com",
    "chatgpt.com",
    "generativelanguage.googleapis.com",
    "aiplatform.googleapis.com",
    "openai.azure.com",
    "ai.azure.com",
    "cognitiveservices.azure.com",
    "openrouter.ai",
    "mistral.ai",
    "deepseek.com",
    "x.ai",
    "groq.com",
    "githubcopilot.com",
    "models.github.ai",
    "vercel.sh",
    "huggingface.co",
    "together.xyz",
    "fireworks.ai",
    "z.ai",
    "moonshot.cn",
    "moonshot.ai",
    "bigmodel.cn",
    "dashscope.aliyuncs.com",
    "perplexity.ai",
];

/// In what way a host is nearly another.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Likeness {
    /// One letter away.
    Slip(&'static str),
    /// It has letters that look like those of another script.
    Letters,
    /// It begins like a whole host, and goes on.
    Longer,
}

/// The host of an address, in lower case.
pub(super) fn host_of(url: &str) -> Option<String> {
    let rest = url.split_once("://").map(|(_, rest)| rest)?;
    let authority = rest.split(['/', '?', '#']).next()?;
    let host = authority.rsplit('@').next()?;
    let host = if host.starts_with('[') {
        host.split_inclusive(']').next()?
    } else {
        host.split(':').next()?
    };
    (!host.is_empty() && !host.contains(['$', '{', '<', ' '])).then(|| host.to_lowercase())
}

/// Whether `host` is `known` or below it.
pub(super) fn is_below(host: &str, known: &str) -> bool {
    host.strip_suffix(known)
        .is_some_and(|before| before.is_empty() || before.ends_with('.'))
}

/// Whether a host is one of those who make or sell models.
pub(super) fn is_of_models(host: &str) -> bool {
    // Google's are REGION-aiplatform, and nobody else can have a host of this ending.
    if host.ends_with("-aiplatform.googleapis.com") {
        return true;
    }
    // Amazon's are bedrock-runtime.REGION. A bucket may have that name, too.
    if let Some(region) = host
        .strip_prefix("bedrock-runtime.")
        .or_else(|| host.strip_prefix("bedrock-runtime-fips."))
        .and_then(|rest| rest.strip_suffix(".amazonaws.com"))
    {
        return !region.starts_with("s3") && !region.contains('.');
    }
    MODELS.iter().any(|known| is_below(host, known))
}

/// Whether an address is a registry that everyone uses.
pub(super) fn is_usual_registry(url: &str) -> bool {
    host_of(url).is_none_or(|host| REGISTRIES.iter().any(|known| is_below(&host, known)))
}

/// The well-known host that `host` could be taken for.
pub(super) fn looks_like(host: &str) -> Option<Likeness> {
    /// Fewest letters of a name of which one is a slip: short names are near to everything.
    const LEAST: usize = 6;
    if !host.is_ascii() {
        let folded: String = crate::text::fold::fold(&host.nfkc().collect::<String>()).text;
        let mixed = host.chars().any(|c| c.is_ascii_alphabetic()) && host.chars().any(is_look_alike);
        let known = KNOWN.iter().any(|known| is_below(&folded, known));
        return (mixed || known).then_some(Likeness::Letters);
    }
    if host.split('.').any(|label| label.starts_with("xn--")) {
        return Some(Likeness::Letters);
    }
    if goes_on_behind_end(host) {
        return Some(Likeness::Longer);
    }
    let own = registrable(host);
    if KNOWN.contains(&own) {
        return None;
    }
    let (name, _) = own.split_once('.')?;
    let plain = name
        .replace('0', "o")
        .replace('1', "l")
        .replace("rn", "m")
        .replace("vv", "w");
    for known in KNOWN {
        let (label, _) = known.split_once('.').unwrap_or((known, ""));
        if label.len() < LEAST
            || name == label
            || KNOWN.iter().any(|other| other.split('.').next() == Some(name))
        {
            continue;
        }
        if slips(label, name) == 1 || plain == label {
            return Some(Likeness::Slip(known));
        }
    }
    // A known host in front of another one: `github.com.example.net`.
    let inside = KNOWN.iter().find(|known| {
        host.contains(&format!("{known}.")) || host.contains(&format!("{}.", known.replace('.', "-")))
    });
    inside.map(|known| Likeness::Slip(known))
}

/// Whether a host goes on behind what looks like its end: `api.shop.com.example.net`.
fn goes_on_behind_end(host: &str) -> bool {
    const ENDS: &[&str] = &["com", "org"];
    let labels: Vec<&str> = host.split('.').collect();
    let middle = labels.get(1..labels.len().saturating_sub(2)).unwrap_or_default();
    middle.iter().any(|label| ENDS.contains(label))
}

/// Whether a letter is Greek, Cyrillic or full-width: many of them look like Latin ones.
pub(super) fn is_look_alike(c: char) -> bool {
    matches!(c, '\u{370}'..='\u{3ff}' | '\u{400}'..='\u{52f}' | '\u{ff00}'..='\u{ffef}')
}

/// The last two labels.
fn registrable(host: &str) -> &str {
    let mut dots = host.rmatch_indices('.').skip(1);
    dots.next()
        .map_or(host, |(at, _)| host.get(at + 1..).unwrap_or(host))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_read_out_of_addresses() {
        assert_eq!(
            host_of("https://u:p@X.example:8080/a?b").as_deref(),
            Some("x.example")
        );
        assert_eq!(host_of("http://[::1]:80/").as_deref(), Some("[::1]"));
        assert_eq!(host_of("${URL}"), None);
        assert!(is_usual_registry("https://registry.npmjs.org/"));
        assert!(!is_usual_registry("https://registry.npmjs-mirror.example/"));
    }

    #[test]
    fn what_anybody_can_have_below_a_cloud_s_name_is_no_place_of_models() {
        for host in [
            "api.anthropic.com",
            "bedrock-runtime.eu-west-1.amazonaws.com",
            "us-central1-aiplatform.googleapis.com",
            "mine.openai.azure.com",
        ] {
            assert!(is_of_models(host), "{host}");
        }
        for host in [
            "a1b2c3.execute-api.eu-west-1.amazonaws.com",
            "bedrock-runtime.s3.amazonaws.com",
            "bedrock-runtime.s3.eu-west-1.amazonaws.com",
            "storage.googleapis.com",
            "mine.blob.core.windows.net",
            "mine.azurewebsites.net",
            "gateway.ai.cloudflare.com",
            "raw.github.com",
        ] {
            assert!(!is_of_models(host), "{host}");
        }
    }

    #[test]
    fn hosts_that_are_nearly_known_are_told() {
        for host in [
            "githab.com",
            "api.anthroplc.com",
            "g1thub.com",
            "raw.githubusercontent.com.x.example",
            "gіthub.com",
            "xn--gthub-n4a.com",
            "api.copilot.com.mcp.example.net",
        ] {
            assert!(looks_like(host).is_some(), "{host}");
        }
        for host in [
            "github.com",
            "api.github.com",
            "gitlab.com",
            "x.example",
            "mcp.linear.app",
            "bücher.example",
            "claude.site",
            "acme.com",
        ] {
            assert_eq!(looks_like(host), None, "{host}");
        }
    }
}
