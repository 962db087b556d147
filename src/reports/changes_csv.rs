//! Writes changes of meters as CSV (RFC 4180), for spreadsheets and scripts.

use csv::QuoteStyle;

use crate::make_printable;
use crate::model::{MeterDestination, MeterFields};
use crate::store::changes::DatedChange;

/// The names of the columns. The cells of `key`, `before` and `after` are JSON objects.
const COLUMNS: [&str; 8] = [
    "at", "run_id", "action", "name", "key", "before", "after", "gone_to",
];

/// A spreadsheet takes a cell that begins with one of these for a formula.
const BEGINS_A_FORMULA: [char; 8] = [
    '=', '+', '-', '@', '\u{ff1d}', '\u{ff0b}', '\u{ff0d}', '\u{ff20}',
];

/// Returns the line with the names of the columns.
pub(crate) fn header() -> Vec<u8> {
    lines([COLUMNS.map(str::to_owned)])
}

/// Returns one line for each change.
pub(crate) fn rows(changes: &[DatedChange]) -> Vec<u8> {
    lines(changes.iter().map(|dated| {
        let change = &dated.change;
        [
            dated.at.to_rfc3339(),
            dated.run_id.to_string(),
            change.action.to_string(),
            name(change.name.as_deref().unwrap_or_default()),
            json(&change.key),
            json(&change.before),
            json(&change.after),
            name(
                &change
                    .gone_to
                    .as_ref()
                    .map_or_else(String::new, MeterDestination::in_words),
            ),
        ]
    }))
}

fn lines<const N: usize>(records: impl IntoIterator<Item = [String; N]>) -> Vec<u8> {
    // Quotes around each cell keep a program that expects other separators from taking a cell apart.
    let mut builder = csv::WriterBuilder::new();
    let mut writer = builder
        .quote_style(QuoteStyle::Always)
        .from_writer(Vec::new());
    for record in records {
        // Writing to memory cannot fail, and all records have the same number of cells.
        drop(writer.write_record(record));
    }
    writer.into_inner().unwrap_or_default()
}

fn json(fields: &MeterFields) -> String {
    let text = serde_json::to_string(fields).unwrap_or_default();
    make_printable::json(&text)
}

/// Returns a name on one line. A quote in front keeps a spreadsheet from running it as a formula.
fn name(name: &str) -> String {
    let line = make_printable::line(name, usize::MAX);
    match line.starts_with(BEGINS_A_FORMULA) {
        true => format!("'{line}"),
        false => line,
    }
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;
    use serde_json::json;

    use super::*;
    use crate::model::{Change, ChangeAction, RunId};

    #[test]
    fn a_value_ends_no_cell_and_a_name_is_no_formula() {
        let id = "0190c2f1-7a00-7000-8000-000000000001";
        let run_id: RunId = id.parse().expect("an id");
        let fields = |value: serde_json::Value| value.as_object().cloned().expect("an object");
        let change = |name: &str| DatedChange {
            run_id,
            at: DateTime::UNIX_EPOCH,
            n: 1,
            change: Change {
                action: ChangeAction::Update,
                key: fields(json!({"id": 1})),
                name: Some(name.to_owned()),
                before: fields(json!({"port": null})),
                after: fields(json!({"port": "a,\"b\"\r\n"})),
                gone_to: MeterDestination::parse("another_tenant 9"),
            },
        };
        let text = |bytes| String::from_utf8(bytes).expect("text");
        assert_eq!(
            text(header()),
            "\"at\",\"run_id\",\"action\",\"name\",\"key\",\"before\",\"after\",\"gone_to\"\n"
        );
        let cells =
            r#""{""id"":1}","{""port"":null}","{""port"":""a,\""b\""\r\n""}","moved to tenant 9""#;
        for (name, shown) in [
            ("Main", "Main"),
            ("=1+1", "'=1+1"),
            ("a,b", "a,b"),
            ("", ""),
        ] {
            let line = text(rows(&[change(name)]));
            let at = "1970-01-01T00:00:00+00:00";
            let expected = format!("\"{at}\",\"{id}\",\"update\",\"{shown}\",{cells}\n");
            assert_eq!(line, expected);
        }
        assert_eq!(text(rows(&[])), "");
    }
}
