//! What is said to the user besides a command's own output: one line each, on stderr.

use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;

use finack_run::report::text::Look;

/// Says `message` and gives the exit status back.
pub(crate) fn fail(status: u8, message: &str) -> ExitCode {
    say(message);
    ExitCode::from(status)
}

/// One line on stderr. Where stderr is closed there is nobody to tell.
pub(crate) fn say(message: &str) {
    let _ = writeln!(io::stderr(), "finack: {message}");
}

/// The end of a command that only writes to stdout. A reader that has seen enough (`| head`) is no failure.
pub(crate) fn finish(written: io::Result<()>) -> ExitCode {
    match written.and_then(|()| io::stdout().flush()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => fail(1, &format!("writing to stdout: {error}")),
    }
}

/// What the command line's parser has to say: help and versions in full on stdout, a mistake as one line on stderr.
pub(crate) fn usage_error(error: &clap::Error) -> ExitCode {
    if !error.use_stderr() {
        return finish(error.print());
    }
    if error.kind() == clap::error::ErrorKind::MissingSubcommand {
        return fail(
            2,
            "a command is missing: run, demo, ss, check, sysctl, services; `finack --help` lists them all",
        );
    }
    fail(2, &one_line(&error.render().to_string()))
}

/// The parser's first paragraph on one line, without its `error:`, and its tip where it has one.
fn one_line(text: &str) -> String {
    let mut paragraphs = text.split("\n\n");
    let join = |p: &str| p.split_whitespace().collect::<Vec<_>>().join(" ");
    let what = join(paragraphs.next().unwrap_or_default());
    let what = what.strip_prefix("error: ").unwrap_or(&what);
    let tip = paragraphs.map(join).find_map(|p| {
        let first = p.strip_prefix("tip: ")?.split(" tip: ").next()?.to_owned();
        Some(format!("; {first}"))
    });
    format!("{what}{} (--help says more)", tip.unwrap_or_default())
}

/// Breaks `text` at blanks into lines of at most `width` characters; a longer word gets a line of its own.
pub(crate) fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

/// How a report is to look on stderr.
pub(crate) fn look_of_stderr(ladders: bool, ascii: bool) -> Look {
    let defaults = Look::default();
    let width = if io::stderr().is_terminal() {
        terminal_size::terminal_size_of(io::stderr())
            .map_or(defaults.width, |(width, _)| usize::from(width.0))
    } else {
        defaults.width
    };
    Look { width, unicode: !ascii && locale_has_unicode(|name| std::env::var(name).ok()), ladders }
}

/// Whether the locale's character set is UTF-8. Where none is set at all, terminals still show it nowadays.
fn locale_has_unicode(get: impl Fn(&str) -> Option<String>) -> bool {
    let locale = ["LC_ALL", "LC_CTYPE", "LANG"].into_iter().filter_map(get).find(|v| !v.is_empty());
    locale.is_none_or(|locale| {
        let locale = locale.to_ascii_lowercase();
        locale.contains("utf-8") || locale.contains("utf8")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parsers_paragraphs_become_one_line() {
        assert_eq!(
            one_line(
                "error: unexpected argument '--qiet' found\n\n  tip: a similar argument exists: '--quiet'\n  tip: or not\n\nUsage: x\n"
            ),
            "unexpected argument '--qiet' found; a similar argument exists: '--quiet' (--help says more)"
        );
        assert_eq!(
            one_line("error: the following required arguments were not provided:\n  <PROGRAM>\n\nUsage: x\n"),
            "the following required arguments were not provided: <PROGRAM> (--help says more)"
        );
    }

    #[test]
    fn the_first_locale_variable_that_is_set_decides() {
        let with = |pairs: &'static [(&str, &str)]| {
            locale_has_unicode(|name| pairs.iter().find(|(n, _)| *n == name).map(|(_, v)| (*v).to_owned()))
        };
        assert!(with(&[]));
        assert!(with(&[("LANG", "C.UTF-8")]));
        assert!(!with(&[("LANG", "C")]));
        assert!(!with(&[("LC_ALL", "POSIX"), ("LANG", "en_GB.UTF-8")]));
        assert!(with(&[("LC_ALL", ""), ("LANG", "en_GB.utf8")]));
    }
}
