use std::fs;
use std::path::Path;

use tempfile::TempDir;

use super::table::{self, Table};
use super::{check, render, run};

const ROW: &str = r#"
[[row]]
id = "4.2-1"
level = "MUST"
section = "4.2"
text = "A receiver acknowledges."
status = "conforms"
does = "It does."
code = "src/ack.rs::acknowledge"
tests = ["scripts/ack.pkt", "src/ack.rs::acknowledges"]
"#;

/// A tree with one file of code, two scripts and the given table of "RFC 1".
fn tree(rows: &str) -> TempDir {
    let root = tempfile::tempdir().unwrap();
    let write = |path: &str, text: &str| {
        let path = root.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    };
    write("docs/conformance/rfc1.toml", &format!("rfc = 1\ntitle = \"One\"\n{rows}"));
    write(
        "src/ack.rs",
        "pub fn acknowledge() {}\n\n/// It does.\n#[test]\nfn acknowledges() {\n}\nfn helper() {}\n",
    );
    // Every number of RFC 9293, for tests that need them.
    let numbers: String = (1..=69).map(|n| format!("MUST-{n} SHLD-{n} MAY-{n} REC-{n} ")).collect();
    write("scripts/all.pkt", &format!("// {numbers}\n"));
    write("scripts/ack.pkt", "// Acknowledges. RFC 1 4.2\n");
    write("scripts/rfc.pkt", "// As the RFC says.\n`sysctl -q finack.profile=rfc`\n");
    root
}

fn problems(rows: &str) -> Vec<String> {
    let root = tree(rows);
    let tables = match table::read(root.path()) {
        Ok(tables) => tables,
        Err(wrong) => return wrong,
    };
    // That this little table has not all RFCs is another matter.
    check::all(root.path(), &tables).into_iter().filter(|w| !w.contains("is missing: add it with")).collect()
}

/// The one thing that is wrong with the row once `from` is `to`.
fn changed(from: &str, to: &str) -> String {
    assert!(ROW.contains(from), "{from}");
    let mut wrong = problems(&ROW.replace(from, to));
    assert_eq!(wrong.len(), 1, "{wrong:#?}");
    wrong.remove(0)
}

#[test]
fn a_row_with_all_that_it_names_passes() {
    assert_eq!(problems(ROW), [""; 0]);
}

#[test]
fn a_missing_file_is_named_with_line_and_row() {
    let wrong = changed("scripts/ack.pkt", "scripts/lost.pkt");
    assert!(
        wrong.starts_with("docs/conformance/rfc1.toml:5: row 4.2-1: scripts/lost.pkt cannot be read"),
        "{wrong}"
    );
    let wrong = changed("src/ack.rs::acknowledge\"", "src/nak.rs\"");
    assert!(wrong.contains("src/nak.rs cannot be read"), "{wrong}");
    let wrong = changed("scripts/ack.pkt", "../ack.pkt");
    assert!(wrong.contains("paths begin at the repository's root"), "{wrong}");
}

#[test]
fn a_function_that_is_not_there_or_is_no_test_is_named() {
    for name in ["src/ack.rs::acknowledge", "src/ack.rs::helper", "src/ack.rs::acknowledges_not"] {
        let wrong = changed("src/ack.rs::acknowledges", name);
        assert!(wrong.contains("no test `fn ") && wrong.contains("in src/ack.rs"), "{wrong}");
    }
    let wrong = changed("\"src/ack.rs::acknowledges\"", "\"src/ack.rs\"");
    assert!(wrong.contains("name the test in it"), "{wrong}");
    let wrong = changed("code = \"src/ack.rs::acknowledge\"", "code = \"src/ack.rs::forget\"");
    assert!(wrong.contains("no `fn forget` in src/ack.rs"), "{wrong}");
    let wrong = changed("scripts/ack.pkt", "docs/conformance/rfc1.toml");
    assert!(wrong.contains("is neither a script (.pkt) nor a test"), "{wrong}");
}

