//! larder, as it comes and with one option changed at a time.

use std::hint::black_box;
use std::time::Duration;

use larder::{Cache, policy};

use crate::rival::{Key, Payload, Rival};

/// Far beyond the length of a measurement: nothing expires, but everything could.
const LONG: Duration = Duration::from_secs(3600);

/// Defines a rival for each line: type, name, policy, and the options given to the builder.
macro_rules! larders {
    ($($Larder:ident = $name:literal, $policy:ty, |$builder:ident| $options:expr;)*) => {$(
        #[doc = concat!("The row `", $name, "`.")]
        pub struct $Larder<K: Key, V: Payload>(Cache<K, V, $policy>);

        impl<K: Key, V: Payload> Rival<K, V> for $Larder<K, V> {
            const NAME: &'static str = $name;

            fn with_capacity(capacity: usize) -> Self {
                let $builder = Cache::<K, V>::builder().capacity(capacity as u64);
                Self($options.build())
            }

            fn get(&self, key: &K::Lookup) -> Option<V> {
                self.0.get(key)
            }

            fn insert(&self, key: K, value: V) {
                self.0.insert(key, value);
            }

            fn held(&self) -> usize {
                self.0.run_maintenance();
                self.0.len()
            }
        }
    )*};
}

larders! {
    Larder = "larder", policy::Adaptive, |builder| builder;
    LarderTtl = "larder-ttl", policy::Adaptive, |builder| builder.time_to_live(LONG);
    LarderTti = "larder-tti", policy::Adaptive, |builder| builder.time_to_idle(LONG);
    LarderListener = "larder-listener", policy::Adaptive, |builder| {
        builder.on_removal(|key: &K, _: &V, _| _ = black_box(key))
    };
    LarderWeigher = "larder-weigher", policy::Adaptive, |builder| builder.weigher(|_, _| 1);
    LarderStats = "larder-stats", policy::Adaptive, |builder| builder.stats(true);
    LarderLru = "larder-lru", policy::Lru, |builder| builder.policy(policy::Lru::new());
    LarderLfu = "larder-lfu", policy::Lfu, |builder| builder.policy(policy::Lfu::new());
    LarderTinyLfu = "larder-tinylfu", policy::TinyLfu, |builder| {
        builder.policy(policy::TinyLfu::new())
    };
    LarderS3Fifo = "larder-s3fifo", policy::S3Fifo, |builder| {
        builder.policy(policy::S3Fifo::new())
    };
    LarderSieve = "larder-sieve", policy::Sieve, |builder| builder.policy(policy::Sieve::new());
    LarderFifo = "larder-fifo", policy::Fifo, |builder| builder.policy(policy::Fifo::new());
    LarderRandom = "larder-random", policy::Random, |builder| {
        builder.policy(policy::Random::new())
    };
    LarderAny = "larder-any", policy::AnyPolicy, |builder| {
        builder.policy(policy::AnyPolicy::new(policy::Sieve::new()))
    };
}
