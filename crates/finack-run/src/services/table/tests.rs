use std::collections::HashSet;

use super::*;

#[test]
fn every_service_has_its_own_name_and_addresses() {
    let mut seen = HashSet::new();
    for service in SERVICES {
        let host = service.host().unwrap_or_else(|| panic!("{} has no address", service.name));
        let nobody = ["unreachable.finack", "blackhole.finack"].contains(&service.name);
        assert!(host.ours != nobody && seen.insert(host.v4), "{}", service.name);
        assert_eq!(named(service.short_name()).map(|s| s.name), Some(service.name));
        assert_eq!(named(&service.name.to_uppercase()).map(|s| s.name), Some(service.name));
    }
    assert!(named("nobody").is_none());
    for host in plan::HOSTS.iter().filter(|h| h.ours && h.v4 != plan::GATEWAY_V4) {
        assert!(named(host.name).is_some(), "{} is in no list", host.name);
    }
}

#[test]
fn every_service_says_what_it_does_in_a_phrase() {
    for s in SERVICES {
        let faults = s.fault.iter().flat_map(|f| [f.did, f.seen_as, f.advice]);
        for phrase in [s.does, s.teaches].into_iter().chain(faults) {
            assert!(!phrase.ends_with('.') && !phrase.contains('\n') && !phrase.contains("  "), "{phrase:?}");
        }
        assert!(s.text.ends_with('.') && !s.text.contains("  "), "{:?}", s.text);
        assert!(s.command.contains(s.name), "{}", s.command);
        assert!(s.fault.is_none() || !s.teaches.is_empty(), "{}", s.name);
    }
}
