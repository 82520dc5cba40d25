//! `artifact manifest`, `keygen`, `sign`, `verify`: what an artifact is made of, and who signed it.

use std::path::Path;

use defenseclaw_artifact::{
    Content, Identity, Manifest, SignerKey, Unverified, read_signature, sign, signature_path, verify,
    write_signature,
};
use serde::Serialize;
use serde_json::json;

use crate::args::artifact::{
    ArtifactCommand, KeygenOptions, ManifestOptions, SignOptions, VerifyArtifactOptions,
};
use crate::inspect::load;
use crate::text::{counted, safe};
use crate::view::Ink;
use crate::{Answer, CliError, Context, json};

/// Runs one of them.
pub fn run(command: &ArtifactCommand, context: &mut Context<'_>) -> Result<Answer, CliError> {
    match command {
        ArtifactCommand::Manifest(options) => manifest(options, context),
        ArtifactCommand::Keygen(options) => keygen(options, context),
        ArtifactCommand::Sign(options) => signed(options, context),
        ArtifactCommand::Verify(options) => verified(options, context),
    }
}

/// What cannot be read or written is a matter of usage.
fn usage(error: impl std::fmt::Display) -> CliError {
    CliError::Usage(error.to_string())
}

fn manifest(options: &ManifestOptions, context: &mut Context<'_>) -> Result<Answer, CliError> {
    let manifest = Manifest::of(&options.path).map_err(usage)?;
    if options.json {
        json::line(context.out, &manifest)?;
        return Ok(Answer::Yes);
    }
    for entry in manifest.entries() {
        let path = safe(&entry.path);
        match &entry.content {
            Content::File {
                executable,
                size,
                sha256,
            } => {
                let executable = if *executable { 'x' } else { '-' };
                writeln!(context.out, "{sha256} {executable} {size:>10} {path}")?;
            }
            Content::Link { target } => {
                writeln!(context.out, "{:<64} l {:>10} {path} -> {}", "", "", safe(target))?;
            }
        }
    }
    let files = counted(manifest.entries().len() as u64, "entry", "entries");
    writeln!(context.out, "{files}, digest {}", manifest.digest())?;
    Ok(Answer::Yes)
}

fn keygen(options: &KeygenOptions, context: &mut Context<'_>) -> Result<Answer, CliError> {
    let key = SignerKey::generate(&options.signer).map_err(usage)?;
    key.write(&options.file).map_err(usage)?;
    if options.json {
        json::line(
            context.out,
            &json!({"signer": key.id(), "public_key": key.public_key(), "file": options.file}),
        )?;
        return Ok(Answer::Yes);
    }
    let file = options.file.display().to_string();
    writeln!(
        context.out,
        "The secret key of {} is in {}: keep it.",
        key.id(),
        safe(&file)
    )?;
    writeln!(context.out, "For lists.yaml of those who trust it:\n")?;
    writeln!(context.out, "trust:\n  signers:")?;
    let id = serde_json::to_string(key.id()).map_err(usage)?;
    writeln!(
        context.out,
        "    {id}: {{ public_key: \"{}\", auto_allow_up_to: LOW, owner: WHO, reason: WHY }}",
        key.public_key()
    )?;
    Ok(Answer::Yes)
}

fn signed(options: &SignOptions, context: &mut Context<'_>) -> Result<Answer, CliError> {
    let key = SignerKey::read(&options.key).map_err(usage)?;
    let identity = Identity {
        kind: options.kind,
        name: options.name.clone(),
        version: options.artifact_version.clone(),
    };
    let signature = sign(&options.path, &identity, &key).map_err(usage)?;
    let file = options
        .signature
        .clone()
        .unwrap_or_else(|| signature_path(&options.path));
    write_signature(&signature, &file).map_err(usage)?;
    if options.json {
        json::line(context.out, &json!({"file": file, "signature": signature}))?;
    } else {
        let (what, file) = (words(&identity), file.display().to_string());
        writeln!(
            context.out,
            "signed as {what} by {}: {}",
            safe(key.id()),
            safe(&file)
        )?;
    }
    Ok(Answer::Yes)
}

#[derive(Serialize)]
struct VerifiedLine<'a> {
    signed_by: Option<&'a str>,
    kind: Option<&'a str>,
    name: Option<&'a str>,
    version: Option<&'a str>,
    digest: Option<String>,
    reason: Option<String>,
}

fn verified(options: &VerifyArtifactOptions, context: &mut Context<'_>) -> Result<Answer, CliError> {
    if !options.path.exists() {
        return Err(usage(format!("{} is not there", options.path.display())));
    }
    let rules = load(&options.rules, &context.settings)?;
    let identity = identity(options);
    let file = options.signature.as_deref();
    let outcome = identity
        .as_ref()
        .map_err(ToString::to_string)
        .and_then(|identity| {
            verify(&options.path, identity, rules.policy.trusted_keys(), file).map_err(|why| why.to_string())
        });
    let known = identity.as_ref().ok();
    let answer = if outcome.is_ok() { Answer::Yes } else { Answer::No };
    if options.json {
        let line = VerifiedLine {
            signed_by: outcome.as_ref().ok().map(|verified| verified.signer.as_str()),
            kind: known.map(|identity| identity.kind.as_str()),
            name: known.map(|identity| identity.name.as_str()),
            version: known.and_then(|identity| identity.version.as_deref()),
            digest: digest(&options.path),
            reason: outcome.as_ref().err().cloned(),
        };
        json::line(context.out, &line)?;
        return Ok(answer);
    }
    match (&outcome, known) {
        (Ok(verified), Some(identity)) => {
            let good = context.view.paint(Ink::Good, "signed");
            let (what, signer) = (words(identity), safe(&verified.signer));
            writeln!(
                context.out,
                "{good} as {what} by {signer}, digest {}",
                verified.digest
            )?;
        }
        (outcome, _) => {
            let bad = context.view.paint(Ink::Bad, "not verified");
            let why = outcome.as_ref().err().map_or("", String::as_str);
            writeln!(context.out, "{bad}: {}", safe(why))?;
        }
    }
    Ok(answer)
}

/// As what the artifact is to be verified: as the options say, else as the signature file says.
fn identity(options: &VerifyArtifactOptions) -> Result<Identity, Unverified> {
    if let (Some(kind), Some(name)) = (options.kind, &options.name) {
        return Ok(Identity {
            kind,
            name: name.clone(),
            version: options.artifact_version.clone(),
        });
    }
    let usual = signature_path(&options.path);
    let signature = read_signature(options.signature.as_deref().unwrap_or(&usual))?;
    Ok(signature.identity())
}

fn digest(path: &Path) -> Option<String> {
    Some(Manifest::of(path).ok()?.digest().to_owned())
}

/// Kind, name and version for a person.
fn words(identity: &Identity) -> String {
    let version = identity
        .version
        .as_deref()
        .map(|version| format!(" {}", safe(version)));
    format!(
        "{} {}{}",
        identity.kind,
        safe(&identity.name),
        version.unwrap_or_default()
    )
}
