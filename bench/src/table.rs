//! Tables for a terminal and for a page.

use std::fmt::Write;
use std::path::Path;

use serde::Serialize;

/// A table of words and figures.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Table {
    pub(crate) title: String,
    /// What must be known to read it, in whole sentences.
    pub(crate) note: String,
    pub(crate) columns: Vec<String>,
    pub(crate) rows: Vec<Vec<String>>,
}

impl Table {
    pub(crate) fn new(title: impl Into<String>, note: impl Into<String>, columns: &[&str]) -> Self {
        let columns = columns.iter().map(|c| (*c).into()).collect();
        Self { title: title.into(), note: note.into(), columns, rows: Vec::new() }
    }

    /// Aligned, the first column to the left and all others to the right.
    pub(crate) fn text(&self) -> String {
        let lines = || std::iter::once(&self.columns).chain(&self.rows);
        let count = lines().map(Vec::len).max().unwrap_or(0);
        let width = |i: usize| lines().filter_map(|l| l.get(i)).map(|c| c.chars().count()).max().unwrap_or(0);
        let widths: Vec<usize> = (0..count).map(width).collect();
        let mut out = format!("{}\n", self.title);
        if !self.note.is_empty() {
            let _ = writeln!(out, "{}", self.note);
        }
        for line in lines() {
            let mut text = String::new();
            for (i, width) in widths.iter().enumerate() {
                let cell = line.get(i).map_or("", String::as_str);
                let _ =
                    if i == 0 { write!(text, "  {cell:<width$}") } else { write!(text, "  {cell:>width$}") };
            }
            let _ = writeln!(out, "{}", text.trim_end());
        }
        out
    }

    /// As a table of Markdown, under a heading.
    pub(crate) fn markdown(&self) -> String {
        let line = |cells: &[String]| format!("| {} |\n", cells.join(" | "));
        let mut out = format!("### {}\n\n", self.title);
        if !self.note.is_empty() {
            let _ = writeln!(out, "{}\n", self.note);
        }
        out += &line(&self.columns);
        let rule: Vec<String> = self.columns.iter().map(|_| "---".into()).collect();
        out += &line(&rule);
        for row in &self.rows {
            out += &line(row);
        }
        out
    }
}

/// Puts tables, as Markdown, between two lines of a page.
pub(crate) fn put(page: &Path, marks: [&str; 2], tables: &[Table]) -> Result<(), String> {
    let told = |e: &dyn std::fmt::Display| format!("{}: {e}", page.display());
    let text = std::fs::read_to_string(page).map_err(|e| told(&e))?;
    let begin = text.find(marks[0]).map(|at| at + marks[0].len());
    let (Some(begin), Some(end)) = (begin, text.find(marks[1])) else {
        return Err(told(&"the marks between which the tables belong are not there"));
    };
    let tables: Vec<String> = tables.iter().map(Table::markdown).collect();
    let new = format!("{}\n{}\n{}", &text[..begin], tables.join("\n"), &text[end..]);
    std::fs::write(page, new).map_err(|e| told(&e))?;
    eprintln!("wrote {}", page.display());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_stand_under_each_other() {
        let mut table = Table::new("T", "", &["name", "a"]);
        table.rows.push(vec!["x".into(), "100".into()]);
        assert_eq!(table.text(), "T\n  name    a\n  x     100\n");
        assert_eq!(table.markdown(), "### T\n\n| name | a |\n| --- | --- |\n| x | 100 |\n");
    }
}
