//! Questions: answered, refused, forgotten, withdrawn; and how many at once.

use std::sync::Arc;
use std::time::{Duration, Instant};

use defenseclaw_sandbox::supervise::{Access, Action, Answer, MAX_ASKED, MAX_QUESTIONS, NoPeople, Options};

use crate::harness::{Done, Only, Person, Run, folder, reap};
use crate::target::{open, read, tell};

pub(crate) fn act(operation: &str, arguments: &[&str]) -> Option<()> {
    match operation {
        "read twice" => (0..2).for_each(|_| tell(&read(arguments[0]))),
        "read and hello" => {
            let path = arguments[0].to_owned();
            let asks = std::thread::spawn(move || read(&path));
            std::thread::sleep(Duration::from_millis(150));
            tell(&read(arguments[1]));
            tell(&asks.join().unwrap());
        }
        "all ask the same" => all_ask_the_same(arguments[0]),
        "ask without end" => {
            let allowed = (0..1100)
                .filter(|at| open(&format!("{}{at}", arguments[0]), libc::O_RDONLY, 0) >= 0)
                .count();
            tell(&allowed.to_string());
        }
        "many ask" => many_ask(arguments[0], arguments[1].parse().unwrap()),
        _ => return None,
    }
    Some(())
}

fn all_ask_the_same(path: &str) {
    let threads: Vec<_> = (0..20)
        .map(|_| {
            let path = path.to_owned();
            std::thread::spawn(move || read(&path))
        })
        .collect();
    let right = threads
        .into_iter()
        .filter_map(|thread| thread.join().ok())
        .filter(|text| text.starts_with("for those"));
    tell(&right.count().to_string());
}

fn many_ask(path: &str, processes: usize) {
    for at in 0..processes {
        // SAFETY: the child only opens a file and exits.
        if unsafe { libc::fork() } == 0 {
            let fd = open(&format!("{path}{at}"), libc::O_RDONLY, 0);
            // SAFETY: leaves at once.
            unsafe { libc::_exit(if fd >= 0 { 0 } else { -fd }) };
        }
    }
    let mut results = std::collections::BTreeMap::new();
    for _ in 0..processes {
        let mut status = 0;
        // SAFETY: `status` is writable.
        unsafe { libc::wait(&raw mut status) };
        *results.entry(libc::WEXITSTATUS(status)).or_insert(0) += 1;
    }
    tell(&format!("{results:?}"));
}

fn ask(answer: Answer, after_ms: u64, within_ms: u64, operation: &'static str) -> (Done, Arc<Person>) {
    let folder = folder();
    let file = folder.path().join("asked.txt");
    std::fs::write(&file, "for those who ask").unwrap();
    std::fs::write(folder.path().join("free.txt"), "for all").unwrap();
    let person = Person::new(answer, Duration::from_millis(after_ms));
    let run = Run {
        arguments: vec![
            file.to_str().unwrap().into(),
            folder.path().join("free.txt").to_str().unwrap().into(),
        ],
        judge: Arc::new(Only {
            asked: vec![file],
            allowed: vec![folder.path().join("free.txt")],
            ..Only::default()
        }),
        people: person.clone(),
        options: Options {
            answer_within: Duration::from_millis(within_ms),
            workers: 2,
        },
        landlock: true,
        ..Run::new(operation, folder.path())
    };
    (run.done(), person)
}

#[test]
fn a_yes_opens_what_landlock_denies() {
    let (done, person) = ask(Answer::Once, 20, 5000, "read twice");
    assert_eq!(done.text, "for those who ask\nfor those who ask\n");
    let asked = person.asked.lock().unwrap();
    assert_eq!(asked.len(), 2, "once is once");
    assert!(matches!(&asked[0], Action::Open { path, access: Access::READ } if path.ends_with("asked.txt")));
    assert_eq!(
        (done.counts.asked, done.counts.denied, done.counts.timed_out),
        (2, 0, 0)
    );
}

#[test]
fn a_yes_for_the_run_and_a_no_are_remembered() {
    let (done, person) = ask(Answer::ForRun, 0, 5000, "read twice");
    assert_eq!(done.text, "for those who ask\nfor those who ask\n");
    assert_eq!(person.asked.lock().unwrap().len(), 1);
    let (done, person) = ask(Answer::Deny, 0, 5000, "read twice");
    assert_eq!(done.text, "errno 13\nerrno 13\n");
    assert_eq!(person.asked.lock().unwrap().len(), 1);
    assert_eq!(done.counts.denied, 2);
}

#[test]
fn many_who_want_the_same_wait_for_one_answer() {
    let (done, person) = ask(Answer::ForRun, 200, 5000, "all ask the same");
    assert_eq!(done.text, "20\n");
    assert_eq!((person.asked.lock().unwrap().len(), done.counts.asked), (1, 1));
    let (done, person) = ask(Answer::Once, 10, 5000, "all ask the same");
    assert_eq!(done.text, "20\n");
    assert_eq!(
        person.asked.lock().unwrap().len(),
        20,
        "once is once, one after the other"
    );
}

