//! Advice: what the shadows of other sizes say, beside caches that have these sizes.

use larder::{Cache, policy::Adaptive};

/// Keys of a skewed popularity, the same for the same seed.
fn zipf(keys: usize, accesses: usize, seed: u64) -> impl Iterator<Item = u64> {
    let mut sum = 0.0;
    let cumulated: Vec<f64> = (1..=keys)
        .map(|rank| {
            sum += 1.0 / (rank as f64).powf(0.9);
            sum
        })
        .collect();
    let mut state = seed | 1;
    (0..accesses).map(move |_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        let at = (state >> 11) as f64 / (1_u64 << 53) as f64 * sum;
        cumulated.partition_point(|&below| below < at) as u64
    })
}

/// The hit ratio of the second half of the accesses.
fn hit_ratio(capacity: u64, keys: &[u64]) -> f64 {
    let cache = Cache::<u64, u64>::new(capacity);
    let mut hits = 0;
    for (i, key) in keys.iter().enumerate() {
        let mut is_hit = true;
        cache.get_or_insert_with(key, || {
            is_hit = false;
            0
        });
        hits += usize::from(is_hit && i >= keys.len() / 2);
    }
    hits as f64 / (keys.len() / 2) as f64
}

#[test]
fn advice_is_near_what_caches_of_these_sizes_do() {
    const CAPACITY: u64 = 2000;
    let keys: Vec<u64> = zipf(20_000, 200_000, 7).collect();
    let cache = Cache::<u64, u64>::builder().capacity(CAPACITY).stats(true).build();
    assert!(cache.advise().is_none());
    for key in &keys {
        cache.get_or_insert_with(key, || 0);
    }
    let advice = cache.advise().expect("seen enough");
    for (outlook, capacity) in
        [(&advice.half, CAPACITY / 2), (&advice.same, CAPACITY), (&advice.double, CAPACITY * 2)]
    {
        assert_eq!(outlook.capacity, capacity);
        assert_eq!(outlook.settings.len(), 5);
        let (told, real) = (outlook.hit_ratio(), hit_ratio(capacity, &keys));
        assert!((told - real).abs() < 0.05, "{capacity}: told {told}, real {real}");
    }
    assert!(advice.half.hit_ratio() < advice.double.hit_ratio());
    cache.validate();
}

#[test]
fn advice_outlives_a_change_of_capacity() {
    let cache = Cache::<u64, u64>::new(1000);
    assert!(cache.advise().is_none());
    cache.set_capacity(4000);
    for key in zipf(10_000, 200_000, 3) {
        cache.get_or_insert_with(&key, || 0);
    }
    assert_eq!(cache.advise().map(|advice| advice.same.capacity), Some(4000));
}

#[test]
fn advice_by_weight_is_not_fitted_to_the_number_of_hits() {
    // Small entries that are asked for all the time, and large ones that never come back.
    let told = [false, true].map(|counts| {
        let cache = Cache::<u64, u64>::builder()
            .capacity(20_000)
            .weigher(|_, &weight| weight)
            .policy(Adaptive::with_seed(7).by_weight())
            .stats(counts)
            .build();
        assert!(cache.advise().is_none());
        for step in 0..200_000_u64 {
            let (key, weight) = if step % 10 == 0 { (1000 + step, 100) } else { (step % 500, 1) };
            cache.get_or_insert_with(&key, || weight);
        }
        cache.advise().expect("seen enough").same.hit_ratio()
    });
    // 90 of 100 accesses, but 9 of 109 of the weight.
    assert!(told.iter().all(|ratio| (ratio - 9.0 / 109.0).abs() < 0.06), "{told:?}");
}
