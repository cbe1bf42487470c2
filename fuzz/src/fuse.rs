//! Code of the user's that panics when it is told to, and values that are counted.

use std::{
    cell::{Cell, RefCell},
    panic::{self, AssertUnwindSafe},
    thread,
};

/// What can panic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Site {
    Hash,
    Eq,
    CloneKey,
    CloneValue,
    DropKey,
    DropValue,
    Weigh,
    Tag,
    Listen,
    Expiry,
    Closure,
    Tick,
}

impl Site {
    /// All of them.
    pub const ALL: [Self; 12] = [
        Self::Hash,
        Self::Eq,
        Self::CloneKey,
        Self::CloneValue,
        Self::DropKey,
        Self::DropValue,
        Self::Weigh,
        Self::Tag,
        Self::Listen,
        Self::Expiry,
        Self::Closure,
        Self::Tick,
    ];
}

/// The payload of a planned panic.
#[derive(Debug)]
pub struct Planned;

impl Site {
    /// Whether the cache may be called from there.
    const fn may_call(self) -> bool {
        matches!(
            self,
            Self::DropKey | Self::DropValue | Self::Weigh | Self::Tag | Self::Listen | Self::Expiry
        )
    }
}

thread_local! {
    static CALL: RefCell<Option<Box<dyn Fn()>>> = const { RefCell::new(None) };
    static FUSE: Cell<Option<(Site, u8)>> = const { Cell::new(None) };
    static WENT_OFF: Cell<bool> = const { Cell::new(false) };
    static ALIVE: Cell<i64> = const { Cell::new(0) };
}

/// From now on the `after`th pass of this site panics.
pub fn arm(site: Site, after: u8) {
    FUSE.set(Some((site, after)));
}

/// No panic any more; answers whether there was one.
pub fn disarm() -> bool {
    FUSE.set(None);
    WENT_OFF.replace(false)
}

/// What code does that may call the cache.
pub fn call_back(call: Option<Box<dyn Fn()>>) {
    CALL.replace(call);
}

/// The user's code runs here.
pub fn pass(site: Site) {
    if site.may_call() && !thread::panicking() {
        // While it runs there is none.
        if let Some(call) = CALL.take() {
            call();
            CALL.replace(Some(call));
        }
    }
    let Some((armed, after)) = FUSE.get() else { return };
    if armed != site || thread::panicking() {
        return;
    }
    if after > 0 {
        return FUSE.set(Some((armed, after - 1)));
    }
    FUSE.set(None);
    WENT_OFF.set(true);
    // The hook is not asked, which would end the process.
    panic::resume_unwind(Box::new(Planned));
}

/// Runs something that may panic as planned; any other panic ends the process.
pub fn catch<T>(run: impl FnOnce() -> T) -> Option<T> {
    match panic::catch_unwind(AssertUnwindSafe(run)) {
        Ok(done) => Some(done),
        Err(payload) if payload.is::<Planned>() => None,
        Err(payload) => panic::resume_unwind(payload),
    }
}

/// How many counted things there are.
pub fn alive() -> i64 {
    ALIVE.get()
}

/// Forgets what was counted.
pub fn forget() {
    CALL.take();
    ALIVE.set(0);
    disarm();
}

/// Is counted.
#[derive(Debug)]
pub struct Counted(Box<u64>);

impl Counted {
    /// A new one.
    pub fn new(number: u64) -> Self {
        ALIVE.set(ALIVE.get() + 1);
        Self(Box::new(number))
    }

    /// Its number.
    pub fn number(&self) -> u64 {
        *self.0
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        ALIVE.set(ALIVE.get() - 1);
    }
}
