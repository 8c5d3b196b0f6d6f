//! Who is joined to whom, and which way packets take.

use std::collections::{BTreeMap, VecDeque};

use super::HostId;

/// A host or a router of a [`World`](super::World).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Node {
    /// A host.
    Host(HostId),
    /// A router, or a box that stands where one might.
    Router(usize),
}

impl From<HostId> for Node {
    fn from(host: HostId) -> Self {
        Self::Host(host)
    }
}

/// Numbers all nodes.
const fn index(node: Node) -> usize {
    match node {
        Node::Host(HostId(i)) => 2 * i,
        Node::Router(i) => 2 * i + 1,
    }
}

/// Names one direction of a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PipeId(pub(super) usize);

/// Both directions of a link that was made by [`World::join`](super::World::join).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LinkId {
    /// From its near end to its far end.
    pub there: PipeId,
    /// From its far end to its near end.
    pub back: PipeId,
}

/// The network's shape: hosts and routers, and the pipes between them.
#[derive(Clone, Debug, Default)]
pub(super) struct Graph {
    /// Ends of each pipe.
    pub(super) ends: Vec<(Node, Node)>,
    /// Pipes that lead from the far end of a link to its near one.
    pub(super) back: Vec<bool>,
    /// Pipes that begin at a node.
    from: BTreeMap<Node, Vec<PipeId>>,
    /// Of each node to each node: which pipe; computed when first asked for.
    routes: BTreeMap<Node, Vec<Option<PipeId>>>,
}

impl Graph {
    pub(super) fn add(&mut self, from: Node, to: Node, back: bool) -> PipeId {
        let id = PipeId(self.ends.len());
        self.back.push(back);
        self.ends.push((from, to));
        self.from.entry(from).or_default().push(id);
        self.routes.clear();
        id
    }

    /// A pipe that leads from one to the other without anything between.
    pub(super) fn direct(&self, from: Node, to: Node) -> Option<PipeId> {
        self.from.get(&from)?.iter().copied().find(|p| self.ends[p.0].1 == to)
    }

    /// The first pipe on the way: the fewest links, of equals those that were made first. Ways lead through routers only.
    pub(super) fn towards(&mut self, from: Node, to: Node) -> Option<PipeId> {
        let index = index(to);
        if let Some(known) = self.routes.get(&from).and_then(|r| r.get(index)) {
            return *known;
        }
        let mut routes = self.search(from);
        if routes.len() <= index {
            // So that the answer is known, also for nodes that no link leads to.
            routes.resize(index + 1, None);
        }
        let first = routes[index];
        self.routes.insert(from, routes);
        first
    }

    fn search(&self, start: Node) -> Vec<Option<PipeId>> {
        let mut routes: Vec<Option<PipeId>> = Vec::new();
        let mut first: BTreeMap<Node, PipeId> = BTreeMap::new();
        let mut open = VecDeque::from([start]);
        while let Some(node) = open.pop_front() {
            for &pipe in self.from.get(&node).into_iter().flatten() {
                let next = self.ends[pipe.0].1;
                if next == start || first.contains_key(&next) {
                    continue;
                }
                let by = first.get(&node).copied().unwrap_or(pipe);
                first.insert(next, by);
                let at = index(next);
                if routes.len() <= at {
                    routes.resize(at + 1, None);
                }
                routes[at] = Some(by);
                if matches!(next, Node::Router(_)) {
                    open.push_back(next);
                }
            }
        }
        routes
    }
}
