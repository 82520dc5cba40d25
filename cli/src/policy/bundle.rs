//! `policy bundle`: made, signed, verified; and asked of the gateway.

use std::io::{Read, Write};
use std::path::Path;
use std::time::Duration;

use defenseclaw_artifact::{BundleTerms, MAX_BUNDLE, SignerKey, TrustedKeys, open_bundle, seal};
use defenseclaw_inspect::Rules;
use defenseclaw_model::api::{BundleAnswer, BundleRollback, BundleStatus};
use defenseclaw_policy::BundleFiles;
use serde_json::json;

use crate::args::bundle::{
    BuildOptions, BundleCommand, BundleStatusOptions, PullOptions, RollbackOptions, SignBundleOptions,
    VerifyBundleOptions,
};
use crate::text::{counted, safe};
use crate::view::{Ink, View};
use crate::{Answer, CliError, Context, gateway, json, status, time};

/// How long a pull may take: the gateway gives a server half a minute, and then tries what came.
const PULL: Duration = Duration::from_secs(60);

/// Nanoseconds in a second.
const SECOND: u64 = 1_000_000_000;

/// Runs one of them.
pub(super) fn run(command: &BundleCommand, context: &mut Context<'_>) -> Result<Answer, CliError> {
    match command {
        BundleCommand::Build(options) => build(options, context),
        BundleCommand::Sign(options) => sign(options, context),
        BundleCommand::Verify(options) => verify(options, context),
        BundleCommand::Pull(options) => pull(options, context),
        BundleCommand::Status(options) => print_status(options, context),
        BundleCommand::Rollback(options) => roll_back(options, context),
    }
}

fn usage(error: impl std::fmt::Display) -> CliError {
    CliError::Usage(error.to_string())
}

fn refused(error: impl std::fmt::Display) -> CliError {
    CliError::Refused(error.to_string())
}

fn read(path: &Path) -> Result<Vec<u8>, CliError> {
    let failed = |error: std::io::Error| usage(format!("{} cannot be read: {error}", path.display()));
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).map_err(failed)?;
    file.take(MAX_BUNDLE + 1)
        .read_to_end(&mut bytes)
        .map_err(failed)?;
    if bytes.len() as u64 > MAX_BUNDLE {
        let path = path.display();
        return Err(usage(format!(
            "{path} has more than the {MAX_BUNDLE} bytes that a bundle may have"
        )));
    }
    Ok(bytes)
}

/// Replaces a file whole, so that a gateway that reads it meanwhile gets the old one or the new one.
fn write(path: &Path, bytes: &[u8]) -> Result<(), CliError> {
    let failed = |error: std::io::Error| usage(format!("{} cannot be written: {error}", path.display()));
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let mut new = tempfile::Builder::new()
        .permissions(std::os::unix::fs::PermissionsExt::from_mode(0o644))
        .tempfile_in(folder.unwrap_or(Path::new(".")))
        .map_err(failed)?;
    new.write_all(bytes).map_err(failed)?;
    new.as_file().sync_all().map_err(failed)?;
    new.persist(path).map_err(|error| failed(error.error))?;
    Ok(())
}

fn build(options: &BuildOptions, context: &mut Context<'_>) -> Result<Answer, CliError> {
    let files = BundleFiles::of_folder(&options.folder, options.revision).map_err(usage)?;
    let tests = Rules::prove(&files).map_err(refused)?;
    let archive = files.pack().map_err(usage)?;
    write(&options.output, &archive)?;
    if options.json {
        json::line(
            context.out,
            &json!({"file": options.output, "revision": options.revision, "tests": tests, "bytes": archive.len()}),
        )?;
    } else {
        let tests = counted(tests as u64, "test passes", "tests pass");
        let file = options.output.display().to_string();
        writeln!(
            context.out,
            "built: revision {}, {tests}: {}",
            options.revision,
            safe(&file)
        )?;
    }
    Ok(Answer::Yes)
}

