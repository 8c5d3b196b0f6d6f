//! The small services of the first days: echo (RFC 862), discard (RFC 863), chargen (RFC 864) and daytime (RFC 867),
//! over TCP and UDP.

#[cfg(test)]
mod tests;

use std::io;
use std::net::SocketAddr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// Bytes read at a time.
const CHUNK: usize = 16 * 1024;
/// Characters of a chargen line, its end not counted.
const LINE: usize = 72;
/// The printing characters of ASCII, blank included.
const PRINTING: std::ops::Range<u8> = 32..127;
/// Most characters in a chargen datagram (RFC 864).
const DATAGRAM: u64 = 512;

/// One of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Small {
    Echo,
    Discard,
    Daytime,
    Chargen,
}

impl Small {
    /// All of them.
    pub(super) const ALL: [Self; 4] = [Self::Echo, Self::Discard, Self::Daytime, Self::Chargen];

    /// The name in the private network.
    pub(super) const fn host(self) -> &'static str {
        match self {
            Self::Echo => "echo.finack",
            Self::Discard => "discard.finack",
            Self::Daytime => "daytime.finack",
            Self::Chargen => "chargen.finack",
        }
    }

    /// The port of both protocols.
    pub(super) const fn port(self) -> u16 {
        match self {
            Self::Echo => 7,
            Self::Discard => 9,
            Self::Daytime => 13,
            Self::Chargen => 19,
        }
    }

    /// Serves one connection to its end.
    ///
    /// # Errors
    /// What reading or writing answers.
    pub(super) async fn serve<S>(self, stream: S) -> io::Result<()>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        match self {
            Self::Echo => echo(stream).await,
            Self::Discard => {
                let mut stream = stream;
                drain(&mut stream).await?;
                stream.shutdown().await
            }
            Self::Daytime => {
                let mut stream = stream;
                stream.write_all(daytime(SystemTime::now()).as_bytes()).await?;
                stream.shutdown().await?;
                drain(&mut stream).await
            }
            Self::Chargen => chargen(stream).await,
        }
    }

    /// The answer to a datagram, `None` where it gets none. `turn` counts datagrams, for chargen to vary by.
    pub(super) fn answer(self, from: SocketAddr, datagram: &[u8], turn: u64) -> Option<Vec<u8>> {
        // Two such services that answer each other would never stop.
        if Self::ALL.iter().any(|s| s.port() == from.port()) {
            return None;
        }
        match self {
            Self::Echo => Some(datagram.to_vec()),
            Self::Discard => None,
            Self::Daytime => Some(daytime(SystemTime::now()).into_bytes()),
            Self::Chargen => {
                let len = mix(turn) % (DATAGRAM + 1);
                Some(Pattern::default().take(usize::try_from(len).unwrap_or(0)).collect())
            }
        }
    }
}

/// Sends back what comes; the other end's FIN is answered once all before it is sent.
async fn echo<S: AsyncRead + AsyncWrite + Unpin>(mut stream: S) -> io::Result<()> {
    let mut buf = vec![0; CHUNK];
    loop {
        match stream.read(&mut buf).await? {
            0 => return stream.shutdown().await,
            n => stream.write_all(&buf[..n]).await?,
        }
    }
}

async fn drain<S: AsyncRead + Unpin>(stream: &mut S) -> io::Result<()> {
    let mut buf = vec![0; CHUNK];
    while stream.read(&mut buf).await? > 0 {}
    Ok(())
}

/// Sends until the other end closes; what comes is thrown away.
async fn chargen<S: AsyncRead + AsyncWrite + Unpin>(stream: S) -> io::Result<()> {
    let (mut read, mut write) = tokio::io::split(stream);
    let mut pattern = Pattern::default();
    let mut buf = vec![0; CHUNK];
    let send = async {
        loop {
            buf.fill_with(|| pattern.next().unwrap_or(b'\n'));
            write.write_all(&buf).await?;
            // Others want their turn.
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        read = drain(&mut read) => read,
        failed = send => failed,
    }
}

/// Lines of 72 of the 95 printing characters, each beginning one further along (RFC 864, "one popular pattern").
#[derive(Clone, Copy, Debug, Default)]
struct Pattern {
    line: usize,
    column: usize,
}

impl Iterator for Pattern {
    type Item = u8;

    fn next(&mut self) -> Option<u8> {
        let byte = match self.column {
            LINE => b'\r',
            c if c > LINE => b'\n',
            c => PRINTING.start + u8::try_from((self.line + c) % PRINTING.len()).unwrap_or(0),
        };
        self.column += 1;
        if self.column == LINE + 2 {
            self.column = 0;
            self.line = (self.line + 1) % PRINTING.len();
        }
        Some(byte)
    }
}

/// The mix of SplitMix64: numbers without a pattern from those with one.
fn mix(n: u64) -> u64 {
    let z = n.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z ^ (z >> 31)
}

/// `Monday, February 22, 1982 17:37:43-UTC` and the end of a line: RFC 867's first suggestion.
fn daytime(now: SystemTime) -> String {
    const DAYS: [&str; 7] = ["Thursday", "Friday", "Saturday", "Sunday", "Monday", "Tuesday", "Wednesday"];
    const MONTHS: [&str; 12] = [
        "January",
        "February",
        "March",
        "April",
        "May",
        "June",
        "July",
        "August",
        "September",
        "October",
        "November",
        "December",
    ];
    let seconds = now.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_secs();
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    let (year, month, day) = date(days);
    format!(
        "{}, {} {day}, {year} {:02}:{:02}:{:02}-UTC\r\n",
        DAYS[(days % 7) as usize],
        MONTHS[month],
        second / 3600,
        second / 60 % 60,
        second % 60,
    )
}

/// Year, month (0 is January) and day of the month, `days` after the first of January 1970.
fn date(mut days: u64) -> (u64, usize, u64) {
    let leap = |year: u64| year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    // The calendar repeats every 400 years, which have 146097 days.
    let mut year = 1970 + days / 146_097 * 400;
    days %= 146_097;
    while days >= 365 + u64::from(leap(year)) {
        days -= 365 + u64::from(leap(year));
        year += 1;
    }
    let february = 28 + u64::from(leap(year));
    let mut month = 0;
    for length in [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30] {
        if days < length {
            break;
        }
        days -= length;
        month += 1;
    }
    (year, month, days + 1)
}
