//! What the kernel saw of one call (or of none) as trees of program images.
//!
//! An exec makes a node; its parent is the image that it replaced or was forked from. Files, connections and the end
//! belong to the image that did them. An image whose exec is not among the activities, because it ran before (the
//! harness itself, most often), gets a node of its own.

use std::collections::HashMap;

use defenseclaw_model::activity::{Action, Activity, Attribution, ExitStatus, Explained};
use defenseclaw_model::decision::Finding;
use defenseclaw_model::ids::{ImageId, ProcessId};

/// A finding and its record's number.
#[derive(Debug, Clone, PartialEq)]
pub struct Noted {
    /// Number of the finding's record; `None` for one that only stands inside a decision.
    pub seq: Option<u64>,
    /// What was found.
    pub finding: Finding,
}

/// An activity with its record's number and the findings about it.
#[derive(Debug, Clone, PartialEq)]
pub struct Seen {
    /// Number of the record.
    pub seq: u64,
    /// What was seen.
    pub activity: Activity,
    /// What was found about it.
    pub findings: Vec<Noted>,
}

impl Seen {
    /// Whether a person must see this one even where many others are only counted.
    pub fn is_notable(&self) -> bool {
        let class = matches!(&self.activity.action, Action::Open { class: Some(_), .. });
        let kind = matches!(
            &self.activity.action,
            Action::Connect { .. } | Action::IoUring { .. }
        );
        class || kind || !self.findings.is_empty() || self.is_unexplained()
    }

    /// Whether nothing explains it.
    pub fn is_unexplained(&self) -> bool {
        self.activity.attribution.explained == Explained::Unexplained
    }
}

/// How an image's process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct End {
    /// Number of the record.
    pub seq: u64,
    /// When.
    pub time_ns: u64,
    /// How.
    pub status: ExitStatus,
    /// From the process's start, ns.
    pub duration_ns: u64,
}

/// One program image.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    /// Which.
    pub image: ImageId,
    /// The process that it ran in.
    pub process: ProcessId,
    /// The program's path, or its command name.
    pub program: String,
    /// The exec that made it; `None` where it was running before.
    pub exec: Option<Seen>,
    /// Files, connections and the like, in order.
    pub effects: Vec<Seen>,
    /// How its process ended, if it did while running this image.
    pub end: Option<End>,
    /// Findings about the end.
    pub end_findings: Vec<Noted>,
    /// Whether its process became another program.
    pub replaced: bool,
    /// Whether it took over its parent's process, instead of being forked.
    pub replaces: bool,
    /// Processes that it forked, that ran no other program and have ended.
    pub forks: u64,
    /// Whether anything that it did came after its call had ended.
    pub outlived: bool,
    /// Images that it started or became, by time.
    pub children: Vec<usize>,
    /// Its place in the tree.
    pub parent: Option<usize>,
    /// Whether it or an image below it holds something notable.
    pub notable: bool,
    /// Images below it.
    pub below: u64,
}

impl Node {
    /// How the node was attributed: by its exec, or by the first thing that it did.
    pub fn attribution(&self) -> Option<&Attribution> {
        let first = self.exec.as_ref().or(self.effects.first());
        first.map(|seen| &seen.activity.attribution)
    }
}

/// Trees of program images, in the order of their execs.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Forest {
    /// Every node; a parent stands before its children.
    pub nodes: Vec<Node>,
    /// Activities in it.
    pub activities: u64,
}

impl Forest {
    /// Builds the trees of these activities.
    pub fn of(seen: Vec<Seen>) -> Self {
        let mut forest = Self {
            nodes: Vec::new(),
            activities: seen.len() as u64,
        };
        let mut places: HashMap<ImageId, usize> = HashMap::new();
        let (execs, others): (Vec<_>, Vec<_>) = seen
            .into_iter()
            .partition(|seen| matches!(seen.activity.action, Action::Exec { .. }));
        for seen in execs {
            places.insert(seen.activity.image, forest.nodes.len());
            forest.nodes.push(Node::new(&seen));
            if let Some(node) = forest.nodes.last_mut() {
                node.outlived = seen.activity.attribution.after_call;
                node.exec = Some(seen);
            }
        }
        for seen in others {
            let place = *places.entry(seen.activity.image).or_insert_with(|| {
                forest.nodes.push(Node::new(&seen));
                forest.nodes.len() - 1
            });
            forest.nodes[place].take(seen);
        }
        forest.link();
        forest
    }