fn sign(options: &SignBundleOptions, context: &mut Context<'_>) -> Result<Answer, CliError> {
    let key = SignerKey::read(&options.key).map_err(usage)?;
    let archive = read(&options.archive)?;
    let files = BundleFiles::read(&archive).map_err(usage)?;
    let revision: u64 = files.revision().parse().map_err(|_| {
        usage(format!(
            "the manifest's revision is {:?}; a bundle that is signed needs a number that rises",
            files.revision()
        ))
    })?;
    let issued_s = time::now_ns() / SECOND;
    let terms = BundleTerms {
        group: options.group.clone(),
        ring: options.ring,
        revision,
        issued_s,
        expires_s: issued_s.saturating_add(options.valid),
    };
    let bytes = seal(&archive, &terms, &key).map_err(usage)?;
    write(&options.output, &bytes)?;
    let expires_ns = terms.expires_s.saturating_mul(SECOND);
    if options.json {
        json::line(
            context.out,
            &json!({"file": options.output, "group": terms.group, "ring": terms.ring, "revision": revision,
                    "signer": key.id(), "expires": time::rfc3339(expires_ns)}),
        )?;
        return Ok(Answer::Yes);
    }
    let (until, file) = (
        time::local(expires_ns, &context.view.zone),
        options.output.display().to_string(),
    );
    writeln!(
        context.out,
        "signed by {}: revision {revision} for {}, rings up to {}, until {until}: {}",
        safe(key.id()),
        safe(&terms.group),
        terms.ring,
        safe(&file)
    )?;
    Ok(Answer::Yes)
}

fn keys(options: &VerifyBundleOptions, context: &Context<'_>) -> Result<TrustedKeys, CliError> {
    let mut keys = TrustedKeys::default();
    if !options.key.is_empty() {
        for named in &options.key {
            // A key ends with `=`, so the first one divides them.
            let (id, key) = named
                .split_once('=')
                .ok_or_else(|| usage(format!("--key {named:?} is not of the form ID=KEY")))?;
            keys.add(id, key)
                .map_err(|why| usage(format!("--key {id}: {why}")))?;
        }
        return Ok(keys);
    }
    let configured = context.settings.config.bundle.as_ref().map(|bundle| &bundle.keys);
    for (id, key) in configured.into_iter().flatten() {
        keys.add(id, key)
            .map_err(|why| usage(format!("`bundle.keys.{id}`: {why}")))?;
    }
    if keys.ids().next().is_none() {
        return Err(usage(
            "no keys are configured in `bundle.keys`; name one with --key ID=KEY",
        ));
    }
    Ok(keys)
}

fn verify(options: &VerifyBundleOptions, context: &mut Context<'_>) -> Result<Answer, CliError> {
    let keys = keys(options, context)?;
    let bytes = read(&options.file)?;
    let opened = open_bundle(&bytes, &keys).map_err(refused)?;
    let terms = &opened.terms;
    let files = BundleFiles::read(opened.archive).map_err(refused)?;
    if files.revision() != terms.revision.to_string() {
        return Err(refused(format!(
            "the manifest says revision {:?}, and it was signed as {}",
            files.revision(),
            terms.revision
        )));
    }
    let tests = Rules::prove(&files).map_err(refused)?;
    let expired = terms.is_expired(time::now_ns() / SECOND);
    let expires_ns = terms.expires_s.saturating_mul(SECOND);
    let answer = if expired { Answer::No } else { Answer::Yes };
    if options.json {
        json::line(
            context.out,
            &json!({"signer": opened.signer, "group": terms.group, "ring": terms.ring, "revision": terms.revision,
                    "expires": time::rfc3339(expires_ns), "expired": expired, "content": opened.content, "tests": tests}),
        )?;
        return Ok(answer);
    }
    let until = time::local(expires_ns, &context.view.zone);
    let ends = if expired { "expired at" } else { "until" };
    writeln!(
        context.out,
        "signed by {}: revision {} for {}, rings up to {}, {ends} {until}; {}",
        safe(&opened.signer),
        terms.revision,
        safe(&terms.group),
        terms.ring,
        counted(tests as u64, "test passes", "tests pass")
    )?;
    Ok(answer)
}

