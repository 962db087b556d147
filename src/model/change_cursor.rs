//! A position in a list of changes, from which the next page of the list continues. The list is sorted by run, newest
//! first. The changes of one run are in the order in which they were made.

use std::str::FromStr;

use super::RunId;

/// The position after the last entry of a page. As text, it is `RUN_ID/N` after change number N of a run, and `RUN_ID`
/// after a whole run with all its changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChangeCursor {
    /// The run of the last entry.
    pub run: RunId,
    /// The number of the last change within the run. `None` means that the whole run comes before the position.
    pub n: Option<i64>,
}

impl std::fmt::Display for ChangeCursor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.n {
            Some(n) => write!(f, "{}/{n}", self.run),
            None => write!(f, "{}", self.run),
        }
    }
}

impl FromStr for ChangeCursor {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (run, n) = match text.split_once('/') {
            Some((run, n)) => (run, Some(n)),
            None => (text, None),
        };
        let (Ok(run), Ok(n)) = (run.parse(), n.map(str::parse).transpose()) else {
            return Err(());
        };
        Ok(Self { run, n })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_read_as_it_was_written() {
        let id = "0190c2f1-7a00-7000-8000-000000000001";
        for text in [id.to_owned(), format!("{id}/0"), format!("{id}/17")] {
            let place: ChangeCursor = text.parse().expect("a place");
            assert_eq!(place.to_string(), text);
        }
        for text in [
            "",
            "x",
            "/1",
            "0190c2f1-7a00-7000-8000-000000000001/",
            "0190c2f1-7a00-7000-8000-000000000001/x",
        ] {
            assert_eq!(text.parse::<ChangeCursor>(), Err(()), "{text}");
        }
    }
}
