//! Links as text: `rate=10mbit delay=20ms loss=1% queue=64pkt,codel,ecn`. The words are described in docs/simulator.md.

use core::fmt;
use core::str::FromStr;
use core::time::Duration;
use std::sync::Arc;

use super::{Chance, Element, Held, Hop, Jitter, Loss, Path, Rate, Trace};
use crate::queue::{Discipline, Limit, Queue};

mod show;
mod unit;

pub(crate) use show::time;
pub(crate) use unit::{chance, closest, duration, number};

use unit::{rate, size};

/// What is wrong with a text, in one line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TextError(pub(crate) String);

impl fmt::Display for TextError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl core::error::Error for TextError {}

/// The words of a link.
const WORDS: [&str; 10] =
    ["rate", "delay", "jitter", "loss", "reorder", "duplicate", "corrupt", "mtu", "queue", "overhead"];

/// Longest text of a path, in bytes.
const LONGEST: usize = 64 << 10;
/// Most parts of a path.
const MOST_PARTS: usize = 32;

impl FromStr for Path {
    type Err = TextError;

    /// Takes a path's text: parts joined by `->`, each a link's words or a box.
    ///
    /// # Errors
    /// One line that says which word is wrong, and what would be right.
    fn from_str(text: &str) -> Result<Self, TextError> {
        path(text).map_err(TextError)
    }
}

impl FromStr for Hop {
    type Err = TextError;

    /// Takes the words of one direction of one link.
    ///
    /// # Errors
    /// As for a [`Path`].
    fn from_str(text: &str) -> Result<Self, TextError> {
        let mut draft = Draft::default();
        for word in text.split_whitespace() {
            draft.take(word).map_err(TextError)?;
        }
        let round_trip = draft.hop.delay * 2;
        draft.finish(round_trip).map_err(TextError)
    }
}

fn path(text: &str) -> Result<Path, String> {
    if text.len() > LONGEST {
        return Err(format!("a path of {} bytes of text: at most {LONGEST} are taken", text.len()));
    }
    let parts: Vec<&str> = text.split("->").map(str::trim).collect();
    if parts.len() > MOST_PARTS {
        return Err(format!("a path of {} parts: at most {MOST_PARTS} are taken", parts.len()));
    }
    let mut elements = Vec::new();
    for part in &parts {
        if part.is_empty() && parts.len() > 1 {
            return Err("a part of the path is empty: write a link or a box on both sides of each ->".into());
        }
        elements.push(element(part)?);
    }
    Ok(Path { elements })
}

fn element(part: &str) -> Result<Element, String> {
    if crate::boxes::text::is_box(part) {
        return part.parse().map(Element::Box).map_err(|e: TextError| e.0);
    }
    let (both, back) = match part.split_once("back:") {
        Some((both, back)) => (both, Some(back)),
        None => (part, None),
    };
    let mut there = Draft::default();
    for word in both.split_whitespace() {
        there.take(word)?;
    }
    let mut other = there.clone();
    for word in back.unwrap_or("").split_whitespace() {
        if word == "back:" {
            return Err("\"back:\" twice in one link: what follows the first describes the way back".into());
        }
        other.take(word)?;
    }
    let round_trip = there.hop.delay + other.hop.delay;
    Ok(Element::Link(Box::new((there.finish(round_trip)?, other.finish(round_trip)?))))
}

/// A link while its words are read: some need others.
#[derive(Clone, Default)]
struct Draft {
    hop: Hop,
    /// The queue holds so many thousandths of what fills the link for a round trip.
    products: Option<u64>,
}

impl Draft {
    fn take(&mut self, word: &str) -> Result<(), String> {
        let Some((name, value)) = word.split_once('=') else {
            return Err(no_word(word));
        };
        let told = |e: String| format!("{name}={value}: {e}");
        let hop = &mut self.hop;
        match name {
            "rate" => hop.rate = link_rate(value).map_err(told)?,
            "delay" => hop.delay = duration(value).map_err(told)?,
            "jitter" => hop.jitter = jitter(value).map_err(told)?,
            "loss" => hop.loss = loss(value).map_err(told)?,
            "reorder" => hop.reorder = held(value).map_err(told)?,
            "duplicate" => hop.duplicate = chance(value).map_err(told)?,
            "corrupt" => hop.corrupt = chance(value).map_err(told)?,
            "mtu" => (hop.mtu, hop.black_hole) = mtu(value).map_err(told)?,
            "queue" => (hop.queue, self.products) = queue(value).map_err(told)?,
            "overhead" => hop.overhead = number(value, 0, 1000).map_err(told)? as u32,
            _ => {
                return Err(match closest(name, &WORDS) {
                    Some(known) => format!("\"{name}\" is no word of a link: did you mean {known}?"),
                    None => format!("\"{name}\" is no word of a link: {}", list(&WORDS)),
                });
            }
        }
        Ok(())
    }

