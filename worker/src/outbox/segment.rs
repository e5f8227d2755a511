//! Records in a file that is only appended to, each with a mark, its length and a checksum, so that a
//! torn tail can be told from whole records and a flipped byte costs one record, not the file.

use std::{fs, io, path::Path};

use orchestrator_proto::{frames, v1::Report};

/// Starts every record: where reading goes on after a damaged one.
const MARK: [u8; 4] = [0xf5, b'r', b'e', b'c'];
const CHECK_BYTES: usize = 16;
const HEADER_BYTES: usize = MARK.len() + 1 + 4 + CHECK_BYTES;

/// Largest record in bytes. Attempts' messages are limited far below it.
pub(super) const RECORD_LIMIT_BYTES: usize = 6 << 20;

/// What a record says.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Record {
    /// Something to report.
    Report(Report),
    /// The coordinator has everything up to this sequence number.
    Acknowledged(u64),
}

fn check(tag: u8, body: &[u8]) -> [u8; CHECK_BYTES] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&[tag]).update(body);
    let mut check = [0; CHECK_BYTES];
    check.copy_from_slice(&hasher.finalize().as_bytes()[..CHECK_BYTES]);
    check
}

/// Bytes of a record, as they stand in the file.
///
/// # Errors
/// When it is larger than [`RECORD_LIMIT_BYTES`].
pub(super) fn encode(record: &Record) -> io::Result<Vec<u8>> {
    let (tag, body) = match record {
        Record::Report(report) => (0, frames::encode(report)),
        Record::Acknowledged(sequence) => (1, sequence.to_le_bytes().to_vec()),
    };
    let length = u32::try_from(body.len()).ok().filter(|_| body.len() <= RECORD_LIMIT_BYTES).ok_or_else(|| {
        io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("a report of {} bytes, at most {RECORD_LIMIT_BYTES} allowed", body.len()),
        )
    })?;
    let mut bytes = Vec::with_capacity(HEADER_BYTES + body.len());
    bytes.extend(MARK);
    bytes.push(tag);
    bytes.extend(length.to_le_bytes());
    bytes.extend(check(tag, &body));
    bytes.extend(body);
    Ok(bytes)
}

/// The record at the start of `bytes` and its size there; `None` when there is no whole one.
fn decode(bytes: &[u8]) -> Option<(Record, usize)> {
    let rest = bytes.strip_prefix(&MARK)?;
    let (&tag, rest) = rest.split_first()?;
    let (length, rest) = rest.split_first_chunk::<4>()?;
    let length = u32::from_le_bytes(*length) as usize;
    let (wanted, rest) = rest.split_first_chunk::<CHECK_BYTES>()?;
    let body = rest.get(..length).filter(|_| length <= RECORD_LIMIT_BYTES)?;
    if check(tag, body) != *wanted {
        return None;
    }
    let record = match tag {
        0 => Record::Report(frames::decode(body).ok()?),
        1 => Record::Acknowledged(u64::from_le_bytes(body.try_into().ok()?)),
        _ => return None,
    };
    Some((record, HEADER_BYTES + length))
}

/// What a file holds.
#[derive(Debug, Default)]
pub(super) struct Content {
    /// Its whole records, in order, with their sizes in bytes.
    pub(super) records: Vec<(Record, usize)>,
    /// Stretches between records that are no record: damage.
    pub(super) damaged: usize,
    /// Where the last whole record ends; what follows was torn off by a crash.
    pub(super) end: u64,
}

/// Reads all records of a file.
///
/// # Errors
/// When it cannot be read.
pub(super) fn read(path: &Path) -> io::Result<Content> {
    let bytes = fs::read(path)?;
    let mut content = Content::default();
    let mut offset = 0;
    while offset < bytes.len() {
        if let Some((record, size)) = decode(&bytes[offset..]) {
            if content.end < offset as u64 {
                content.damaged += 1;
            }
            content.records.push((record, size));
            offset += size;
            content.end = offset as u64;
        } else {
            let after = offset + 1;
            let next = bytes[after..].windows(MARK.len()).position(|window| window == MARK);
            offset = next.map_or(bytes.len(), |next| after + next);
        }
    }
    Ok(content)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> (Vec<Record>, Vec<u8>, Vec<usize>) {
        let records: Vec<Record> = (1..=6)
            .map(|sequence| match sequence {
                4 => Record::Acknowledged(3),
                _ => Record::Report(Report { sequence, step_id: 7, attempt: 1, at_ms: 12, event: None, lease: 9 }),
            })
            .collect();
        let mut ends = vec![0];
        let mut bytes = Vec::new();
        for record in &records {
            bytes.extend(encode(record).unwrap());
            ends.push(bytes.len());
        }
        (records, bytes, ends)
    }

    fn read_bytes(bytes: &[u8]) -> Content {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), bytes).unwrap();
        read(file.path()).unwrap()
    }

    fn found(content: &Content) -> Vec<Record> {
        content.records.iter().map(|(record, _)| record.clone()).collect()
    }

    #[test]
    fn a_file_cut_anywhere_keeps_its_whole_records() {
        let (records, bytes, ends) = sample();
        for cut in 0..=bytes.len() {
            let content = read_bytes(&bytes[..cut]);
            let whole = ends.iter().filter(|end| **end <= cut).count() - 1;
            assert_eq!(found(&content), records[..whole], "cut at {cut}");
            assert_eq!((content.damaged, content.end), (0, ends[whole] as u64), "cut at {cut}");
        }
    }

    #[test]
    fn a_flipped_byte_costs_one_record_and_is_noticed() {
        let (records, bytes, ends) = sample();
        for at in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[at] ^= 0x20;
            let content = read_bytes(&damaged);
            let hit = ends.iter().position(|end| at < *end).unwrap() - 1;
            let mut rest = records.clone();
            rest.remove(hit);
            assert_eq!(found(&content), rest, "byte {at}");
            let last = hit == records.len() - 1;
            assert_eq!(content.damaged, usize::from(!last), "byte {at}");
            let end = if last { ends[hit] } else { bytes.len() };
            assert_eq!(content.end, end as u64, "byte {at}");
        }
    }
}
