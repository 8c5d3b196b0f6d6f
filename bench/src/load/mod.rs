//! Load and attacks in virtual time, on real engines in memory: never on a network.
//!
//! Whoever runs it gets the same connections, packets and bytes, for everything comes from fixed seeds; only what the
//! processor needs for them differs.

mod attacks;
mod forge;
mod honest;
mod lesson;
mod limit;
mod play;
mod savage;
mod siege;
mod storm;
mod world;

use std::path::Path;

use crate::measure::{Line, Options};
use crate::table::{self, Table};

/// Where the tables stand in the page.
const MARKS: [&str; 2] = ["<!-- made by `cargo xtask bench load --write` -->\n", "<!-- so far -->\n"];

/// Makes a table, unless no row of it is wanted, and adds what must not be to the list.
type Part = fn(&Options, &mut Vec<String>) -> Result<Option<Table>, String>;

/// All tables, each printed as soon as it is there, and what must not be.
pub fn all(options: &Options) -> Result<(Vec<Table>, Vec<String>), String> {
    const PARTS: [Part; 6] =
        [lesson::table, lesson::restart, limit::table, attacks::table, savage::table, storm::table];
    let (mut tables, mut wrong) = (Vec::new(), Vec::new());
    for part in PARTS {
        let Some(table) = part(options, &mut wrong)? else { continue };
        println!("\n{}", table.text());
        tables.push(table);
    }
    if tables.is_empty() {
        return Err("nothing in `load` has that in its name".into());
    }
    Ok((tables, wrong))
}

/// Puts the tables into docs/load.md.
pub fn write(lines: &[Line]) -> Result<(), String> {
    let tables: Vec<Table> = lines
        .iter()
        .filter_map(|line| match line {
            Line::Table(table) => Some(table.clone()),
            Line::Comparison(_) => None,
        })
        .collect();
    table::put(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/load.md"), MARKS, &tables)
}

/// Long work says where it is.
fn progress(name: &str) {
    eprintln!("load: {name}");
}

/// 1234567 as 1,234,567.
fn count(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

fn mebibytes(bytes: usize) -> String {
    format!("{:.1}", bytes as f64 / f64::from(1 << 20))
}

/// "all", or how many of how many.
fn share_of(part: u64, whole: u64) -> String {
    if part == whole { "all".into() } else { format!("{} of {}", count(part), count(whole)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_are_set_apart() {
        assert_eq!(
            (count(7), count(1000), count(1_234_567)),
            ("7".into(), "1,000".into(), "1,234,567".into())
        );
    }
}
