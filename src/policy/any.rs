//! A policy chosen at run time: the one place where policies are called through a table of
//! functions.
//!
//! It must not name a policy: the list in `mod.rs` does.

use std::fmt;
use std::str::FromStr;

use super::{Mark, NAMES, Newcomer, Policy, Recorder, Residents, by_name};
use crate::{RemovalCause, Slot};

/// Any policy, in a box; for choosing one by name at run time.
///
/// ```
/// use larder::policy::{AnyPolicy, Sieve};
///
/// let chosen: AnyPolicy = "lru".parse().unwrap();
/// let fallback = AnyPolicy::new(Sieve::new());
/// assert!("most-recently-used".parse::<AnyPolicy>().is_err());
/// # let _ = (chosen, fallback);
/// ```
pub struct AnyPolicy(Box<dyn ErasedPolicy>);

/// The recorder of an [`AnyPolicy`].
pub struct AnyRecorder(Box<dyn Recorder>);

/// The error of parsing the name of a policy that there is not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownPolicy {
    name: String,
}

impl AnyPolicy {
    /// The names that can be parsed.
    pub const NAMES: &[&str] = NAMES;

    /// The policy in a box.
    #[must_use]
    pub fn new<P: Policy>(policy: P) -> Self {
        Self(Box::new(policy))
    }
}

impl FromStr for AnyPolicy {
    type Err = UnknownPolicy;

    fn from_str(name: &str) -> Result<Self, UnknownPolicy> {
        by_name(name).ok_or_else(|| UnknownPolicy { name: name.to_owned() })
    }
}

impl fmt::Display for UnknownPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "unknown policy {:?}; known are {}", self.name, NAMES.join(", "))
    }
}

impl std::error::Error for UnknownPolicy {}

impl fmt::Debug for AnyPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for AnyRecorder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Recorder for AnyRecorder {
    #[inline]
    fn on_hit(&self, slot: Slot, mark: &Mark) -> bool {
        self.0.on_hit(slot, mark)
    }

    #[inline]
    fn samples(&self, hash: u64) -> bool {
        self.0.samples(hash)
    }

    fn on_sample(&self, hash: u64) -> bool {
        self.0.on_sample(hash)
    }
}

/// [`Policy`] without what a table of functions cannot hold.
trait ErasedPolicy: fmt::Debug + Send + Sync + 'static {
    fn for_stripes(self: Box<Self>, stripes: usize, capacity: u64) -> Vec<AnyPolicy>;
    fn recorder(&self) -> AnyRecorder;
    fn on_insert(&mut self, newcomer: Newcomer, residents: &dyn Residents);
    fn on_weight(&mut self, slot: Slot, old: u64, new: u64);
    fn on_remove(&mut self, slot: Slot, cause: RemovalCause, residents: &dyn Residents);
    fn on_move(&mut self, from: Slot, to: Slot);
    fn victim(&mut self, residents: &dyn Residents) -> Option<Slot>;
    fn exchange(&mut self, newcomer: Newcomer, residents: &dyn Residents) -> Slot;
    fn maintain(&mut self, residents: &dyn Residents);
    fn set_capacity(&mut self, share: u64, whole: u64);
    fn clear(&mut self);
    fn ranking(&self, residents: &dyn Residents) -> Vec<Slot>;
    fn len(&self) -> usize;
    fn validate(&self, slots: &[Slot], residents: &dyn Residents);
}

