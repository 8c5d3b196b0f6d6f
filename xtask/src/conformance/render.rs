//! The page for people.

use std::path::Path;

use super::evidence;
use super::table::{Row, Status, Table};

const HEAD: &str = "\
<!-- Generated from docs/conformance/*.toml by `cargo xtask conformance`: change those. -->

# What the RFCs ask for, and what finack does

Each requirement of the RFCs that finack is built from, with what finack does, the file that does it and the scripts or
tests that show it, which anyone can run:

```
finack drill --strict scripts/
cargo test --workspace
```

A script (`.pkt`) is an exchange of packets in packetdrill's language: [drill.md](drill.md). Its first line says what it
shows. A test is a function in a file of Rust; `cargo test NAME` runs it.

";

const READING: &str = "\
Where an RFC numbers its requirements (RFC 9293 does: MUST-23) the row has that number. Elsewhere it is the section and a
number in the order of the text: 4.1.3-2 is the second requirement of section 4.1.3.

finack takes Linux's side by default where Linux and an RFC differ, because programs are written for Linux. The setting
`finack.profile=rfc` takes the RFC's; *profile=rfc* marks the tests that set it.

";

/// The whole page.
pub(crate) fn page(root: &Path, tables: &[Table]) -> String {
    let mut out = HEAD.to_owned();
    out += "| status | rows | meaning |\n|---|---:|---|\n";
    for status in Status::ALL {
        let n = tables.iter().flat_map(|t| &t.rows).filter(|r| r.status == status).count();
        out += &format!("| {} | {n} | {} |\n", status.name(), status.meaning());
    }
    out += "\n";
    out += READING;
    overview(tables, &mut out);
    listed(tables, Status::Deviates, "Where Linux's side is taken by default", &mut out);
    listed(tables, Status::NotBuilt, "What is not built", &mut out);
    for table in tables {
        of_rfc(root, table, &mut out);
    }
    out
}

fn overview(tables: &[Table], out: &mut String) {
    *out += "| RFC | requirements |";
    for status in Status::ALL {
        *out += &format!(" {} |", status.name());
    }
    *out += "\n|---|---:|---:|---:|---:|---:|---:|\n";
    for table in tables {
        let (rfc, title, all) = (table.rfc, &table.title, table.rows.len());
        *out += &format!("| [{rfc}](#rfc-{rfc}) {} | {all} |", cell(title));
        for status in Status::ALL {
            *out += &format!(" {} |", table.rows.iter().filter(|r| r.status == status).count());
        }
        *out += "\n";
    }
    *out += "\n";
}

/// The rows of one status, in short, so that nobody has to look for them.
fn listed(tables: &[Table], status: Status, title: &str, out: &mut String) {
    let rows: Vec<(u32, &Row)> = tables
        .iter()
        .flat_map(|t| t.rows.iter().map(|r| (t.rfc, r)))
        .filter(|(_, r)| r.status == status)
        .collect();
    if rows.is_empty() {
        return;
    }
    *out += &format!("## {title}\n\n");
    for (rfc, row) in rows {
        let (id, text, does) = (&row.id, &row.text, &row.does);
        *out += &format!("- RFC {rfc} {id} ({}): {text} {does}\n", row.level.name());
    }
    *out += "\n";
}

fn of_rfc(root: &Path, table: &Table, out: &mut String) {
    let rfc = table.rfc;
    *out += &format!("<a id=\"rfc-{rfc}\"></a>\n\n## RFC {rfc}: {}\n\n", table.title);
    if let Some(about) = &table.about {
        *out += &format!("{}\n\n", about.trim());
    }
    *out += "| requirement | what it asks for | finack | code | shown by |\n|---|---|---|---|---|\n";
    for row in &table.rows {
        *out += &line(root, rfc, row);
    }
    *out += "\n";
}

fn line(root: &Path, rfc: u32, row: &Row) -> String {
    let id = match row.id.strip_prefix(&format!("{}-", row.section)) {
        Some(_) => row.id.clone(),
        None => format!("{} ({})", row.id, row.section),
    };
    let does = match row.status {
        Status::Conforms => cell(&row.does),
        other => format!("**{}**: {}", other.name(), cell(&row.does)),
    };
    let code: Vec<String> = row.code.iter().map(|c| link(c)).collect();
    let tests: Vec<String> = row.tests.iter().map(|t| shown_by(root, t)).collect();
    format!(
        "| <a id=\"{rfc}-{}\"></a>{id}, {} | {} | {does} | {} | {} |\n",
        row.id.replace(' ', "-"),
        row.level.name(),
        cell(&row.text),
        list(&code),
        list(&tests)
    )
}

fn list(links: &[String]) -> String {
    if links.is_empty() { "–".to_owned() } else { links.join(", ") }
}

/// A link from `docs/`, called by what tells it from others: `open/passive.pkt`, `tcp/timeout`, `exchange/udp::send`.
fn link(reference: &str) -> String {
    let (file, function) = evidence::split(reference);
    let after = |part: &str| file.split_once(part).map(|(_, rest)| rest);
    let short = after("scripts/").or_else(|| after("/src/")).or_else(|| after("/tests/")).unwrap_or(file);
    let short = short.strip_suffix(".rs").unwrap_or(short);
    match function {
        Some(function) => format!("[{short}::{function}](../{file})"),
        None => format!("[{short}](../{file})"),
    }
}

fn shown_by(root: &Path, test: &str) -> String {
    let by_the_rfc = evidence::look(root, test).is_ok_and(|found| found.by_the_rfc);
    format!("{}{}", link(test), if by_the_rfc { " *profile=rfc*" } else { "" })
}

/// Text that may stand in a table.
fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace('<', "&lt;")
}