fn pull(options: &PullOptions, context: &mut Context<'_>) -> Result<Answer, CliError> {
    let path = "/v1/policy/bundle/pull";
    let answer: BundleAnswer = gateway::post_within(&context.settings.socket, path, &json!({}), PULL)?;
    told(&answer, options.json, context)
}

fn roll_back(options: &RollbackOptions, context: &mut Context<'_>) -> Result<Answer, CliError> {
    let path = "/v1/policy/bundle/rollback";
    let body = BundleRollback {
        reason: options.reason.clone(),
    };
    let answer: BundleAnswer = gateway::post_within(&context.settings.socket, path, &body, PULL)?;
    told(&answer, options.json, context)
}

fn told(answer: &BundleAnswer, as_json: bool, context: &mut Context<'_>) -> Result<Answer, CliError> {
    let good = matches!(
        answer.state.as_str(),
        "accepted" | "renewed" | "unchanged" | "rolled_back"
    );
    if as_json {
        json::line(context.out, answer)?;
    } else {
        let ink = if good { Ink::Good } else { Ink::Bad };
        let state = context.view.paint(ink, &safe(&answer.state.replace('_', " ")));
        let detail = if answer.detail.is_empty() {
            String::new()
        } else {
            format!(": {}", safe(&answer.detail))
        };
        writeln!(context.out, "{state}{detail}")?;
        for line in lines(&answer.status, &context.view) {
            writeln!(context.out, "{line}")?;
        }
    }
    Ok(if good { Answer::Yes } else { Answer::No })
}

fn print_status(options: &BundleStatusOptions, context: &mut Context<'_>) -> Result<Answer, CliError> {
    let Some(bundle) = status::fetch(&context.settings.socket)?.bundle else {
        return Err(refused(
            "no policy bundles are configured: see `bundle` in the configuration",
        ));
    };
    if options.json {
        json::line(context.out, &bundle)?;
    } else {
        for line in lines(&bundle, &context.view) {
            writeln!(context.out, "{line}")?;
        }
    }
    Ok(if bundle.in_force.is_some() {
        Answer::Yes
    } else {
        Answer::No
    })
}

/// How things stand, for a person.
pub(crate) fn lines(bundle: &BundleStatus, view: &View) -> Vec<String> {
    let mut lines = Vec::new();
    let for_whom = format!("{}, ring {}", safe(&bundle.group), bundle.ring);
    lines.push(match &bundle.in_force {
        Some(now) => {
            let until = time::local(now.expires_ns, &view.zone);
            let ends = if now.expired {
                view.paint(Ink::Bad, &format!("expired at {until}: no newer one has come"))
            } else {
                format!("until {until}")
            };
            format!(
                "revision {} for {for_whom}, signed by {}, {ends}",
                now.revision,
                safe(&now.signer)
            )
        }
        None => view.paint(Ink::Warn, &format!("none is in force for {for_whom}")),
    });
    let mut last = format!("last look: {}", safe(&bundle.last));
    if bundle.last_ns > 0 {
        last.push_str(&format!(" at {}", time::local(bundle.last_ns, &view.zone)));
    }
    if !bundle.detail.is_empty() {
        last.push_str(&format!(" ({})", safe(&bundle.detail)));
    }
    let troubled = matches!(bundle.last.as_str(), "refused" | "unavailable");
    lines.push(if troubled {
        view.paint(Ink::Bad, &last)
    } else {
        last
    });
    lines.push(format!(
        "from {}, {} refused, {} that found none",
        safe(&bundle.source),
        counted(bundle.refused, "look", "looks"),
        bundle.failed
    ));
    lines
}
