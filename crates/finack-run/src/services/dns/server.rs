//! DNS over a stream (RFC 1035 4.2.2, RFC 7766): each message after its length in two bytes.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;

use super::{Answer, Transport, answer};
use crate::plan::Names;

/// How long a connection may stay idle (RFC 7766 6.2.3 asks for seconds).
const IDLE: Duration = Duration::from_secs(10);

/// Answers the questions that come on `stream` until its end, telling `seen` of each.
///
/// # Errors
/// What reading or writing answers; the peer's going away between two messages is none.
pub async fn serve_stream<S>(mut stream: S, names: &Names, mut seen: impl FnMut(&Answer)) -> io::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut message = Vec::new();
    loop {
        let mut length = [0; 2];
        match timeout(IDLE, stream.read_exact(&mut length)).await {
            Err(_elapsed) => break,
            Ok(Err(e)) if e.kind() == io::ErrorKind::UnexpectedEof => break,
            Ok(read) => read?,
        };
        message.resize(usize::from(u16::from_be_bytes(length)), 0);
        let Ok(read) = timeout(IDLE, stream.read_exact(&mut message)).await else { break };
        read?;
        let Some(reply) = answer(names, &message, Transport::Tcp) else { break };
        seen(&reply);
        let mut framed = Vec::with_capacity(2 + reply.message.len());
        framed.extend_from_slice(&u16::try_from(reply.message.len()).unwrap_or(0).to_be_bytes());
        framed.extend_from_slice(&reply.message);
        stream.write_all(&framed).await?;
    }
    stream.shutdown().await
}
