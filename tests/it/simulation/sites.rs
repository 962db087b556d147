//! The sites that histories are lived on: what their columns are called, and their encodings.

use super::model::Emoji;

/// One kind of site.
#[derive(Clone, Copy, Debug)]
pub(super) struct Kind {
    /// The remote's encoding, and the local one.
    pub(super) encodings: [&'static str; 2],
    /// The column of the meter's name, quoted.
    pub(super) name: &'static str,
    /// The site's own column, quoted.
    pub(super) note: &'static str,
}

/// Among the names are those by which our own statements call their rows, and a reserved word.
pub(super) const KINDS: &[Kind] = &[
    kind(["UTF8", "UTF8"], "name", "site_note"),
    kind(["LATIN1", "UTF8"], "s", "l"),
    kind(["UTF8", "LATIN1"], "f", "t"),
    kind(["SQL_ASCII", "WIN1252"], "\"select\"", "n"),
    kind(["WIN1252", "LATIN1"], "r", "c1"),
];

const fn kind(encodings: [&'static str; 2], name: &'static str, note: &'static str) -> Kind {
    Kind {
        encodings,
        name,
        note,
    }
}

impl Kind {
    /// A database without an encoding takes any bytes.
    pub(super) fn emoji(&self) -> Emoji {
        let [remote, local] = self
            .encodings
            .map(|own| ["UTF8", "SQL_ASCII"].contains(&own));
        Emoji { remote, local }
    }

    pub(super) fn remote_schema(&self) -> String {
        let Self { name, .. } = self;
        format!(
            "create table meter (id bigint, tenant_id bigint not null, {name} text, active boolean not null)"
        )
    }

    pub(super) fn local_schema(&self) -> String {
        let Self { name, note, .. } = self;
        format!(
            "create table tenant (id bigint primary key, name text);
             insert into tenant values (7, 'Acme');
             create table meter (
                 id varchar(9) primary key, tenant_id bigint not null,
                 {name} varchar(12) check ({name} <> 'forbidden'),
                 active boolean not null default true, {note} text default 'ours')"
        )
    }
}