    fn finish(self, round_trip: Duration) -> Result<Hop, String> {
        let mut hop = self.hop;
        if let Some(thousandths) = self.products {
            let Some(bytes) = hop.bytes_in(round_trip) else {
                return Err("queue=...bdp needs a rate: say rate= too, or the queue's size".into());
            };
            let bytes = u128::from(bytes) * u128::from(thousandths) / 1000;
            hop.queue.limit.bytes = Some((bytes as u64).max(crate::queue::FULL_PACKET));
        }
        Ok(hop)
    }
}

/// What a word without a value might have been.
fn no_word(word: &str) -> String {
    let boxes = &crate::boxes::text::BOXES[..];
    let name = word.split(':').next().unwrap_or(word);
    if DISCIPLINES.contains(&name) {
        format!("\"{word}\" stands behind a queue's size: write queue=...,{word}")
    } else if boxes.contains(&word) {
        format!("\"{word}\" is a box: write -> on both sides of it")
    } else if let Some(known) = closest(word, &WORDS) {
        format!("\"{word}\" needs a value: did you mean {known}=...?")
    } else if let Some(known) = closest(word, boxes) {
        format!("\"{word}\" is neither a box nor a word of a link: did you mean {known}?")
    } else {
        format!("\"{word}\" is no word of a link: {}", list(&WORDS))
    }
}

pub(crate) fn list(words: &[&str]) -> String {
    format!("known are {}", words.join(", "))
}

fn link_rate(value: &str) -> Result<Rate, String> {
    if value == "unlimited" {
        return Ok(Rate::Unlimited);
    }
    let Some(file) = value.strip_prefix("trace:") else { return rate(value).map(Rate::Fixed) };
    let text = std::fs::read_to_string(file).map_err(|e| format!("can't read the trace: {e}"))?;
    let trace = Trace::parse(&text)?;
    Ok(Rate::Trace(Arc::new(trace.named(file))))
}

fn jitter(value: &str) -> Result<Jitter, String> {
    let (most, reorders) = match value.split_once(',') {
        None => (value, false),
        Some((most, "reorders")) => (most, true),
        Some((_, other)) => return Err(format!("\"{other}\": only \"reorders\" may follow the time")),
    };
    Ok(Jitter { most: duration(most)?, reorders })
}

/// The ways to lose packets that have names.
const LOSSES: [&str; 5] = ["every", "burst", "ge", "list", "none"];

fn loss(value: &str) -> Result<Loss, String> {
    if value == "none" {
        return Ok(Loss::None);
    }
    let Some((kind, rest)) = value.split_once(':') else { return chance(value).map(Loss::Random) };
    let values: Vec<&str> = rest.split(',').collect();
    match (kind, &values[..]) {
        ("every", [every]) => number(every, 1, u64::MAX).map(Loss::Periodic),
        ("burst", [share, len]) => Ok(Loss::bursts(chance(share)?, number(len, 1, 1_000_000)? as u32)),
        ("burst", _) => Err("burst: takes a share and packets a burst, as burst:1%,5".into()),
        ("ge", [to_bad, to_good, rest @ ..]) if rest.len() <= 2 => Ok(Loss::GilbertElliott {
            to_bad: chance(to_bad)?,
            to_good: chance(to_good)?,
            in_bad: rest.first().map_or(Ok(Chance::ALWAYS), |c| chance(c))?,
            in_good: rest.get(1).map_or(Ok(Chance::NEVER), |c| chance(c))?,
        }),
        ("ge", _) => Err("ge: takes two to four probabilities, as ge:1%,20%,100%,0%: \
                          good to bad, bad to good, lost in bad, lost in good"
            .into()),
        ("list", packets) => {
            let packets: Result<Vec<u64>, String> = packets.iter().map(|p| number(p, 1, u64::MAX)).collect();
            Ok(Loss::list(packets?))
        }
        _ => Err(match closest(kind, &LOSSES) {
            Some(known) => format!("\"{kind}\" is no way to lose packets: did you mean {known}?"),
            None => format!("\"{kind}\" is no way to lose packets: {}", list(&LOSSES)),
        }),
    }
}

