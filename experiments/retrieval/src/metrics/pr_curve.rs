//! Precision-recall curve of one query (spec D.5).

use super::average_precision::count;

/// Points of the curve: recall 0.01, 0.02, ..., 1.00.
pub(super) const POINTS: usize = 100;

/// Adds the query's interpolated precision at every recall to `sums`.
///
/// The curve runs through (0, 1) and then (`R_k`/R, `R_k`/k) for k = 1..N, with straight lines between. While
/// nothing relevant is met recall stands still and precision falls: a line leaves a recall level at
/// the lowest of its points; at a recall that is reached exactly, the precision is the one at the rank
/// that reaches it. `ranks` are those of the R relevant items from 1, rising; without one the query adds 0.
pub(super) fn add(ranks: &[u32], sums: &mut [f64; POINTS]) {
    let relevant = ranks.len();
    if relevant == 0 {
        return;
    }
    for (point, sum) in (1..=POINTS).zip(sums) {
        // Recall point/100 lies `part`/100 of the way from the level of `met` relevant items to the next.
        let (met, part) = (point * relevant / POINTS, point * relevant % POINTS);
        *sum += if part == 0 {
            count(met) / f64::from(ranks[met - 1])
        } else {
            let next = f64::from(ranks[met]);
            let from = if ranks[met] == 1 { 1.0 } else { count(met) / (next - 1.0) };
            let to = count(met + 1) / next;
            from + (to - from) * count(part) / count(POINTS)
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The definition, point by point: the broken line through all N + 1 points.
    fn by_definition(relevance: &[bool]) -> Vec<f64> {
        let total = relevance.iter().filter(|r| **r).count();
        let mut line = vec![(0, 1.0)];
        let mut met = 0;
        for (k, &relevant) in relevance.iter().enumerate() {
            met += usize::from(relevant);
            line.push((met, count(met) / count(k + 1)));
        }
        (1..=POINTS)
            .map(|point| {
                let level = count(point) * count(total) / count(POINTS);
                if let Some(&(_, precision)) = line.iter().find(|(met, _)| met * POINTS == point * total) {
                    return precision;
                }
                let end = line.iter().position(|&(met, _)| count(met) > level).expect("recall 1 is always reached");
                let ((x0, y0), (x1, y1)) = (line[end - 1], line[end]);
                y0 + (y1 - y0) * (level - count(x0)) / count(x1 - x0)
            })
            .collect()
    }

    #[test]
    fn curves_agree_with_the_definition() {
        let mut stream = crate::nn::stream::Stream::new(1, "pr-curve", 0);
        for _ in 0..200 {
            let n = 1 + stream.below(60);
            let mut relevance: Vec<bool> = (0..n).map(|_| stream.below(3) == 0).collect();
            relevance[stream.below(n)] = true;
            let ranks: Vec<u32> = (1u32..).zip(&relevance).filter(|(_, r)| **r).map(|(rank, _)| rank).collect();
            let mut sums = [0.0; POINTS];
            add(&ranks, &mut sums);
            for (got, want) in sums.iter().zip(by_definition(&relevance)) {
                assert!((got - want).abs() < 1e-12, "{relevance:?}: {got} {want}");
            }
        }
    }

    #[test]
    fn a_curve_worked_by_hand() {
        // Relevance 1 0 1: points (0,1), (1/2, 1), (1/2, 1/2), (1, 2/3). At 0.50: 1; at 0.75: (1/2 + 2/3)/2.
        let mut sums = [0.0; POINTS];
        add(&[1, 3], &mut sums);
        assert!((sums[24] - 1.0).abs() < 1e-15 && (sums[49] - 1.0).abs() < 1e-15);
        assert!((sums[74] - 7.0 / 12.0).abs() < 1e-15 && (sums[99] - 2.0 / 3.0).abs() < 1e-15);
        // A first item that is not relevant takes the line down to (0, 0): half way to (1, 1/2) it is 1/4.
        let mut sums = [0.0; POINTS];
        add(&[2], &mut sums);
        assert!((sums[49] - 0.25).abs() < 1e-15 && (sums[99] - 0.5).abs() < 1e-15);
    }
}
