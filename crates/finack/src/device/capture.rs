//! A device that writes down what it carries, as pcapng.

use std::fmt;
use std::io::{self, Write};
use std::net::IpAddr;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use finack_core::device::{Capabilities, Packet, Transmit};
use finack_core::trace::{PacketId, TraceEvent, TraceKind};

use super::{Device, DeviceCounters};
use cut::Unfinished;
use queue::{Arrival, Queue};
use why::Why;
use writer::Writer;

mod cut;
mod pcapng;
mod queue;
mod why;
mod writer;

/// What a capture says of itself, and how much of everything it keeps.
#[derive(Clone, Debug)]
pub struct CaptureOptions {
    /// Which program captures; empty for finack and its version.
    pub application: String,
    /// What the interface is called.
    pub interface: String,
    /// What the interface is, in words.
    pub description: String,
    /// The interface's addresses, and how many bits of each name the network.
    pub addresses: Vec<(IpAddr, u8)>,
    /// What addresses are called, for whoever shows the file.
    pub names: Vec<(IpAddr, String)>,
    /// Whose side "inbound" and "outbound" are told from.
    pub view: View,
    /// Most bytes kept of each packet; 0 keeps all of it.
    pub snaplen: u32,
    /// Bytes of packets that may wait to be written. What comes when they are used up is not captured, and counted.
    pub buffer: usize,
    /// Packets wait until [`CaptureHandle::explained`] says that all is told of them, so that each is written with its
    /// comments. Without somebody who calls that, they wait for the capture's end, and for want of room get lost.
    pub explain: bool,
}

impl Default for CaptureOptions {
    fn default() -> Self {
        Self {
            application: String::new(),
            interface: String::new(),
            description: String::new(),
            addresses: Vec::new(),
            names: Vec::new(),
            view: View::Stack,
            snaplen: 0,
            buffer: 64 << 20,
            explain: false,
        }
    }
}

/// Whose side a capture is told from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum View {
    /// What the stack receives is inbound.
    #[default]
    Stack,
    /// What the stack receives is outbound: the device is the other end's interface.
    Peer,
}

/// A device whose packets are written to a file as pcapng, as a wire would show them: units are cut into their segments,
/// and every checksum is finished. A packet that arrived with a wrong checksum is written as it came.
///
/// The link type is `LINKTYPE_RAW`: each packet begins with its IP header. A packet is dated by when it was taken from the
/// device, or first offered to it. One that the kernel refuses ([`DeviceCounters::refused`]) is captured all the same.
///
/// A thread of its own writes, so that a slow file holds up nobody: what finds no room in
/// [`buffer`](CaptureOptions::buffer) is missing in the file, which says so at the next packet and at its end. The thread
/// looks for packets ten times a second, and what is written then are whole blocks, so that the file can be read at any
/// time.
///
/// ```
/// use finack::Net;
/// use finack::core::device::Capabilities;
/// use finack::device::{Capture, CaptureOptions};
/// # use finack::net::UdpSocket;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> std::io::Result<()> {
/// # let file = std::io::sink();
/// let (device, other_end) = finack::device::pair(Capabilities::plain(1500))?;
/// // `file` is a `File`, a `UnixStream` to Wireshark, or whatever else is `Write`.
/// let (device, capture) = Capture::start(device, file, &CaptureOptions::default())?;
/// let net = Net::builder().address([10, 0, 0, 1], 24).build(device)?;
/// # let socket = UdpSocket::bind_on(&net, "10.0.0.1:0").await?;
/// # socket.send_to(b"hello", "10.0.0.2:7").await?;
/// // ... sockets on `net` ...
/// let summary = capture.finish();
/// assert_eq!((summary.packets, summary.lost), (1, 0));
/// # drop(other_end);
/// # Ok(())
/// # }
/// ```
///
/// # Comments
///
/// The stack tells in its trace why it dropped a packet, sent one again or reset a connection
/// ([`TraceEvent::packet`] names the packet). With [`CaptureOptions::explain`] the packets wait for that:
///
/// ```
/// # use finack::Net;
/// # use finack::device::CaptureHandle;
/// async fn follow(net: Net, capture: &CaptureHandle) {
///     loop {
///         let captured = tokio::select! {
///             event = net.next_trace() => {
///                 let Some(event) = event else { return };
///                 capture.explain(&event);
///                 capture.captured()
///             }
///             () = capture.unexplained() => capture.captured(),
///         };
///         while let Some(event) = net.poll_trace() {
///             capture.explain(&event);
///         }
///         // Everything that was captured before the trace was read is told of now.
///         capture.explained(captured);
///     }
/// }
/// ```
pub struct Capture<D: Device> {
    device: D,
    queue: Arc<Queue>,
    clock: Clock,
    received: u64,
    /// The packet that the device refused to take when it was offered first.
    offered: Option<u64>,
}

impl<D: Device> fmt::Debug for Capture<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Capture").field("received", &self.received).finish_non_exhaustive()
    }
}

/// Tells the time of day without ever going back.
#[derive(Clone, Copy)]
struct Clock {
    /// Nanoseconds since 1970 at `start`.
    epoch: u64,
    start: Instant,
}

impl Clock {
    fn new() -> Self {
        let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self { epoch: since_1970.as_nanos() as u64, start: Instant::now() }
    }

    fn now(&self) -> u64 {
        self.epoch + self.start.elapsed().as_nanos() as u64
    }
}

