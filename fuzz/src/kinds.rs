//! The types of keys and values that the cache is tried with.

use std::{
    fmt::Debug,
    hash::{BuildHasher, Hash, Hasher},
};

use larder::{
    Cache,
    policy::{Adaptive, AnyPolicy, Policy},
};

use crate::fuse::{Counted, Site, pass};

/// Types of keys, values and policies.
pub trait Kind: 'static {
    type K: Hash + Eq + Clone + Debug + Send + Sync + 'static;
    type V: Clone + Debug + Send + Sync + 'static;
    type P: Policy;

    fn key(number: u16) -> Self::K;
    fn number(key: &Self::K) -> u16;
    fn value(serial: u32) -> Self::V;
    fn serial(value: &Self::V) -> u32;
    fn policy(name: &str) -> Self::P;
    fn advise(_: &Cache<Self::K, Self::V, Self::P, Hashing>) {}
}

/// A key that owns something.
#[derive(Debug)]
pub struct Key(Counted);

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        pass(Site::Hash);
        state.write_u64(self.0.number());
    }
}

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        pass(Site::Eq);
        self.0.number() == other.0.number()
    }
}

impl Eq for Key {}

impl Clone for Key {
    fn clone(&self) -> Self {
        pass(Site::CloneKey);
        Self(Counted::new(self.0.number()))
    }
}

impl Drop for Key {
    fn drop(&mut self) {
        pass(Site::DropKey);
    }
}

/// A value that owns something.
#[derive(Debug)]
pub struct Value(Counted);

impl Clone for Value {
    fn clone(&self) -> Self {
        pass(Site::CloneValue);
        Self(Counted::new(self.0.number()))
    }
}

impl Drop for Value {
    fn drop(&mut self) {
        pass(Site::DropValue);
    }
}

/// Numbers under numbers, and the default policy.
pub struct Numbers;

impl Kind for Numbers {
    type K = u64;
    type V = u64;
    type P = Adaptive;

    fn key(number: u16) -> u64 {
        number.into()
    }

    fn number(key: &u64) -> u16 {
        *key as u16
    }

    fn value(serial: u32) -> u64 {
        serial.into()
    }

    fn serial(value: &u64) -> u32 {
        *value as u32
    }

    fn policy(_: &str) -> Adaptive {
        Adaptive::default()
    }

    fn advise(cache: &Cache<u64, u64, Adaptive, Hashing>) {
        if let Some(advice) = cache.advise() {
            let ratio = advice.double.hit_ratio();
            assert!((0.0..=1.0).contains(&ratio), "a hit ratio of {ratio}");
        }
    }
}

/// Small numbers, and any policy.
pub struct Small;

impl Kind for Small {
    type K = u16;
    type V = u32;
    type P = AnyPolicy;

    fn key(number: u16) -> u16 {
        number
    }

    fn number(key: &u16) -> u16 {
        *key
    }

    fn value(serial: u32) -> u32 {
        serial
    }

    fn serial(value: &u32) -> u32 {
        *value
    }

    fn policy(name: &str) -> AnyPolicy {
        name.parse().expect("a listed name")
    }
}

/// Keys and values that own something.
pub struct Owned;

impl Kind for Owned {
    type K = Key;
    type V = Value;
    type P = AnyPolicy;

    fn key(number: u16) -> Key {
        Key(Counted::new(number.into()))
    }

    fn number(key: &Key) -> u16 {
        key.0.number() as u16
    }

    fn value(serial: u32) -> Value {
        Value(Counted::new(serial.into()))
    }

    fn serial(value: &Value) -> u32 {
        value.0.number() as u32
    }

    fn policy(name: &str) -> AnyPolicy {
        name.parse().expect("a listed name")
    }
}

/// Numbers under keys that own something.
pub struct Mixed;

impl Kind for Mixed {
    type K = Key;
    type V = u64;
    type P = AnyPolicy;

    fn key(number: u16) -> Key {
        Key(Counted::new(number.into()))
    }

    fn number(key: &Key) -> u16 {
        key.0.number() as u16
    }

    fn value(serial: u32) -> u64 {
        serial.into()
    }

    fn serial(value: &u64) -> u32 {
        *value as u32
    }

    fn policy(name: &str) -> AnyPolicy {
        name.parse().expect("a listed name")
    }
}

/// How keys are hashed, well or badly.
#[derive(Clone, Copy, Debug)]
pub struct Hashing(pub u8);

impl Hashing {
    /// Whether different keys have different hashes.
    pub fn is_good(self) -> bool {
        self.0 % 8 < 3
    }
}

impl BuildHasher for Hashing {
    type Hasher = Mixer;

    fn build_hasher(&self) -> Mixer {
        Mixer { mode: self.0, state: 0 }
    }
}

/// Hashes a number.
pub struct Mixer {
    mode: u8,
    state: u64,
}

fn mix(number: u64) -> u64 {
    let number = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let number = (number ^ number >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ number >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ number >> 31
}

impl Hasher for Mixer {
    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.state = self.state << 8 | u64::from(byte);
        }
    }

    fn write_u16(&mut self, number: u16) {
        self.state = number.into();
    }

    fn write_u64(&mut self, number: u64) {
        self.state = number;
    }

    fn finish(&self) -> u64 {
        match self.mode % 8 {
            0..3 => mix(self.state),
            3 => 0,
            4 => u64::MAX,
            5 => mix(self.state % 4),
            6 => self.state,
            _ => self.state << 57 | self.state << 32,
        }
    }
}
