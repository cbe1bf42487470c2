//! How larder is built, and why. Nothing here is code.
//!
//! # The picture
//!
//! ```text
//! cache/     the public API: hash -> stripe -> one call below -> publish what left
//!   stripe/  one stripe: its lock, and what that guards
//!     table/   hash -> bucket -> lane; read without the stripe's lock
//!     policy/  who goes next: slots, hashes and weights, never keys, values, locks or time
//!     expiry/  rules -> deadline -> hint; the timer wheel
//!   claims, outbox, tags, budget, stats    small things the layers above share
//! sync, time, slot, event                  leaves
//! ```
//!
//! Data flows down; answers go back as values (`Effects`). Nothing below
//! calls up.
//!
//! # The life of a `get`
//!
//! `Cache::get` hashes the key and picks the stripe; `Stripe::hit` asks `Table::look`, which loads
//! one word (how far the table has grown), computes the bucket, begins to fetch its header *and* the
//! line where the entry probably lies, takes the bucket's lock, checks that the bucket's own level
//! still says that the key belongs there, and compares sixteen fingerprints at once. The hint byte
//! beside the entry says that it is alive; the recorder sets a bit or two in the mark byte beside
//! that; the value is cloned; the lock is released by a plain store. Nothing else is written.
//!
//! # The life of an `insert`
//!
//! If the key is resident and nothing beside it depends on its value (no weigher, listener or
//! tags), the value is swapped in place under the bucket's lock alone. Otherwise, under the
//! stripe's lock: the newcomer's weight is reserved from the common `Budget`;
//! the entry is written into an empty lane, where nobody sees it; the policy is told; while the
//! reservation is short, the policy names victims, each of which is moved out under its bucket's
//! lock and leaves its reservation to the newcomer; then the fingerprint is stored, which publishes
//! the entry. If the policy names the newcomer itself, it is refused. What left is dropped and told
//! after the lock is released.
//!
//! A stripe that holds much less than its fair share of a full cache, or cannot make enough room
//! alone, first takes room from the stripe that holds most. Two stripes are never locked at once:
//! the room travels as a reservation.
//!
//! Where nothing beside an entry depends on its value, `stripe/light.rs` does the same in fewer
//! steps: one entry comes in and at most one leaves, in the same place, with nothing to tell.
//!
//! # Locks
//!
//! | lock | guards | order | who waits how |
//! |---|---|---|---|
//! | stripe (one word) | placing, taking, growing, the policy, the wheel | first; never two | spins, yields, sleeps |
//! | bucket (one word) | its entries' values and lanes, its chain | after the stripe's; a leaf; two at a split | spins, yields, sleeps |
//! | outbox | the queue of notices | alone | parks |
//! | claims, tag registry, counters' numbers, shadows of the default policy | their lists | leaves | parks (the shadows: tries only) |
//!
//! The bucket's lock, and the stripe's, which is the same, has no wake-up list: releasing is a plain store instead of a second locked
//! instruction, which is 4 of 10 ns here. A waiter gets as far as sleeping only if the holder was
//! descheduled within its few nanoseconds.
//!
//! # User code
//!
//! Runs under no lock: weigher, expiry, tags, loaders of computed entries, the listener, `Drop`.
//! Runs under the bucket's lock: `Eq`, `Clone`, the closures of `read`, `retain` and the
//! conditional writes. There, a call of the cache that would have to wait for any lock panics and
//! says so (a thread-local counter is set around them where keys or values have drop glue; other
//! types have no reason to call a cache). `Hash` of resident keys runs under the stripe's lock, when a
//! bucket is split and where a policy asks; its panics are caught: a split is put off, a policy is
//! given 0.
//!
//! # What was measured, and decided
//!
//! **Optimistic reads** (copying the value and checking a sequence number) are not used: `Clone` is
//! the user's code, and no bound that `get` can have says that a bit copy will do. The bucket's lock
//! word leaves 31 bits for a sequence, should a method for `Copy` values be added. Replacing the
//! locked instruction by a plain load and store (unsound; to see the floor) gained 1.5 of 25 ns: a
//! hit waits for memory, not for the lock.
//!
//! **Fetching the entry's line with the header** matters more: an entry is placed, where it can be,
//! in the cache line that its hash prefers, and a look-up fetches both lines at once. At a million
//! entries hits became a quarter faster, at a hundred thousand a tenth.
//!
//! **The clock.** Reading the time-stamp counter takes 8 ns alone but 25 to 30 between a look-up's
//! memory accesses, for which it waits; that doubled the price of a hit in a cache with expiry. The
//! system's coarse clock (a memory read) costs 2. So hits use the coarse clock and the hint byte,
//! which is believed only if the deadline lies at least a second beyond the coarse time; otherwise
//! the exact clock decides. The exact clock is the system's monotonic one, because the coarse one
//! runs with it; that is why quanta, whose time scale drifts from both, is not used.
//!
//! **Reclamation.** Chunks of buckets live as long as the cache, so nothing needs an epoch:
//! `crossbeam_epoch::pin` would cost 7 ns on every hit. The price is that the table does not shrink:
//! after `clear` or a smaller `set_capacity` keys and values are dropped and the policy's memory is
//! given back, but about 24 bytes an entry (for 16-byte entries) stay reserved for those to come,
//! until the last handle is dropped.
//!
//! **Expensive clones** run under the lock of their bucket, and so make a dozen other keys wait.
//! Values are not put behind a pointer for that reason alone: whether a clone is cheap cannot be
//! told from the type, and for those where it is a pointer costs a cache miss. `Arc` and `read` are
//! the user's choice.
//!
//! **The timer wheel holds buckets, not entries**: 12 bytes a bucket instead of 12 an entry, and
//! removing or extending an entry needs no work there.
//!
//! **Many cores.** A hit on one key is an exclusive lock held for about 10 ns, so one key can be
//! read at most a hundred million times a second however many cores there are, less what moving the
//! line costs (a hundred cycles or so between cores: then about twenty million). With 64 cores and
//! Zipf 0.99 over 100 000 keys the hottest key is 8 % of the traffic, so it would saturate at some
//! 250 million hits a second in all, four million a core; keys below the tenth do not meet. A shared
//! or optimistic read of the hot bucket is what the reserved bits are for.
//!
//! **Stripes** share one policy state for adaptation, and small caches have few: one for each 512
//! entries, at most four for each processor.
