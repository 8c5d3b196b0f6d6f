//! The table of requirements: read from `docs/conformance/rfcN.toml`, checked against the tree, written for people to
//! `docs/conformance.md`.

mod check;
mod evidence;
mod expected;
mod render;
mod table;
#[cfg(test)]
mod tests;

use std::fs;
use std::path::Path;

use self::table::{Status, Table};

/// Where the rows are, from the repository's root.
const ROWS: &str = "docs/conformance";
/// What is generated from them.
const PAGE: &str = "docs/conformance.md";

/// Checks the rows and writes the page, or with `check_only` compares it; the text for stdout.
///
/// # Errors
/// What is wrong: one line each, with the file, the line, the row and what to do.
pub(crate) fn run(root: &Path, check_only: bool) -> Result<String, Vec<String>> {
    let tables = table::read(root)?;
    let mut wrong = check::all(root, &tables);
    let page = render::page(root, &tables);
    let stale =
        fs::read_to_string(root.join(PAGE)).is_ok_and(|there| there != page) || !root.join(PAGE).exists();
    if check_only && stale {
        wrong.push(format!("{PAGE}: is not what {ROWS} says: run `cargo xtask conformance` and commit it"));
    }
    if !wrong.is_empty() {
        return Err(wrong);
    }
    if !check_only && stale {
        fs::write(root.join(PAGE), page).map_err(|e| vec![format!("{PAGE}: cannot be written: {e}")])?;
    }
    Ok(counts(&tables))
}

/// How many rows there are of each status.
fn counts(tables: &[Table]) -> String {
    let rows = tables.iter().flat_map(|t| &t.rows);
    let mut out = format!("{} requirements of {} RFCs:", rows.clone().count(), tables.len());
    for (i, status) in Status::ALL.into_iter().enumerate() {
        let n = rows.clone().filter(|r| r.status == status).count();
        out += &format!("{} {n} {}", if i == 0 { "" } else { "," }, status.name());
    }
    out + "\n"
}