    /// Places of the nodes that have no parent here.
    pub fn roots(&self) -> impl Iterator<Item = usize> + '_ {
        (0..self.nodes.len()).filter(|&place| self.nodes[place].parent.is_none())
    }

    /// Every node with its depth, parents before children, by time. Without recursion: a process tree may be as deep as
    /// the attacker likes.
    pub fn walk(&self) -> Vec<(usize, usize)> {
        let mut walked = Vec::with_capacity(self.nodes.len());
        let mut stack: Vec<(usize, usize)> = self.roots().map(|place| (place, 0)).collect();
        stack.reverse();
        while let Some((place, depth)) = stack.pop() {
            walked.push((place, depth));
            stack.extend(
                self.nodes[place]
                    .children
                    .iter()
                    .rev()
                    .map(|&child| (child, depth + 1)),
            );
        }
        walked
    }

    /// Orders the nodes by time, links children to parents and sums up from the leaves.
    fn link(&mut self) {
        self.nodes.sort_by_key(|node| {
            (
                node.image.exec_ns,
                node.exec
                    .as_ref()
                    .or(node.effects.first())
                    .map_or(0, |seen| seen.seq),
            )
        });
        let places: HashMap<ImageId, usize> = self
            .nodes
            .iter()
            .enumerate()
            .map(|(place, node)| (node.image, place))
            .collect();
        for place in 0..self.nodes.len() {
            let Some(Action::Exec { parent, .. }) =
                self.nodes[place].exec.as_ref().map(|e| &e.activity.action)
            else {
                continue;
            };
            // Only an earlier image can be a parent: whatever the records say, the links form no circle.
            let Some(above) = places.get(parent).copied().filter(|&above| above < place) else {
                continue;
            };
            if self.nodes[above].process == self.nodes[place].process {
                self.nodes[above].replaced = true;
                self.nodes[place].replaces = true;
            }
            self.nodes[above].children.push(place);
            self.nodes[place].parent = Some(above);
        }
        for place in (0..self.nodes.len()).rev() {
            let node = &self.nodes[place];
            let notable = node.notable || node.is_notable();
            let below = node.below + 1;
            let parent = node.parent;
            self.nodes[place].notable = notable;
            if let Some(above) = parent {
                self.nodes[above].notable |= notable;
                self.nodes[above].below += below;
            }
        }
    }
}

impl Node {
    fn new(seen: &Seen) -> Self {
        Self {
            image: seen.activity.image,
            process: seen.activity.process,
            program: seen.activity.program.clone(),
            exec: None,
            effects: Vec::new(),
            end: None,
            end_findings: Vec::new(),
            replaced: false,
            replaces: false,
            forks: 0,
            outlived: false,
            children: Vec::new(),
            parent: None,
            notable: false,
            below: 0,
        }
    }

    fn take(&mut self, seen: Seen) {
        self.outlived |= seen.activity.attribution.after_call;
        let Action::Exit { status, duration_ns } = seen.activity.action else {
            self.effects.push(seen);
            return;
        };
        // Another process that ends in the same image is a fork that ran no program of its own.
        if seen.activity.process.tgid != self.image.tgid {
            self.forks += 1;
        } else {
            self.end = Some(End {
                seq: seen.seq,
                time_ns: seen.activity.time_ns,
                status,
                duration_ns,
            });
        }
        self.end_findings.extend(seen.findings);
    }

    fn is_notable(&self) -> bool {
        self.outlived
            || !self.end_findings.is_empty()
            || self.exec.as_ref().is_some_and(Seen::is_notable)
            || self.effects.iter().any(Seen::is_notable)
            || matches!(
                self.end,
                Some(End {
                    status: ExitStatus::Signal(_),
                    ..
                })
            )
    }
}
