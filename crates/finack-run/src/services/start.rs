//! Brings the services up on finack's stack.

use std::cell::RefCell;
use std::io::{self, IoSlice};
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use finack::Net;
use finack::net::{TcpListener, TcpStream, UdpSocket};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::task::spawn_local;

use super::dns::{self, Answered, NameServer, Transport};
use super::hello::{self, Visitor};
use super::{serve, table};
use crate::plan;
use crate::report::TakeNote;

/// How long a listener that can accept nothing now (no memory, too many connections) waits.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// Largest DNS message that is looked at over UDP.
const DATAGRAM: usize = 4096;

/// Starts every service as tasks of the current `LocalSet`; they end with it.
///
/// # Errors
/// What binding a port answers.
pub(crate) async fn start(net: &Net, names: &Rc<NameServer>, note: TakeNote) -> io::Result<()> {
    for addr in [IpAddr::V4(plan::HELLO_V4), IpAddr::V6(plan::HELLO_V6)] {
        let listener = TcpListener::bind_on(net, SocketAddr::new(addr, 80)).await?;
        spawn_local(serve_hello(listener));
    }
    for addr in [IpAddr::V4(plan::GATEWAY_V4), IpAddr::V6(plan::GATEWAY_V6)] {
        let at = SocketAddr::new(addr, 53);
        let listener = TcpListener::bind_on(net, at).await?;
        spawn_local(serve_names_over_tcp(listener, Rc::clone(names)));
        let socket = UdpSocket::bind_on(net, at).await?;
        spawn_local(serve_names_over_udp(socket, Rc::clone(names), |names, query| {
            names.answer(query, Transport::Udp)
        }));
    }
    truncated_names(net, names, &note).await?;
    serve::small(net).await?;
    serve::misbehaving(net, &note).await
}

/// The name server whose answers never fit into a datagram, and a page at its address for those who found it.
async fn truncated_names(net: &Net, names: &Rc<NameServer>, note: &TakeNote) -> io::Result<()> {
    let Some(service) = table::named("truncated-dns.finack") else { return Ok(()) };
    for addr in serve::addresses(service.host()) {
        spawn_local(serve_hello(TcpListener::bind_on(net, SocketAddr::new(addr, 80)).await?));
        let at = SocketAddr::new(addr, 53);
        let socket = UdpSocket::bind_on(net, at).await?;
        spawn_local(serve_names_over_udp(socket, Rc::clone(names), |names, query| names.cut_short(query)));
        let (listener, names) = (TcpListener::bind_on(net, at).await?, Rc::clone(names));
        let note = Rc::clone(note);
        spawn_local(serve::carry_all(listener, move |stream| {
            serve::meant(service, &stream, &note);
            dns::serve_stream(stream, Rc::clone(&names))
        }));
    }
    Ok(())
}

/// The next connection; `None` once the network is down. One that failed before it was taken is skipped.
pub(super) async fn accept(listener: &TcpListener) -> Option<(TcpStream, SocketAddr)> {
    loop {
        match listener.accept().await {
            Ok(accepted) => return Some(accepted),
            Err(_) if listener.local_addr().is_err() => return None,
            Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
        }
    }
}

async fn serve_hello(listener: TcpListener) {
    while let Some((stream, remote)) = accept(&listener).await {
        let Ok(local) = stream.local_addr() else { continue };
        let stream = Rc::new(RefCell::new(stream));
        let shared = Shared(Rc::clone(&stream));
        let visitor = Visitor { local, remote, describe: Rc::new(move || describe(&stream.borrow())) };
        spawn_local(async move {
            // How it ended is in the trace; there is nobody else to tell.
            let _ = hello::serve(shared, visitor).await;
        });
    }
}

/// The state of a connection, for its visitor to see.
fn describe(stream: &TcpStream) -> Vec<String> {
    let Ok(info) = stream.tcp_info() else { return vec!["it is gone".into()] };
    vec![
        format!("state          {}", info.state),
        format!("round trip     {:?} (smoothed), RTO {:?}", info.srtt, info.rto),
        format!("segment size   {} bytes to you, {} from you", info.snd_mss, info.rcv_mss),
        format!("windows        {} bytes to you, {} from you", info.snd_wnd, info.rcv_wnd),
        format!("congestion     window {} bytes", info.cwnd),
        format!(
            "options        timestamps {}, SACK {}, window scale {}",
            yes_no(info.timestamps),
            yes_no(info.sack),
            info.window_scale
                .map_or("no".into(), |(theirs, ours)| format!("{ours} here, {theirs} at your end")),
        ),
    ]
}

fn yes_no(yes: bool) -> &'static str {
    if yes { "yes" } else { "no" }
}

async fn serve_names_over_tcp(listener: TcpListener, names: Rc<NameServer>) {
    while let Some((stream, _)) = accept(&listener).await {
        let names = Rc::clone(&names);
        spawn_local(async move {
            // A resolver that goes away has what it wanted.
            let _ = dns::serve_stream(stream, names).await;
        });
    }
}

async fn serve_names_over_udp(
    socket: UdpSocket,
    names: Rc<NameServer>,
    answer: impl Fn(&Rc<NameServer>, &[u8]) -> Answered + 'static,
) {
    let socket = Rc::new(socket);
    let mut message = vec![0; DATAGRAM];
    loop {
        let (len, from) = match socket.recv_from(&mut message).await {
            Ok(received) => received,
            // The network is down, whatever its device failed with: the same error would come for ever.
            Err(_) if socket.local_addr().is_err() => return,
            // An ICMP error about an earlier answer: the resolver had closed its socket.
            Err(_) => continue,
        };
        // An answer that is lost on the way or never sent: the resolver asks again.
        match answer(&names, &message[..len]) {
            Answered::Now(answer) => drop(socket.send_to(&answer, from).await),
            Answered::Later(answer) => {
                let socket = Rc::clone(&socket);
                spawn_local(async move {
                    if let Some(answer) = answer.await {
                        let _ = socket.send_to(&answer, from).await;
                    }
                });
            }
            Answered::Never => {}
        }
    }
}

/// A stream that is served by one and looked at by another part of the same task.
struct Shared(Rc<RefCell<TcpStream>>);

impl AsyncRead for Shared {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.0.borrow_mut()).poll_read(cx, buf)
    }
}

impl AsyncWrite for Shared {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut *self.0.borrow_mut()).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut *self.0.borrow_mut()).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.0.borrow_mut()).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.0.borrow_mut()).poll_shutdown(cx)
    }
}
