//! Converts rows to UTF-8 if the remote wrote them in an encoding that the local server's COPY cannot read.
//!
//! The local server converts the rows with its SQL function `convert`, which can convert every database encoding to
//! UTF-8. Only rows that do not convert are examined value by value. A value that does not convert is marked, so that
//! COPY refuses the row.

use bytes::{BufMut, Bytes, BytesMut};

use crate::db::{DbError, Local, RowFault, Tx, param};

use super::choose_copy_format::CopyFormat;
use super::split_copy_data;
use crate::engine::write_by_halving::{self, WriteAttemptOutcome};

/// Converts rows from `encoding` to UTF-8. Each piece holds one or more whole rows, before and after.
pub(in crate::engine) async fn to_utf8(
    local: &Tx<'_, Local>,
    format: &CopyFormat,
    encoding: &str,
    pieces: Vec<Bytes>,
) -> Result<Vec<Bytes>, DbError> {
    let mut converted = Vec::with_capacity(pieces.len());
    let mut waiting = vec![pieces];
    while let Some(mut pieces) = waiting.pop() {
        // All database encodings write ASCII as ASCII, so it needs no conversion.
        if pieces.iter().all(|piece| piece.is_ascii()) {
            converted.append(&mut pieces);
            continue;
        }
        if let Ok(texts) = convert(local, encoding, &pieces.concat()).await? {
            converted.push(texts);
            continue;
        }
        let mut pieces = match pieces.as_slice() {
            [_] => split_copy_data::split_rows(format, &pieces),
            _ => pieces,
        };
        if let [row] = pieces.as_slice() {
            converted.push(marked(local, encoding, row).await?);
        } else {
            let low = pieces.len() / 2;
            let high = pieces.split_off(low);
            waiting.extend([high, pieces]);
        }
    }
    Ok(converted)
}

/// Converts bytes to UTF-8. The inner error is the reason why they do not convert.
async fn convert(
    local: &Tx<'_, Local>,
    encoding: &str,
    bytes: &[u8],
) -> Result<Result<Bytes, RowFault>, DbError> {
    const CONVERT: &str = "\
-- convert rows to UTF-8
select pg_catalog.convert($1, $2::pg_catalog.name, 'UTF8')";
    let mut converted = Bytes::new();
    let tried = write_by_halving::attempt(local, async {
        let params = [param::bytea(bytes), param::text(encoding)];
        let row = local.query_one(CONVERT, &params).await?;
        converted = Bytes::from(row.get::<_, Vec<u8>>(0));
        Ok(WriteAttemptOutcome::Written)
    });
    Ok(match tried.await? {
        WriteAttemptOutcome::Written => Ok(converted),
        WriteAttemptOutcome::NotWritten(fault) => Err(*fault),
    })
}

/// Converts a row to UTF-8, value by value. A value that does not convert is left as it is, after the byte
/// [`split_copy_data::MARK`].
async fn marked(local: &Tx<'_, Local>, encoding: &str, row: &Bytes) -> Result<Bytes, DbError> {
    let mut written = BytesMut::new();
    for (index, value) in split_copy_data::text_values(row).enumerate() {
        if index > 0 {
            written.put_u8(b'\t');
        }
        if let Ok(text) = convert(local, encoding, value).await? {
            written.put_slice(&text);
        } else {
            written.put_u8(split_copy_data::MARK);
            written.put_slice(value);
        }
    }
    written.put_u8(b'\n');
    Ok(written.freeze())
}

/// Returns why the value at `index` was marked as not convertible to UTF-8; `None` if it was not.
pub(in crate::engine) async fn fault(
    local: &Tx<'_, Local>,
    format: &CopyFormat,
    row: &Bytes,
    index: usize,
) -> Result<Option<RowFault>, DbError> {
    let value = split_copy_data::text_values(row).nth(index);
    let bytes = value.and_then(|value| value.strip_prefix(&[split_copy_data::MARK]));
    match (format.recoded(), bytes) {
        (Some(encoding), Some(bytes)) => Ok(convert(local, encoding, bytes).await?.err()),
        _ => Ok(None),
    }
}
