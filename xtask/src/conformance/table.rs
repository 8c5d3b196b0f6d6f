//! The rows as they are written: `docs/conformance/README.md` describes them.

use std::fs;
use std::path::Path;

use serde::Deserialize;
use toml::Spanned;

use super::ROWS;

/// The requirements of one RFC.
#[derive(Debug)]
pub(crate) struct Table {
    /// Its file, from the repository's root.
    pub(crate) file: String,
    pub(crate) rfc: u32,
    pub(crate) title: String,
    pub(crate) about: Option<String>,
    pub(crate) rows: Vec<Row>,
}

/// One requirement.
#[derive(Debug)]
pub(crate) struct Row {
    /// The line of its `id`.
    pub(crate) line: usize,
    pub(crate) id: String,
    pub(crate) level: Level,
    pub(crate) section: String,
    pub(crate) text: String,
    pub(crate) status: Status,
    pub(crate) does: String,
    pub(crate) code: Vec<String>,
    pub(crate) tests: Vec<String>,
}

/// The words of RFC 2119.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub(crate) enum Level {
    #[serde(rename = "MUST")]
    Must,
    #[serde(rename = "MUST NOT")]
    MustNot,
    #[serde(rename = "SHOULD")]
    Should,
    #[serde(rename = "SHOULD NOT")]
    ShouldNot,
    #[serde(rename = "MAY")]
    May,
}

impl Level {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Must => "MUST",
            Self::MustNot => "MUST NOT",
            Self::Should => "SHOULD",
            Self::ShouldNot => "SHOULD NOT",
            Self::May => "MAY",
        }
    }

    /// Whether the RFC leaves no choice.
    pub(crate) fn binds(self) -> bool {
        matches!(self, Self::Must | Self::MustNot)
    }
}

/// How finack stands to a requirement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub(crate) enum Status {
    #[serde(rename = "conforms")]
    Conforms,
    #[serde(rename = "deviates")]
    Deviates,
    #[serde(rename = "not taken")]
    NotTaken,
    #[serde(rename = "not applicable")]
    NotApplicable,
    #[serde(rename = "not built")]
    NotBuilt,
}

impl Status {
    pub(crate) const ALL: [Self; 5] =
        [Self::Conforms, Self::Deviates, Self::NotTaken, Self::NotApplicable, Self::NotBuilt];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Conforms => "conforms",
            Self::Deviates => "deviates",
            Self::NotTaken => "not taken",
            Self::NotApplicable => "not applicable",
            Self::NotBuilt => "not built",
        }
    }

    pub(crate) fn meaning(self) -> &'static str {
        match self {
            Self::Conforms => "finack does what the RFC asks for, and a test shows it",
            Self::Deviates => {
                "finack does by default what Linux does, and what the RFC asks for with `finack.profile=rfc`; both are tested"
            }
            Self::NotTaken => "a MAY or SHOULD that finack does not make use of; the row says why",
            Self::NotApplicable => "the requirement is about something that is not there; the row says what",
            Self::NotBuilt => "finack does not do it yet; the row says what is missing",
        }
    }

    /// Whether code and tests must be named.
    pub(crate) fn needs_evidence(self) -> bool {
        matches!(self, Self::Conforms | Self::Deviates)
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    rfc: u32,
    title: String,
    about: Option<String>,
    #[serde(default)]
    row: Vec<WrittenRow>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenRow {
    id: Spanned<String>,
    level: Level,
    section: String,
    text: String,
    status: Status,
    does: String,
    #[serde(default)]
    code: OneOrMore,
    #[serde(default)]
    tests: OneOrMore,
}

#[derive(Deserialize)]
#[serde(untagged, expecting = "expected a path in quotes, or a list of such")]
enum OneOrMore {
    One(String),
    More(Vec<String>),
}

impl Default for OneOrMore {
    fn default() -> Self {
        Self::More(Vec::new())
    }
}

impl OneOrMore {
    fn into_vec(self) -> Vec<String> {
        match self {
            Self::One(one) => vec![one],
            Self::More(more) => more,
        }
    }
}

/// Every `rfc*.toml` of the directory, by the RFC's number.
///
/// # Errors
/// Files that cannot be read or make no sense, each with its line.
pub(crate) fn read(root: &Path) -> Result<Vec<Table>, Vec<String>> {
    let entries = fs::read_dir(root.join(ROWS)).map_err(|e| vec![format!("{ROWS}: cannot be read: {e}")])?;
    let mut names: Vec<String> = entries.flatten().filter_map(|e| e.file_name().into_string().ok()).collect();
    names.retain(|name| name.ends_with(".toml"));
    names.sort();
    let (mut tables, mut wrong) = (Vec::new(), Vec::new());
    for name in names {
        let file = format!("{ROWS}/{name}");
        match fs::read_to_string(root.join(&file)) {
            Ok(text) => parse(file, &text).map_or_else(|e| wrong.push(e), |table| tables.push(table)),
            Err(e) => wrong.push(format!("{file}: cannot be read: {e}")),
        }
    }
    tables.sort_by_key(|table| table.rfc);
    if wrong.is_empty() { Ok(tables) } else { Err(wrong) }
}

/// The table in `text`.
///
/// # Errors
/// `file:line:`, what is wrong there.
pub(crate) fn parse(file: String, text: &str) -> Result<Table, String> {
    let written: File = toml::from_str(text).map_err(|e| {
        let line = line_of(text, e.span().map_or(0, |span| span.start));
        format!("{file}:{line}: {}", e.message().replace('\n', "; "))
    })?;
    let rows = written.row.into_iter().map(|row| Row {
        line: line_of(text, row.id.span().start),
        id: row.id.into_inner(),
        level: row.level,
        section: row.section,
        text: row.text,
        status: row.status,
        does: row.does,
        code: row.code.into_vec(),
        tests: row.tests.into_vec(),
    });
    Ok(Table { file, rfc: written.rfc, title: written.title, about: written.about, rows: rows.collect() })
}

fn line_of(text: &str, offset: usize) -> usize {
    1 + text.bytes().take(offset).filter(|b| *b == b'\n').count()
}
