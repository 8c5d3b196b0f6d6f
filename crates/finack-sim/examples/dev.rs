use finack_sim::explorer::*;
fn main() {
    let names: Vec<String> = std::env::args().skip(1).collect();
    for w in worlds(false) {
        if !names.is_empty() && !names.iter().any(|n| w.name.starts_with(n)) { continue; }
        let mut w = w; if let Ok(f) = std::env::var("F") { let b: Vec<u8> = f.bytes().map(|b| b - 48).collect(); w.faults = Faults { losses: b[0], duplicates: b[1], reorders: b[2] }; if b.len() > 3 { w.life = b[3]; } }
        let mut w = w; if let Ok(f) = std::env::var("F") { let b: Vec<u8> = f.bytes().map(|b| b - 48).collect(); w.faults = Faults { losses: b[0], duplicates: b[1], reorders: b[2] }; if b.len() > 3 { w.life = b[3]; } }
        if let Ok(p) = std::env::var("P") { w.patience = p.parse().ok(); }
        let t = std::time::Instant::now();
        let limits = Limits { recheck: std::env::var("RECHECK").is_ok(), situations: std::env::var("MAX").ok().and_then(|m| m.parse().ok()).unwrap_or(5_000_000), ..Limits::default() };
        let o = explore(&w, limits, |_| true);
        println!("{:24} {:50} sit {:9} steps {:9} hosts {:7} ways {:.2e}{} depth {} tr {} exh {} {:.1}s {}MB {:?}", w.name, w.bounds(), o.situations, o.steps, o.hosts, o.interleavings, if o.round {"+"} else {""}, o.depth, o.transitions.iter().filter(|t| **t).count(), o.exhausted, t.elapsed().as_secs_f64(), o.memory>>20, o.violation.as_ref().map(|v| (&v.what)));
        if let Some(v) = &o.violation { if std::env::var("V").is_ok() { println!("{}\n{}\n{}\n{}", v.what, o.ladder(), o.packet_script(0), o.packet_script(1)); } }
    }
}
