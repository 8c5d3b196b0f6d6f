//! Reports on machines that are not at hand.

use std::io;

use super::{Outcome, Report};
use crate::namespace::step::{Failure, Trial};
use crate::namespace::{DevicePath, Step};

/// An attempt that went as far as `failed`, which ended with `errno`.
fn trial(path: DevicePath, failed: Option<(Step, i32)>) -> Trial {
    let mut trial = Trial::new(path);
    let end = failed.map(|(step, _)| step);
    let taken = Step::ALL.into_iter().filter(|s| s.device().is_none_or(|d| d == path));
    trial.passed = taken.take_while(|s| Some(*s) != end).map(|s| (s, String::new())).collect();
    trial.failed = failed.map(|(step, errno)| Failure { step, error: io::Error::from_raw_os_error(errno) });
    trial
}

fn outcome(report: &Report, step: Step) -> Option<Outcome> {
    report.items.iter().find(|i| i.step == step).map(|i| i.outcome)
}

#[test]
fn where_tun_is_out_of_reach_veth_is_taken() {
    let report = Report::new(&[
        trial(DevicePath::Tun, Some((Step::TunOpen, libc::EACCES))),
        trial(DevicePath::Veth, None),
    ]);
    assert_eq!(report.device_path(), Some(DevicePath::Veth));
    assert_eq!(outcome(&report, Step::TunOpen), Some(Outcome::Failed));
    assert_eq!(outcome(&report, Step::TunInterface), Some(Outcome::NotTried));
    assert_eq!(outcome(&report, Step::VethPair), Some(Outcome::Ok));
    let text = report.to_string();
    assert!(text.contains("open /dev/net/tun: Permission denied"), "{text}");
    assert!(text.contains("a veth pair is used instead"), "{text}");
    assert!(text.ends_with("finack run works here, over veth and AF_PACKET."), "{text}");
}

#[test]
fn where_namespaces_are_forbidden_the_report_says_what_to_do() {
    let refused = || Some((Step::NetworkNamespace, libc::EPERM));
    let report = Report::new(&[trial(DevicePath::Tun, refused()), trial(DevicePath::Veth, refused())]);
    assert_eq!(report.device_path(), None);
    assert_eq!(outcome(&report, Step::UserNamespace), Some(Outcome::Ok));
    assert_eq!(outcome(&report, Step::NetworkNamespace), Some(Outcome::Failed));
    assert_eq!(outcome(&report, Step::Files), Some(Outcome::NotTried));
    let item = report.items.iter().find(|i| i.step == Step::NetworkNamespace).unwrap();
    assert!(item.advice.as_ref().is_some_and(|a| !a.is_empty()), "some advice for every refusal");
    assert!(report.to_string().ends_with("no private network can be made."));
}

#[test]
fn where_the_number_of_namespaces_is_limited_the_report_names_the_setting() {
    let refused = || Some((Step::UserNamespace, libc::ENOSPC));
    let report = Report::new(&[trial(DevicePath::Tun, refused()), trial(DevicePath::Veth, refused())]);
    assert!(report.to_string().contains("sysctl user.max_user_namespaces="), "{report}");
}

#[test]
fn steps_that_were_not_needed_are_not_mentioned() {
    let mut as_root = trial(DevicePath::Tun, None);
    as_root.passed.retain(|(step, _)| *step != Step::IdMaps);
    let report = Report::new(&[as_root]);
    assert_eq!(outcome(&report, Step::IdMaps), None);
    assert_eq!(outcome(&report, Step::VethPair), None, "only TUN was asked for");
}

#[test]
fn a_report_is_also_for_machines() {
    let report = Report::new(&[trial(DevicePath::Tun, None)]);
    let json = serde_json::to_value(&report).unwrap();
    assert_eq!(json["device"], "tun");
    assert_eq!(json["items"][0]["step"], "keeper");
    assert_eq!(json["items"][0]["outcome"], "ok");
}
