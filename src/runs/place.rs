//! A place in the log: after a change of a run, in the order in which changes are told (the newest run first, the changes of one
//! run as they were made).

use std::str::FromStr;

use crate::meter::RunId;

use super::table::LocalTable;

/// Where a page ended: `RUN_ID/N` after a change of a run, or `RUN_ID` after all of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The run.
    pub run: RunId,
    /// The number of the change in it; `None` after the last.
    pub n: Option<i64>,
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.n {
            Some(n) => write!(f, "{}/{n}", self.run),
            None => write!(f, "{}", self.run),
        }
    }
}

impl FromStr for Place {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (run, n) = match text.split_once('/') {
            Some((run, n)) => (run, Some(n)),
            None => (text, None),
        };
        let n = n.map(|n| n.parse().map_err(drop)).transpose()?;
        let run = run.parse().map_err(drop)?;
        Ok(Self { run, n })
    }
}

/// What runs `g` and their changes `c` are ordered by, the newest with the most.
pub(super) fn order(table: &LocalTable) -> &'static str {
    match table.has_run_numbers {
        true => "g.seq",
        false => "g.id",
    }
}

/// Holds for the changes `c` of runs `g` that come after the place of the two parameters, or for all where the first is null.
/// Of the run itself it leaves out all up to the number.
pub(super) fn is_before(table: &LocalTable, run: &str, n: &str) -> String {
    let order = order(table);
    let of_run = match table.has_run_numbers {
        true => format!("(select b.seq from meter_sync.meter_sync_log b where b.id = {run})"),
        false => run.to_owned(),
    };
    format!("({run}::uuid is null or {order} < {of_run} or (g.id = {run} and c.n > {n}))")
}

impl Place {
    /// The number as a parameter: no run has so many changes.
    pub(super) fn number(self) -> i64 {
        self.n.unwrap_or(i64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_read_as_it_was_written() {
        let id = "0190c2f1-7a00-7000-8000-000000000001";
        for text in [id.to_owned(), format!("{id}/0"), format!("{id}/17")] {
            let place: Place = text.parse().expect("a place");
            assert_eq!(place.to_string(), text);
        }
        for text in [
            "",
            "x",
            "/1",
            "0190c2f1-7a00-7000-8000-000000000001/",
            "0190c2f1-7a00-7000-8000-000000000001/x",
        ] {
            assert_eq!(text.parse::<Place>(), Err(()), "{text}");
        }
    }
}