#[test]
fn no_answer_in_time_is_a_no() {
    let begin = Instant::now();
    let (done, person) = ask(Answer::Once, 10_000, 200, "read");
    assert_eq!(done.text, "errno 13\nfor all\n");
    assert_eq!(done.counts.timed_out, 1);
    wait_for(|| *person.withdrawn.lock().unwrap() == 1);
    assert!(begin.elapsed() < Duration::from_secs(5));
}

#[test]
fn others_go_on_while_one_waits_for_an_answer() {
    let (done, _) = ask(Answer::Once, 600, 5000, "read and hello");
    assert_eq!(done.text, "for all\nfor those who ask\n");
}

#[test]
fn without_people_everything_asked_is_refused() {
    let folder = folder();
    let file = folder.path().join("asked.txt");
    std::fs::write(&file, "x").unwrap();
    let run = Run {
        arguments: vec![file.to_str().unwrap().into()],
        judge: Arc::new(Only {
            asked: vec![file],
            ..Only::default()
        }),
        people: Arc::new(NoPeople),
        ..Run::new("read", folder.path())
    };
    assert_eq!(run.done().text, "errno 13\n");
}

#[test]
fn questions_of_the_dead_are_withdrawn() {
    let folder = folder();
    let file = folder.path().join("asked.txt");
    std::fs::write(&file, "x").unwrap();
    let person = Person::new(Answer::Once, Duration::from_secs(15));
    let run = Run {
        arguments: vec![file.to_str().unwrap().into()],
        judge: Arc::new(Only {
            asked: vec![file],
            ..Only::default()
        }),
        people: person.clone(),
        ..Run::new("read", folder.path())
    };
    let running = run.start();
    wait_for(|| !person.asked.lock().unwrap().is_empty());
    // SAFETY: our own child, which is not reaped yet.
    unsafe { libc::kill(running.pid, libc::SIGKILL) };
    assert!(libc::WIFSIGNALED(reap(running.pid)));
    wait_for(|| *person.withdrawn.lock().unwrap() == 1);
    // With no process left the supervisor ends by itself.
    let counts = running.supervisor.unwrap().wait_until_unused();
    assert_eq!((counts.asked, counts.timed_out), (1, 0));
}

#[test]
fn a_hundred_who_ask_at_once_are_bounded() {
    let folder = folder();
    let stem = folder.path().join("asked");
    for at in 0..100 {
        std::fs::write(format!("{}{at}", stem.display()), "x").unwrap();
    }
    let person = Person::new(Answer::Once, Duration::from_millis(1500));
    let run = Run {
        arguments: vec![stem.to_str().unwrap().into(), "100".into()],
        judge: Arc::new(Only {
            asked: vec![folder.path().into()],
            ..Only::default()
        }),
        people: person.clone(),
        ..Run::new("many ask", folder.path())
    };
    let done = run.done();
    let refused = done.counts.refused_full;
    assert_eq!(done.text, format!("{{0: {}, 13: {refused}}}\n", 100 - refused));
    assert!(
        refused as usize >= 100 - MAX_QUESTIONS - 10 && refused > 0,
        "{refused} refused"
    );
}

#[test]
fn nobody_is_asked_without_end() {
    let folder = folder();
    let stem = folder.path().join("asked");
    for at in 0..1100 {
        std::fs::write(format!("{}{at}", stem.display()), "x").unwrap();
    }
    let run = Run {
        arguments: vec![stem.to_str().unwrap().into()],
        judge: Arc::new(Only {
            asked: vec![folder.path().into()],
            ..Only::default()
        }),
        people: Person::new(Answer::ForRun, Duration::ZERO),
        before: || {
            let many = libc::rlimit {
                rlim_cur: 4096,
                rlim_max: 4096,
            };
            // SAFETY: readable.
            unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const many) };
        },
        ..Run::new("ask without end", folder.path())
    };
    let done = run.done();
    assert_eq!(done.text, format!("{MAX_ASKED}\n"));
    assert_eq!((done.counts.asked, done.counts.refused_full), (MAX_ASKED, 100));
}

#[test]
fn without_a_supervisor_watched_calls_fail() {
    let folder = folder();
    let file = folder.path().join("asked.txt");
    std::fs::write(&file, "x").unwrap();
    let person = Person::new(Answer::Once, Duration::from_secs(15));
    let run = Run {
        arguments: vec![file.to_str().unwrap().into()],
        judge: Arc::new(Only {
            asked: vec![file],
            ..Only::default()
        }),
        people: person.clone(),
        ..Run::new("read", folder.path())
    };
    let mut running = run.start();
    wait_for(|| !person.asked.lock().unwrap().is_empty());
    // The same as its death: the listener is closed in mid-question.
    drop(running.supervisor.take());
    assert_eq!(running.line(), format!("errno {}", libc::ENOSYS));
    reap(running.pid);
}

fn wait_for(condition: impl Fn() -> bool) {
    let end = Instant::now() + Duration::from_secs(10);
    while !condition() {
        assert!(Instant::now() < end, "waited for too long");
        std::thread::sleep(Duration::from_millis(5));
    }
}