#[test]
fn an_empty_field_is_named() {
    for (field, value) in [("text", "A receiver acknowledges."), ("does", "It does.")] {
        let wrong = changed(value, " ");
        assert!(wrong.contains(&format!("row 4.2-1: '{field}' is empty")), "{wrong}");
    }
    let wrong = changed("code = \"src/ack.rs::acknowledge\"", "");
    assert!(wrong.contains("'code' is empty"), "{wrong}");
    let wrong = changed("[\"scripts/ack.pkt\", \"src/ack.rs::acknowledges\"]", "[]");
    assert!(wrong.contains("'tests' is empty"), "{wrong}");
    let wrong = changed("\"scripts/ack.pkt\"", "\"\"");
    assert!(wrong.contains("'tests' has an empty entry"), "{wrong}");
}

#[test]
fn a_field_that_is_missing_unknown_or_of_another_value_is_refused_with_its_line() {
    let wrong = changed("does = \"It does.\"\n", "");
    assert!(wrong.contains("rfc1.toml:4") && wrong.contains("missing field `does`"), "{wrong}");
    let wrong = changed("does =", "doses =");
    assert!(wrong.contains("rfc1.toml:10: unknown field `doses`"), "{wrong}");
    let wrong = changed("\"conforms\"", "\"perhaps\"");
    assert!(
        wrong.contains("rfc1.toml:9: unknown variant `perhaps`") && wrong.contains("not built"),
        "{wrong}"
    );
    let wrong = changed("\"MUST\"", "\"OUGHT\"");
    assert!(wrong.contains("rfc1.toml:6: unknown variant `OUGHT`"), "{wrong}");
}

#[test]
fn the_same_row_twice_and_a_gap_in_the_numbers_are_named() {
    let wrong = problems(&format!("{ROW}{ROW}"));
    assert_eq!(wrong.len(), 1, "{wrong:#?}");
    assert!(wrong[0].contains("rfc1.toml:15: row 4.2-1: is there already at line 5"), "{wrong:#?}");
    let wrong = problems(&format!("{ROW}{}", ROW.replace("4.2-1", "4.2-3")));
    assert_eq!(wrong.len(), 1, "{wrong:#?}");
    assert!(wrong[0].contains("no row 4.2-2"), "{wrong:#?}");
    let wrong = changed("section = \"4.2\"", "section = \"4.3\"");
    assert!(wrong.contains("the id says section 4.2, 'section' says 4.3"), "{wrong}");
}

#[test]
fn what_deviates_needs_a_test_with_the_profile_of_the_rfc() {
    let wrong = changed("\"conforms\"", "\"deviates\"");
    assert!(wrong.contains("none of its tests sets finack.profile=rfc"), "{wrong}");
    let row = ROW.replace("\"conforms\"", "\"deviates\"").replace("scripts/ack.pkt", "scripts/rfc.pkt");
    assert_eq!(problems(&row), [""; 0]);
}

#[test]
fn a_must_is_not_a_matter_of_taste() {
    let wrong = changed("\"conforms\"", "\"not taken\"");
    assert!(wrong.contains("a MUST cannot be 'not taken'"), "{wrong}");
    assert_eq!(
        problems(&ROW.replace("\"conforms\"", "\"not taken\"").replace("\"MUST\"", "\"MAY\"")),
        [""; 0]
    );
}

/// A table of RFC 9293 that has `ids` alone.
fn rfc_9293(ids: &[String]) -> Vec<Table> {
    let mut text = "rfc = 9293\ntitle = \"TCP\"\n".to_owned();
    for id in ids {
        let level = match &id[..3] {
            "MUS" => "MUST",
            "MAY" => "MAY",
            _ => "SHOULD",
        };
        text += &ROW
            .replace("scripts/ack.pkt", "scripts/all.pkt")
            .replace("4.2-1", id)
            .replace("\"MUST\"", &format!("\"{level}\""));
    }
    vec![table::parse("docs/conformance/rfc9293.toml".to_owned(), &text).unwrap()]
}

