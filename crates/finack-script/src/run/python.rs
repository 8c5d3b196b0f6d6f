//! Python assertions: what each looks at is taken down when its time comes, and one interpreter runs them all at the end.

use std::fmt::Write as _;
use std::io::Write as _;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use finack_posix::abi;
use finack_posix::info::Field;

use crate::ast::Pos;

/// How long all assertions of a script together may take.
const LIMIT: Duration = Duration::from_secs(30);

/// How python says that an assertion used what is not known.
const UNKNOWN_STATUS: i32 = 77;

/// Names of states and flags that assertions use.
const SYMBOLS: [&str; 20] = [
    "TCP_ESTABLISHED",
    "TCP_SYN_SENT",
    "TCP_SYN_RECV",
    "TCP_FIN_WAIT1",
    "TCP_FIN_WAIT2",
    "TCP_TIME_WAIT",
    "TCP_CLOSE",
    "TCP_CLOSE_WAIT",
    "TCP_LAST_ACK",
    "TCP_LISTEN",
    "TCP_CLOSING",
    "TCP_CA_Open",
    "TCP_CA_Disorder",
    "TCP_CA_CWR",
    "TCP_CA_Recovery",
    "TCP_CA_Loss",
    "TCPI_OPT_TIMESTAMPS",
    "TCPI_OPT_SACK",
    "TCPI_OPT_WSCALE",
    "TCPI_OPT_ECN",
];

/// What stands before the assertions: how a failure names its place, and what is not known says so when it is used.
const PREAMBLE: &str = r#"import sys
import traceback
_line = 0
def _failed(kind, value, trace):
    if kind is _NotKnown:
        print(value, file=sys.stderr)
        sys.stderr.flush()
        import os
        os._exit(77)
    text = "".join(traceback.format_exception_only(kind, value)).strip()
    print("%d: %s" % (_line, text), file=sys.stderr)
class _NotKnown(Exception):
    pass
class _Unknown:
    def __init__(self, name):
        self.__dict__["name"] = name
    def _say(self, *_):
        raise _NotKnown("%d: %s is not known" % (_line, self.__dict__["name"]))
for _op in ("eq ne lt le gt ge bool int float index add radd sub rsub mul rmul truediv rtruediv floordiv rfloordiv mod "
            "rmod and rand or ror xor rxor lshift rshift neg abs str repr format hash contains getattr").split():
    setattr(_Unknown, "__%s__" % _op, _Unknown._say)
sys.excepthook = _failed
"#;

/// One assertion with what was so when its time came.
#[derive(Clone, Debug)]
pub(crate) struct Fragment {
    pub(crate) pos: Pos,
    pub(crate) text: String,
    /// `None` where no connection stood that it could look at.
    pub(crate) info: Option<Vec<Field>>,
}

/// What running the assertions came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// All hold.
    Held,
    /// One does not: its line, and what python says.
    Failed(u32, String),
    /// They could not be run: why.
    NotRun(String),
}

/// What it said when it ended; `None` where it did not within the limit, and was stopped.
fn ended(mut child: Child) -> std::io::Result<Option<Output>> {
    let begun = Instant::now();
    while child.try_wait()?.is_none() {
        if begun.elapsed() > LIMIT {
            child.kill()?;
            child.wait()?;
            return Ok(None);
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    child.wait_with_output().map(Some)
}

/// The python text of all assertions.
pub(crate) fn program(fragments: &[Fragment]) -> String {
    let mut out = String::from(PREAMBLE);
    for name in SYMBOLS {
        let _ = writeln!(out, "{name} = {}", abi::lookup(name).unwrap_or(-1));
    }
    let _ = writeln!(out, "TCPI_OPT_SYN_DATA = {}", abi::TCPI_OPT_SYN_DATA);
    for fragment in fragments {
        for field in fragment.info.iter().flatten() {
            let _ = match field.value {
                Some(value) => writeln!(out, "{} = {value}", field.name),
                None => writeln!(out, "{0} = _Unknown('{0}')", field.name),
            };
        }
        let _ = writeln!(out, "_line = {}", fragment.pos.line);
        let _ = writeln!(out, "{}\n", fragment.text.trim_end());
    }
    out
}

/// Runs them in one python3 without the user's modules or environment.
pub(crate) fn run(fragments: &[Fragment]) -> Outcome {
    if fragments.is_empty() {
        return Outcome::Held;
    }
    let spawned = Command::new("python3")
        .args(["-I", "-S", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn();
    let mut child = match spawned {
        Ok(child) => child,
        Err(error) => {
            return Outcome::NotRun(format!("its assertions need python3, which can't be run: {error}"));
        }
    };
    if let Some(mut stdin) = child.stdin.take() {
        // A python that ends early says so by its status.
        let _ = stdin.write_all(program(fragments).as_bytes());
    }
    let output = match ended(child) {
        Ok(Some(output)) => output,
        Ok(None) => {
            return Outcome::NotRun(format!("its assertions ran for more than {} s", LIMIT.as_secs()));
        }
        Err(error) => return Outcome::NotRun(format!("python3: {error}")),
    };
    if output.status.success() {
        return Outcome::Held;
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let last = said.lines().rfind(|l| !l.trim().is_empty()).unwrap_or("python3 failed");
    let (line, text) = match last.split_once(": ") {
        Some((line, text)) => match line.parse() {
            Ok(line) => (line, text),
            Err(_) => (0, last),
        },
        None => (0, last),
    };
    if output.status.code() == Some(UNKNOWN_STATUS) {
        return Outcome::NotRun(format!("line {line}: {text} to finack"));
    }
    if let Some(rest) = text.strip_prefix("NameError: name '")
        && ["tcpi_", "SK_MEMINFO_", "bbr_", "dctcp_", "tcpv_"].iter().any(|p| rest.starts_with(p))
    {
        let name = rest.split('\'').next().unwrap_or(rest);
        return Outcome::NotRun(format!("line {line}: {name} is not known to finack"));
    }
    Outcome::Failed(line, text.to_owned())
}
