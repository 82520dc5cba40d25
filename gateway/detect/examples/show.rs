//! Shows.
use defenseclaw_model::call::*;
use defenseclaw_model::ids::CallId;
use std::io::BufRead;
fn main() {
    let detector = match std::env::var("PACKS") {
        Ok(d) => defenseclaw_detect::Detector::from_dir(d.as_ref()),
        _ => defenseclaw_detect::Detector::embedded(),
    }
    .unwrap();
    let facts_too = std::env::var_os("FACTS").is_some();
    for line in std::io::stdin().lock().lines() {
        let line = line.unwrap();
        let call = ToolCall {
            call: CallId::new("c").unwrap(),
            tool: "Bash".into(),
            input: serde_json::json!({"command": line}),
            kind: CallKind::Command {
                command: line.clone(),
                background: false,
            },
        };
        let facts = defenseclaw_detect::facts_of(&call, Some("/home/u/project"), Some("/home/u"));
        println!("$ {line}");
        if facts_too {
            println!("    {}", serde_json::to_string(&facts).unwrap());
        }
        for f in detector.call(&call, &facts) {
            println!(
                "    {} {:?} {} {} {:?}",
                f.rule, f.severity, f.confidence, f.message, f.evidence
            );
        }
    }
}
