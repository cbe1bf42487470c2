//! Sums of weights that are put at the end and taken away anywhere.
//!
//! Moments are numbered from 0 as they are put. A Fenwick tree over blocks of them, as one over all
//! would not fit into the nearer caches; within a block, weights are added one by one.

/// How many weights a block has.
const BLOCK: usize = 32;

/// The weights of moments.
#[derive(Debug, Default)]
pub(super) struct Tree {
    weights: Vec<u64>,
    /// Of the whole blocks: node n has the sum of the blocks (n - lowest bit of n, n], numbered from
    /// 1. Node 0 has nothing.
    sums: Vec<u64>,
    /// Of all weights.
    total: u64,
    /// How many moments were put, taken or asked after.
    operations: usize,
}

impl Tree {
    /// Puts a weight at the next moment.
    #[inline]
    pub(super) fn push(&mut self, weight: u64) {
        self.operations += 1;
        if self.weights.len().is_multiple_of(BLOCK) {
            self.close_block();
        }
        self.weights.push(weight);
        self.total += weight;
    }

    /// Adds the node of the last block.
    fn close_block(&mut self) {
        let node = self.sums.len();
        let mut sum = self.weights[self.weights.len().saturating_sub(BLOCK)..].iter().sum::<u64>();
        let (from, mut below) = (node & node.wrapping_sub(1), node.saturating_sub(1));
        while below > from {
            sum += self.sums[below];
            below &= below - 1;
        }
        self.sums.push(sum);
    }

    /// Takes away what is at a moment.
    #[inline]
    pub(super) fn take(&mut self, moment: usize) {
        self.operations += 1;
        let weight = std::mem::take(&mut self.weights[moment]);
        self.total -= weight;
        let mut node = moment / BLOCK + 1;
        while let Some(sum) = self.sums.get_mut(node) {
            *sum -= weight;
            node += node & node.wrapping_neg();
        }
    }

    /// The weights at this moment and later.
    #[inline]
    pub(super) fn since(&mut self, moment: usize) -> u64 {
        self.operations += 1;
        let mut node = moment / BLOCK;
        let mut before: u64 = self.weights[node * BLOCK..moment].iter().sum();
        while node > 0 {
            before += self.sums[node];
            node &= node - 1;
        }
        self.total - before
    }

    /// The weight at a moment.
    pub(super) fn at(&self, moment: usize) -> u64 {
        self.weights[moment]
    }

    /// The weights at the last so many moments, which should be few.
    pub(super) fn latest(&self, moments: usize) -> u64 {
        self.weights[self.weights.len().saturating_sub(moments)..].iter().sum()
    }

    /// All weights.
    pub(super) fn total(&self) -> u64 {
        self.total
    }

    /// How many moments were put, taken or asked after.
    pub(super) fn operations(&self) -> usize {
        self.operations
    }
}

#[cfg(test)]
mod tests {
    use super::Tree;

    #[test]
    fn sums_are_those_of_a_list() {
        let mut tree = Tree::default();
        let mut list = Vec::new();
        for step in 0..2000_u64 {
            let weight = step * step % 97;
            tree.push(weight);
            list.push(weight);
            let taken = (step * 7919 % (step + 1)) as usize;
            if step % 3 == 0 {
                tree.take(taken);
                list[taken] = 0;
            }
            let from = (step * 31 % (step + 1)) as usize;
            assert_eq!(tree.since(from), list[from..].iter().sum::<u64>(), "{from} of {step}");
            assert_eq!(tree.at(from), list[from]);
        }
    }
}
