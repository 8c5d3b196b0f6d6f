//! Links back to text: what is printed here means the same when it is read.

use core::fmt;
use core::time::Duration;

use crate::link::{Chance, Element, Hop, Loss, Path, Rate};
use crate::queue::{Discipline, Limit, Queue};

pub(crate) fn time(d: Duration) -> String {
    let nanos = d.as_nanos();
    match nanos {
        0 => "0ms".into(),
        n if n.is_multiple_of(1_000_000_000) => format!("{}s", n / 1_000_000_000),
        n if n.is_multiple_of(1_000_000) => format!("{}ms", n / 1_000_000),
        n if n.is_multiple_of(1000) => format!("{}us", n / 1000),
        n => format!("{n}ns"),
    }
}

fn rate(bits: u64) -> String {
    match bits {
        b if b.is_multiple_of(1_000_000_000) => format!("{}gbit", b / 1_000_000_000),
        b if b.is_multiple_of(1_000_000) => format!("{}mbit", b / 1_000_000),
        b if b.is_multiple_of(1000) => format!("{}kbit", b / 1000),
        b => format!("{b}bit"),
    }
}

impl fmt::Display for Chance {
    /// In percent, with up to four digits behind the point.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ppm = self.as_ppm();
        let (whole, rest) = (ppm / 10_000, ppm % 10_000);
        if rest == 0 {
            return write!(f, "{whole}%");
        }
        write!(f, "{whole}.{}%", format!("{rest:04}").trim_end_matches('0'))
    }
}

fn loss(loss: &Loss) -> String {
    match loss {
        Loss::None => "none".into(),
        Loss::Random(chance) => chance.to_string(),
        Loss::Periodic(every) => format!("every:{every}"),
        Loss::GilbertElliott { to_bad, to_good, in_bad, in_good } => {
            format!("ge:{to_bad},{to_good},{in_bad},{in_good}")
        }
        Loss::List(packets) => {
            let packets: Vec<String> = packets.iter().map(u64::to_string).collect();
            format!("list:{}", packets.join(","))
        }
    }
}

fn limit(limit: &Limit) -> Vec<String> {
    let Limit { packets, bytes, time: longest } = limit;
    let all = [packets.map(|p| format!("{p}pkt")), bytes.map(|b| format!("{b}b")), longest.map(time)];
    all.into_iter().flatten().collect()
}

fn queue(queue: &Queue) -> String {
    let mut words = limit(&queue.limit);
    match queue.discipline {
        Discipline::Fifo => {}
        Discipline::Step(at) => words.extend(limit(&at).into_iter().take(1).map(|at| format!("step:{at}"))),
        Discipline::CoDel { target, interval } => {
            words.extend(["codel".into(), format!("target:{}", time(target))]);
            words.push(format!("interval:{}", time(interval)));
        }
        Discipline::FqCoDel { target, interval } => {
            words.extend(["fqcodel".into(), format!("target:{}", time(target))]);
            words.push(format!("interval:{}", time(interval)));
        }
        Discipline::DualPi2(params) => {
            words.extend(["dualpi2".into(), format!("target:{}", time(params.target))]);
            words.push(format!("rtt:{}", time(params.rtt_max)));
        }
    }
    if queue.ecn && !matches!(queue.discipline, Discipline::Step(_) | Discipline::DualPi2(_)) {
        words.push("ecn".into());
    }
    words.join(",")
}

impl fmt::Display for Hop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plain = Self::default();
        match &self.rate {
            Rate::Unlimited => write!(f, "rate=unlimited")?,
            Rate::Fixed(bits) => write!(f, "rate={}", rate(*bits))?,
            Rate::Trace(trace) => write!(f, "rate=trace:{}", trace.name())?,
        }
        write!(f, " delay={}", time(self.delay))?;
        if self.jitter != plain.jitter {
            let reorders = if self.jitter.reorders { ",reorders" } else { "" };
            write!(f, " jitter={}{reorders}", time(self.jitter.most))?;
        }
        if self.loss != plain.loss {
            write!(f, " loss={}", loss(&self.loss))?;
        }
        if self.reorder != plain.reorder {
            let random = if self.reorder.at_most { ",random" } else { "" };
            write!(f, " reorder={},{}{random}", self.reorder.share, time(self.reorder.by))?;
        }
        if self.duplicate != plain.duplicate {
            write!(f, " duplicate={}", self.duplicate)?;
        }
        if self.corrupt != plain.corrupt {
            write!(f, " corrupt={}", self.corrupt)?;
        }
        if (self.mtu, self.black_hole) != (plain.mtu, plain.black_hole) {
            write!(f, " mtu={}{}", self.mtu, if self.black_hole { ",silent" } else { "" })?;
        }
        if self.overhead != 0 {
            write!(f, " overhead={}", self.overhead)?;
        }
        write!(f, " queue={}", queue(&self.queue))
    }
}

impl fmt::Display for Element {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Link(link) => {
                let (there, back) = &**link;
                write!(f, "{there}")?;
                if back != there {
                    // Whatever was said of the way there and is not so on the way back is said again.
                    write!(f, " back: {}", Backwards(back))?;
                }
                Ok(())
            }
            Self::Box(middlebox) => write!(f, "{middlebox}"),
        }
    }
}

/// A way back in full: also what is as if nothing had been said.
struct Backwards<'a>(&'a Hop);

impl fmt::Display for Backwards<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (hop, plain) = (self.0, Hop::default());
        write!(f, "{hop}")?;
        if hop.jitter == plain.jitter {
            write!(f, " jitter=0ms")?;
        }
        if hop.loss == plain.loss {
            write!(f, " loss=none")?;
        }
        if hop.reorder == plain.reorder {
            write!(f, " reorder=0%,0ms")?;
        }
        for (name, value) in [("duplicate", hop.duplicate), ("corrupt", hop.corrupt)] {
            if value == Chance::NEVER {
                write!(f, " {name}=0%")?;
            }
        }
        if (hop.mtu, hop.black_hole) == (plain.mtu, plain.black_hole) {
            write!(f, " mtu={}", hop.mtu)?;
        }
        if hop.overhead == 0 {
            write!(f, " overhead=0")?;
        }
        Ok(())
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, element) in self.elements.iter().enumerate() {
            if i > 0 {
                f.write_str(" -> ")?;
            }
            write!(f, "{element}")?;
        }
        Ok(())
    }
}
