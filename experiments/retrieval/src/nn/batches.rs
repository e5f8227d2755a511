//! Mini-batches without hidden state: which rows a step sees is a function of the run's seed, a name and the step.

use super::stream::Stream;

/// The rows of the batch of `step`, counted from 1: the next `size` of an endless sequence in which every row comes
/// once before any comes again, each round in an order of its own.
///
/// # Panics
/// If there are no rows or the batch is empty: a broken invariant of the caller.
#[must_use]
pub fn batch(seed: u64, name: &str, rows: usize, size: usize, step: u64) -> Vec<u32> {
    assert!(rows > 0 && size > 0, "a batch of {size} out of {rows} rows");
    let first = u128::from(step - 1) * size as u128;
    let place = |position: u128| {
        let round = u64::try_from(position / rows as u128).expect("steps times rows of a batch fit 64 bits");
        let within = usize::try_from(position % rows as u128).expect("below the number of rows");
        (round, within)
    };
    let (mut round, mut within) = place(first);
    let mut order = round_order(seed, name, rows, round);
    let mut chosen = Vec::with_capacity(size);
    while chosen.len() < size {
        if within == rows {
            (round, within) = (round + 1, 0);
            order = round_order(seed, name, rows, round);
        }
        chosen.push(order[within]);
        within += 1;
    }
    chosen
}

fn round_order(seed: u64, name: &str, rows: usize, round: u64) -> Vec<u32> {
    let order = Stream::new(seed, &format!("batches {name}"), round).permutation(rows);
    order.into_iter().map(|row| u32::try_from(row).expect("feature tables have at most 2^32 rows")).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn every_row_comes_once_a_round(rows in 1usize..40, size in 1usize..50, seed: u64) {
            let steps = (3 * rows).div_ceil(size);
            let of = |step: usize| batch(seed, "x", rows, size, step as u64);
            let sequence: Vec<u32> = (1..=steps).flat_map(of).collect();
            for round in sequence.chunks_exact(rows) {
                let mut round = round.to_vec();
                round.sort_unstable();
                prop_assert!(round.iter().enumerate().all(|(i, &row)| i == row as usize));
            }
            prop_assert_eq!(of(steps), &sequence[(steps - 1) * size..]);
        }
    }

    #[test]
    fn names_and_rounds_have_orders_of_their_own() {
        let of = |name, step| batch(3, name, 50, 50, step);
        assert!(of("a", 1) != of("b", 1) && of("a", 1) != of("a", 2));
    }
}