#[test]
fn each_number_of_rfc_9293_must_be_there() {
    let count = [("MUST", 69), ("SHLD", 31), ("MAY", 18), ("REC", 1)];
    let mut ids: Vec<String> =
        count.iter().flat_map(|(p, n)| (1..=*n).map(move |i| format!("{p}-{i}"))).collect();
    let root = tree("");
    let about_9293 = |ids: &[String]| {
        let mut wrong = check::all(root.path(), &rfc_9293(ids));
        wrong.retain(|w| w.starts_with("docs/conformance/rfc9293.toml"));
        wrong
    };
    assert_eq!(about_9293(&ids), [""; 0]);
    ids.retain(|id| id != "SHLD-14");
    let wrong = about_9293(&ids);
    assert_eq!(wrong.len(), 1, "{wrong:#?}");
    assert!(wrong[0].contains("no row SHLD-14: add it"), "{wrong:#?}");
    ids.push("MUST-70".to_owned());
    assert!(about_9293(&ids).iter().any(|w| w.contains("RFC 9293 has MUST-1 to MUST-69 only")));
}

#[test]
fn a_test_names_the_number_that_it_shows() {
    let root = tree("");
    let mut tables = rfc_9293(&["MUST-1".to_owned()]);
    tables[0].rows[0].tests = vec!["scripts/ack.pkt".to_owned()];
    let complaints = || {
        let wrong = check::all(root.path(), &tables);
        wrong.iter().filter(|w| w.contains("none of its tests says MUST-1")).count()
    };
    assert_eq!(complaints(), 1);
    fs::write(root.path().join("scripts/ack.pkt"), "// MUST-12\n").unwrap();
    assert_eq!(complaints(), 1, "MUST-12 is another one");
    fs::write(root.path().join("scripts/ack.pkt"), "// RFC 9293 MUST-1, MUST-12\n").unwrap();
    assert_eq!(complaints(), 0);
}

#[test]
fn a_level_that_does_not_fit_the_number_is_named() {
    let mut tables = rfc_9293(&["MUST-1".to_owned()]);
    tables[0].rows[0].level = table::Level::May;
    let wrong = check::all(tree("").path(), &tables);
    assert!(
        wrong.iter().any(|w| w.contains("is a MAY by its 'level': that does not fit MUST")),
        "{wrong:#?}"
    );
}

#[test]
fn an_rfc_that_is_left_out_is_named() {
    let root = tree(ROW);
    let wrong = check::all(root.path(), &table::read(root.path()).unwrap());
    assert!(wrong.contains(
        &"docs/conformance/rfc768.toml: is missing: add it with the requirements of RFC 768".into()
    ));
}

#[test]
fn the_page_has_counts_links_and_marks() {
    let root =
        tree(&ROW.replace("\"conforms\"", "\"deviates\"").replace("scripts/ack.pkt", "scripts/rfc.pkt"));
    let page = render::page(root.path(), &table::read(root.path()).unwrap());
    assert!(page.contains("| deviates | 1 |"), "{page}");
    assert!(page.contains("| [1](#rfc-1) One | 1 | 0 | 1 | 0 | 0 | 0 |"), "{page}");
    assert!(page.contains("[rfc.pkt](../scripts/rfc.pkt) *profile=rfc*"), "{page}");
    assert!(page.contains("[src/ack::acknowledges](../src/ack.rs) |"), "{page}");
}

/// The page is written where the rows are right, and one that is not up to date is told of.
#[test]
fn a_stale_page_fails_the_check() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let copy = tree("");
    let tables = copy.path().join("docs/conformance");
    fs::remove_file(tables.join("rfc1.toml")).unwrap();
    for part in ["crates", "scripts"] {
        std::os::unix::fs::symlink(root.join(part), copy.path().join(part))
            .or_else(|_| {
                fs::remove_dir_all(copy.path().join(part))?;
                std::os::unix::fs::symlink(root.join(part), copy.path().join(part))
            })
            .unwrap();
    }
    for entry in fs::read_dir(root.join("docs/conformance")).unwrap().flatten() {
        fs::copy(entry.path(), tables.join(entry.file_name())).unwrap();
    }
    let stale = run(copy.path(), true).unwrap_err();
    assert_eq!(stale.len(), 1, "{stale:#?}");
    assert!(stale[0].contains("run `cargo xtask conformance`"), "{stale:#?}");
    assert!(run(copy.path(), false).unwrap().contains("conforms"));
    assert!(run(copy.path(), true).is_ok());
    fs::write(copy.path().join("docs/conformance.md"), "old").unwrap();
    assert!(run(copy.path(), true).is_err());
}
