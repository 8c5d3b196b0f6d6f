//! A plan as text for people.

use core::fmt::{self, Write as _};
use core::time::Duration;

use super::plan::{Effect, End, Faults, HostPlan, Manager, Mix, Opt, Plan, Reads, Side, Step, Talk, Way};

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let busy = self.busy_hosts();
        writeln!(f, "world of seed {}: {}", self.seed, self.features)?;
        for &host in &busy {
            writeln!(f, "host {host} (10.0.0.{n}, fd00::{n}): {}", self.hosts[host], n = host + 1)?;
        }
        for (&from, &to) in busy.iter().flat_map(|a| busy.iter().map(move |b| (a, b))) {
            if let Some(way) = self.way(from, to).filter(|_| from != to && self.is_used(from, to)) {
                write!(f, "way {from} > {to}: {way}")?;
                match self.faults {
                    Faults::Drawn => writeln!(f, "{}{}", way.mix, BlackOuts(&way.black_outs))?,
                    Faults::Listed(_) => writeln!(f)?,
                }
            }
        }
        for x in self.boxes.iter().filter(|x| !x.gone && busy.contains(&x.near) && busy.contains(&x.far)) {
            writeln!(f, "between {} and {}: {}", x.near, x.far, x.what)?;
        }
        for (i, talk) in self.talks.iter().enumerate().filter(|(_, t)| !t.gone) {
            write!(f, "talk {i}: {talk}")?;
        }
        for (i, d) in self.datagrams.iter().enumerate().filter(|(_, d)| !d.gone) {
            let family = if d.v6 { "IPv6" } else { "IPv4" };
            writeln!(
                f,
                "udp {i}: host {} sends {} datagrams of {} bytes to host {} over {family}, from {:?} on, one each {:?}",
                d.from, d.count, d.size, d.to, d.start, d.gap
            )?;
        }
        for crash in self.crashes.iter().filter(|c| !c.gone) {
            writeln!(f, "host {} crashes at {:?} and comes back", crash.host, crash.at)?;
        }
        match &self.faults {
            Faults::Drawn => writeln!(f, "no faults from {:?} on", self.quiet),
            Faults::Listed(all) if all.is_empty() => writeln!(f, "no faults"),
            Faults::Listed(all) => all.iter().try_for_each(|fault| {
                let what = match fault.effect {
                    Effect::Drop => "is lost".into(),
                    Effect::Duplicate => "arrives twice".into(),
                    Effect::Corrupt => "arrives with a bit flipped".into(),
                    Effect::Forge => "arrives with a byte changed and a good checksum".into(),
                    Effect::Delay(by) => format!("is late by {by:?}"),
                };
                writeln!(f, "packet {} from host {} to host {} {what}", fault.index, fault.from, fault.to)
            }),
        }
    }
}

impl Plan {
    fn is_used(&self, from: usize, to: usize) -> bool {
        let talks = self.talks.iter().filter(|t| !t.gone).map(|t| (t.from, t.to));
        let datagrams = self.datagrams.iter().filter(|d| !d.gone).map(|d| (d.from, d.to));
        talks.chain(datagrams).any(|(a, b)| (a, b) == (from, to) || (b, a) == (from, to))
    }
}

impl fmt::Display for HostPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MTU {}", self.mtu)?;
        if self.units {
            f.write_str(", sends units (GSO)")?;
        }
        if self.joins {
            f.write_str(", joins what it receives (GRO)")?;
        }
        self.settings.iter().try_for_each(|(name, value)| write!(f, ", {name}={value}"))
    }
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.delay)?;
        let queue = match self.manager {
            Manager::Tail => "a plain queue",
            Manager::CoDel(false) => "a CoDel queue",
            Manager::CoDel(true) => "a CoDel queue that marks",
            Manager::DualPi2 => "a DualPI2 queue",
        };
        if !self.trace.is_empty() {
            write!(f, ", sends at {:?} ms and so on, behind {queue} of {:?}", self.trace, self.queue)?;
        } else if let Some(rate) = self.rate {
            write!(f, ", {} kb/s behind {queue} of {:?}", rate / 1000, self.queue)?;
        }
        write!(f, ", MTU {}", self.mtu)?;
        if let Some((at, mtu)) = self.mtu_change {
            write!(f, " and {mtu} from {at:?} on")?;
        }
        if self.black_hole { f.write_str(", silent about it") } else { Ok(()) }
    }
}

impl fmt::Display for Mix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let percent = |ppm: u32| f64::from(ppm) / 10_000.0;
        for (ppm, name) in [
            (self.loss, "lost"),
            (self.duplicate, "doubled"),
            (self.reorder, "held back"),
            (self.corrupt, "damaged"),
        ] {
            if ppm > 0 {
                write!(f, ", {} % {name}", percent(ppm))?;
            }
        }
        if self.reorder > 0 {
            write!(f, " for up to {:?}", self.hold)?;
        }
        if self.burst.0 > 0 {
            write!(f, ", bursts of {} lost at {} %", self.burst.1, percent(self.burst.0))?;
        }
        if self.jitter > Duration::ZERO { write!(f, ", jitter {:?}", self.jitter) } else { Ok(()) }
    }
}

struct BlackOuts<'a>(&'a [(Duration, Duration)]);

impl fmt::Display for BlackOuts<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|(at, len)| write!(f, ", nothing passes from {at:?} for {len:?}"))
    }
}

impl fmt::Display for Talk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let family = if self.v6 { "IPv6" } else { "IPv4" };
        write!(f, "host {} to host {} over {family} at {:?}", self.from, self.to, self.start)?;
        if self.times > 1 {
            write!(f, ", {} times one after the other", self.times)?;
        }
        if let Some(port) = self.port {
            write!(f, ", from port {port}")?;
        }
        if let Some(later) = self.crossed {
            write!(f, ", the other opens too, {later:?} later")?;
        }
        if self.early {
            f.write_str(", data goes with the SYN where a cookie is known")?;
        }
        write!(f, "\n  opener: {}\n  other:  {}\n", self.sides[0], self.sides[1])
    }
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut said: Vec<String> = Vec::new();
        for option in self.options.iter().filter(|o| **o != Opt::Gone) {
            said.push(format!("{option:?}"));
        }
        for step in &self.steps {
            match step {
                Step::Gone => {}
                Step::Write(n) => said.push(format!("writes {n}")),
                Step::Urgent => said.push("writes an urgent byte".into()),
                Step::Pause(time) => said.push(format!("waits {time:?}")),
                Step::Await(n) => said.push(format!("waits for byte {n}")),
            }
        }
        if self.reads != Reads::EAGER {
            let Reads { chunk, begin, every, rest } = self.reads;
            let mut text = format!("reads {chunk} at once from {begin:?} on");
            if every < u64::MAX {
                let _ = write!(text, ", rests {rest:?} after each {every}");
            }
            said.push(text);
        }
        said.push(match self.end {
            End::HalfClose => "half-closes, closes after EOF".into(),
            End::AfterPeer => "closes after EOF".into(),
            End::Early => "closes at once".into(),
            End::Abort => "aborts".into(),
            End::Linger => "closes with linger 0".into(),
            End::AbortAt(after) => format!("aborts {after:?} after it opened"),
        });
        f.write_str(&said.join("; "))?;
        if self.chunk < 65_536 { write!(f, " ({} bytes a write)", self.chunk) } else { Ok(()) }
    }
}