impl<D: Device> Capture<D> {
    /// Begins to capture what `device` carries into `file`, on a thread that is started for it.
    ///
    /// # Errors
    /// The file's, on writing its first block; the thread can't be started.
    pub fn start(
        device: D,
        file: impl Write + Send + 'static,
        options: &CaptureOptions,
    ) -> io::Result<(Self, CaptureHandle)> {
        let clock = Clock::new();
        let queue = Arc::new(Queue::new(options.buffer, options.explain));
        let writer = Writer::begin(file, options, clock.now())?;
        let theirs = Arc::clone(&queue);
        std::thread::Builder::new()
            .name("finack-capture".into())
            .spawn(move || writer.run(&theirs, || clock.now()))?;
        let handle = CaptureHandle { queue: Arc::clone(&queue) };
        Ok((Self { device, queue, clock, received: 0, offered: None }, handle))
    }

    fn received(&mut self, packet: &mut Packet<'static>, time: u64) {
        if packet.meta.number == 0 {
            self.received += 1;
            packet.meta.number = self.received;
        }
        let bytes = packet.bytes.as_slice();
        let arrival = Arrival {
            id: PacketId::In(packet.meta.number),
            time,
            unfinished: Unfinished::received(&packet.meta),
            segments: packet.meta.segments.max(1).into(),
            len: bytes.len(),
        };
        self.queue.push(&arrival, |out| out.extend_from_slice(bytes));
    }

    fn sent(&self, packet: &Transmit<'_>) {
        let len = packet.len();
        let payload = len - packet.header.len();
        let size = usize::from(packet.segment_size);
        let arrival = Arrival {
            id: PacketId::Out(packet.number),
            time: self.clock.now(),
            unfinished: Unfinished::sent(packet),
            segments: if size == 0 { 1 } else { payload.div_ceil(size).max(1) as u64 },
            len,
        };
        self.queue.push(&arrival, |out| packet.write_to(out));
    }
}

impl<D: Device> Drop for Capture<D> {
    fn drop(&mut self) {
        self.counters();
    }
}

impl<D: Device> AsFd for Capture<D> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.device.as_fd()
    }
}

impl<D: Device> Device for Capture<D> {
    fn capabilities(&self) -> Capabilities {
        self.device.capabilities()
    }

    fn recv_batch(&mut self, batch: &mut Vec<Packet<'static>>, max: usize) -> io::Result<usize> {
        let before = batch.len();
        let result = self.device.recv_batch(batch, max);
        if batch.len() > before {
            let time = self.clock.now();
            for packet in &mut batch[before..] {
                self.received(packet, time);
            }
            self.queue.batch();
        }
        result
    }

    fn is_drained(&self) -> bool {
        self.device.is_drained()
    }

    fn send(&mut self, packet: &Transmit<'_>) -> io::Result<()> {
        let again = self.offered.take() == Some(packet.number);
        let result = self.device.send(packet);
        match &result {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.offered = Some(packet.number),
            Err(_) => return result,
        }
        if !again {
            self.sent(packet);
        }
        result
    }

    fn flush(&mut self) -> io::Result<()> {
        self.queue.batch();
        self.device.flush()
    }

    fn counters(&mut self) -> DeviceCounters {
        let counters = self.device.counters();
        self.queue.set_overruns(counters.overruns);
        counters
    }
}

/// What a capture wants to be told, and what it has to tell.
#[derive(Clone)]
pub struct CaptureHandle {
    queue: Arc<Queue>,
}

impl fmt::Debug for CaptureHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CaptureHandle").finish_non_exhaustive()
    }
}

/// What became of a capture.
#[derive(Debug)]
pub struct CaptureSummary {
    /// Packets in the file, each as on the wire.
    pub packets: u64,
    /// Packets that found no room to wait for the file.
    pub lost: u64,
    /// Comments that were lost with the trace events that they were to be made of, or for want of room.
    pub lost_comments: u64,
    /// The file took nothing for three seconds at the end: the last packets may be missing.
    pub stuck: bool,
    /// What the file said when it took no more; nothing was captured from then on.
    pub error: Option<io::Error>,
}

impl CaptureHandle {
    /// Puts into the comment of the packet that `event` is about what is worth telling of it: why it was dropped, sent
    /// again or reset, and which state it led to. Events that came with the packet's batch count until
    /// [`explained`](Self::explained) covers it.
    pub fn explain(&self, event: &TraceEvent) {
        if let TraceKind::Lost(count) = event.kind {
            self.queue.lose_notes(count);
        } else if let Some((packet, why)) = Why::of(event) {
            self.queue.note(packet, why);
        }
    }

    /// How many packets and units the device has carried since the capture began.
    pub fn captured(&self) -> u64 {
        self.queue.captured()
    }

    /// Waits until the device has carried packets that are not [`explained`](Self::explained) yet. Of several tasks that
    /// wait at once, one is woken.
    pub async fn unexplained(&self) {
        self.queue.unexplained().await;
    }

    /// Says that everything has been told of the first `count` packets: they may be written.
    ///
    /// Ask [`captured`](Self::captured) first, then take all of the trace's events, then call this: a packet and the
    /// events about it come while the network's lock is held once.
    pub fn explained(&self, count: u64) {
        self.queue.explained(count);
    }

    /// Captures no more, and waits until everything is written; for three seconds at most where the file takes nothing.
    pub fn finish(&self) -> CaptureSummary {
        let outcome = self.queue.finish();
        CaptureSummary {
            packets: outcome.written,
            lost: outcome.lost,
            lost_comments: outcome.lost_notes,
            stuck: outcome.stuck,
            error: outcome.error,
        }
    }
}
