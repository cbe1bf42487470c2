//! How larder is built, and why. Nothing here is code.
//!
//! # The picture
//!
//! ```text
//! cache/     the public API: hash -> stripe -> one call below -> publish what left
//!   loading/ a cache with a loader of its own: what is asked, loaded, kept, written
//! flight/    one computation per key: who leads, who waits, what it came to
//!   stripe/  one stripe: its lock, and what that guards
//!     table/   hash -> bucket -> lane; read without the stripe's lock
//!     policy/  who goes next: slots, hashes and weights, never keys, values, locks or time
//!     expiry/  rules -> deadline -> hint; the timer wheel
//!   outbox, tags, budget, stats            small things the layers above share
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
//! that; the value is cloned to where it is returned; the lock is released by a plain store. Nothing
//! else is written but, where it is wanted, the thread's own counter.
//!
//! Where keys and values are *bare*, numbers and the like, `Open::glance` does the same under no lock:
//! it sees that the lock is free and how often it was taken, copies key and value word by word, and
//! looks whether the lock is as it was. If it is not, the look-up begins anew, with the lock.
//!
//! What is not the usual case is a call elsewhere that comes last, so that the usual one needs
//! neither the stack nor registers that it would have to save: a clock to read or a tag to see to, one
//! key in 256 or so that is sampled for the policy or for a recording (its hash says so before
//! anything is looked up), a lock that is held, a chain. That spares a tenth of a hit's instructions.
//!
//! # The life of an `insert`
//!
//! If the key is resident and nothing beside it changes with its value (the weight is the same, and
//! there are neither a listener nor tags), the value is swapped in place under the bucket's lock
//! alone. Otherwise, under the stripe's lock: the newcomer's weight is reserved from the common
//! `Budget`; the entry is written into an empty lane, where nobody sees it; the policy is told; while
//! the reservation is short, the policy names victims, each of which is moved out under its bucket's
//! lock and leaves its reservation to the newcomer; then the fingerprint is stored, which publishes
//! the entry. If the policy names the newcomer itself, it is refused. What left is dropped and told
//! after the lock is released.
//!
//! A stripe that holds much less than its fair share of a full cache, or cannot make enough room
//! alone, first takes room from the stripe that holds most. Two stripes are never locked at once:
//! the room travels as a reservation. Who gives room does not ask whom it is for; so where a newcomer needs
//! more than its stripe holds, that stripe's policy is asked first whether it would have it, and names its
//! own part of the victims (`Stripe::is_welcome`). Otherwise one entry about as heavy as the cache, refused
//! in the end, costs all stripes but its own what they hold.
//!
//! Where nothing beside an entry depends on its value, `stripe/light.rs` does the same in fewer
//! steps: one entry comes in and at most one leaves, in the same place, with nothing to tell. The
//! policy is asked once then (`Policy::exchange`), not three times.
//!
//! # The life of a load
//!
//! A miss joins the *flight* of its key (`flight/`). The first becomes its leader, and looks into
//! the cache once more, since who led before may just have stored the value. Then it computes under
//! no lock, stores, and *lands* the flight: those who wait get the outcome. Only then is sent out what had to
//! leave (`Departures`), and is maintenance done that is due: the listener and `Drop` may ask for that very
//! key, and may take their time. Mostly nobody else
//! comes by meanwhile. So a flight alone in its list is only a word there, taken when it begins and
//! given back when it lands; who finds the word taken locks the list, and turns it into a flight to
//! wait for. A leader that goes away without landing (a panic, a dropped future) leaves the flight
//! to whichever waiter is polled first. An entry (`Cache::entry`) and a write through the cache
//! hold the flight of their key in the same way, so one list decides over everything that must
//! happen once.
//!
//! Waiting is one state machine, `Wait::poll`; blocking callers run it with a waker that unparks
//! their thread. A leader's closure or borrowed future can be driven by nobody else. Where the
//! future borrows nothing (a loader's, or `get_or_insert_shared`) it is a `Job`: all who wait
//! register with it, whoever is polled first while it is ready polls it, and the last to go drops it.
//! A loader's future becomes one only if it is not ready at once, and that of a loader that blocks
//! does not even leave the stack.
//!
//! *What overtakes a load wins.* A write or removal marks the key's flight as superseded, and then
//! acts. The leader looks at that mark under the stripe's lock, when it is about to store; that of
//! the two which comes second there sees the other. A mark costs nothing while no key of that list
//! is being computed: one load of its word, under the lock under which the key is written. (The exchange that
//! took it has also seen to it that what this thread changed elsewhere, such as in the cache behind this
//! one, has arrived: a leader who begins now reads it. Where no lock is taken there is a flag for that, see
//! below.) A conditional write marks the flight once its condition
//! holds, under the stripe's lock: one that changes nothing overtakes nothing. A removal that found
//! a flight takes the stripe's lock even if the key is surely absent, because the leader may have
//! looked already and not yet stored. The value goes to those who joined before the mark; who joins
//! later waits until the flight is over, as there is one computation per key at a time, and then
//! leads one of his own. For tags a value is as old as the beginning of its load, so a tag that is
//! removed meanwhile kills it.
//!
//! The waiters of a key are woken all at once when its leader gives up: waking one alone would be
//! cheaper, but one that is never polled would hold up the others. Errors are shared, not given
//! up on, so that is rare.
//!
//! *Circles.* A load that waits for another is tied to it, in a register of the whole process
//! (`flight/circle.rs`), and who would close a circle is told instead. Only those come there who wait from
//! within a load or closure, so it costs others nothing. Whose code it is that waits the thread knows
//! (`flight/running.rs`): if a future waits, the innermost flight's alone, for who polls that is tied to
//! it in turn, and may cease to wait; if the thread waits, that of all. What ties a caller is made anew
//! whenever it is polled, and cut with the flight on either end, so that nobody is told who could go on. A
//! future that waits for a flight beside other things counts as one that needs it.
//!
//! *Keys are borrowed.* The list knows a flight by its hash (less one bit, which the word needs).
//! The leader's key need not be owned until it is stored; the first who waits leaves an owned one,
//! with which later ones and the leader compare theirs, outside the lock. Different keys of one
//! 64-bit hash wait for each other, and share nothing.
//!
//! *Nothing found, and errors,* are entries of a loading cache like values. So they have weight,
//! expire, are evicted and removed, and are replaced by a write, with no further rule. The price is
//! sixteen bytes an entry for the times, in a `LoadingCache` only (`cache/loading/dates.rs`; with forty, as
//! there were, hits took a fifth longer, for the processor's cache). Whether a value is still
//! good the coarse clock decides for hits, if it can.
//!
//! *Computing through an entry* must not store over what others wrote since it looked at the value. A
//! version tells; that of a value that nobody asked about is given under the stripe's lock. A number need
//! have none: it is compared with what was seen, and swapped in place if it is still that and the flight
//! was not told of a write of this very key (it is told of `retain`, too, which may keep it). Who writes the
//! same number without the flight's knowledge does so while the entry is being looked at, so either may be
//! said to have come first. That a value is gone says nothing: it may have been evicted, and then the result
//! is stored. So who writes or removes tells the flight once more under the same lock when that is done, for
//! one that began in between (the value may be gone again by the time it would be compared); and an entry whose
//! flight was superseded before it had looked looks again, as what it computes then is newer.
//!
//! # Locks
//!
//! | lock | guards | order | who waits how |
//! |---|---|---|---|
//! | stripe (one word) | placing, taking, growing, the policy, the wheel | first; never two | spins, yields, sleeps |
//! | bucket (one word) | its entries' values and lanes, its chain | after the stripe's; two at a split | spins, yields, sleeps |
//! | outbox | the queue of notices | alone | parks |
//! | flights of a list | who computes which key, who waits, once somebody does | after the stripe's and a bucket's; a leaf | parks |
//! | job, cap on loads | their state, never while user code runs | leaves | parks |
//! | write queue | its order; keys' `Eq` runs under it, and a value's `Clone` when a load finds it there | a leaf | parks |
//! | tag registry, counters' numbers, shadows of the default policy | their lists | leaves | parks (the shadows: tries only) |
//!
//! The bucket's lock, and the stripe's, which is the same, has no wake-up list: releasing is a plain
//! store instead of a second locked instruction, which is 4 of 10 ns here. A waiter for a bucket gets
//! as far as sleeping only if the holder was descheduled within its few nanoseconds.
//!
//! # User code
//!
//! Runs under no lock: weigher, expiry, tags, loaders, writers and spawners, closures of computed
//! entries, the listener, wakers, `Drop`.
//! Runs under the bucket's lock: `Eq`, `Clone`, the closures of `read`, `retain` and the
//! conditional writes. There, a call of the cache that would have to wait for any lock panics and
//! says so (a thread-local counter is set around them where keys or values have drop glue; other
//! types have no reason to call a cache). `Hash` of resident keys runs under the stripe's lock, when a
//! bucket is split and where a policy asks; its panics are caught: a split is put off, a policy is
//! given 0.
//!
//! # What was measured, and decided
//!
//! **Optimistic reads** (copying the value and checking a sequence number) are for numbers. In general
//! `Clone` is the user's code, and no bound that `get` can have says that a bit copy will do: a type may
//! own nothing and yet have padding, which must not be read as words. So the builder, where the types
//! are known to be `'static`, compares them with a list, and the table keeps the answer (`Bare`). What
//! is bare is written word by word, too, under the same locks as ever. The lock word counts in its upper
//! 31 bits how often it was held; who releases the lock remembers what to write, as reading it again would
//! cost insertions a twelfth. Every word copied is loaded with Acquire and was stored with Release, so
//! that no fence is needed among them, and both loom and the thread sanitizer can follow.
//!
//! A look-up without an atomic exchange may overtake the thread's own last change on its way to the other
//! processors; then two threads that each insert a key and look for the other's can both miss it, which
//! happened once in a hundred tries. So changes raise a flag of the thread's, and the next look-up
//! without a lock lowers it by an exchange first. Taking the bucket's lock instead cost twice as much on
//! two threads, an exchange at each change more where changes come in a row.
//!
//! Side by side with the lock, hits take 0.6 of the time on two threads and 0.95 on one, 75 % reads 0.9 and
//! 0.96, insertions the same. Other types keep the lock: for them the floor (an unsound plain load in
//! place of the locked instruction) is a tenth away on one thread.
//!
//! **Fetching the entry's line with the header** matters more: an entry is placed, where it can be,
//! in the cache line that its hash prefers, and a look-up fetches both lines at once. At a million
//! entries hits became a quarter faster, at a hundred thousand a tenth.
//!
//! Who is about to replace a value asks for both lines as its own (`prefetchw`), which spares the way
//! from reading to writing where another processor has them: 3 to 5 % of insertions on two threads,
//! nothing on one. Hits, of which only the bucket's line is written, gained nothing from it.
//!
//! **Growing in bursts.** A table doubles bucket by bucket, one at most an insertion. Spread evenly
//! over all the insertions until the next doubling, half of the buckets would hold up to twice as many
//! as the others, and in a cache half full one hit in eight went to a chain. So nothing is split until
//! the load is 12 of 16, and then a bucket with each insertion until all are: hits in such a cache
//! became a tenth faster, growing costs the same. The price is memory while a cache has not filled,
//! and where its number of entries is not known (with a weigher): 6 to 12 entries a bucket, which are
//! 27 to 53 bytes for an entry of 16, where it was 32 at most, and 25. A full cache is not larger.
//!
//! **Fetching ahead for the policy** (the sketch and the ghosts of a newcomer, the queues' tails for the
//! next one) gained 3 % of insertions at 50 000 entries and cost 8 % of read-through at 10 000, where
//! all lies in the processor's own caches: not worth its code. What did help there is that an entry
//! leaves at the back of a queue without a look at the next one's link.
//!
//! **Counting a hit in the mark** writes nothing where the count is at its end already. Without that
//! branch, which is hard to foretell where entries come and go, insertions, read-through and 75 % reads are 4
//! to 7 % faster on one thread and no faster on two, and hits are 3 and 7 % slower; hits are most of what a
//! cache does.
//!
//! **What a newcomer costs.** Under the default policy it takes some 400 instructions more than under
//! `Sieve`: places in the queues, sketch and ghosts take 18 bytes an entry between them. Noting what the
//! sketch and the ghosts are told in batches, so that their misses overlap, gained nothing; what did help was
//! a sketch that does less (`policy/parts/sketch.rs`), shadows that rest (`policy/adaptive/watch.rs`), second
//! chances that an entry counts itself (`policy/adaptive/chances.rs`), and queues in nodes. Keeping the hashes
//! of the small queue beside it, even to fetch ahead what its next victim is compared by, gained 1 to 3 %
//! at most.
//!
//! **Queues in nodes.** Where most accesses hit, some four entries get a second chance for each newcomer. To
//! find the next one by a link from the last was a miss each time, and each had to wait for the one before. In
//! the default policy's queues the next victims lie side by side (`policy/parts/unrolled.rs`). Their marks are
//! misses still, but do not wait for one another. At 50 000 entries on one thread 75 % reads in random order
//! take 0.77 to 0.90 of the time, less where memory is slow, and insertions 0.81 to 0.95; where it can be
//! foretold which access inserts, reads gain up to a tenth. Read-through at 10 000, where all lies in the
//! processor's own caches, takes the same. A main queue in the order of the slots, which needs neither links
//! nor places, was no faster, and there an entry is passed for the first time after anything between half a
//! round and one and a half: that cost a quarter of a point of hit ratio on average, and five where recency is
//! all that counts.
//!
//! **The clock.** Reading the time-stamp counter takes 8 ns alone but 25 to 30 between a look-up's
//! memory accesses, for which it waits; that doubled the price of a hit in a cache with expiry. The
//! system's coarse clock (a memory read) costs 2. So hits use the coarse clock and the hint byte,
//! which is believed only if the deadline lies at least a second beyond the coarse time; otherwise
//! the exact clock decides. The exact clock is the system's monotonic one, because the coarse one
//! runs with it; that is why quanta, whose time scale drifts from both, is not used.
//!
//! **Chains.** A fifth of the buckets of a full cache have more entries than lanes, and what came to lie
//! in an overflow group stayed there until it left. In a cache that was filled once, the most popular
//! keys last, one look-up in six had to walk a chain. Now a look-up that ends there notes it if the
//! bucket has a lane free, and the next insertion into the stripe lets what is in that chain return.
//! In such a cache 75 % reads became a quarter faster, insertions a seventh, read-through a tenth; in
//! others nothing changed. (Letting entries return whenever a lane falls free cost insertions as much
//! as that: most of what is in a chain is never asked for.)
//!
//! **Deadlines** lie in arrays of their own, as most caches have none, and a hit needs only the hint.
//! Who writes one, because a value is replaced or an idle deadline put off, computes where those of
//! the bucket lie before its lock is taken and begins to fetch the likeliest: replacing a value became
//! a sixth cheaper, a hit in a cache with a time to idle a fifth. Five bytes instead of six make 1.3
//! bytes an entry.
//!
//! **Reclamation.** Chunks of buckets live as long as the cache, so nothing needs an epoch:
//! `crossbeam_epoch::pin` would cost 7 ns on every hit. The price is that the table does not shrink:
//! after `clear` or a smaller `set_capacity` keys and values are dropped, but about 24 bytes an entry
//! (for 16-byte entries) stay reserved for those to come, until the last handle is dropped. What the
//! policy has allocated is given back by `clear`; after a smaller `set_capacity` its queues stay as large
//! as they were, 8 bytes an entry (where weights differ up to 32).
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
//! 250 million hits a second in all, four million a core; keys below the tenth do not meet. Numbers,
//! which are read without the lock, have no such bound: with the default policy a hit on a hot key writes
//! nothing, so its line stays with every core.
//!
//! **What an insertion writes** lies side by side: the lock, the weight and the table's counts in one
//! line, the default policy's queues, ghosts and sketch in one each, apart from what is only read. The
//! published counts are written only if they change, which they do not where one comes and one goes, and
//! nobody counts how many links a piece of their array holds. On two threads, where each such line comes
//! from the other processor half of the time, read-through became a tenth faster, insertions a
//! twentieth; on one thread a newcomer misses the first-level cache two times less often, of some
//! sixteen. Fetching these lines ahead of the lock gained nothing more; neither did a line that holds
//! a key's ghosts and counters together (on two threads insertions gained 3 %, on one they lost 4).
//!
//! **Stripes** share one policy state for adaptation, and small caches have few: one for each 512
//! entries, at most four for each processor.
