//! One file a command.

pub(crate) mod check;
pub(crate) mod completions;
pub(crate) mod demo;
pub(crate) mod demo_client;
pub(crate) mod drill;
pub(crate) mod man;
pub(crate) mod run;
pub(crate) mod sandbox;
pub(crate) mod services;
pub(crate) mod ss;
pub(crate) mod sysctl;
