//! Where data goes: from what a program reads, prints or fetches, through pipes, substitutions, variables and files, to
//! the network, into a file, or into what runs it as code.
//!
//! While the text is read each program becomes a [`Node`]: what it gives out, what it takes in and how. Afterwards [`draw`]
//! follows each source along the edges. Programs, edges, sources and flows are bounded, so this is a bounded number of
//! passes over a bounded graph.

mod ends;
mod web;

use std::collections::HashMap;

use defenseclaw_model::facts::{BehaviourKind, Flow, FlowEnd, FlowKind};

use super::{Analysis, places};
pub(super) use ends::{describe, is_near, is_secret_name, secret_names, way_of};

/// Most edges; what variables and files carry beyond it is not followed.
pub(super) const MAX_EDGES: usize = 1024;
/// Most flows that are stated.
const MAX_FLOWS: usize = 64;
/// Most sources of one call, and of one program.
const MAX_SOURCES: usize = 48;
const MAX_OWN_SOURCES: usize = 8;
/// Most programs that are named between the ends of a flow.
const MAX_THROUGH: usize = 8;
/// The technique of what is installed from elsewhere than a registry.
const INSTALLED: &str = "remote-module";

/// How data comes to a program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    /// On its standard input.
    Input,
    /// As one of its arguments.
    Argument,
    /// In an argument that only logs in: an authorisation header.
    Login,
    /// As text that it runs.
    Code,
    /// From a file that the call wrote before.
    File,
}

impl Way {
    /// The way's bit in [`Node::takes`] and its like.
    pub(super) const fn bit(self) -> u8 {
        1 << self as u8
    }
}

/// Data of `from` reaches `to`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Edge {
    pub(super) from: usize,
    pub(super) to: usize,
    pub(super) way: Way,
}

/// One program in the graph.
#[derive(Debug, Default)]
pub(super) struct Node {
    /// Its level of substitution.
    pub(super) level: u16,
    /// What it reads and writes, as indices into the facts.
    pub(super) reads: Vec<usize>,
    pub(super) writes: Vec<usize>,
    /// Whether one of its files is a network socket (`/dev/tcp`).
    pub(super) socket: bool,
    /// What it gives out beside what it reads.
    pub(super) gives: Vec<FlowEnd>,
    /// What it reads is code or settings, not data that it gives out.
    pub(super) keeps_reads: bool,
    /// Its output is not its input: `curl`, `mkdir`.
    pub(super) ends_flow: bool,
    /// Its output says nothing of what it reads: `wc`, `sha256sum`, `grep -c`.
    pub(super) digests: bool,
    /// It does not look at its standard input.
    pub(super) deaf: bool,
    /// Where it sends data, and by which ways that data comes in.
    pub(super) sends: Option<Sends>,
    /// By which ways data becomes code that it runs.
    pub(super) runs: u8,
    /// The file that it is, or that it runs.
    pub(super) file: Option<String>,
    /// Whether it installs or sets up what it is given, rather than running it as text.
    pub(super) installs: bool,
    /// Whether all that it writes makes logins stricter.
    pub(super) stricter: bool,
}

/// A program that sends.
#[derive(Debug)]
pub(super) struct Sends {
    /// To whom; empty where it is not known.
    pub(super) host: String,
    /// The technique of its kind.
    pub(super) technique: &'static str,
    /// The ways by which data comes in that is sent.
    pub(super) takes: u8,
    /// Whether it sends what it reads itself.
    pub(super) own: bool,
}

/// Follows every source to where its data ends, and notes the flows and what they amount to.
pub(super) fn draw(analysis: &mut Analysis) {
    let ends = |node: &Node| node.sends.is_some() || !node.writes.is_empty();
    if analysis.edges.is_empty()
        && !analysis.nodes.iter().any(ends)
        && !(0..analysis.nodes.len()).any(|at| is_eval(analysis, at))
    {
        return;
    }
    let mut edges = std::mem::take(&mut analysis.edges);
    link_files(analysis, &mut edges);
    let mut drawn = Vec::new();
    {
        let graph = Graph::new(analysis, &edges);
        let mut sources = 0;
        for start in 0..analysis.nodes.len() {
            for source in graph.sources(start) {
                if sources >= MAX_SOURCES || drawn.len() >= MAX_FLOWS {
                    break;
                }
                sources += 1;
                graph.follow(start, &source, &mut drawn);
            }
        }
    }
    for (flow, technique) in drawn {
        state(analysis, flow, technique);
    }
}

