use std::io;
use std::path::Path;

use finack::device::CaptureSummary;

use super::complaints;

fn summary() -> CaptureSummary {
    CaptureSummary { packets: 7, lost: 0, lost_comments: 0, stuck: false, error: None }
}

#[test]
fn a_whole_capture_needs_no_words() {
    assert!(complaints(Path::new("x.pcapng"), &summary()).is_empty());
}

#[test]
fn what_is_missing_is_told_in_a_line_each() {
    let full = io::Error::from_raw_os_error(28);
    let told = complaints(Path::new("/tmp/x"), &CaptureSummary { error: Some(full), ..summary() });
    assert_eq!(told, ["the capture /tmp/x ends after 7 packets: No space left on device (os error 28)"]);
    let told = complaints(Path::new("x"), &CaptureSummary { lost: 1, lost_comments: 3, ..summary() });
    assert_eq!(
        told,
        [
            "the capture x lacks 1 packet, which came faster than the file could be written",
            "the capture x may lack up to 3 comments"
        ]
    );
}
