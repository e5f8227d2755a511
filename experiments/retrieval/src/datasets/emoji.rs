//! Emoji: 1,914 pairs of a picture and its names in 9 classes, embedded in the program.
//!
//! Pictures are the 72x72 PNG files of Twemoji (graphics CC BY 4.0, Copyright 2020 Twitter, Inc and other
//! contributors), composited on white; texts are the name and the shortcodes of crate `emojis`, each of which is a
//! segment of the text; classes are its groups. Skin-tone variants are left out. The test part is the committed list
//! `emoji_test.txt`; the validation part is a tenth of the rest, drawn class by class from a fixed seed.

use std::{collections::BTreeSet, io::Cursor, sync::LazyLock};

use emojis::Group;
use experiment_spec::{
    catalog::{AbsentDataSet, DataSetEntry, SplitEntry},
    ids::ContentHash,
    run::SplitName,
};
use image::{ImageFormat, ImageReader};
use twemoji_assets::png::PngTwemojiAsset;

use super::{
    data_set::{DataSet, LoadedPairs, ManifestLine, RawPairs, version},
    folders::DataFolders,
};
use crate::{
    error::{Error, Result},
    features::Split,
    nn::stream::Stream,
};

/// Key of the data set.
pub const KEY: &str = "emoji";
const SIDE: u32 = 72;
/// Seed of the validation part; part of the data set, not of any run.
const VALIDATION_SEED: u64 = 2026;
const GROUPS: [(Group, &str); 9] = [
    (Group::SmileysAndEmotion, "Smileys & Emotion"),
    (Group::PeopleAndBody, "People & Body"),
    (Group::AnimalsAndNature, "Animals & Nature"),
    (Group::FoodAndDrink, "Food & Drink"),
    (Group::TravelAndPlaces, "Travel & Places"),
    (Group::Activities, "Activities"),
    (Group::Objects, "Objects"),
    (Group::Symbols, "Symbols"),
    (Group::Flags, "Flags"),
];

/// The data set.
#[derive(Clone, Copy, Debug)]
pub struct Emoji;

/// One pair: its manifest line, its names one by one, and the bytes of its PNG file.
struct Pair {
    line: ManifestLine,
    names: Vec<&'static str>,
    png: &'static [u8],
}

static PAIRS: LazyLock<Vec<Pair>> = LazyLock::new(pairs);

/// All pairs in the order of crate `emojis`. A picture is looked up by the emoji as written, then without the
/// variation selector U+FE0F; an emoji without a picture is no pair.
fn pairs() -> Vec<Pair> {
    let held_out: BTreeSet<&str> = include_str!("emoji_test.txt").lines().collect();
    let mut pairs: Vec<Pair> = emojis::iter()
        .filter_map(|emoji| {
            let asset = PngTwemojiAsset::from_emoji(emoji.as_str())
                .or_else(|| PngTwemojiAsset::from_emoji(&emoji.as_str().replace('\u{fe0f}', "")))?;
            let id: Vec<String> = emoji.as_str().chars().map(|c| format!("{:x}", u32::from(c))).collect();
            let id = id.join("-");
            let label = GROUPS.iter().zip(0..).find(|((group, _), _)| *group == emoji.group())?.1;
            let names: Vec<&str> = std::iter::once(emoji.name()).chain(emoji.shortcodes()).collect();
            let text = names.join(" ");
            let split = if held_out.contains(id.as_str()) { Split::Test } else { Split::Train };
            let png: &[u8] = asset;
            Some(Pair { line: ManifestLine { split, id, label, image: ContentHash::of(png), text }, names, png })
        })
        .collect();
    for label in 0..9 {
        let rows: Vec<usize> = (0..pairs.len())
            .filter(|&row| pairs[row].line.label == label && pairs[row].line.split == Split::Train)
            .collect();
        let order = Stream::new(VALIDATION_SEED, "emoji validation", u64::from(label)).permutation(rows.len());
        for &place in &order[..(rows.len() + 5) / 10] {
            pairs[rows[place]].line.split = Split::Validation;
        }
    }
    pairs
}

/// Decodes a PNG of 72x72 and composites it on white, in whole numbers.
fn decode(png: &[u8], out: &mut Vec<u8>) -> std::result::Result<(), String> {
    let mut reader = ImageReader::with_format(Cursor::new(png), ImageFormat::Png);
    let mut limits = image::Limits::default();
    limits.max_image_width = Some(1024);
    limits.max_image_height = Some(1024);
    reader.limits(limits);
    let picture = reader.decode().map_err(|error| error.to_string())?.to_rgba8();
    if picture.dimensions() != (SIDE, SIDE) {
        return Err(format!("its size is {:?}", picture.dimensions()));
    }
    for pixel in picture.pixels() {
        let alpha = u32::from(pixel[3]);
        for channel in 0..3 {
            let mixed = (u32::from(pixel[channel]) * alpha + 255 * (255 - alpha) + 127) / 255;
            out.push(u8::try_from(mixed).expect("a mean of two bytes is a byte"));
        }
    }
    Ok(())
}

/// Its one split.
const SPLIT: SplitEntry = SplitEntry { name: SplitName::Official, train: 1376, validation: 155, test: 383 };