/// Joins programs that write a file to those that read or run it later.
fn link_files(analysis: &Analysis, edges: &mut Vec<Edge>) {
    if analysis.facts.writes.is_empty() {
        return;
    }
    let mut writers: HashMap<&str, Vec<usize>> = HashMap::new();
    for (at, node) in analysis.nodes.iter().enumerate() {
        let reads = node
            .reads
            .iter()
            .filter_map(|&path| analysis.facts.reads.get(path));
        for path in reads.map(|fact| fact.path.as_str()).filter(|_| !node.keeps_reads) {
            link(&writers, path, at, Way::File, edges);
        }
        if let Some(path) = &node.file {
            link(&writers, path, at, Way::Code, edges);
        }
        for fact in node
            .writes
            .iter()
            .filter_map(|&path| analysis.facts.writes.get(path))
        {
            writers.entry(&fact.path).or_default().push(at);
        }
    }
}

fn link(writers: &HashMap<&str, Vec<usize>>, path: &str, to: usize, way: Way, edges: &mut Vec<Edge>) {
    for &from in writers.get(path).into_iter().flatten() {
        if edges.len() < MAX_EDGES && from != to {
            edges.push(Edge { from, to, way });
        }
    }
}

/// A flow, and the technique by which it is sent.
type Drawn = (Flow, Option<&'static str>);

/// The programs, and the edges by their beginning.
struct Graph<'a> {
    analysis: &'a Analysis,
    /// Where each program's edges begin in `edges`.
    begin: Vec<usize>,
    edges: Vec<Edge>,
}

impl<'a> Graph<'a> {
    fn new(analysis: &'a Analysis, edges: &[Edge]) -> Self {
        let mut sorted = edges.to_vec();
        sorted.sort_by_key(|edge| edge.from);
        let mut begin = vec![0; analysis.nodes.len() + 1];
        for edge in &sorted {
            if let Some(count) = begin.get_mut(edge.from + 1) {
                *count += 1;
            }
        }
        for at in 1..begin.len() {
            begin[at] += begin[at - 1];
        }
        Self {
            analysis,
            begin,
            edges: sorted,
        }
    }

    fn from(&self, node: usize) -> &[Edge] {
        self.edges
            .get(self.begin[node]..self.begin[node + 1])
            .unwrap_or_default()
    }

    /// What a program gives out that was not given to it.
    fn sources(&self, at: usize) -> Vec<FlowEnd> {
        let node = &self.analysis.nodes[at];
        let leads =
            node.sends.is_some() || node.runs != 0 || !node.writes.is_empty() || !self.from(at).is_empty();
        if !leads || node.digests {
            return Vec::new();
        }
        let mut ends = node.gives.clone();
        for fact in node
            .reads
            .iter()
            .filter_map(|&path| self.analysis.facts.reads.get(path))
        {
            let secret = fact
                .class
                .as_deref()
                .is_some_and(|class| places::is_secret(self.analysis.rules, class));
            let kind = match (secret, node.keeps_reads) {
                (true, _) => FlowKind::Secret,
                (false, false) => FlowKind::File,
                (false, true) => continue,
            };
            ends.push(FlowEnd {
                kind,
                what: fact.path.clone(),
            });
        }
        ends.truncate(MAX_OWN_SOURCES);
        ends
    }

    /// Follows one source from the program that gives it out.
    fn follow(&self, start: usize, source: &FlowEnd, drawn: &mut Vec<Drawn>) {
        let nodes = &self.analysis.nodes;
        self.own_ends(start, source, drawn);
        // Which ways have reached a program, and from where it was reached first.
        let mut reached = vec![0_u8; nodes.len()];
        let mut came_from = vec![usize::MAX; nodes.len()];
        let mut waiting = vec![start];
        while let Some(at) = waiting.pop() {
            if at != start && (nodes[at].ends_flow || nodes[at].digests) {
                continue;
            }
            for edge in self.from(at) {
                // What a program prints into a script that runs later is that script's text, not its own.
                if edge.way == Way::Code && source.kind == FlowKind::Command && nodes[edge.to].file.is_some()
                {
                    continue;
                }
                let seen = reached[edge.to] != 0 || edge.to == start;
                if reached[edge.to] & edge.way.bit() != 0
                    || (edge.way == Way::Login && source.kind != FlowKind::Secret)
                {
                    continue;
                }
                reached[edge.to] |= edge.way.bit();
                if !seen {
                    came_from[edge.to] = at;
                }
                self.ends(start, source, *edge, &came_from, drawn);
                let hears = edge.way != Way::Input || !nodes[edge.to].deaf;
                if !seen && hears {
                    waiting.push(edge.to);
                }
            }
        }
    }

