//! Scores.
use defenseclaw_model::call::*;
use defenseclaw_model::decision::Severity;
use defenseclaw_model::ids::CallId;
use serde_json::Value;
use std::io::BufRead;
fn main() {
    let detector = defenseclaw_detect::Detector::embedded().unwrap();
    let show = std::env::args().nth(1).unwrap_or_default();
    let mut tally: std::collections::BTreeMap<String, [usize; 4]> = Default::default();
    let mut rules: std::collections::BTreeMap<String, usize> = Default::default();
    let start = std::time::Instant::now();
    let mut n = 0;
    for line in std::io::stdin().lock().lines() {
        let v: Value = serde_json::from_str(&line.unwrap()).unwrap();
        let Some(tool) = v["tool"].as_str() else { continue };
        let cwd = v["cwd"].as_str().unwrap_or("/home/u/project");
        let home = if cwd.starts_with("/root") {
            "/root".to_string()
        } else {
            cwd.split('/').take(3).collect::<Vec<_>>().join("/")
        };
        let kind = defenseclaw_detect::tools::kind_of(tool, &v["input"], Some(cwd), Some(&home));
        let call = ToolCall {
            call: CallId::new("c").unwrap(),
            tool: tool.into(),
            input: v["input"].clone(),
            kind,
        };
        let facts = defenseclaw_detect::facts_of(&call, Some(cwd), Some(&home));
        let found = detector.call(&call, &facts);
        n += 1;
        let deny = found.iter().any(|f| {
            f.severity == Severity::Critical || (f.severity == Severity::High && f.confidence >= 80)
        });
        let ask = found.iter().any(|f| {
            (f.severity == Severity::High) || (f.severity == Severity::Medium && f.confidence >= 70)
        });
        let med = found.iter().any(|f| f.severity >= Severity::Medium);
        let label = v["label"].as_str().unwrap();
        for key in [
            format!("{} {label} all", v["set"].as_str().unwrap()),
            format!(
                "{} {label} {}",
                v["set"].as_str().unwrap(),
                v["category"].as_str().unwrap()
            ),
        ] {
            let t = tally.entry(key).or_default();
            t[0] += 1;
            t[1] += deny as usize;
            t[2] += (ask || deny) as usize;
            t[3] += med as usize;
        }
        let wrong = match show.as_str() {
            "miss" => label == "attack" && !(ask || deny),
            "missmed" => label == "attack" && !med,
            "fp" => label == "benign" && (ask || deny),
            "fpmed" => label == "benign" && med,
            "all" => true,
            _ => false,
        };
        if wrong {
            let text = v["input"]["command"]
                .as_str()
                .map(str::to_owned)
                .unwrap_or(v["input"].to_string());
            println!(
                "{} {} {tool} {}",
                v["id"].as_str().unwrap(),
                v["category"].as_str().unwrap(),
                text.chars().take(300).collect::<String>().replace('\n', " ⏎ ")
            );
            for f in found.iter().take(4) {
                println!("      {} {:?} {}", f.rule, f.severity, f.confidence);
                *rules.entry(f.rule.clone()).or_default() += 1;
            }
        }
    }
    eprintln!("{n} in {:?}", start.elapsed());
    for (k, t) in tally {
        if k.ends_with("all") || std::env::var_os("CATS").is_some() {
            eprintln!(
                "{k:55} n {:5} deny {:5.2}% ask+ {:5.2}% med+ {:5.2}%",
                t[0],
                100. * t[1] as f64 / t[0] as f64,
                100. * t[2] as f64 / t[0] as f64,
                100. * t[3] as f64 / t[0] as f64
            );
        }
    }
    if show == "fp" || show == "fpmed" {
        let mut r: Vec<_> = rules.into_iter().collect();
        r.sort_by_key(|x| std::cmp::Reverse(x.1));
        for (a, b) in r.iter().take(40) {
            eprintln!("{b:5} {a}");
        }
    }
}