impl DataSet for Emoji {
    fn key(&self) -> &'static str {
        KEY
    }

    fn entry(&self, _: &DataFolders) -> std::result::Result<DataSetEntry, AbsentDataSet> {
        Ok(self.described())
    }

    fn load(&self, _: &DataFolders, _: SplitName) -> Result<LoadedPairs> {
        self.pairs().map(LoadedPairs::Raw)
    }
}

impl Emoji {
    /// Its catalog entry.
    #[must_use]
    pub fn described(&self) -> DataSetEntry {
        let lines: Vec<ManifestLine> = PAIRS.iter().map(|pair| pair.line.clone()).collect();
        DataSetEntry {
            key: KEY.into(),
            version: version(&lines),
            description: "1,914 emoji in 9 groups: Twemoji pictures (72x72, CC BY 4.0, Twitter, Inc and other \
                          contributors) with their names and shortcodes; embedded in the program"
                .into(),
            classes: GROUPS.iter().map(|(_, name)| (*name).into()).collect(),
            splits: vec![SPLIT],
            dims: None,
            default_encoder: crate::encoders::small_cnn::KEY.into(),
            encoders: vec![crate::encoders::small_cnn::KEY.into()],
        }
    }

    /// Decodes its pairs.
    ///
    /// # Errors
    /// [`Error::Data`] when a picture cannot be decoded.
    pub fn pairs(&self) -> Result<RawPairs> {
        let mut images = Vec::with_capacity(PAIRS.len() * (SIDE * SIDE * 3) as usize);
        for Pair { line, png, .. } in PAIRS.iter() {
            decode(png, &mut images)
                .map_err(|why| Error::Data(format!("data set {KEY}: picture {} cannot be used: {why}", line.id)))?;
        }
        let column = |value: fn(&ManifestLine) -> String| PAIRS.iter().map(|pair| value(&pair.line)).collect();
        let raw = RawPairs {
            ids: column(|line| line.id.clone()),
            images,
            side: SIDE as usize,
            texts: column(|line| line.text.clone()),
            segments: PAIRS.iter().map(|pair| pair.names.iter().map(|&name| name.to_owned()).collect()).collect(),
            labels: PAIRS.iter().map(|pair| pair.line.label).collect(),
            classes: GROUPS.len(),
            split: PAIRS.iter().map(|pair| pair.line.split).collect(),
        };
        raw.check(&self.described(), &SPLIT)?;
        Ok(raw)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_embedded_pairs_are_whole() {
        let raw = Emoji.pairs().unwrap();
        assert_eq!(raw.len(), 1914);
        assert_eq!(raw.ids.iter().collect::<BTreeSet<_>>().len(), 1914);
        let counts: Vec<usize> = Split::ALL.iter().map(|part| raw.rows(*part).len()).collect();
        assert_eq!(counts, [1376, 155, 383]);
        for label in 0..9 {
            let in_part = |part| raw.rows(part).into_iter().filter(|&row| raw.labels[row] == label).count();
            let (train, validation) = (in_part(Split::Train), in_part(Split::Validation));
            assert!((train + validation).abs_diff(10 * validation) <= 5, "{label}: {train} {validation}");
        }
        assert_eq!(raw.texts[0], "grinning face grinning");
        assert_eq!(raw.segments[0], ["grinning face", "grinning"]);
        // U+1F7E5, the red square: white corners, red centre (the fill of the SVG drawing, #DD2E44).
        let red = raw.ids.iter().position(|id| id == "1f7e5").unwrap();
        assert_eq!(raw.image(red)[..3], [255, 255, 255]);
        let centre = (36 * 72 + 36) * 3;
        assert_eq!(raw.image(red)[centre..centre + 3], [0xdd, 0x2e, 0x44]);
    }

    #[test]
    fn pairs_are_those_of_the_shared_table() {
        let table = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/data/emoji/pairs.tsv");
        let Ok(table) = std::fs::read_to_string(table) else {
            println!("skipped: pairs_are_those_of_the_shared_table: ../shared is not there");
            return;
        };
        let raw = Emoji.pairs().unwrap();
        assert_eq!(table.lines().count(), 1 + raw.len());
        for (row, line) in table.lines().skip(1).enumerate() {
            let fields: Vec<&str> = line.split('\t').collect();
            assert_eq!(fields[0], format!("{}.png", raw.ids[row]));
            let text = format!("{} {}", fields[4], fields[5].replace('|', " "));
            assert_eq!(text.trim_end(), raw.texts[row], "{}", fields[0]);
            assert_eq!(fields[7] == "test", raw.split[row] == Split::Test, "{}", fields[0]);
            let group = format!("{:?}", GROUPS[raw.labels[row] as usize].0);
            assert_eq!(fields[2], group, "{}", fields[0]);
        }
    }

    #[test]
    fn a_pixel_is_mixed_with_white_by_its_alpha() {
        let mut png = Vec::new();
        let mut picture = image::RgbaImage::from_pixel(72, 72, image::Rgba([200, 0, 100, 51]));
        picture.put_pixel(0, 0, image::Rgba([9, 8, 7, 0]));
        picture.put_pixel(1, 0, image::Rgba([9, 8, 7, 255]));
        picture.write_to(&mut Cursor::new(&mut png), ImageFormat::Png).unwrap();
        let mut out = Vec::new();
        decode(&png, &mut out).unwrap();
        assert_eq!(out[..9], [255, 255, 255, 9, 8, 7, 244, 204, 224]);
        assert!(decode(&png[..40], &mut Vec::new()).is_err());
    }
}
