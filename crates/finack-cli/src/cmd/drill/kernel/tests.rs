use super::*;

#[test]
fn a_mark_stands_in_a_comment_before_the_first_event() {
    assert_eq!(mark("// Shows it. RFC 1\n0 < S 0:0(0) win 1\n// kernel: no, late\n"), Ok(Mark::Yes));
    assert_eq!(mark("// Shows it.\n\n# kernel: no, it is slow\n0 ..."), Ok(Mark::No("it is slow".into())));
    let differs = Mark::Differs(2, "Linux sends `R.`, and more".into());
    assert_eq!(mark("// Shows it.\n// kernel: differs, Linux sends `R.`, and more\n"), Ok(differs));
    for wrong in ["// kernel: no", "// kernel: maybe, so", "// kernel: differs,", "// kernel:"] {
        assert_eq!(mark(wrong).unwrap_err().0, Pos { line: 1, column: 1 }, "{wrong}");
    }
}

fn failed(what: &str) -> Report {
    let failure = Failure { what: what.into(), ..Failure::default() };
    unrun(Verdict::Failed(Box::new(failure)))
}

#[test]
fn a_script_that_is_to_differ_has_to_differ_as_it_says() {
    let mark = Mark::Differs(2, "it sends `R 1:1(0)` instead".into());
    let (report, standing) = judge(&mark, failed("seen > R 1:1(0)"));
    assert_eq!((report.status(), standing), (0, Standing::Differs("it sends `R 1:1(0)` instead".into())));
    let (report, standing) = judge(&mark, failed("seen > . 1:1(0)"));
    assert_eq!((report.status(), standing), (1, Standing::Judged));
    assert!(report.notes[0].contains("another difference"), "{:?}", report.notes);
    let (report, standing) = judge(&mark, unrun(Verdict::Passed));
    assert_eq!((report.status(), standing), (1, Standing::Judged));
    assert_eq!(judge(&Mark::Yes, unrun(Verdict::Passed)).0.status(), 0);
}

#[test]
fn only_what_is_late_is_tried_again() {
    assert!(only_late(&failed("no packet came until 0.104000 s")));
    assert!(!only_late(&failed("the call answers otherwise")) && !only_late(&unrun(Verdict::Passed)));
    let field = |name: &str| run::compare::Difference {
        field: name.into(),
        expected: String::new(),
        seen: String::new(),
    };
    let with = |fields: Vec<_>| unrun(Verdict::Failed(Box::new(Failure { fields, ..Failure::default() })));
    assert!(only_late(&with(vec![field("time")])));
    assert!(!only_late(&with(vec![field("ack"), field("time")])));
}

#[test]
fn a_script_lasts_as_long_as_its_times_say() {
    let text = "0 socket(..., SOCK_STREAM, IPPROTO_TCP) = 3\n+0...1.5 connect(3, ..., ...) = 0\n\
                +.25 > S 0:0(0) <...>\n* > S 0:0(0) <...>\n+1 close(3) = 0\n";
    let script = parse(text, &run::Options::default().defines).unwrap();
    assert_eq!(lasts(&script), 2_750_000_000);
    assert!(!sets_finack(&script));
    let script =
        parse("`sysctl -q finack.profile=rfc`\n+0 < S 0:0(0) win 1\n", &run::Options::default().defines);
    assert!(sets_finack(&script.unwrap()));
}
