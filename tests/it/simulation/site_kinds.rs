//! The sites that histories are lived on: what their columns are called, their encodings, and the types of their keys.

use super::model::EmojiSupport;

/// One kind of site.
#[derive(Clone, Copy, Debug)]
pub(super) struct Kind {
    /// The remote's encoding, and the local one.
    pub(super) encodings: [&'static str; 2],
    /// The types of the key on the remote and here. Keys of some are equal without being the same; then all rows are compared.
    pub(super) ids: [&'static str; 2],
    /// The column of the meter's name, quoted.
    pub(super) name: &'static str,
    /// The column of the meter's number, which is unique here.
    pub(super) number: &'static str,
    /// The site's own column, quoted.
    pub(super) note: &'static str,
}

/// Among the names are those by which our own statements call their rows, and a reserved word.
pub(super) const KINDS: &[Kind] = &[
    kind(["UTF8", "UTF8"], TEXT, ["name", "number", "site_note"]),
    kind(["LATIN1", "UTF8"], NUMERIC, ["s", "p", "l"]),
    kind(["UTF8", "LATIN1"], TEXT, ["f", "h", "t"]),
    kind(["SQL_ASCII", "WIN1252"], NUMERIC, ["\"select\"", "x1", "n"]),
    kind(["WIN1252", "LATIN1"], TEXT, ["r", "c", "c1"]),
];

const TEXT: [&str; 2] = ["bigint", "varchar(9)"];
const NUMERIC: [&str; 2] = ["numeric", "numeric"];

const fn kind(
    encodings: [&'static str; 2],
    ids: [&'static str; 2],
    [name, number, note]: [&'static str; 3],
) -> Kind {
    Kind {
        encodings,
        ids,
        name,
        number,
        note,
    }
}

impl Kind {
    /// A database without an encoding takes any bytes.
    pub(super) fn emoji(&self) -> EmojiSupport {
        let [remote, local] = self
            .encodings
            .map(|own| ["UTF8", "SQL_ASCII"].contains(&own));
        EmojiSupport { remote, local }
    }

    pub(super) fn remote_schema(&self) -> String {
        let Self {
            ids: [id, _],
            name,
            number,
            ..
        } = self;
        format!(
            "create table meter (
                 id {id}, tenant_id bigint not null, {name} text, {number} text, active boolean not null)"
        )
    }

    pub(super) fn local_schema(&self) -> String {
        let Self {
            ids: [_, id],
            name,
            number,
            note,
            ..
        } = self;
        format!(
            "create table tenant (id bigint primary key, name text);
             insert into tenant values (7, 'Acme');
             create table meter (
                 id {id} primary key, tenant_id bigint not null,
                 {name} varchar(12) check ({name} <> 'forbidden'), {number} varchar(9) unique,
                 active boolean not null default true, {note} text default 'ours');
             create table reading (
                 meter {id} primary key references meter (id) on delete cascade,
                 number varchar(9) references meter ({number}) on update cascade on delete set null)"
        )
    }
}
