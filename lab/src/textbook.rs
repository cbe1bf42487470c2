//! The textbook's LRU: one list, the least recently used goes.
//!
//! It shares nothing with the cache, so that the two can be held against each other.

use std::collections::VecDeque;

/// The least recently used goes.
#[derive(Debug)]
pub struct Lru {
    capacity: u64,
    weight: u64,
    /// By key: its neighbours in a ring from the least recently used to the most, which a sentinel
    /// closes.
    older: Vec<u32>,
    newer: Vec<u32>,
    sentinel: u32,
    /// By key: its weight, 0 if it is not there.
    weights: Vec<u64>,
    /// By key: when it came in.
    since: Vec<u64>,
    lifetime: u64,
    /// Who came in when, in that order; also who has left since.
    deadlines: VecDeque<(u64, u32)>,
    evictions: u64,
}

impl Lru {
    /// A cache for keys from 0 to `keys - 1`. Entries live for `lifetime` after they came in.
    #[must_use]
    pub fn new(keys: usize, capacity: u64, lifetime: Option<u64>) -> Self {
        let sentinel = keys as u32;
        Self {
            capacity,
            weight: 0,
            older: vec![sentinel; keys + 1],
            newer: vec![sentinel; keys + 1],
            sentinel,
            weights: vec![0; keys],
            since: vec![0; if lifetime.is_some() { keys } else { 0 }],
            lifetime: lifetime.unwrap_or(u64::MAX),
            deadlines: VecDeque::new(),
            evictions: 0,
        }
    }

    /// Whether the key was there; if not, it comes in with this weight, at least 1.
    pub fn access(&mut self, key: u32, weight: u64, now: u64) -> bool {
        self.expire(now);
        let is_hit = self.weights[key as usize] > 0;
        if is_hit {
            self.unlink(key);
        } else if weight > self.capacity {
            return false;
        } else {
            self.weights[key as usize] = weight;
            self.weight += weight;
            if !self.since.is_empty() {
                self.since[key as usize] = now;
                self.deadlines.push_back((now, key));
            }
        }
        self.link_newest(key);
        while self.weight > self.capacity {
            self.remove(self.newer[self.sentinel as usize]);
            self.evictions += 1;
        }
        is_hit
    }

    /// How many entries had to make room.
    #[must_use]
    pub fn evictions(&self) -> u64 {
        self.evictions
    }

    fn expire(&mut self, now: u64) {
        while let Some(&(since, key)) = self.deadlines.front()
            && now - since >= self.lifetime
        {
            self.deadlines.pop_front();
            if self.weights[key as usize] > 0 && self.since[key as usize] == since {
                self.remove(key);
            }
        }
    }

    fn remove(&mut self, key: u32) {
        self.unlink(key);
        self.weight -= std::mem::take(&mut self.weights[key as usize]);
    }

    fn unlink(&mut self, key: u32) {
        let (older, newer) = (self.older[key as usize], self.newer[key as usize]);
        self.newer[older as usize] = newer;
        self.older[newer as usize] = older;
    }

    fn link_newest(&mut self, key: u32) {
        let newest = self.older[self.sentinel as usize];
        self.older[key as usize] = newest;
        self.newer[key as usize] = self.sentinel;
        self.newer[newest as usize] = key;
        self.older[self.sentinel as usize] = key;
    }
}

#[cfg(test)]
mod tests {
    use super::Lru;

    #[test]
    fn the_least_recently_used_goes() {
        let mut lru = Lru::new(5, 3, None);
        let hits: Vec<bool> = [0, 1, 2, 0, 3, 1, 0].map(|key| lru.access(key, 1, 0)).into();
        assert_eq!(hits, [false, false, false, true, false, false, true]);
        assert_eq!(lru.evictions(), 2);
    }

    #[test]
    fn weights_add_up_and_lifetimes_end() {
        let mut lru = Lru::new(5, 10, Some(100));
        assert!(!lru.access(0, 6, 0) && !lru.access(1, 4, 50) && lru.access(0, 6, 99));
        assert!(!lru.access(0, 6, 100), "its time is over, hit or not");
        assert!(lru.access(1, 4, 149) && !lru.access(2, 11, 149));
        assert!(!lru.access(3, 5, 149), "0 makes room: 1 was used later");
        assert!(lru.access(1, 4, 149) && !lru.access(0, 6, 149));
    }
}