    /// What becomes of data within the program that reads it.
    fn own_ends(&self, start: usize, source: &FlowEnd, drawn: &mut Vec<Drawn>) {
        let node = &self.analysis.nodes[start];
        let reads = matches!(
            source.kind,
            FlowKind::Secret | FlowKind::File | FlowKind::Environment
        );
        if let Some(sends) = node.sends.as_ref().filter(|sends| sends.own && reads) {
            add(
                drawn,
                source,
                FlowKind::Network,
                &sends.host,
                Vec::new(),
                Some(sends.technique),
            );
        }
        if source.kind == FlowKind::Environment && is_eval(self.analysis, start) {
            let name = &self.analysis.facts.programs[start].name;
            add(drawn, source, FlowKind::Code, name, Vec::new(), None);
        }
        self.files(start, start, source, &[], drawn);
    }

    /// What becomes of data that comes along `edge`.
    fn ends(&self, start: usize, source: &FlowEnd, edge: Edge, came_from: &[usize], drawn: &mut Vec<Drawn>) {
        let node = &self.analysis.nodes[edge.to];
        let way = edge.way.bit();
        let sends = node.sends.as_ref().filter(|sends| sends.takes & way != 0);
        let runs = node.runs & way != 0;
        if sends.is_none() && !runs && node.writes.is_empty() {
            return;
        }
        let through = self.through(start, edge.from, came_from);
        if let Some(sends) = sends.filter(|_| source.kind != FlowKind::Text) {
            let technique = Some(sends.technique);
            add(
                drawn,
                source,
                FlowKind::Network,
                &sends.host,
                through.clone(),
                technique,
            );
        }
        if runs {
            let name = &self.analysis.facts.programs[edge.to].name;
            let technique = node.installs.then_some(INSTALLED);
            add(drawn, source, FlowKind::Code, name, through.clone(), technique);
        }
        self.files(start, edge.to, source, &through, drawn);
    }

    /// Files that data of weight ends in.
    fn files(&self, start: usize, at: usize, source: &FlowEnd, through: &[String], drawn: &mut Vec<Drawn>) {
        if !matches!(
            source.kind,
            FlowKind::Secret | FlowKind::Network | FlowKind::Encoded
        ) {
            return;
        }
        let node = &self.analysis.nodes[at];
        if at != start && node.ends_flow {
            return;
        }
        for fact in node
            .writes
            .iter()
            .filter_map(|&path| self.analysis.facts.writes.get(path))
        {
            if source.what != fact.path {
                add(drawn, source, FlowKind::File, &fact.path, through.to_vec(), None);
            }
        }
    }

    /// The programs between `start` and `last`, `last` included.
    fn through(&self, start: usize, last: usize, came_from: &[usize]) -> Vec<String> {
        let mut names = Vec::new();
        let mut at = last;
        while at != start && at != usize::MAX && names.len() < MAX_THROUGH {
            names.push(self.analysis.facts.programs[at].name.clone());
            at = came_from[at];
        }
        names.reverse();
        names
    }
}

fn is_eval(analysis: &Analysis, at: usize) -> bool {
    analysis.facts.programs[at].name == "eval"
}

fn add(
    drawn: &mut Vec<Drawn>,
    from: &FlowEnd,
    kind: FlowKind,
    what: &str,
    through: Vec<String>,
    technique: Option<&'static str>,
) {
    let to = FlowEnd {
        kind,
        what: what.to_owned(),
    };
    let known = drawn.iter().any(|(flow, _)| flow.from == *from && flow.to == to);
    if !known && drawn.len() < MAX_FLOWS {
        drawn.push((
            Flow {
                from: from.clone(),
                to,
                through,
            },
            technique,
        ));
    }
}

/// States a flow, and what it amounts to.
fn state(analysis: &mut Analysis, flow: Flow, technique: Option<&'static str>) {
    match (flow.from.kind, flow.to.kind) {
        // A package is no text that a person would read first; where it comes from is what counts.
        (FlowKind::Network, FlowKind::Code) if technique == Some(INSTALLED) => {
            return analysis.behave(BehaviourKind::Execution, INSTALLED, &flow.from.what, None);
        }
        (_, FlowKind::Code) if technique == Some(INSTALLED) => return,
        (FlowKind::Network, FlowKind::Code) => {
            analysis.behave(BehaviourKind::Execution, "network-to-code", &flow.from.what, None);
        }
        (FlowKind::Encoded, FlowKind::Code) => {
            analysis.behave(BehaviourKind::Execution, "decoded-code", &flow.from.what, None);
        }
        (
            FlowKind::Secret | FlowKind::File | FlowKind::Environment | FlowKind::Command,
            FlowKind::Network,
        ) => {
            let technique = technique.unwrap_or("upload");
            analysis.behave(BehaviourKind::Exfiltration, technique, &flow.to.what, None);
        }
        _ => {}
    }
    // Text that stands in the call and is run is read like the rest of the call.
    if flow.from.kind != FlowKind::Text {
        analysis.facts.flows.push(flow);
    }
}
