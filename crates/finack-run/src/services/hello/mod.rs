//! `hello.finack`: an HTTP/1.1 server that tells its visitor what just happened, and has enough to fetch and to
//! send for a transfer to be checked byte by byte.

mod body;
#[cfg(test)]
mod tests;

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderValue, SERVER};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};

use super::content::{Content, Hash, parse_size};
use body::Body;

/// How long a client may take for a request's header, or stay idle between two requests.
const HEADER_TIMEOUT: Duration = Duration::from_secs(60);
/// Bytes of a request's header, and of an answer that waits for its reader: both are held for each connection.
const BUFFER: usize = 64 * 1024;
/// Bytes hashed between two chances for other connections.
const HASH_TURN: usize = 16;

/// Who is visiting.
#[derive(Clone)]
pub struct Visitor {
    /// The address that was connected to.
    pub local: SocketAddr,
    /// Where the connection comes from.
    pub remote: SocketAddr,
    /// What the transport knows of the connection now, a line each (its state, its round trip, ...).
    pub describe: Rc<dyn Fn() -> Vec<String>>,
}

/// Answers requests on `stream` until either side closes.
///
/// # Errors
/// What reading or writing answers, and `InvalidData` after a request that was not HTTP (answered with 400).
pub async fn serve<S>(stream: S, visitor: Visitor) -> io::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin + 'static,
{
    let service = service_fn(move |request| {
        let visitor = visitor.clone();
        async move { Ok::<_, Infallible>(respond(request, &visitor).await) }
    });
    hyper::server::conn::http1::Builder::new()
        .half_close(true)
        .max_buf_size(BUFFER)
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .serve_connection(TokioIo::new(stream), service)
        .await
        .map_err(|e| {
            if e.is_parse() { io::Error::new(io::ErrorKind::InvalidData, e) } else { io::Error::other(e) }
        })
}

async fn respond(request: Request<Incoming>, visitor: &Visitor) -> Response<Body> {
    let path = request.uri().path().to_owned();
    let mut response = match (request.method(), path.as_str()) {
        (&Method::GET | &Method::HEAD, "/" | "/index.html") => text(StatusCode::OK, hello(&request, visitor)),
        (&Method::PUT | &Method::POST, upload) if upload.starts_with("/upload") => receive(request).await,
        (&Method::GET | &Method::HEAD, path) => match path[1..].split_once('/') {
            Some(("bytes", size)) => sized(size, |n| Response::new(Body::stream(Content::new(n)))),
            Some(("sha256", size)) => match parse_size(size) {
                Some(n) => text(StatusCode::OK, format!("{}\n", hash_of(n).await)),
                None => bad_size(size),
            },
            _ => not_found(path),
        },
        _ => {
            let mut response = text(
                StatusCode::METHOD_NOT_ALLOWED,
                format!("405: {path} answers GET and HEAD; /upload takes PUT and POST\n"),
            );
            response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD, PUT, POST"));
            response
        }
    };
    response.headers_mut().insert(SERVER, HeaderValue::from_static("finack"));
    response
}

fn hello(request: &Request<Incoming>, visitor: &Visitor) -> String {
    let family = if visitor.local.ip().to_canonical().is_ipv4() { "IPv4" } else { "IPv6" };
    let agent = request
        .headers()
        .get(hyper::header::USER_AGENT)
        .and_then(|v| v.to_str().ok())
        .map_or(String::new(), |agent| format!(", and you are {agent}"));
    let mut out = format!(
        "Hello from finack!\n\n\
         You connected from {} to {} over {family}{agent}.\n\
         No kernel answered: the TCP at this end is finack's own, in user space.\n\n\
         This end of the connection, right now:\n",
        visitor.remote, visitor.local
    );
    for line in (visitor.describe)() {
        out.push_str("  ");
        out.push_str(&line);
        out.push('\n');
    }
    out.push_str(
        "\nMore to fetch here:\n\
         \x20 /bytes/N     N bytes (10M, 1G, ...), the same every time\n\
         \x20 /sha256/N    their SHA-256\n\
         \x20 /upload      PUT or POST: answers with the length and SHA-256 of what came\n",
    );
    out
}

fn sized(size: &str, make: impl FnOnce(u64) -> Response<Body>) -> Response<Body> {
    let Some(n) = parse_size(size) else { return bad_size(size) };
    let mut response = make(n);
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    response
}

fn bad_size(size: &str) -> Response<Body> {
    text(
        StatusCode::BAD_REQUEST,
        format!("400: '{size}' is not a size: write 1000, 64K, 10M or 1G (at most 1024G)\n"),
    )
}

fn not_found(path: &str) -> Response<Body> {
    text(StatusCode::NOT_FOUND, format!("404: there is no {path} here; / says what there is\n"))
}

async fn hash_of(len: u64) -> String {
    let mut hash = Hash::default();
    for (i, chunk) in Content::new(len).enumerate() {
        hash.update(&chunk);
        if i % HASH_TURN == HASH_TURN - 1 {
            tokio::task::yield_now().await;
        }
    }
    hash.finish()
}

async fn receive(request: Request<Incoming>) -> Response<Body> {
    let mut hash = Hash::default();
    let mut len = 0u64;
    let mut incoming = request.into_body();
    while let Some(frame) = incoming.frame().await {
        match frame {
            Ok(frame) => {
                if let Some(data) = frame.data_ref() {
                    len += data.len() as u64;
                    hash.update(data);
                }
            }
            Err(e) => {
                return text(
                    StatusCode::BAD_REQUEST,
                    format!("400: the body broke off after {len} bytes: {e}\n"),
                );
            }
        }
    }
    text(StatusCode::OK, format!("{len} {}\n", hash.finish()))
}

fn text(status: StatusCode, text: String) -> Response<Body> {
    let mut response = Response::new(Body::text(text));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}
