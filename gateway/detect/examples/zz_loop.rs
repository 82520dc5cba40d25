#![allow(clippy::all, clippy::pedantic, clippy::restriction, missing_docs)]
use defenseclaw_detect::{Detector, Surface, facts_of};
use defenseclaw_model::call::{CallKind, ToolCall};
use defenseclaw_model::ids::CallId;
use serde_json::json;
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;
fn main() {
    let mut a = std::env::args().skip(1);
    let what = a.next().unwrap();
    let n: usize = a.next().unwrap().parse().unwrap();
    let detector = Detector::embedded().unwrap();
    let command = match a.next() { Some(f) => std::fs::read_to_string(f).unwrap(), None => include_str!("../../../xtask/testkit/src/bin/bench/one_kib.sh").to_owned() };
    let call = ToolCall { call: CallId::new("c").unwrap(), tool: "Bash".to_owned(), kind: CallKind::Command { command: command.to_owned(), background: false }, input: json!({ "command": command }) };
    let facts = facts_of(&call, Some("/home/u/project"), Some("/home/u"));
    eprintln!("programs {} reads {} behaviours {} flows {} edges {}", facts.programs.len(), facts.reads.len(), facts.behaviours.len(), facts.flows.len(), facts.pipes.len());
    let mut best = f64::MAX; let mut ts = vec![];
    for _ in 0..20 {
    let t = std::time::Instant::now();
    for _ in 0..n/20 {
        match &*what {
            "facts" => { std::hint::black_box(facts_of(&call, Some("/home/u/project"), Some("/home/u"))); }
            "rules" => { std::hint::black_box(detector.call(&call, &facts)); }
            "text" => { std::hint::black_box(detector.text(Surface::ToolInput, &command)); }
            _ => {}
        }
    }
    let x = t.elapsed().as_secs_f64()*1e6/(n/20) as f64; ts.push(x); if x<best {best=x}
    }
    ts.sort_by(|a,b|a.partial_cmp(b).unwrap());
    println!("{what}: best {best:.1} median {:.1} us", ts[10]);
}
