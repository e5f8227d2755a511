//! The key `resources`, with its quantities that carry a unit.

use std::collections::BTreeSet;

use super::{
    keys,
    limits::{MAX_CPUS, MAX_GPUS, MAX_LABEL_CHARS, MAX_LABELS, MAX_MEMORY_BYTES, MAX_TIME_LIMIT_S, MIN_MEMORY_BYTES},
    problem::Problems,
    read::Cursor,
};
use crate::run::{Device, Resources};

const MEMORY: &str = "memory from 1MiB to 64TiB, like `512MiB` or `2GiB`";
/// What a label is.
pub const LABEL: &str = "a label of 1 to 40 letters, digits, `-`, `_`, `.`";
const TIME: &str = "a time from 1s to 30d, like `90s`, `30m`, `2h` or `1h30m`";

/// Reads `resources`; what is not said keeps its default.
pub(super) fn read(cursor: &Cursor<'_>, problems: &mut Problems) -> Option<Resources> {
    let fields = cursor.fields(problems, "a mapping of resources")?;
    fields.refuse_unknown(problems, keys::RESOURCES);
    let default = Resources::default();
    let device = fields.read_or("device", default.device, |device| {
        let known = [("auto", Device::Auto), ("cpu", Device::Cpu), ("cuda", Device::Cuda)];
        let name = device.choice(problems, "a device:", &known.map(|(name, _)| name))?;
        known.iter().find(|(known, _)| *known == name).map(|(_, device)| *device)
    });
    let cpus = fields.read_or("cpus", default.cpus, |cpus| {
        cpus.integer(problems, &(1..=i64::from(MAX_CPUS))).and_then(|cpus| u32::try_from(cpus).ok())
    });
    let share = if device == Some(Device::Cuda) { 1.0 } else { default.gpus };
    let gpus = fields.read_or("gpus", share, |gpus| gpu_share(gpus, device, problems));
    let memory_bytes =
        fields.read_or("memory", default.memory_bytes, |memory| quantity(memory, MEMORY, memory_bytes, problems));
    let time_limit_s =
        fields.read_or("time-limit", default.time_limit_s, |limit| quantity(limit, TIME, seconds, problems));
    let labels = fields.read_or("labels", default.labels, |labels| labels_of(labels, problems));
    Some(Resources {
        cpus: cpus?,
        gpus: gpus?,
        memory_bytes: memory_bytes?,
        time_limit_s: time_limit_s?,
        device: device?,
        labels: labels?,
    })
}

/// A share of one GPU, or a whole number of them, that agrees with the device asked for.
fn gpu_share(cursor: &Cursor<'_>, device: Option<Device>, problems: &mut Problems) -> Option<f64> {
    let gpus = cursor.float(problems, &(0.0..=MAX_GPUS))?;
    let message = match device {
        Some(Device::Cpu) if gpus > 0.0 => "`device: cpu` uses no GPU: leave `gpus` out",
        Some(Device::Cuda) if gpus <= 0.0 => "`device: cuda` needs a share of a GPU: more than 0",
        _ if gpus > 1.0 && gpus.fract() > 0.0 => "more than one GPU can only be had in whole numbers",
        _ => return Some(gpus),
    };
    cursor.report(problems, message);
    None
}

/// A list of labels.
fn labels_of(cursor: &Cursor<'_>, problems: &mut Problems) -> Option<BTreeSet<String>> {
    let listed = cursor.list(problems, "a list of labels, like `[a100]`", MAX_LABELS)?;
    let read = |label: &Cursor<'_>, problems: &mut Problems| {
        let text = label.text(problems, LABEL, MAX_LABEL_CHARS)?;
        if !is_label(text) {
            label.expected(problems, LABEL);
            return None;
        }
        Some(text.to_owned())
    };
    let labels: Vec<_> = listed.iter().map(|label| read(label, problems)).collect();
    labels.into_iter().collect()
}

/// Whether a text can be a label, of a worker or of what a step asks for.
#[must_use]
pub fn is_label(text: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    !text.is_empty() && text.len() <= MAX_LABEL_CHARS && text.chars().all(plain)
}

/// A text with a unit.
fn quantity(cursor: &Cursor<'_>, what: &str, read: fn(&str) -> Option<u64>, problems: &mut Problems) -> Option<u64> {
    let amount = read(cursor.text(problems, what, 40)?);
    if amount.is_none() {
        cursor.expected(problems, what);
    }
    amount
}

/// Bytes of `2GiB`, `1.5GB`; `None` for anything else, and outside the bounds of a submission's memory.
#[must_use]
pub fn memory_bytes(text: &str) -> Option<u64> {
    const UNITS: [(&str, u64); 8] = [
        ("KiB", 1 << 10),
        ("MiB", 1 << 20),
        ("GiB", 1 << 30),
        ("TiB", 1 << 40),
        ("kB", 1_000),
        ("MB", 1_000_000),
        ("GB", 1_000_000_000),
        ("TB", 1_000_000_000_000),
    ];
    let (number, unit) = UNITS.iter().find_map(|(name, unit)| Some((text.strip_suffix(name)?.trim_end(), *unit)))?;
    let plain = number.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    let number: f64 = number.parse().ok().filter(|_| plain)?;
    #[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    // digits and a point alone: not negative; the cast saturates and the range is checked after it
    let bytes = (number * unit as f64) as u64;
    (MIN_MEMORY_BYTES..=MAX_MEMORY_BYTES).contains(&bytes).then_some(bytes)
}

/// Seconds of `90s`, `1h30m`: numbers with units, each unit once, the largest first.
fn seconds(text: &str) -> Option<u64> {
    let mut rest = text;
    let mut total = 0_u64;
    for (unit, length) in [('d', 86_400), ('h', 3_600), ('m', 60), ('s', 1)] {
        if let Some((number, after)) = rest.split_once(unit) {
            let digits = !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit());
            let number: u64 = number.parse().ok().filter(|_| digits)?;
            total = total.checked_add(number.checked_mul(length)?)?;
            rest = after;
        }
    }
    (rest.is_empty() && (1..=MAX_TIME_LIMIT_S).contains(&total)).then_some(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_carries_a_unit() {
        assert_eq!(memory_bytes("2GiB"), Some(2 << 30));
        assert_eq!(memory_bytes("1.5 GiB"), Some(3 << 29));
        assert_eq!(memory_bytes("500MB"), Some(500_000_000));
        for wrong in ["2", "GiB", "2G", "-1GiB", "1KiB", "1e3GiB", "infGiB", "65TiB", "1.2.3GiB", ""] {
            assert_eq!(memory_bytes(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn labels_are_plain_words() {
        for (text, is_one) in [("a100", true), ("rack-2.b_c", true), ("", false), ("a b", false), ("\u{e9}", false)] {
            assert_eq!(is_label(text), is_one, "{text}");
        }
        assert!(is_label(&"x".repeat(MAX_LABEL_CHARS)) && !is_label(&"x".repeat(MAX_LABEL_CHARS + 1)));
    }

    #[test]
    fn time_carries_units_in_falling_order() {
        assert_eq!(seconds("90s"), Some(90));
        assert_eq!(seconds("2h"), Some(7200));
        assert_eq!(seconds("1d2h3m4s"), Some(93_784));
        for wrong in ["2", "0s", "h", "30m1h", "1h1h", "-1h", "31d", "1.5h", "99999999999999999999s", "", "2h "] {
            assert_eq!(seconds(wrong), None, "{wrong}");
        }
    }
}
