//! Average precision of one query (spec D.1).

/// AP = (1/R) sum over the relevant items of (its place among the relevant) / (its rank), over all
/// returned results, no cut-off. `ranks` are the ranks of the R relevant items from 1, rising.
/// Without a relevant item AP is 0 and the query counts.
pub(super) fn average_precision(ranks: &[u32]) -> f64 {
    if ranks.is_empty() {
        return 0.0;
    }
    let sum: f64 = (1u32..).zip(ranks).map(|(place, &rank)| f64::from(place) / f64::from(rank)).sum();
    sum / count(ranks.len())
}

/// A count as f64, exact below 2^53.
#[allow(clippy::cast_precision_loss)] // no gallery holds 2^53 items
pub(super) fn count(n: usize) -> f64 {
    n as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of_relevance(relevance: &[u8]) -> f64 {
        let ranks: Vec<u32> = (1u32..).zip(relevance).filter(|&(_, &r)| r == 1).map(|(rank, _)| rank).collect();
        average_precision(&ranks)
    }

    #[test]
    fn rankings_worked_by_hand() {
        // Spec G.2.1: (1/1 + 2/3 + 3/4)/3, (1/2 + 2/4)/2, (1/3)/1.
        assert!((of_relevance(&[1, 0, 1, 1, 0]) - 29.0 / 36.0).abs() < 1e-15);
        assert!((of_relevance(&[0, 1, 0, 1]) - 0.5).abs() < 1e-15);
        assert!((of_relevance(&[0, 0, 1]) - 1.0 / 3.0).abs() < 1e-15);
        assert!((of_relevance(&[1, 1, 1, 1]) - 1.0).abs() < 1e-15);
        assert!(of_relevance(&[0, 0]).abs() < 1e-15, "no relevant item: 0, and the query counts");
        // The worst ranking of 3 relevant among 8: (1/3)(1/6 + 2/7 + 3/8).
        let worst = (1.0 / 6.0 + 2.0 / 7.0 + 3.0 / 8.0) / 3.0;
        assert!((of_relevance(&[0, 0, 0, 0, 0, 1, 1, 1]) - worst).abs() < 1e-15);
    }
}
