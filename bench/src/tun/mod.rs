//! Stacks over a TUN device: the kernel's client on one core, the stack's servers on the other, MTU 1500.

mod bare;
pub mod client;
mod finack;
pub mod interface;
mod ipstack;
pub mod plain;
mod smoltcp;

use std::net::SocketAddr;
use std::thread;
use std::time::Duration;

use crate::measure::{Comparison, Options, Pace, Role, Subject, compare};
use interface::Interface;

/// Who serves.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Who {
    Finack,
    Bare,
    Smoltcp,
    Ipstack,
}

const ALL: [Who; 4] = [Who::Finack, Who::Bare, Who::Smoltcp, Who::Ipstack];

impl Who {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Finack => "finack",
            Self::Bare => "bare",
            Self::Smoltcp => "smoltcp",
            Self::Ipstack => "ipstack",
        }
    }

    pub const fn role(self) -> Role {
        match self {
            Self::Finack => Role::Finack,
            Self::Bare => Role::Bare,
            Self::Smoltcp | Self::Ipstack => Role::Peer,
        }
    }

    /// Makes an interface and starts its servers on a thread of their own, on the core that the clients leave free.
    fn start(self, number: u8) -> Result<Served, String> {
        let interface = Interface::new(number);
        let (at, name) = (interface.clone(), self.name());
        let wrong = |error: std::io::Error| format!("{name}: no TUN interface can be made: {error}");
        let serve: Box<dyn FnOnce() -> std::io::Result<()> + Send> = match self {
            Self::Finack => {
                let device = at.with_offload().map_err(wrong)?;
                Box::new(move || finack::serve(&at, device))
            }
            Self::Bare => {
                let device = at.with_offload().map_err(wrong)?.into();
                Box::new(move || {
                    bare::serve(device);
                    Ok(())
                })
            }
            Self::Smoltcp => {
                let device = at.plain().map_err(wrong)?;
                Box::new(move || {
                    smoltcp::serve(&at, device);
                    Ok(())
                })
            }
            Self::Ipstack => {
                let device = at.plain().map_err(wrong)?;
                Box::new(move || ipstack::serve(device))
            }
        };
        thread::spawn(move || {
            crate::pin(1);
            if let Err(error) = serve() {
                eprintln!("{name} ended: {error}");
            }
        });
        Ok(Served { who: self, interface })
    }
}

/// A subject with its servers running.
pub struct Served {
    pub who: Who,
    pub interface: Interface,
}

/// A client's run against a server: the figure.
pub type Client = fn(SocketAddr, Duration) -> std::io::Result<f64>;

/// One line of the table.
pub struct Case {
    pub name: &'static str,
    pub unit: &'static str,
    pub more_is_better: bool,
    pub port: u16,
    /// Of finack's server where it has another one for this.
    pub finack_port: Option<u16>,
    pub client: Client,
}

impl Case {
    fn port_of(&self, who: Who) -> u16 {
        self.finack_port.filter(|_| who == Who::Finack).unwrap_or(self.port)
    }
}

const CASES: [Case; 5] = [
    Case {
        name: "TUN, MTU 1500: kernel to stack, one stream",
        unit: "Gb/s",
        more_is_better: true,
        port: client::SINK,
        finack_port: None,
        client: client::send,
    },
    Case {
        name: "TUN, MTU 1500: stack to kernel, one stream",
        unit: "Gb/s",
        more_is_better: true,
        port: client::SOURCE,
        finack_port: None,
        client: client::receive,
    },
    Case {
        name: "TUN, MTU 1500: stack to kernel, one stream, finack's buffers handed over",
        unit: "Gb/s",
        more_is_better: true,
        port: client::SOURCE,
        finack_port: Some(client::SOURCE_SHARED),
        client: client::receive,
    },
    Case {
        name: "TUN: a byte there and back",
        unit: "µs",
        more_is_better: false,
        port: client::ECHO,
        finack_port: None,
        client: client::round_trips,
    },
    Case {
        name: "TUN: connect, a byte there and back, close",
        unit: "1/s",
        more_is_better: true,
        port: client::ECHO,
        finack_port: None,
        client: client::connections,
    },
];

/// All lines; where no namespace can be made, none, and a word about it.
pub fn all(options: &Options) -> Vec<Comparison> {
    inside(|| run(&CASES, options))
}

/// Runs `measure` in a network namespace that ends with it.
pub fn inside(measure: impl FnOnce() -> Vec<Comparison> + Send) -> Vec<Comparison> {
    let measured = thread::scope(|scope| {
        scope
            .spawn(|| {
                interface::enter()?;
                crate::pin(0);
                Ok(measure())
            })
            .join()
    });
    match measured {
        Ok(Ok(lines)) => lines,
        Ok(Err(missing)) => {
            let missing: String = missing;
            eprintln!("not measured over TUN: {missing}");
            Vec::new()
        }
        Err(panic) => std::panic::resume_unwind(panic),
    }
}

/// Takes the cases that are wanted, with all subjects that are.
pub fn run(cases: &[Case], options: &Options) -> Vec<Comparison> {
    let wanted = |who: &Who| match who.role() {
        Role::Bare => true,
        Role::Finack => !options.bare,
        Role::Peer => !options.bare && !options.alone,
    };
    let (mut served, mut missing) = (Vec::new(), Vec::new());
    for (number, who) in ALL.into_iter().enumerate().filter(|(_, who)| wanted(who)) {
        match who.start(number as u8) {
            Ok(one) => served.push(one),
            Err(why) => missing.push(why),
        }
    }
    let cases = cases.iter().filter(|case| options.wants(case.name));
    cases.map(|case| line(case, &served, &missing, options.pace)).collect()
}

fn line(case: &Case, served: &[Served], missing: &[String], pace: Pace) -> Comparison {
    let mut missing = missing.to_vec();
    let mut able = Vec::new();
    let mut sizes = Vec::new();
    for one in served {
        let before = one.interface.carried();
        match (case.client)(one.interface.server(case.port_of(one.who)), pace.slice / 4) {
            Ok(_) => {
                let size = one.interface.carried().average_since(before);
                sizes.push(format!("{} {size:.0}", one.who.name()));
                able.push(one);
            }
            Err(error) => missing.push(format!("{}: gave no figure: {error}", one.who.name())),
        }
    }
    let subjects = able.into_iter().map(|one| {
        let to = one.interface.server(case.port_of(one.who));
        Subject::new(one.who.name(), one.who.role(), move |length| {
            (case.client)(to, length).unwrap_or(f64::NAN)
        })
    });
    let mut line = compare(case.name, case.unit, case.more_is_better, pace, subjects.collect());
    missing.push(format!("average packet, bytes: {}", sizes.join(", ")));
    line.missing = missing;
    line.print();
    line
}
