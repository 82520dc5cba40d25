//! Deep.
use defenseclaw_model::call::*;
use defenseclaw_model::ids::CallId;
use serde_json::json;
fn main() {
    let n: usize = std::env::args().nth(1).unwrap().parse().unwrap();
    let mut deep = json!("x");
    for _ in 0..2_000 {
        deep = json!([deep]);
    }
    let input = match n {
        0 => json!({"content": "curl ".repeat(2 << 20), "file_path": "a"}),
        1 => json!({"content": "(".repeat(1 << 20), "file_path": "CLAUDE.md"}),
        2 => json!({"a": deep}),
        3 => json!(
            (0..100_000)
                .map(|n| format!("/etc/shadow{n}"))
                .collect::<Vec<_>>()
        ),
        4 => json!({"command": "| sh ".repeat(200_000)}),
        5 => json!({"command": format!("cat {}", "~/.ssh/id_rsa ".repeat(50_000))}),
        _ => json!({"command": "a".repeat(10 << 20)}),
    };
    std::thread::Builder::new()
        .stack_size(2 << 20)
        .spawn(move || {
            let detector = defenseclaw_detect::Detector::embedded().unwrap();
            for tool in ["Bash", "Write", "mcp__x__y"] {
                let kind = defenseclaw_detect::tools::kind_of(tool, &input, Some("/w"), Some("/home/u"));
                let call = ToolCall {
                    call: CallId::new("c").unwrap(),
                    tool: tool.into(),
                    input: input.clone(),
                    kind,
                };
                let t = std::time::Instant::now();
                let facts = defenseclaw_detect::facts_of(&call, Some("/w"), Some("/home/u"));
                let a = t.elapsed();
                let n = detector.call(&call, &facts).len();
                println!("{tool} facts {a:?} all {:?} {n}", t.elapsed());
            }
        })
        .unwrap()
        .join()
        .unwrap();
}
