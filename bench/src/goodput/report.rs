//! What a group of simulations has to say.

use serde::Serialize;

use super::pool::{Done, Job};
use super::sim::Outcome;
use super::table::Table;

/// One figure, for programs to read.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Figure {
    /// Which table.
    pub(crate) group: &'static str,
    /// Which simulation.
    pub(crate) name: String,
    /// What is measured.
    pub(crate) what: &'static str,
    pub(crate) value: f64,
    pub(crate) unit: &'static str,
    /// What it is to be at least and at most.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) bounds: Option<(f64, f64)>,
}

impl Figure {
    /// What is wrong with it, where it is outside its bounds.
    pub(crate) fn violation(&self) -> Option<String> {
        let (least, most) = self.bounds?;
        let ok = self.value >= least && self.value <= most;
        let Self { name, what, value, unit, .. } = self;
        (!ok).then(|| format!("{name}: {what} is {value:.3} {unit}, which must be {least:.3} to {most:.3}"))
    }
}

/// Tables and figures.
#[derive(Debug, Default)]
pub(crate) struct Report {
    pub(crate) tables: Vec<Table>,
    pub(crate) figures: Vec<Figure>,
}

impl Report {
    pub(crate) fn violations(&self) -> Vec<String> {
        self.figures.iter().filter_map(Figure::violation).collect()
    }
}

/// What was run, by name.
pub(crate) struct Results<'a> {
    jobs: &'a [Job],
    outcomes: &'a [Done],
}

impl<'a> Results<'a> {
    pub(crate) fn new(jobs: &'a [Job], outcomes: &'a [Done]) -> Self {
        Self { jobs, outcomes }
    }

    /// The outcomes of the job of this name, if it was run and nothing went wrong.
    pub(crate) fn get(&self, name: &str) -> Option<(&'a Job, &'a [Outcome])> {
        let i = self.jobs.iter().position(|j| j.name == name)?;
        self.outcomes[i].as_ref().ok().map(|o| (&self.jobs[i], o.as_slice()))
    }

    /// The only outcome of the job of this name.
    pub(crate) fn one(&self, name: &str) -> Option<(&'a Job, &'a Outcome)> {
        self.get(name).and_then(|(job, outcomes)| outcomes.first().map(|o| (job, o)))
    }
}
