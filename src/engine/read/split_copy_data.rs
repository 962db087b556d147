//! Splits the bytes of a COPY, in text or binary format, into rows and values
//! (<https://www.postgresql.org/docs/current/sql-copy.html>, file formats).

use bytes::{BufMut, Bytes, BytesMut};

use super::choose_copy_format::CopyFormat;

/// The head of the binary format, before the rows: its signature, no flags and no extension.
const HEAD: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";
/// The tail of the binary format, after the rows.
const TAIL: &[u8] = &[0xff, 0xff];
/// The byte that stands before a value that could not be converted to UTF-8 (see `recode_rows`). No text in UTF-8
/// contains this byte.
pub(in crate::engine) const MARK: u8 = 0xff;
/// The size in bytes of the number of fields, with which a row begins in the binary format.
const COUNT: usize = 2;
/// The size in bytes of the length that stands before each field in the binary format.
const LENGTH: usize = 4;

/// Returns the bytes that are sent to a server before the rows of a COPY; empty for the text format.
pub(in crate::engine) fn head(format: &CopyFormat) -> &'static [u8] {
    match format {
        CopyFormat::Text { .. } => &[],
        CopyFormat::Binary => HEAD,
    }
}

/// Returns the bytes that are sent to a server after the rows of a COPY; empty for the text format.
pub(in crate::engine) fn tail(format: &CopyFormat) -> &'static [u8] {
    match format {
        CopyFormat::Text { .. } => &[],
        CopyFormat::Binary => TAIL,
    }
}

/// Removes the head and the tail of a COPY from a piece that the server sent. The server sends the head by itself or
/// before a row, and the tail by itself.
pub(in crate::engine) fn without_head_and_tail(format: &CopyFormat, mut piece: Bytes) -> Bytes {
    if let CopyFormat::Binary = format {
        if piece.starts_with(HEAD) {
            piece = piece.slice(HEAD.len()..);
        }
        if piece == TAIL {
            piece.clear();
        }
    }
    piece
}

/// Splits pieces, each of which holds one or more whole rows, into single rows.
pub(in crate::engine) fn split_rows(format: &CopyFormat, pieces: &[Bytes]) -> Vec<Bytes> {
    let mut rows = Vec::new();
    for piece in pieces {
        let mut rest = piece.clone();
        while !rest.is_empty() {
            let length = length(format, &rest).clamp(1, rest.len());
            rows.push(rest.split_to(length));
        }
    }
    rows
}

/// Returns the length in bytes of the first row in `rows`.
fn length(format: &CopyFormat, rows: &[u8]) -> usize {
    match format {
        // A line break in a value is written as `\n`.
        CopyFormat::Text { .. } => rows
            .iter()
            .position(|byte| *byte == b'\n')
            .map_or(rows.len(), |end| end + 1),
        CopyFormat::Binary => {
            let values = values(rows);
            let bytes: usize = values
                .iter()
                .map(|value| value.map_or(0, <[u8]>::len))
                .sum();
            COUNT + LENGTH * values.len() + bytes
        }
    }
}

/// Returns the values of the first row in `row`, which is in the binary format; `None` for NULL. Values that are cut
/// off at the end of the data are left out.
fn values(mut row: &[u8]) -> Vec<Option<&[u8]>> {
    let mut values = Vec::new();
    let Some((count, rest)) = row.split_first_chunk::<COUNT>() else {
        return values;
    };
    row = rest;
    for _ in 0..u16::from_be_bytes(*count) {
        let Some((length, rest)) = row.split_first_chunk::<LENGTH>() else {
            break;
        };
        let Ok(length) = usize::try_from(i32::from_be_bytes(*length)) else {
            values.push(None);
            row = rest;
            continue;
        };
        let Some((value, rest)) = rest.split_at_checked(length) else {
            break;
        };
        values.push(Some(value));
        row = rest;
    }
    values
}

/// Returns the row with NULL in place of every value, except for the values at `indexes`, counted from 0.
pub(in crate::engine) fn with_nulls_except(
    format: &CopyFormat,
    row: &Bytes,
    indexes: &[usize],
) -> Bytes {
    let is_kept = |index: usize| indexes.contains(&index);
    let mut written = BytesMut::new();
    match format {
        CopyFormat::Text { .. } => {
            for (index, value) in text_values(row).enumerate() {
                if index > 0 {
                    written.put_u8(b'\t');
                }
                written.put_slice(if is_kept(index) { value } else { b"\\N" });
            }
            written.put_u8(b'\n');
        }
        CopyFormat::Binary => {
            let values = values(row);
            written.put_u16(u16::try_from(values.len()).unwrap_or(u16::MAX));
            for (index, value) in values.into_iter().enumerate() {
                match value.filter(|_| is_kept(index)) {
                    Some(value) => {
                        written.put_i32(i32::try_from(value.len()).unwrap_or(i32::MAX));
                        written.put_slice(value);
                    }
                    None => written.put_i32(-1),
                }
            }
        }
    }
    written.freeze()
}

/// Returns the values of a row in the text format, still escaped as COPY wrote them.
pub(in crate::engine) fn text_values(row: &[u8]) -> impl Iterator<Item = &[u8]> {
    row.strip_suffix(b"\n")
        .unwrap_or(row)
        .split(|byte| *byte == b'\t')
}

