//! From texts to word numbers (spec E.3: lower-case, punctuation stripped).

use std::collections::BTreeMap;

/// Longest text in words; the rest is cut off.
pub const LONGEST: usize = 500;
/// Shortest text in words: shorter ones are filled up with [`PAD`], so that every window fits.
pub const SHORTEST: usize = 5;
/// Filling; its vector is 0 and stays so.
pub const PAD: u32 = 0;
/// A word that no training text holds.
pub const UNKNOWN: u32 = 1;

/// Words of a text: runs of letters and digits, in lower case.
pub fn words(text: &str) -> impl Iterator<Item = String> {
    text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()).map(str::to_lowercase).take(LONGEST)
}

/// Words of the training texts with their numbers, in alphabetical order from 2 on.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Vocabulary {
    numbers: BTreeMap<String, u32>,
}

impl Vocabulary {
    /// The words of these texts.
    #[must_use]
    pub fn of<'a>(texts: impl Iterator<Item = &'a str>) -> Self {
        let mut numbers: BTreeMap<String, u32> = texts.flat_map(words).map(|word| (word, 0)).collect();
        for (number, next) in numbers.values_mut().zip(UNKNOWN + 1..) {
            *number = next;
        }
        Self { numbers }
    }

    /// Rows of a table of word vectors: words, filling, unknown.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.numbers.len() + 2
    }

    /// Numbers of a text's words, at least [`SHORTEST`] of them.
    #[must_use]
    pub fn numbers(&self, text: &str) -> Vec<u32> {
        let mut numbers: Vec<u32> =
            words(text).map(|word| self.numbers.get(&word).copied().unwrap_or(UNKNOWN)).collect();
        numbers.resize(numbers.len().max(SHORTEST), PAD);
        numbers
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_become_numbers_and_short_ones_are_filled_up() {
        let vocabulary = Vocabulary::of(["Flag: St. Helena flag", "b-side"].into_iter());
        assert_eq!(vocabulary.rows(), 7);
        assert_eq!(vocabulary.numbers("side FLAG b moon"), [5, 3, 2, UNKNOWN, PAD]);
        assert_eq!(vocabulary.numbers("a_b c d e f g").len(), 7);
        assert_eq!(vocabulary.numbers(&"x ".repeat(600)).len(), LONGEST);
    }
}
