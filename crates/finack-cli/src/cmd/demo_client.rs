//! What `finack demo` runs inside the private network: a program like any other, which knows nothing of finack. It
//! asks the system's resolver for `hello.finack` and fetches its page over each address, with the kernel's sockets.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::process::ExitCode;
use std::time::Duration;

use crate::output;

const NAME: &str = "hello.finack";
const TIMEOUT: Duration = Duration::from_secs(10);
/// Far more than the page has.
const MOST: u64 = 1 << 20;

pub(crate) fn main() -> ExitCode {
    let addresses: Vec<SocketAddr> = match (NAME, 80).to_socket_addrs() {
        Ok(found) => found.collect(),
        Err(error) => {
            return output::fail(
                1,
                &format!("{NAME} is not known here ({error}): `finack demo` runs this where it is"),
            );
        }
    };
    for address in addresses {
        if let Err(error) = fetch(address).and_then(|page| io::stdout().write_all(&page)) {
            return output::fail(1, &format!("http://{NAME}/ at {address}: {error}"));
        }
    }
    ExitCode::SUCCESS
}

/// The page's body.
fn fetch(address: SocketAddr) -> io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect_timeout(&address, TIMEOUT)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    let agent = concat!("finack-demo/", env!("CARGO_PKG_VERSION"));
    write!(stream, "GET / HTTP/1.1\r\nHost: {NAME}\r\nUser-Agent: {agent}\r\nConnection: close\r\n\r\n")?;
    let mut reply = Vec::new();
    stream.take(MOST).read_to_end(&mut reply)?;
    let header = reply.windows(4).position(|w| w == b"\r\n\r\n");
    match header {
        Some(end) if reply.starts_with(b"HTTP/1.1 200 ") => Ok(reply.split_off(end + 4)),
        _ => Err(io::Error::new(io::ErrorKind::InvalidData, "the answer is no page")),
    }
}
