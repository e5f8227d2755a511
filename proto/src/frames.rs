//! Messages on a pipe or in a file: each one behind its length as a varint.

use std::io::{self, Read, Write};

use prost::Message;

/// Bytes of a message, without its length.
#[must_use]
pub fn encode<M: Message>(message: &M) -> Vec<u8> {
    message.encode_to_vec()
}

/// Reads a message back from all of `bytes`.
///
/// # Errors
/// `InvalidData` when the bytes are no such message.
pub fn decode<M: Message + Default>(bytes: &[u8]) -> io::Result<M> {
    M::decode(bytes).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
}

/// Writes one message behind its length, in one `write_all`. Does not flush.
///
/// # Errors
/// Those of the writer.
pub fn write_frame<M: Message>(writer: &mut impl Write, message: &M) -> io::Result<()> {
    writer.write_all(&message.encode_length_delimited_to_vec())
}

/// Reads the next message; `None` at the end, which may lie only between two messages.
///
/// # Errors
/// `InvalidData` when the length is above `limit_bytes` or the bytes are no such message (the reader
/// stands somewhere inside: give it up), `UnexpectedEof` when it ends inside a message.
pub fn read_frame<M: Message + Default>(reader: &mut impl Read, limit_bytes: usize) -> io::Result<Option<M>> {
    let Some(length) = read_length(reader)? else { return Ok(None) };
    let length = usize::try_from(length).ok().filter(|length| *length <= limit_bytes).ok_or_else(|| {
        io::Error::new(
            io::ErrorKind::InvalidData,
            format!("a message of {length} bytes, at most {limit_bytes} allowed"),
        )
    })?;
    let mut bytes = vec![0; length];
    reader.read_exact(&mut bytes)?;
    decode(&bytes).map(Some)
}

fn read_length(reader: &mut impl Read) -> io::Result<Option<u64>> {
    let mut length = 0;
    for shift in (0..64).step_by(7) {
        let mut byte = [0];
        match reader.read_exact(&mut byte) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof && shift == 0 => return Ok(None),
            read => read?,
        }
        length |= u64::from(byte[0] & 0x7f) << shift;
        if byte[0] < 0x80 {
            return Ok(Some(length));
        }
    }
    Err(io::Error::new(io::ErrorKind::InvalidData, "the length of a message is no varint"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::v1::Failed;

    fn failed(message: &str) -> Failed {
        Failed { failure_kind: "nan".into(), message: message.into() }
    }

    #[test]
    fn messages_read_back_one_after_the_other() {
        let sent = [failed(""), failed("short"), failed(&"x".repeat(20_000)), Failed::default()];
        let mut pipe = Vec::new();
        for message in &sent {
            write_frame(&mut pipe, message).unwrap();
        }
        let mut reader = pipe.as_slice();
        for message in &sent {
            assert_eq!(read_frame::<Failed>(&mut reader, 30_000).unwrap().as_ref(), Some(message));
        }
        assert_eq!(read_frame::<Failed>(&mut reader, 30_000).unwrap(), None);
        assert_eq!(decode::<Failed>(&encode(&sent[1])).unwrap(), sent[1]);
    }

    #[test]
    fn cut_long_and_malformed_messages_are_refused() {
        let mut pipe = Vec::new();
        write_frame(&mut pipe, &failed("a sentence")).unwrap();
        let refused = |bytes: &[u8], limit| read_frame::<Failed>(&mut &bytes[..], limit).unwrap_err().kind();
        for cut in 1..pipe.len() {
            assert_eq!(refused(&pipe[..cut], 100), io::ErrorKind::UnexpectedEof, "cut at {cut}");
        }
        assert_eq!(refused(&pipe, 5), io::ErrorKind::InvalidData);
        assert_eq!(refused(&[0xff; 20], 100), io::ErrorKind::InvalidData);
        assert_eq!(refused(&[2, 0xff, 0xff], 100), io::ErrorKind::InvalidData);
    }
}
