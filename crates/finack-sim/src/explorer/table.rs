//! Hash tables without chance: states are compared in full, names of hosts by 128 bits.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

/// Mixes what it is given; the same in every run.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Mixer(u64);

impl Hasher for Mixer {
    fn finish(&self) -> u64 {
        self.0 ^ self.0 >> 29
    }

    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.write_u64(u64::from_le_bytes(word));
        }
    }

    fn write_u64(&mut self, word: u64) {
        let mixed = u128::from(self.0 ^ word ^ 0x9e37_79b9_7f4a_7c15) * 0xd6e8_feb8_6659_fd93;
        self.0 = (mixed >> 64) as u64 ^ mixed as u64;
    }

    fn write_u32(&mut self, word: u32) {
        self.write_u64(u64::from(word));
    }

    fn write_u8(&mut self, byte: u8) {
        self.write_u64(u64::from(byte));
    }
}

/// A map whose order of places is the same in every run.
pub(crate) type Map<K, V> = HashMap<K, V, BuildHasherDefault<Mixer>>;

/// Short strings of bytes, each kept once and numbered in the order of their coming.
#[derive(Debug, Default)]
pub(crate) struct Arena {
    bytes: Vec<u8>,
    ends: Vec<u64>,
    /// Open addressing: numbers from 1, 0 where a place is free.
    places: Vec<u32>,
}

fn hash(bytes: &[u8]) -> usize {
    let mut mixer = Mixer(bytes.len() as u64);
    mixer.write(bytes);
    mixer.finish() as usize
}

impl Arena {
    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.ends.len()
    }

    /// Bytes of memory.
    pub(crate) fn memory(&self) -> usize {
        self.bytes.capacity() + self.ends.capacity() * 8 + self.places.capacity() * 4
    }

    /// The string with this number.
    pub(crate) fn get(&self, number: u32) -> &[u8] {
        let at = number as usize;
        let start = if at == 0 { 0 } else { self.ends[at - 1] as usize };
        &self.bytes[start..self.ends[at] as usize]
    }

    /// Its number, and whether it is new.
    pub(crate) fn insert(&mut self, bytes: &[u8]) -> (u32, bool) {
        if self.places.len() < 2 * (self.len() + 1) {
            self.grow();
        }
        let mask = self.places.len() - 1;
        let mut at = hash(bytes) & mask;
        loop {
            match self.places[at] {
                0 => {
                    let number = self.len() as u32;
                    self.bytes.extend_from_slice(bytes);
                    self.ends.push(self.bytes.len() as u64);
                    self.places[at] = number + 1;
                    return (number, true);
                }
                held if self.get(held - 1) == bytes => return (held - 1, false),
                _ => at = (at + 1) & mask,
            }
        }
    }

    fn grow(&mut self) {
        let size = (self.places.len() * 2).max(1 << 10);
        let mut places = vec![0; size];
        for number in 0..self.len() as u32 {
            let mut at = hash(self.get(number)) & (size - 1);
            while places[at] != 0 {
                at = (at + 1) & (size - 1);
            }
            places[at] = number + 1;
        }
        self.places = places;
    }
}
