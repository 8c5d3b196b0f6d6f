//! What a table must fulfil.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::evidence;
use super::expected;
use super::table::{Row, Status, Table};

/// Everything that is wrong: `file:line: row ID: what, what to do`.
pub(crate) fn all(root: &Path, tables: &[Table]) -> Vec<String> {
    let mut wrong = Vec::new();
    for rfc in expected::RFCS.iter().filter(|rfc| !tables.iter().any(|t| t.rfc == **rfc)) {
        wrong.push(format!(
            "docs/conformance/rfc{rfc}.toml: is missing: add it with the requirements of RFC {rfc}"
        ));
    }
    for table in tables {
        of_table(table, &mut wrong);
        for row in &table.rows {
            let mut said = Vec::new();
            fields(row, &mut said);
            number(table.rfc, row, &mut said);
            references(root, table.rfc, row, &mut said);
            wrong.extend(
                said.iter().map(|what| format!("{}:{}: row {}: {what}", table.file, row.line, row.id)),
            );
        }
    }
    wrong
}

fn of_table(table: &Table, wrong: &mut Vec<String>) {
    let file = &table.file;
    if !file.ends_with(&format!("/rfc{}.toml", table.rfc)) {
        wrong.push(format!("{file}: is about RFC {0}: call it rfc{0}.toml", table.rfc));
    }
    if table.title.trim().is_empty() {
        wrong.push(format!("{file}: the title is empty: give the RFC's"));
    }
    if table.rows.is_empty() {
        wrong.push(format!("{file}: has no [[row]]: add the requirements of RFC {}", table.rfc));
    }
    let mut seen = BTreeMap::new();
    for row in &table.rows {
        if let Some(first) = seen.insert(row.id.as_str(), row.line) {
            let at = format!("{file}:{}: row {}", row.line, row.id);
            wrong.push(format!(
                "{at}: is there already at line {first}: remove one of them, or correct its id"
            ));
        }
    }
    for (prefix, last) in expected::numbered(table.rfc) {
        for n in 1..=*last {
            if !seen.contains_key(format!("{prefix}-{n}").as_str()) {
                wrong.push(format!("{file}: no row {prefix}-{n}: add it; RFC {} has that number", table.rfc));
            }
        }
    }
    gaps(table, wrong);
}

/// Rows that we number ourselves count from 1 in each section.
fn gaps(table: &Table, wrong: &mut Vec<String>) {
    let mut sections: BTreeMap<&str, BTreeSet<u32>> = BTreeMap::new();
    for row in table.rows.iter().filter(|row| !is_numbered(table.rfc, &row.id)) {
        if let Some((section, n)) = parts(&row.id) {
            sections.entry(section).or_default().insert(n);
        }
    }
    for (section, there) in sections {
        let last = there.last().copied().unwrap_or(0);
        for n in (1..=last).filter(|n| !there.contains(n)) {
            let file = &table.file;
            wrong.push(format!(
                "{file}: no row {section}-{n}, but a later one: number section {section} from 1 on"
            ));
        }
    }
}

fn parts(id: &str) -> Option<(&str, u32)> {
    let (section, n) = id.rsplit_once('-')?;
    Some((section, n.parse().ok()?))
}

fn is_numbered(rfc: u32, id: &str) -> bool {
    parts(id).is_some_and(|(prefix, _)| expected::numbered(rfc).iter().any(|(p, _)| *p == prefix))
}

fn fields(row: &Row, wrong: &mut Vec<String>) {
    let texts = [("id", &row.id), ("section", &row.section), ("text", &row.text), ("does", &row.does)];
    for (name, value) in texts {
        if value.trim().is_empty() {
            wrong.push(format!("'{name}' is empty: fill it in"));
        } else if value.contains('\n') {
            wrong.push(format!("'{name}' has more than one line: a row of a table has one"));
        }
    }
    for (name, list) in [("code", &row.code), ("tests", &row.tests)] {
        if list.iter().any(|entry| entry.trim().is_empty()) {
            wrong.push(format!("'{name}' has an empty entry: fill it in or remove it"));
        }
        if list.is_empty() && row.status.needs_evidence() {
            let status = row.status.name();
            wrong.push(format!(
                "'{name}' is empty: what is '{status}' names its code and a test that shows it"
            ));
        }
    }
    if row.status == Status::NotTaken && row.level.binds() {
        let level = row.level.name();
        wrong.push(format!(
            "a {level} cannot be 'not taken': it is 'conforms', 'deviates', 'not applicable' or 'not built'"
        ));
    }
}

fn number(rfc: u32, row: &Row, wrong: &mut Vec<String>) {
    let Some((prefix, n)) = parts(&row.id) else {
        wrong.push("the id is neither the RFC's number (MUST-23) nor SECTION-NUMBER (4.2-1)".to_owned());
        return;
    };
    let level = row.level.name();
    match expected::numbered(rfc).iter().find(|(p, _)| *p == prefix) {
        Some((_, last)) if n == 0 || n > *last => {
            wrong.push(format!("RFC {rfc} has {prefix}-1 to {prefix}-{last} only: correct the id"));
        }
        Some(_) if !expected::level_fits(prefix, level) => {
            wrong.push(format!("is a {level} by its 'level': that does not fit {prefix}"));
        }
        None if prefix != row.section => {
            wrong.push(format!(
                "the id says section {prefix}, 'section' says {}: make them agree",
                row.section
            ));
        }
        _ => {}
    }
}

fn references(root: &Path, rfc: u32, row: &Row, wrong: &mut Vec<String>) {
    for code in row.code.iter().filter(|c| !c.is_empty()) {
        wrong.extend(evidence::look_at_code(root, code).err());
    }
    let (mut by_the_rfc, mut named) = (false, false);
    for test in row.tests.iter().filter(|t| !t.is_empty()) {
        match evidence::look(root, test) {
            Ok(found) => {
                by_the_rfc |= found.by_the_rfc;
                named |= evidence::names(&found.text, &row.id);
            }
            Err(what) => wrong.push(what),
        }
    }
    let distinct: BTreeSet<&String> = row.tests.iter().collect();
    if distinct.len() < row.tests.len() {
        wrong.push("names the same test twice: remove one".to_owned());
    }
    if is_numbered(rfc, &row.id) && row.status.needs_evidence() && !row.tests.is_empty() && !named {
        wrong.push(format!(
            "none of its tests says {}: name it in the comment above the one that shows it",
            row.id
        ));
    }
    if row.status == Status::Deviates && !by_the_rfc {
        wrong.push("deviates, but none of its tests sets finack.profile=rfc: name one that shows what the RFC asks for".to_owned());
    }
}