/// The methods that both traits have, passed on to `$Trait` of what lies within; `$pass` goes in
/// front of the residents.
macro_rules! pass_on {
    ($Trait:ident, $self:ident, shared: $shared:expr, mutable: $mutable:expr,
     residents: $Residents:ty, pass: $($pass:tt)?) => {
        fn on_insert(&mut $self, newcomer: Newcomer, residents: &$Residents) {
            $Trait::on_insert($mutable, newcomer, $($pass)? residents);
        }
        fn on_weight(&mut $self, slot: Slot, old: u64, new: u64) {
            $Trait::on_weight($mutable, slot, old, new);
        }
        fn on_remove(&mut $self, slot: Slot, cause: RemovalCause, residents: &$Residents) {
            $Trait::on_remove($mutable, slot, cause, $($pass)? residents);
        }
        fn on_move(&mut $self, from: Slot, to: Slot) {
            $Trait::on_move($mutable, from, to);
        }
        fn victim(&mut $self, residents: &$Residents) -> Option<Slot> {
            $Trait::victim($mutable, $($pass)? residents)
        }
        fn exchange(&mut $self, newcomer: Newcomer, residents: &$Residents) -> Slot {
            $Trait::exchange($mutable, newcomer, $($pass)? residents)
        }
        fn maintain(&mut $self, residents: &$Residents) {
            $Trait::maintain($mutable, $($pass)? residents);
        }
        fn set_capacity(&mut $self, share: u64, whole: u64) {
            $Trait::set_capacity($mutable, share, whole);
        }
        fn clear(&mut $self) {
            $Trait::clear($mutable);
        }
        fn ranking(&$self, residents: &$Residents) -> Vec<Slot> {
            $Trait::ranking($shared, $($pass)? residents)
        }
        fn len(&$self) -> usize {
            $Trait::len($shared)
        }
        fn validate(&$self, slots: &[Slot], residents: &$Residents) {
            $Trait::validate($shared, slots, $($pass)? residents);
        }
    };
}

impl Residents for &dyn Residents {
    fn mark(&self, slot: Slot) -> &Mark {
        (**self).mark(slot)
    }

    fn hash(&self, slot: Slot) -> u64 {
        (**self).hash(slot)
    }

    fn weight(&self, slot: Slot) -> u64 {
        (**self).weight(slot)
    }
}

impl<P: Policy> ErasedPolicy for P {
    fn for_stripes(self: Box<Self>, stripes: usize, capacity: u64) -> Vec<AnyPolicy> {
        Policy::for_stripes(*self, stripes, capacity).into_iter().map(AnyPolicy::new).collect()
    }

    fn recorder(&self) -> AnyRecorder {
        AnyRecorder(Box::new(Policy::recorder(self)))
    }

    pass_on!(Policy, self, shared: self, mutable: self, residents: dyn Residents, pass: &);
}

impl Policy for AnyPolicy {
    type Recorder = AnyRecorder;

    fn for_stripes(self, stripes: usize, capacity: u64) -> Vec<Self> {
        self.0.for_stripes(stripes, capacity)
    }

    fn recorder(&self) -> AnyRecorder {
        self.0.recorder()
    }

    pass_on!(
        ErasedPolicy, self, shared: &*self.0, mutable: &mut *self.0,
        residents: impl Residents, pass:
    );
}

#[cfg(test)]
mod tests {
    use super::AnyPolicy;
    use crate::policy::sim::{Sim, hash_of};
    use crate::policy::{NAMES, Sieve};

    crate::policy::suite::policy_suite!("lru".parse::<AnyPolicy>().expect("a policy"));

    #[test]
    fn every_name_is_a_policy_and_others_are_told_the_names() {
        for name in NAMES {
            assert!(name.parse::<AnyPolicy>().is_ok(), "{name}");
        }
        let error = "mru".parse::<AnyPolicy>().expect_err("no such policy").to_string();
        assert!(error.contains("\"mru\"") && NAMES.iter().all(|name| error.contains(name)));
    }

    #[test]
    fn a_box_changes_nothing() {
        let mut plain = Sim::new(Sieve::new(), 50);
        let mut boxed = Sim::new(AnyPolicy::new(Sieve::new()), 50);
        for step in 0..5000 {
            let key = (hash_of(step) % 200).min(hash_of(step + 1) % 200);
            assert_eq!(plain.access(key), boxed.access(key));
        }
        assert_eq!(format!("{:?}", plain.policy), format!("{:?}", boxed.policy));
    }
}
