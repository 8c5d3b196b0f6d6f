//! Random exchanges: through a relay they go as they go without one.
//!
//! Each step is waited out, so that what the ends see does not depend on who was faster.

use std::fmt::Write as _;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::common::within;
use crate::links::{End, Finack, Kernel, Link, is_reset, rig};

const SCHEDULES: u64 = 40;

/// Equal seeds give equal schedules.
struct Dice(u64);

impl Dice {
    /// 0 to `sides` - 1 (xorshift64*).
    fn throw(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) % sides
    }
}

#[derive(Clone, Copy, Debug)]
enum Act {
    Write(usize),
    /// Everything that was written to this end.
    Read,
    Shutdown,
    /// Closes; with unread data that is a RST (RFC 1122 4.2.2.13).
    Close,
    Reset,
}

/// Who acts (0 or 1), and how. The last act ends one end for good.
fn schedule(seed: u64) -> Vec<(usize, Act)> {
    let mut dice = Dice(0x9E37_79B9_7F4A_7C15 ^ (seed << 8 | 1));
    let mut acts = Vec::new();
    let mut shut = [false; 2];
    for _ in 0..dice.throw(12) {
        let who = dice.throw(2) as usize;
        acts.push((
            who,
            match dice.throw(8) {
                0 if !shut[who] => {
                    shut[who] = true;
                    Act::Shutdown
                }
                0..=3 => Act::Read,
                // A window's worth at most, over all steps: nobody waits for room.
                _ if !shut[who] => Act::Write(1 + dice.throw(3000) as usize),
                _ => Act::Read,
            },
        ));
    }
    acts.push((dice.throw(2) as usize, if dice.throw(2) == 0 { Act::Close } else { Act::Reset }));
    acts
}

/// What one end knows of itself.
struct Player<S> {
    stream: Option<S>,
    /// Bytes on their way to it or unread.
    unread: usize,
    shut: bool,
    end_read: bool,
}

impl<S: End> Player<S> {
    const fn new(stream: S) -> Self {
        Self { stream: Some(stream), unread: 0, shut: false, end_read: false }
    }
}

/// Waits until all that `player` is owed has arrived.
async fn arrived<S: End>(player: &Player<S>) {
    let Some(stream) = &player.stream else { return };
    while stream.unread() < player.unread {
        tokio::time::sleep(Duration::from_micros(200)).await;
    }
}

async fn act<S: End, P: End>(me: &mut Player<S>, other: &mut Player<P>, act: Act, log: &mut String) {
    let Some(stream) = &mut me.stream else { return };
    match act {
        Act::Write(n) => {
            stream.write_all(&vec![1; n]).await.unwrap();
            other.unread += n;
            arrived(other).await;
        }
        Act::Read if me.unread > 0 => {
            let mut buf = vec![0; me.unread];
            stream.read_exact(&mut buf).await.unwrap();
            me.unread = 0;
        }
        Act::Read if other.shut && !me.end_read => {
            me.end_read = true;
            assert_eq!(stream.read(&mut [0; 1]).await.unwrap(), 0);
            log.push_str("end ");
        }
        Act::Read => {}
        Act::Shutdown => {
            stream.shutdown().await.unwrap();
            me.shut = true;
            other.ended(log).await;
        }
        Act::Close => drop(me.stream.take()),
        Act::Reset => me.stream.take().unwrap().reset(),
    }
}

impl<S: End> Player<S> {
    /// The other's end has come: the descriptor says so, though nothing is read.
    async fn ended(&self, log: &mut String) {
        if let Some(stream) = &self.stream {
            stream.end_has_come().await;
            log.push_str("told ");
        }
    }

    /// What is seen of the other's last act: all that is left to read, how it ends, and whether writing works.
    async fn last_words(&mut self, log: &mut String) {
        let Some(stream) = &mut self.stream else { return };
        let (mut left, mut buf) = (0, vec![0; 4096]);
        let end = loop {
            match stream.read(&mut buf).await {
                Ok(0) => break "end",
                Ok(n) => left += n,
                Err(error) if is_reset(&error) => break "reset",
                Err(error) => panic!("{error}"),
            }
        };
        write!(log, "{left} bytes, {end}").unwrap();
        if !self.shut && end == "end" {
            // Nobody is there any more: a RST has come, or answers what is written.
            let error = match stream.write_all(b"anyone?").await {
                Ok(()) => stream.broken().await,
                Err(error) => error,
            };
            log.push_str(if is_reset(&error) { ", then reset" } else { ", then something else" });
        }
    }
}

/// Plays `schedule` and tells what both ends saw.
async fn play<A: End, B: End>(a: A, b: B, schedule: &[(usize, Act)]) -> String {
    let (mut a, mut b, mut log) = (Player::new(a), Player::new(b), String::new());
    for &(who, what) in schedule {
        match who {
            0 => act(&mut a, &mut b, what, &mut log).await,
            _ => act(&mut b, &mut a, what, &mut log).await,
        }
    }
    a.last_words(&mut log).await;
    b.last_words(&mut log).await;
    log
}

async fn as_without_a_relay<L: Link, R: Link>() {
    for seed in 0..SCHEDULES {
        let schedule = schedule(seed);
        let (a, b, _world) = Kernel::pair().await;
        let limit = Duration::from_secs(5);
        let direct = within(limit, play(a, b, &schedule)).await;
        let rig = rig::<L, R>().await;
        let relayed = tokio::time::timeout(limit, play(rig.client, rig.server, &schedule)).await;
        assert_eq!(relayed.as_deref(), Ok(direct.as_str()), "seed {seed}: {schedule:?}");
        within(limit, rig.relay).await.unwrap();
    }
}

#[tokio::test]
async fn kernel_to_kernel() {
    as_without_a_relay::<Kernel, Kernel>().await;
}

#[tokio::test]
async fn finack_to_kernel() {
    as_without_a_relay::<Finack, Kernel>().await;
}

#[tokio::test]
async fn kernel_to_finack() {
    as_without_a_relay::<Kernel, Finack>().await;
}

#[tokio::test]
async fn finack_to_finack() {
    as_without_a_relay::<Finack, Finack>().await;
}