fn held(value: &str) -> Result<Held, String> {
    let parts: Vec<&str> = value.split(',').collect();
    match parts[..] {
        [share, by] => Ok(Held { share: chance(share)?, by: duration(by)?, at_most: false }),
        [share, by, "random"] => Ok(Held { share: chance(share)?, by: duration(by)?, at_most: true }),
        _ => Err("takes a share and a time, as 1%,5ms, and \"random\" for any time up to that".into()),
    }
}

fn mtu(value: &str) -> Result<(usize, bool), String> {
    let (bytes, silent) = match value.split_once(',') {
        None => (value, false),
        Some((bytes, "silent")) => (bytes, true),
        Some((_, other)) => return Err(format!("\"{other}\": only \"silent\" may follow the size")),
    };
    Ok((number(bytes, 68, 65_535)? as usize, silent))
}

/// What may follow a queue's size.
const DISCIPLINES: [&str; 9] =
    ["fifo", "codel", "fqcodel", "dualpi2", "step", "ecn", "target", "interval", "rtt"];

fn queue(value: &str) -> Result<(Queue, Option<u64>), String> {
    let mut limit = Limit::default();
    let mut products = None;
    let mut queue = Queue { limit, discipline: Discipline::Fifo, ecn: false };
    let mut values: Vec<(&str, Duration)> = Vec::new();
    for word in value.split(',') {
        let (name, argument) = word.split_once(':').map_or((word, None), |(n, a)| (n, Some(a)));
        match (name, argument) {
            ("fifo", None) => queue.discipline = Discipline::Fifo,
            ("codel", None) => queue = queue.codel(),
            ("fqcodel", None) => queue = queue.fq_codel(),
            ("dualpi2", None) => queue = queue.dualpi2(),
            ("ecn", None) => queue.ecn = true,
            ("step", Some(at)) => queue = queue.step(queue_size(at)?.0),
            ("target" | "interval" | "rtt", Some(time)) => values.push((name, duration(time)?)),
            ("step" | "target" | "interval" | "rtt", None) => {
                return Err(format!("\"{name}\" needs a value, as {name}:5ms"));
            }
            _ if word.starts_with(|c: char| c.is_ascii_digit() || c == '-') => {
                let (one, thousandths) = queue_size(word)?;
                limit.packets = limit.packets.or(one.packets);
                limit.bytes = limit.bytes.or(one.bytes);
                limit.time = limit.time.or(one.time);
                products = products.or(thousandths);
            }
            _ => {
                return Err(match closest(name, &DISCIPLINES) {
                    Some(known) => format!("\"{name}\" is nothing a queue can be: did you mean {known}?"),
                    None => format!("\"{name}\" is nothing a queue can be: {}", list(&DISCIPLINES)),
                });
            }
        }
    }
    if limit == Limit::default() && products.is_none() {
        limit.packets = Some(1000);
    }
    queue.limit = limit;
    for (name, time) in values {
        queue.discipline.set(name, time)?;
    }
    Ok((queue, products))
}

/// A queue's size; thousandths of a bandwidth-delay product where it is given in those.
fn queue_size(value: &str) -> Result<(Limit, Option<u64>), String> {
    let mut limit = Limit::default();
    if let Some(count) = value.strip_suffix("bdp") {
        let count: f64 = count.parse().map_err(|_| format!("\"{value}\" is no size: as 1bdp"))?;
        if !(0.001..=1000.0).contains(&count) {
            return Err(format!("\"{value}\": from 0.001 to 1000 bdp are possible"));
        }
        return Ok((limit, Some((count * 1000.0).round() as u64)));
    }
    if let Some(count) = value.strip_suffix("pkt") {
        limit.packets = Some(number(count, 1, 100_000_000)? as usize);
    } else if value.ends_with('s') {
        limit.time = Some(duration(value)?).filter(|time| !time.is_zero());
        if limit.time.is_none() {
            return Err("a queue that holds nothing: it must hold some time".into());
        }
    } else {
        limit.bytes =
            Some(size(value).map_err(|e| format!("{e}; a queue's size is 64pkt, 100kb, 50ms or 1bdp"))?);
    }
    Ok((limit, None))
}

#[cfg(test)]
mod tests;
