//! Capacities as a user writes them.

use std::str::FromStr;

use bytesize::ByteSize;

use crate::trace::Trace;

/// A capacity, absolute or relative to a trace.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Capacity {
    /// So many percent of the trace's keys, or of their sizes.
    Percent(f64),
    /// So many entries.
    Entries(u64),
    /// So many bytes.
    Bytes(u64),
}

/// One or more [`Capacity`]s: a list of them, `FROM..TO:COUNT` for as many at equal ratios.
#[derive(Clone, Debug, PartialEq)]
pub struct Capacities(pub Vec<Capacity>);

impl FromStr for Capacity {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || {
            format!(
                "{text:?} is no capacity: expected a percentage (5%), entries (10000) or bytes \
                (64MiB), more than 0"
            )
        };
        if let Some(percent) = text.strip_suffix('%') {
            let percent: f64 = percent.trim().parse().map_err(|_| wrong())?;
            let is_legal = percent.is_finite() && percent > 0.0;
            return if is_legal { Ok(Self::Percent(percent)) } else { Err(wrong()) };
        }
        if let Ok(entries) = text.parse() {
            return if entries > 0 { Ok(Self::Entries(entries)) } else { Err(wrong()) };
        }
        let bytes: ByteSize = text.parse().map_err(|_| wrong())?;
        if bytes.as_u64() > 0 { Ok(Self::Bytes(bytes.as_u64())) } else { Err(wrong()) }
    }
}

impl FromStr for Capacities {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut all = Vec::new();
        for part in text.split(',') {
            match part.split_once("..") {
                Some((from, rest)) => all.extend(range(part, from, rest)?),
                None => all.push(part.trim().parse()?),
            }
        }
        Ok(Self(all))
    }
}

/// `FROM..TO:COUNT`.
fn range(text: &str, from: &str, rest: &str) -> Result<Vec<Capacity>, String> {
    let wrong = || format!("{text:?} is no range: expected FROM..TO:COUNT, such as 1%..50%:12");
    let (to, count) = rest.split_once(':').ok_or_else(wrong)?;
    let count: u32 =
        count.trim().parse().ok().filter(|count| (2..=1000).contains(count)).ok_or_else(wrong)?;
    let (from, to): (Capacity, Capacity) = (from.trim().parse()?, to.trim().parse()?);
    let steps = |low: f64, high: f64| {
        let ratio = (high / low).powf(1.0 / f64::from(count - 1));
        let step = move |step: u32| low * ratio.powi(step.cast_signed());
        // Not a little less at the end: what has no room for everything by one byte is another cache.
        (0..count - 1).map(step).chain([high])
    };
    let whole =
        |low: u64, high: u64| steps(low as f64, high as f64).map(|size| size.round() as u64);
    match (from, to) {
        (Capacity::Percent(low), Capacity::Percent(high)) if low < high => {
            Ok(steps(low, high).map(Capacity::Percent).collect())
        }
        (Capacity::Entries(low), Capacity::Entries(high)) if low < high => {
            Ok(whole(low, high).map(Capacity::Entries).collect())
        }
        (Capacity::Bytes(low), Capacity::Bytes(high)) if low < high => {
            Ok(whole(low, high).map(Capacity::Bytes).collect())
        }
        _ => Err(wrong()),
    }
}

impl Capacities {
    /// What they are for this trace, each once and in order; at least 1. If entries weigh their
    /// sizes, what has no unit is in bytes too. Of a sample they are as much smaller as the sample
    /// is.
    ///
    /// # Errors
    /// If they are in bytes and entries weigh 1, or if entries weigh their sizes and the trace has
    /// none.
    pub fn of(&self, trace: &Trace, by_size: bool) -> Result<Vec<u64>, String> {
        let whole = if by_size {
            let none = || format!("{} has no sizes, so entries cannot weigh them", trace.name);
            trace.footprint().ok_or_else(none)?
        } else {
            trace.distinct as u64
        };
        let one_in = trace.one_in.max(1);
        let mut all = Vec::new();
        for &capacity in &self.0 {
            all.push(
                match capacity {
                    Capacity::Percent(percent) => (whole as f64 * percent / 100.0 + 1e-9) as u64,
                    Capacity::Entries(entries) => entries / one_in,
                    Capacity::Bytes(bytes) if by_size => bytes / one_in,
                    Capacity::Bytes(_) => {
                        return Err(
                            "a capacity in bytes needs --sizes, so that entries weigh theirs"
                                .to_owned(),
                        );
                    }
                }
                .max(1),
            );
        }
        all.sort_unstable();
        all.dedup();
        Ok(all)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str, by_size: bool) -> Result<Vec<u64>, String> {
        let mut trace = Trace::of_keys("t", (0..200).chain(0..200));
        trace.sizes = by_size.then(|| vec![10; 400]);
        text.parse::<Capacities>().and_then(|capacities| capacities.of(&trace, by_size))
    }

    #[test]
    fn capacities_are_relative_or_absolute() {
        assert_eq!(of("1%,0.1%,50%,7", false), Ok(vec![1, 2, 7, 100]));
        assert_eq!(of("1%, 1KiB,7", true), Ok(vec![7, 20, 1024]));
        assert_eq!(of("10..160:5", false), Ok(vec![10, 20, 40, 80, 160]));
        assert_eq!(of("1%..100%:2", false), Ok(vec![2, 200]));
    }

    #[test]
    fn a_range_ends_where_it_should() {
        let mut trace = Trace::of_keys("t", 0..2);
        let whole = 3_899_390_698_137;
        trace.sizes = Some(vec![1, whole - 1]);
        for count in 2..100 {
            let range = format!("0.5%..100%:{count}").parse::<Capacities>().expect("a range");
            let all = range.of(&trace, true).expect("capacities");
            assert_eq!((all.len(), all.last()), (count, Some(&whole)));
        }
    }

    #[test]
    fn what_is_no_capacity_is_explained() {
        for wrong in ["", "x", "-1", "0", "0B", "0%", "nan%", "5..3:4", "1..2", "1%..9:3", "0..5:3"]
        {
            assert!(of(wrong, false).is_err(), "{wrong:?}");
        }
        assert!(of("1MiB", false).is_err_and(|why| why.contains("--sizes")));
    }
}
