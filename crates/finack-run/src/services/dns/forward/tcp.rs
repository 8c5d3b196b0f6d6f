//! Questions put by TCP (RFC 7766): a connection for each.

use std::io;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::super::resolv_conf::ResolvConf;
use super::{Asked, Failure, Heard, Round};

/// Messages on a connection that answer something else, before it is given up.
const MAX_OTHERS: usize = 16;

/// Asks the servers in turn until one answers.
pub(super) async fn ask(conf: &ResolvConf, asked: &Asked<'_>, round: &mut Round) -> Option<Heard> {
    for _ in 0..conf.attempts {
        for (index, &server) in conf.servers.iter().enumerate() {
            let patience = conf.patience(index);
            let exchange = async {
                let mut stream = TcpStream::connect(server).await?;
                exchange(&mut stream, asked).await
            };
            let failure = match timeout(patience, exchange).await {
                Ok(Ok(message)) => match round.heard(Heard { message, by: server }) {
                    Some(heard) => return Some(heard),
                    None => continue,
                },
                Ok(Err(error)) => Failure::Error(error),
                Err(_elapsed) => Failure::Silent(patience),
            };
            round.failed(server, failure);
        }
        if round.unhelpful.is_some() {
            break;
        }
    }
    None
}

async fn exchange(stream: &mut TcpStream, asked: &Asked<'_>) -> io::Result<Vec<u8>> {
    let mut framed = Vec::with_capacity(2 + asked.message.len());
    framed.extend_from_slice(&u16::try_from(asked.message.len()).unwrap_or(0).to_be_bytes());
    framed.extend_from_slice(&asked.message);
    stream.write_all(&framed).await?;
    for _ in 0..MAX_OTHERS {
        let length = stream.read_u16().await?;
        let mut message = vec![0; usize::from(length)];
        stream.read_exact(&mut message).await?;
        if asked.is_answered_by(&message) {
            return Ok(message);
        }
    }
    Err(io::Error::other("it answers other questions than the one it was asked"))
}
