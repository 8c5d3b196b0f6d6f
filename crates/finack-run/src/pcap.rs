//! `--pcap`: the private network's packets in a file.

use std::fs::File;
use std::io::{self, Write};
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use finack::device::{Capture, CaptureHandle, CaptureOptions, CaptureSummary, Device, View};

use crate::gateway::HostName;
use crate::plan;
use crate::run::RunError;

#[cfg(test)]
mod tests;

/// What the program's end of the private network is called.
const INTERFACE: &str = "finack0";

/// Where packets are to be written.
#[derive(Clone, Debug)]
pub struct PcapConfig {
    /// The file, or a FIFO that somebody reads. What it held is gone.
    pub path: PathBuf,
    /// Most bytes kept of each packet; 0 keeps all of it.
    pub snaplen: u32,
}

/// A file that holds whole blocks only: what it could not take whole is taken back.
struct WholeBlocks {
    file: File,
    len: u64,
    regular: bool,
}

impl Write for WholeBlocks {
    fn write(&mut self, blocks: &[u8]) -> io::Result<usize> {
        if let Err(error) = self.file.write_all(blocks) {
            if self.regular {
                // It stays readable if this fails too, but for the last packet.
                let _ = self.file.set_len(self.len);
            }
            return Err(error);
        }
        self.len += blocks.len() as u64;
        Ok(blocks.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// A capture that has a file, but no device yet.
pub(crate) struct Opened {
    file: WholeBlocks,
    path: PathBuf,
    snaplen: u32,
}

fn unwritable(path: &Path) -> impl FnOnce(io::Error) -> RunError {
    move |error| RunError::Pcap { path: path.into(), error }
}

/// Makes the file that is asked for, or empties it.
pub(crate) fn create(config: Option<&PcapConfig>) -> Result<Option<Opened>, RunError> {
    config.map(|config| Opened::create(config).map_err(unwritable(&config.path))).transpose()
}

/// Captures what `device` carries from here on, if it is asked for.
pub(crate) fn start(
    opened: Option<Opened>,
    device: Box<dyn Device>,
    host_names: &[HostName],
) -> Result<(Box<dyn Device>, Option<Pcap>), RunError> {
    let Some(opened) = opened else { return Ok((device, None)) };
    let path = opened.path.clone();
    let (device, pcap) = opened.start(device, host_names).map_err(unwritable(&path))?;
    Ok((device, Some(pcap)))
}

impl Opened {
    fn create(config: &PcapConfig) -> io::Result<Self> {
        let file = File::create(&config.path)?;
        let regular = file.metadata().is_ok_and(|m| m.is_file());
        let file = WholeBlocks { file, len: 0, regular };
        Ok(Self { file, path: config.path.clone(), snaplen: config.snaplen })
    }

    fn start(self, device: Box<dyn Device>, host_names: &[HostName]) -> io::Result<(Box<dyn Device>, Pcap)> {
        let inside = plan::HOSTS.iter().map(|host| (host.name.to_owned(), host.v4, host.v6));
        let of_host = host_names.iter().map(|name| (name.to_string(), plan::HOST_V4, plan::HOST_V6));
        let names = inside
            .chain(of_host)
            .flat_map(|(name, v4, v6)| [(IpAddr::V4(v4), name.clone()), (IpAddr::V6(v6), name)]);
        let options = CaptureOptions {
            interface: INTERFACE.into(),
            description: "the program's end of its private network, made by finack run".into(),
            addresses: vec![
                (plan::PROGRAM_V4.into(), plan::PREFIX_V4),
                (plan::PROGRAM_V6.into(), plan::PREFIX_V6),
            ],
            names: names.collect(),
            // As if captured beside the program.
            view: View::Peer,
            snaplen: self.snaplen,
            explain: true,
            ..CaptureOptions::default()
        };
        let (device, handle) = Capture::start(device, self.file, &options)?;
        Ok((Box::new(device), Pcap { handle, path: self.path, finished: false }))
    }
}

/// A capture that runs. Dropped, it ends without a word: the run has failed, and says why itself.
pub(crate) struct Pcap {
    pub(crate) handle: CaptureHandle,
    path: PathBuf,
    finished: bool,
}

impl Drop for Pcap {
    fn drop(&mut self) {
        if !self.finished {
            self.handle.finish();
        }
    }
}

impl Pcap {
    /// Ends the capture once everything is written, and tells what is missing in the file, a line each.
    pub(crate) fn finish(mut self) -> Vec<String> {
        self.finished = true;
        complaints(&self.path, &self.handle.finish())
    }
}

fn complaints(path: &Path, summary: &CaptureSummary) -> Vec<String> {
    let path = path.display();
    let mut lines = Vec::new();
    let packets = |count| if count == 1 { "1 packet".to_string() } else { format!("{count} packets") };
    if let Some(error) = &summary.error {
        lines.push(format!("the capture {path} ends after {}: {error}", packets(summary.packets)));
    } else if summary.stuck {
        lines.push(format!(
            "the capture {path} ends after {}: nothing could be written for three seconds",
            packets(summary.packets)
        ));
    }
    if summary.lost > 0 {
        lines.push(format!(
            "the capture {path} lacks {}, which came faster than the file could be written",
            packets(summary.lost)
        ));
    }
    if summary.lost_comments > 0 {
        lines.push(format!("the capture {path} may lack up to {} comments", summary.lost_comments));
    }
    lines
}
