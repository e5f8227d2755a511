//! What the training loop learns from the updates of an iteration: losses and mean logits to record, a
//! value that is not a number, and a discriminator that has left the game (spec G.1).

use std::collections::BTreeMap;

use super::{
    form::{Update, Watcher},
    state::Player,
};
use crate::{
    error::{Error, Result},
    method::Observer,
};

/// Losses of a discriminator that is neither beaten nor unbeatable.
const HEALTHY_LOSS: std::ops::RangeInclusive<f64> = 0.2..=4.0;
/// Iterations outside that range before the log says so.
const PATIENCE_ITERATIONS: u64 = 1000;

/// Watches one iteration after the other.
#[derive(Debug, Default)]
pub struct Watch {
    losses: BTreeMap<Player, f64>,
    logits: Vec<(Player, &'static str, f64)>,
    broken: Option<String>,
    /// Iterations in a row that each discriminator's loss has been outside the healthy range.
    pub outside: BTreeMap<Player, u64>,
}

impl Watcher<f32> for Watch {
    fn update(&mut self, update: Update<'_, f32>) {
        let name = update.player.name();
        if self.broken.is_none() {
            let term = update.terms.iter().find(|(_, value)| !value.is_finite());
            self.broken = term
                .map(|(term, _)| format!("the loss of {name} (term {term})"))
                .or_else(|| (!update.loss.is_finite()).then(|| format!("the loss of {name}")));
        }
        self.losses.insert(update.player, update.loss);
    }

    fn mean_logit(&mut self, player: Player, group: &'static str, value: f64) {
        self.logits.push((player, group, value));
    }
}

impl Watch {
    /// A watch that goes on from the counts of a checkpoint.
    #[must_use]
    pub fn going_on(outside: BTreeMap<Player, u64>) -> Self {
        Self { outside, ..Self::default() }
    }

    /// Before an iteration.
    pub fn begin(&mut self) {
        self.losses.clear();
        self.logits.clear();
    }

    /// After an iteration: refuses values that are not numbers, and logs a discriminator that has been
    /// outside the healthy range for the thousandth iteration in a row.
    ///
    /// # Errors
    /// [`Error::Nan`] naming the first loss and term that broke.
    pub fn end(&mut self, iteration: u64, observer: &mut dyn Observer) -> Result<()> {
        if let Some(what) = self.broken.take() {
            return Err(Error::Nan { what, iteration });
        }
        for (&player, loss) in self.losses.iter().filter(|(player, _)| !matches!(player, Player::GI | Player::GT)) {
            let count = self.outside.entry(player).or_default();
            *count = if HEALTHY_LOSS.contains(loss) { 0 } else { *count + 1 };
            if *count == PATIENCE_ITERATIONS {
                let (name, low, high) = (player.name(), HEALTHY_LOSS.start(), HEALTHY_LOSS.end());
                observer.log(&format!(
                    "warning: the loss of {name} has been outside {low} to {high} for {PATIENCE_ITERATIONS} iterations \
                     (now {loss:.3} at iteration {iteration}): generators and discriminators are out of balance"
                ));
            }
        }
        Ok(())
    }

    /// Sum of the generators' losses before their last steps: the one shown to people.
    #[must_use]
    pub fn shown_loss(&self) -> f64 {
        [Player::GI, Player::GT].iter().filter_map(|player| self.losses.get(player)).sum()
    }

    /// What is recorded of the iteration, by name: `loss/d_ci` (of the generators the last of their K),
    /// `logit/d_ci/mismatched`.
    #[must_use]
    pub fn metrics(&self) -> Vec<(String, f64)> {
        let losses = self.losses.iter().map(|(player, loss)| (format!("loss/{}", player.name()), *loss));
        let logit = |(player, group, value): &(Player, &str, f64)| (format!("logit/{}/{group}", player.name()), *value);
        losses.chain(self.logits.iter().map(logit)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkpoint::Checkpoint;

    #[derive(Default)]
    struct Lines(Vec<String>);

    impl Observer for Lines {
        fn iteration(&mut self, _: u64, _: u64, _: f64, _: &[(&str, f64)]) -> Result<()> {
            Ok(())
        }
        fn wants_checkpoint(&self, _: u64) -> bool {
            false
        }
        fn checkpoint(&mut self, _: &Checkpoint) -> Result<()> {
            Ok(())
        }
        fn log(&mut self, line: &str) {
            self.0.push(line.to_owned());
        }
    }

    fn tell(watch: &mut Watch, player: Player, terms: &[(&'static str, f64)]) {
        let loss = terms.iter().map(|(_, value)| value).sum();
        watch.update(Update { player, loss, terms, gradients: None });
    }

    #[test]
    fn a_discriminator_out_of_balance_is_logged_once_after_a_thousand_iterations() {
        let (mut watch, mut lines) = (Watch::default(), Lines::default());
        for iteration in 1..=2500 {
            watch.begin();
            // D_I recovers once; D_T never does; the generators may be anywhere.
            tell(&mut watch, Player::DI, &[("original", if iteration == 900 { 1.0 } else { 4.1 })]);
            tell(&mut watch, Player::DT, &[("original", 0.1)]);
            tell(&mut watch, Player::GI, &[("inter", 9.0)]);
            watch.end(iteration, &mut lines).unwrap();
        }
        assert_eq!(lines.0.len(), 2, "{:?}", lines.0);
        assert!(lines.0[0].contains("d_t") && lines.0[0].contains("iteration 1000"), "{}", lines.0[0]);
        assert!(lines.0[1].contains("d_i") && lines.0[1].contains("iteration 1900"), "{}", lines.0[1]);
    }

    #[test]
    fn the_first_term_that_is_not_a_number_is_named() {
        for bad in [f64::NAN, f64::INFINITY] {
            let mut watch = Watch::default();
            watch.begin();
            tell(&mut watch, Player::DT, &[("original", 1.0)]);
            tell(&mut watch, Player::DCi, &[("other", 1.0), ("real", bad)]);
            tell(&mut watch, Player::GI, &[("inter", f64::NAN)]);
            let error = watch.end(17, &mut Lines::default()).unwrap_err();
            assert_eq!(error.to_string(), "the loss of d_ci (term real) is not a number at iteration 17");
        }
    }

    #[test]
    fn metrics_are_those_of_this_iteration_and_the_last_generator_step() {
        let mut watch = Watch::default();
        tell(&mut watch, Player::DCi, &[("real", 3.0)]);
        watch.begin();
        watch.mean_logit(Player::DI, "real", 0.25);
        for loss in [5.0, 4.0] {
            tell(&mut watch, Player::GI, &[("class", loss)]);
            tell(&mut watch, Player::GT, &[("class", loss / 2.0)]);
        }
        let want = [("loss/g_i", 4.0), ("loss/g_t", 2.0), ("logit/d_i/real", 0.25)];
        assert_eq!(watch.metrics(), want.map(|(name, value)| (name.to_owned(), value)));
        assert!((watch.shown_loss() - 6.0).abs() < 1e-15);
    }
}
