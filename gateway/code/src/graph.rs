//! The flow graph: values, and where each goes. Labels are carried along until nothing new is learnt.

use std::collections::{HashMap, VecDeque};

use crate::labels::{How, Labels};

/// A value.
pub(crate) type Node = u32;

/// Where a value stands: number of the file and line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Spot {
    pub(crate) file: u32,
    pub(crate) line: u32,
}

/// The values of one artifact.
#[derive(Debug, Default)]
pub(crate) struct Graph {
    spots: Vec<Spot>,
    labels: Vec<Labels>,
    /// For each value its edges, as a list that is linked through `edges`.
    first: Vec<u32>,
    edges: Vec<Edge>,
    /// For each label that a value was given by another: by which, and what it was there.
    came: HashMap<(Node, u32), (Node, u32)>,
}

#[derive(Debug, Clone, Copy)]
struct Edge {
    to: Node,
    how: How,
    next: u32,
}

/// No edge.
const END: u32 = u32::MAX;

/// Most edges of one artifact: some six for each node of the largest artifact that is read.
const MAX_EDGES: usize = 12 << 20;

/// Most steps that are remembered to tell ways by; behind them a finding tells its end only.
const MAX_REMEMBERED: usize = 4 << 20;

/// Longest way that is told of: whoever reads a finding follows no longer one.
const MAX_WAY: usize = 4096;

impl Graph {
    pub(crate) fn node(&mut self, spot: Spot) -> Node {
        let node = u32::try_from(self.spots.len()).unwrap_or(END);
        self.spots.push(spot);
        self.labels.push(Labels::NONE);
        self.first.push(END);
        node
    }

    pub(crate) fn edge(&mut self, from: Node, to: Node, how: How) {
        let number = self.edges.len();
        let (Some(first), true) = (self.first.get_mut(from as usize), number < MAX_EDGES) else {
            return;
        };
        let next = std::mem::replace(first, u32::try_from(number).unwrap_or(END));
        self.edges.push(Edge { to, how, next });
    }

    /// How many values there are.
    pub(crate) fn len(&self) -> usize {
        self.spots.len()
    }

    /// Whether nothing was left out.
    pub(crate) fn is_whole(&self) -> bool {
        self.edges.len() < MAX_EDGES
    }

    pub(crate) fn seed(&mut self, node: Node, labels: Labels) {
        if let Some(known) = self.labels.get_mut(node as usize) {
            *known = known.plus(labels);
        }
    }

    pub(crate) fn labels(&self, node: Node) -> Labels {
        self.labels.get(node as usize).copied().unwrap_or_default()
    }

    pub(crate) fn spot(&self, node: Node) -> Spot {
        self.spots.get(node as usize).copied().unwrap_or_default()
    }

    /// Carries labels along until nothing new is learnt. Each value is taken up at most once for each label that it gains.
    pub(crate) fn run(&mut self) {
        let count = u32::try_from(self.labels.len()).unwrap_or(END);
        let mut waits = vec![false; self.labels.len()];
        let mut queue: VecDeque<Node> = (0..count)
            .filter(|&node| self.labels(node) != Labels::NONE)
            .collect();
        for &node in &queue {
            if let Some(waits) = waits.get_mut(node as usize) {
                *waits = true;
            }
        }
        while let Some(node) = queue.pop_front() {
            if let Some(waits) = waits.get_mut(node as usize) {
                *waits = false;
            }
            let here = self.labels(node);
            let mut at = self.first.get(node as usize).copied().unwrap_or(END);
            while let Some(&edge) = self.edges.get(at as usize) {
                at = edge.next;
                let known = self.labels(edge.to);
                let new = edge.how.apply(here).0 & !known.0;
                if new == 0 {
                    continue;
                }
                self.remember(node, here, edge, new);
                self.seed(edge.to, Labels(new));
                if let Some(waits) = waits.get_mut(edge.to as usize).filter(|waits| !**waits) {
                    *waits = true;
                    queue.push_back(edge.to);
                }
            }
        }
    }

    fn remember(&mut self, from: Node, here: Labels, edge: Edge, new: u32) {
        if self.came.len() >= MAX_REMEMBERED {
            return;
        }
        let mut left = new;
        while left != 0 {
            let bit = left & left.wrapping_neg();
            left &= !bit;
            let was = edge.how.before(bit, here);
            self.came.entry((edge.to, bit)).or_insert((from, was));
        }
    }

    /// The way by which `bit` came to `node`: its beginning first, each place once.
    pub(crate) fn way(&self, node: Node, bit: u32) -> Vec<Spot> {
        let mut way = vec![self.spot(node)];
        let (mut at, mut bit) = (node, bit);
        for _ in 0..MAX_WAY {
            let Some(&(from, was)) = self.came.get(&(at, bit)) else {
                break;
            };
            (at, bit) = (from, was);
            let spot = self.spot(at);
            if spot.line > 0 && way.last() != Some(&spot) {
                way.push(spot);
            }
        }
        way.reverse();
        way
    }

    /// The label with which the way of `bit` to `node` began.
    pub(crate) fn origin(&self, node: Node, bit: u32) -> u32 {
        let (mut at, mut bit) = (node, bit);
        for _ in 0..MAX_WAY {
            match self.came.get(&(at, bit)) {
                Some(&(from, was)) => (at, bit) = (from, was),
                None => break,
            }
        }
        bit
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::labels::Label;

    #[test]
    fn labels_go_round_a_loop_once_and_the_way_is_told() {
        let mut graph = Graph::default();
        let nodes: Vec<Node> = (1..=4).map(|line| graph.node(Spot { file: 0, line })).collect();
        for pair in nodes.windows(2) {
            graph.edge(pair[0], pair[1], How::Keep);
        }
        graph.edge(nodes[3], nodes[0], How::Keep);
        graph.seed(nodes[1], Labels(Label::Secret.bit()));
        graph.run();
        assert!(
            nodes
                .iter()
                .all(|&node| graph.labels(node).0 == Label::Secret.bit())
        );
        let lines: Vec<u32> = graph
            .way(nodes[0], Label::Secret.bit())
            .iter()
            .map(|spot| spot.line)
            .collect();
        assert_eq!(lines, [2, 3, 4, 1]);
    }
}
