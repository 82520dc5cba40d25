//! `mcp pins list`, `show`, `diff`, `approve`, `forget`.

use std::io::Write;
use std::path::Path;

use defenseclaw_model::pins::{Pin, PinApproval, PinState, Pins};

use super::{print, state};
use crate::args::mcp::{ApprovePinOptions, PinOptions, PinsCommand};
use crate::text::safe;
use crate::view::{Ink, View};
use crate::{Answer, CliError, Context, gateway, json, time};

/// Hex digits of a digest that are shown.
const SHOWN: usize = 12;

pub(super) fn run(command: &PinsCommand, context: &mut Context<'_>) -> Result<Answer, CliError> {
    match command {
        PinsCommand::List(options) => {
            let Pins { pins } = all(&context.settings.socket)?;
            if options.json {
                pins.iter().try_for_each(|pin| json::line(context.out, pin))?;
            } else {
                print(&pins, &context.view, context.out)?;
            }
            Ok(Answer::Yes)
        }
        PinsCommand::Show(options) => shown(options, context),
        PinsCommand::Diff(options) => {
            let pin = one(&context.settings.socket, &options.pin)?;
            if options.json {
                json::line(context.out, &pin)?;
            } else {
                differences(&pin, &context.view, context.out)?;
            }
            Ok(if pin.changes.is_empty() {
                Answer::Yes
            } else {
                Answer::No
            })
        }
        PinsCommand::Approve(options) => approve(options, context),
        PinsCommand::Forget(options) => {
            let pin = one(&context.settings.socket, &options.pin)?;
            let path = format!("/v1/pins/{}", gateway::part(&pin.id));
            let pin: Pin = gateway::delete(&context.settings.socket, &path)?;
            if options.json {
                json::line(context.out, &pin)?;
            } else {
                writeln!(context.out, "forgotten: {}", safe(&pin.server))?;
            }
            Ok(Answer::Yes)
        }
    }
}

fn shown(options: &PinOptions, context: &mut Context<'_>) -> Result<Answer, CliError> {
    let pin = one(&context.settings.socket, &options.pin)?;
    if options.json {
        json::line(context.out, &pin)?;
    } else {
        show(&pin, context)?;
    }
    Ok(Answer::Yes)
}

fn all(socket: &Path) -> Result<Pins, CliError> {
    gateway::get(socket, "/v1/pins", gateway::QUICK)
}

/// The pin of that id, or of the only server of that name.
fn one(socket: &Path, wanted: &str) -> Result<Pin, CliError> {
    let Pins { pins } = all(socket)?;
    let named: Vec<&Pin> = match pins.iter().find(|pin| pin.id == wanted) {
        Some(pin) => vec![pin],
        None => pins.iter().filter(|pin| pin.server == wanted).collect(),
    };
    match named.as_slice() {
        [] => Err(CliError::NotFound(format!(
            "no pin has the id or the server {wanted:?}; `defenseclaw-cli mcp pins list` shows them"
        ))),
        [pin] => gateway::get(
            socket,
            &format!("/v1/pins/{}", gateway::part(&pin.id)),
            gateway::QUICK,
        ),
        several => {
            let ids: Vec<&str> = several.iter().map(|pin| pin.id.as_str()).collect();
            Err(CliError::Usage(format!(
                "{} servers are called {wanted:?}; name one by its pin: {}",
                ids.len(),
                ids.join(", ")
            )))
        }
    }
}

fn show(pin: &Pin, context: &mut Context<'_>) -> std::io::Result<()> {
    let zone = &context.view.zone;
    let approved = pin.approved_by.map(|uid| format!("by uid {uid}"));
    let scope = if pin.scope.is_empty() {
        "everywhere"
    } else {
        &pin.scope
    };
    let out = &mut *context.out;
    for (name, text) in [
        ("pin", pin.id.clone()),
        ("server", pin.server.clone()),
        ("state", state(pin.state).to_owned()),
        ("file", pin.file.clone()),
        ("used in", scope.to_owned()),
        ("user", format!("uid {}", pin.uid)),
        ("pinned", time::local(pin.pinned_ns, zone)),
        ("seen", time::local(pin.seen_ns, zone)),
        ("approved", approved.unwrap_or_else(|| "no".to_owned())),
        ("digest", pin.digest.clone()),
        ("launch", pin.launch.to_string()),
    ] {
        writeln!(out, "{name:<9} {}", safe(&text))?;
    }
    for (item, digest) in &pin.offers {
        writeln!(
            out,
            "  {} {}",
            digest.get(..SHOWN).unwrap_or_default(),
            safe(item)
        )?;
    }
    Ok(())
}

/// What is different, in unified form.
pub(super) fn differences(pin: &Pin, view: &View, out: &mut dyn Write) -> std::io::Result<()> {
    let name = view.paint(Ink::Strong, &safe(&pin.server));
    if pin.changes.is_empty() {
        let how = match pin.state {
            PinState::Changed => "it was another in between, and is held until it is approved",
            _ => "it is as it was pinned",
        };
        writeln!(out, "{name}: {how}")?;
    }
    for change in &pin.changes {
        writeln!(
            out,
            "{name} {} {} {}",
            safe(&change.item),
            safe(&change.pointer),
            safe(&change.what)
        )?;
        for line in change.diff.lines() {
            let ink = match line.chars().next() {
                Some('-') => Ink::Bad,
                Some('+') => Ink::Good,
                _ => Ink::Faint,
            };
            writeln!(out, "  {}", view.paint(ink, &safe(line)))?;
        }
    }
    if pin.state != PinState::Same {
        let digest = pin.seen_digest.get(..SHOWN).unwrap_or_default();
        let id = safe(&pin.id);
        writeln!(
            out,
            "approve it with: defenseclaw-cli mcp pins approve {id} --digest {digest}"
        )?;
    }
    Ok(())
}

fn approve(options: &ApprovePinOptions, context: &mut Context<'_>) -> Result<Answer, CliError> {
    let socket = &context.settings.socket;
    let pin = one(socket, &options.pin)?;
    if let Some(digest) = &options.digest
        && !pin.seen_digest.starts_with(digest)
    {
        return Err(CliError::Refused(format!(
            "{} was seen again since, and is another: look at `defenseclaw-cli mcp pins diff {}` again",
            pin.server, pin.id
        )));
    }
    let approval = PinApproval {
        id: pin.id,
        digest: pin.seen_digest,
    };
    let pin: Pin = gateway::post(socket, "/v1/pins/approve", &approval)?;
    if options.json {
        json::line(context.out, &pin)?;
    } else {
        let digest = pin.digest.get(..SHOWN).unwrap_or_default();
        writeln!(context.out, "approved: {} as {digest}", safe(&pin.server))?;
    }
    Ok(Answer::Yes)
}
