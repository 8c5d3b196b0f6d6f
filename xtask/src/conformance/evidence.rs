//! What a row refers to: files of code, scripts, and tests in files.

use std::fs;
use std::path::Path;

/// A test that is there.
pub(crate) struct Evidence {
    /// Whether it sets `finack.profile=rfc`.
    pub(crate) by_the_rfc: bool,
    /// The script, or the test with the comment above it.
    pub(crate) text: String,
}

/// `text` as `file` or `file::function`.
pub(crate) fn split(text: &str) -> (&str, Option<&str>) {
    match text.split_once("::") {
        Some((file, function)) => (file, Some(function.rsplit("::").next().unwrap_or(function))),
        None => (text, None),
    }
}

/// Looks at the test that a row names.
///
/// # Errors
/// What is wrong with it and what to do.
pub(crate) fn look(root: &Path, test: &str) -> Result<Evidence, String> {
    let (file, function) = split(test);
    let text = read(root, file)?;
    let shown = match (file.rsplit('.').next(), function) {
        (Some("pkt"), None) => text,
        (Some("pkt"), Some(_)) => {
            return Err(format!("'{test}': a script has no functions; name the file alone"));
        }
        (Some("rs"), Some(function)) => test_of(&text, function).ok_or_else(|| {
            format!("no test `fn {function}` in {file}: correct the name, or write the test")
        })?,
        (Some("rs"), None) => return Err(format!("'{test}': name the test in it, as {file}::NAME")),
        _ => return Err(format!("'{test}' is neither a script (.pkt) nor a test (FILE.rs::NAME)")),
    };
    let by_the_rfc =
        ["profile=rfc", "Profile::Rfc", ".rfc()", "\"profile\", \"rfc\"", "finack.profile\", \"rfc"];
    Ok(Evidence { by_the_rfc: by_the_rfc.iter().any(|sign| shown.contains(sign)), text: shown })
}

/// Whether `text` names the requirement: `MUST-2`, and not only `MUST-23`.
pub(crate) fn names(text: &str, id: &str) -> bool {
    text.match_indices(id).any(|(at, _)| !text[at + id.len()..].starts_with(|c: char| c.is_ascii_digit()))
}

/// Looks at the code that a row names.
///
/// # Errors
/// What is wrong with it and what to do.
pub(crate) fn look_at_code(root: &Path, code: &str) -> Result<(), String> {
    let (file, item) = split(code);
    let text = read(root, file)?;
    if !file.ends_with(".rs") {
        return Err(format!("'{code}': code is a file of Rust, FILE.rs or FILE.rs::FUNCTION"));
    }
    match item {
        Some(function) if !text.lines().any(|line| declares(line, function)) => {
            Err(format!("no `fn {function}` in {file}: correct the name"))
        }
        _ => Ok(()),
    }
}

fn read(root: &Path, file: &str) -> Result<String, String> {
    if file.starts_with('/') || file.split('/').any(|part| part == "..") {
        return Err(format!("'{file}': paths begin at the repository's root"));
    }
    fs::read_to_string(root.join(file)).map_err(|e| format!("{file} cannot be read ({e}): correct the path"))
}

/// The text of a test with the comments and attributes above it; nothing if it is no test.
fn test_of(text: &str, function: &str) -> Option<String> {
    let lines: Vec<&str> = text.lines().collect();
    let at = lines.iter().position(|line| declares(line, function))?;
    let above = |line: &&&str| {
        let line = line.trim_start();
        line.starts_with("///") || line.starts_with("#[")
    };
    let first = at - lines[..at].iter().rev().take_while(above).count();
    if !lines[first..at].iter().any(|l| l.trim_start().starts_with("#[") && l.contains("test")) {
        return None;
    }
    let indent = lines[at].len() - lines[at].trim_start().len();
    let closing = format!("{}}}", &lines[at][..indent]);
    let end = lines[at..].iter().position(|l| *l == closing).map_or(lines.len(), |n| at + n);
    Some(lines[first..end].join("\n"))
}

fn declares(line: &str, function: &str) -> bool {
    line.split_once("fn ").is_some_and(|(before, rest)| {
        let rest = rest.strip_prefix(function).unwrap_or_default();
        !before.contains("//") && rest.starts_with(['(', '<'])
    })
}
