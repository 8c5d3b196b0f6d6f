//! The thread that writes packets down, each with what is told of it.

use std::collections::HashMap;
use std::io::{self, Write};

use finack_core::trace::PacketId;

use super::cut::Cut;
use super::pcapng::{self, PacketInfo, Statistics};
use super::queue::{Captured, Load, Note, Queue};
use super::{CaptureOptions, View};

/// Bytes that are handed to the file at once, about.
const CHUNK: usize = 256 * 1024;

pub(super) struct Writer<W> {
    file: W,
    view: View,
    /// Most bytes kept of each packet; 0 for all.
    snaplen: u32,
    out: Vec<u8>,
    /// One packet, where only a part of it is kept.
    whole: Vec<u8>,
    notes: HashMap<PacketId, Vec<Note>>,
    started: u64,
    written: u64,
    /// Written by the blocks in `out`, and what they took in the queue.
    pending: (u64, usize),
}

impl<W: Write> Writer<W> {
    /// Writes the file's beginning.
    ///
    /// # Errors
    /// The file's.
    pub(super) fn begin(mut file: W, options: &CaptureOptions, started: u64) -> io::Result<Self> {
        let mut out = Vec::with_capacity(CHUNK + 128 * 1024);
        let system = rustix::system::uname();
        let os = format!("{} {}", system.sysname().to_string_lossy(), system.release().to_string_lossy());
        let hardware = system.machine().to_string_lossy();
        let application = match options.application.as_str() {
            "" => concat!("finack ", env!("CARGO_PKG_VERSION")),
            name => name,
        };
        pcapng::section(&mut out, &pcapng::Section { hardware: &hardware, os: &os, application });
        pcapng::interface(
            &mut out,
            &pcapng::Interface {
                name: &options.interface,
                description: &options.description,
                addresses: &options.addresses,
                snaplen: options.snaplen,
            },
        );
        pcapng::names(&mut out, &options.names);
        file.write_all(&out)?;
        file.flush()?;
        out.clear();
        Ok(Self {
            file,
            view: options.view,
            snaplen: options.snaplen,
            out,
            whole: Vec::new(),
            notes: HashMap::new(),
            started,
            written: 0,
            pending: (0, 0),
        })
    }

    /// Writes what comes until there is no more, or the file takes no more.
    pub(super) fn run(mut self, queue: &Queue, clock: impl Fn() -> u64) {
        let result = loop {
            let load = queue.take();
            let last = load.last;
            if let Err(error) = self.write(queue, load, &clock) {
                break Some(error);
            }
            if last {
                break None;
            }
        };
        queue.end(result);
    }

    fn write(&mut self, queue: &Queue, load: Load, clock: impl Fn() -> u64) -> io::Result<()> {
        for note in load.notes {
            self.notes.entry(note.packet).or_default().push(note);
        }
        for packet in load.packets {
            self.packet(&packet);
            self.pending.1 += packet.size();
            if self.out.len() >= CHUNK {
                self.hand_over(queue)?;
            }
        }
        if load.last {
            let end = clock();
            let (lost, _) = load.lost;
            let statistics = Statistics {
                start: self.started,
                end,
                received: self.written + lost,
                dropped: lost,
                dropped_by_os: load.overruns,
                delivered: self.written,
            };
            pcapng::statistics(&mut self.out, &statistics);
        }
        self.hand_over(queue)?;
        self.notes.retain(|_, notes| {
            notes.retain(|n| n.within > load.upto);
            !notes.is_empty()
        });
        self.file.flush()
    }

    /// Whole blocks only, so that whatever ends this process leaves a file that can be read.
    fn hand_over(&mut self, queue: &Queue) -> io::Result<()> {
        if !self.out.is_empty() {
            self.file.write_all(&self.out)?;
            self.out.clear();
        }
        let (packets, bytes) = std::mem::take(&mut self.pending);
        queue.wrote(packets, bytes);
        Ok(())
    }

    fn packet(&mut self, packet: &Captured) {
        let cut = Cut::of(&packet.bytes, packet.unfinished);
        let notes = if self.notes.is_empty() { None } else { self.notes.remove(&packet.id) };
        let inbound = matches!(packet.id, PacketId::In(_)) == (self.view == View::Stack);
        let mut comments = Vec::new();
        for index in 0..cut.count() {
            comments.clear();
            if index == 0 && packet.lost_before > 0 {
                comments.push(format!(
                    "{} packets before this one are missing here: the file could not be written fast enough",
                    packet.lost_before
                ));
            }
            let last = index + 1 == cut.count();
            let told = notes.iter().flatten().filter(|n| last || n.why.concerns_all());
            comments.extend(told.map(|n| n.why.to_string()));
            let info = PacketInfo {
                time: packet.time,
                len: cut.len(index) as u32,
                inbound,
                lost_before: if index == 0 { packet.lost_before } else { 0 },
                comments: &comments,
            };
            self.block(&cut, index, &info);
        }
        self.written += cut.count() as u64;
        self.pending.0 += cut.count() as u64;
    }

    fn block(&mut self, cut: &Cut<'_>, index: usize, info: &PacketInfo<'_>) {
        if self.snaplen == 0 || info.len <= self.snaplen {
            pcapng::packet(&mut self.out, info, info.len, |out| cut.write(index, out));
            return;
        }
        // The checksum covers what is not kept too.
        self.whole.clear();
        cut.write(index, &mut self.whole);
        let kept = &self.whole[..self.snaplen as usize];
        pcapng::packet(&mut self.out, info, self.snaplen, |out| out.extend_from_slice(kept));
    }
}