/// Returns the value at `index` as text to show to people, without [`MARK`]; `None` for NULL. Bytes that are not
/// UTF-8 are replaced by U+FFFD.
pub(in crate::engine) fn shown(format: &CopyFormat, row: &Bytes, index: usize) -> Option<String> {
    let value = match format {
        CopyFormat::Text { .. } => text_values(row).nth(index).filter(|value| value != b"\\N"),
        CopyFormat::Binary => values(row).get(index).copied().flatten(),
    };
    let value = value.map(|value| match (format.recoded(), value) {
        (Some(_), [MARK, value @ ..]) => value,
        _ => value,
    });
    value.map(|value| String::from_utf8_lossy(value).into_owned())
}

#[cfg(test)]
mod fuzz {
    use bolero::{TypeGenerator, ValueGenerator, check, produce};

    use super::*;

    /// The values of a row; `None` for NULL.
    type Row = Vec<Option<Vec<u8>>>;

    fn row() -> impl ValueGenerator<Output = Row> {
        let value = produce::<Option<Vec<u8>>>();
        produce::<Row>().with().len(0usize..5).values(value)
    }

    /// Generated rows, and how a server would send them: as text or binary, in pieces of `rows_of_a_piece` rows.
    #[derive(Clone, Debug, TypeGenerator)]
    struct Copied {
        #[generator(produce::<Vec<Row>>().with().len(0usize..6).values(row()))]
        rows: Vec<Row>,
        #[generator(1..4)]
        rows_of_a_piece: usize,
        is_text: bool,
    }

    impl Copied {
        fn format(&self) -> CopyFormat {
            match self.is_text {
                true => CopyFormat::Text {
                    written: None,
                    read: None,
                    recoded: None,
                },
                false => CopyFormat::Binary,
            }
        }

        /// Returns each row as bytes, as a server would write it.
        fn written(&self) -> Vec<Vec<u8>> {
            let rows = self.rows.iter();
            rows.map(|row| match self.is_text {
                true => as_text(row),
                false => as_binary(row),
            })
            .collect()
        }
    }

    fn as_binary(row: &Row) -> Vec<u8> {
        let mut written = u16::try_from(row.len())
            .expect("few")
            .to_be_bytes()
            .to_vec();
        for value in row {
            let length = value
                .as_ref()
                .map_or(-1, |value| i32::try_from(value.len()).expect("short"));
            written.extend(length.to_be_bytes());
            written.extend(value.iter().flatten());
        }
        written
    }

    fn as_text(row: &Row) -> Vec<u8> {
        let values = row.iter().map(|value| match value {
            None => b"\\N".to_vec(),
            Some(value) => escaped(value),
        });
        let mut written = values.collect::<Vec<_>>().join(&b'\t');
        written.push(b'\n');
        written
    }

    fn escaped(value: &[u8]) -> Vec<u8> {
        let escape = |byte: &u8| match byte {
            b'\\' => b"\\\\".to_vec(),
            b'\t' => b"\\t".to_vec(),
            b'\n' => b"\\n".to_vec(),
            other => vec![*other],
        };
        value.iter().flat_map(escape).collect()
    }

    #[test]
    fn rows_are_cut_apart_as_they_were_written() {
        check!()
            .with_iterations(500)
            .with_type::<Copied>()
            .for_each(|copied| {
                let format = copied.format();
                let written = copied.written();
                let pieces: Vec<Bytes> = written
                    .chunks(copied.rows_of_a_piece)
                    .map(|rows| rows.concat().into())
                    .collect();
                let rows = split_rows(&format, &pieces);
                assert_eq!(rows, written);
                // The server sends the head before the first row, and the tail alone.
                let first = written.first().cloned().unwrap_or_default();
                assert_eq!(
                    without_head_and_tail(&format, [head(&format), &first].concat().into()),
                    first
                );
                assert!(
                    without_head_and_tail(&format, Bytes::from_static(tail(&format))).is_empty()
                );
                for (row, values) in rows.iter().zip(&copied.rows) {
                    check_values(copied, row, values);
                }
            });
    }

    /// Checks that [`shown`] returns each value of the row, even after [`with_nulls_except`] has replaced all others by
    /// NULL.
    fn check_values(copied: &Copied, row: &Bytes, values: &Row) {
        let format = copied.format();
        for (index, value) in values.iter().enumerate() {
            let value = value.as_ref().map(|value| match copied.is_text {
                true => String::from_utf8_lossy(&escaped(value)).into_owned(),
                false => String::from_utf8_lossy(value).into_owned(),
            });
            assert_eq!(shown(&format, row, index), value);
            let alone = with_nulls_except(&format, row, &[index]);
            let told = (0..values.len()).map(|index| shown(&format, &alone, index));
            let mut expected = vec![None; values.len()];
            expected[index] = value;
            assert_eq!(told.collect::<Vec<_>>(), expected);
        }
    }

    #[test]
    fn whatever_a_server_sends_no_byte_is_lost() {
        check!()
            .with_iterations(500)
            .with_type::<(Vec<u8>, bool)>()
            .for_each(|(sent, is_text)| {
                let format = Copied {
                    rows: Vec::new(),
                    rows_of_a_piece: 1,
                    is_text: *is_text,
                }
                .format();
                let sent = Bytes::from(sent.clone());
                let rows = split_rows(&format, std::slice::from_ref(&sent));
                assert_eq!(rows.concat(), sent);
                for row in rows {
                    with_nulls_except(&format, &row, &[0, 7]);
                    shown(&format, &row, 0);
                    without_head_and_tail(&format, row);
                }
            });
    }
}
