//! Makes UTF-8 of rows that the remote wrote in another encoding, where the local server cannot read that encoding itself.
//!
//! The local server converts them, as it converts to UTF-8 from every encoding that a database can have. Only the rows
//! that do not convert are looked at value by value. A value that does not is marked, so that COPY takes no such row.

use bytes::{BufMut, Bytes, BytesMut};

use crate::db::{DbError, Local, RowFault, Tx, param};

use super::format::Format;
use super::rejected::{self, Tried};
use super::rows;

/// Converts pieces of whole rows.
pub(super) async fn to_utf8(
    local: &Tx<'_, Local>,
    (format, encoding): (&Format, &str),
    pieces: Vec<Bytes>,
) -> Result<Vec<Bytes>, DbError> {
    let mut converted = Vec::with_capacity(pieces.len());
    let mut waiting = vec![pieces];
    while let Some(mut pieces) = waiting.pop() {
        // Every encoding of a database writes ASCII as ASCII.
        if pieces.iter().all(|piece| piece.is_ascii()) {
            converted.append(&mut pieces);
            continue;
        }
        if let Ok(texts) = convert(local, encoding, &pieces.concat()).await? {
            converted.push(texts);
            continue;
        }
        let mut pieces = match pieces.as_slice() {
            [_] => rows::apart(format, &pieces),
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

/// The bytes as UTF-8, or why they cannot be that.
async fn convert(
    local: &Tx<'_, Local>,
    encoding: &str,
    bytes: &[u8],
) -> Result<Result<Bytes, RowFault>, DbError> {
    const CONVERT: &str = "\
-- convert rows to UTF-8
select pg_catalog.convert($1, $2::pg_catalog.name, 'UTF8')";
    let mut converted = Bytes::new();
    let tried = rejected::attempt(local, async {
        let params = [param::bytea(bytes), param::text(encoding)];
        let row = local.query_one(CONVERT, &params).await?;
        converted = Bytes::from(row.get::<_, Vec<u8>>(0));
        Ok(Tried::Taken)
    });
    Ok(match tried.await? {
        Tried::Taken => Ok(converted),
        Tried::NotTaken(fault) => Err(*fault),
    })
}

/// The row in UTF-8, but for the values that do not convert, which are marked.
async fn marked(local: &Tx<'_, Local>, encoding: &str, row: &Bytes) -> Result<Bytes, DbError> {
    let mut written = BytesMut::new();
    for (place, value) in rows::lines(row).enumerate() {
        if place > 0 {
            written.put_u8(b'\t');
        }
        if let Ok(text) = convert(local, encoding, value).await? {
            written.put_slice(&text);
        } else {
            written.put_u8(rows::MARK);
            written.put_slice(value);
        }
    }
    written.put_u8(b'\n');
    Ok(written.freeze())
}

/// Why a value of the row was marked, if it was.
pub(super) async fn fault(
    local: &Tx<'_, Local>,
    format: &Format,
    (row, place): (&Bytes, usize),
) -> Result<Option<RowFault>, DbError> {
    let value = rows::lines(row).nth(place);
    let bytes = value.and_then(|value| value.strip_prefix(&[rows::MARK]));
    match (format.recoded(), bytes) {
        (Some(encoding), Some(bytes)) => Ok(convert(local, encoding, bytes).await?.err()),
        _ => Ok(None),
    }
}
