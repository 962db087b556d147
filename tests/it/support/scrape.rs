//! `/metrics` as Prometheus reads it.

use std::collections::BTreeMap;

use reqwest::{Client, Response};

/// One scrape: each series as it is written, with its value.
#[derive(Debug)]
pub(crate) struct Scrape {
    pub(crate) series: BTreeMap<String, f64>,
    pub(crate) text: String,
}

impl Scrape {
    fn of(text: String) -> Self {
        let lines = text
            .lines()
            .filter(|line| !line.is_empty() && !line.starts_with('#'));
        let series: Vec<(String, f64)> = lines
            .map(|line| {
                let (series, value) = line.rsplit_once(' ').expect("a value");
                (series.to_owned(), value.parse().expect("a number"))
            })
            .collect();
        let count = series.len();
        let series: BTreeMap<_, _> = series.into_iter().collect();
        assert_eq!(series.len(), count, "a series comes twice: {text}");
        Self { series, text }
    }

    /// A value, if it is there.
    pub(crate) fn get(&self, series: &str) -> Option<f64> {
        self.series.get(series).copied()
    }

    /// A value that must be there.
    pub(crate) fn value(&self, series: &str) -> f64 {
        self.get(series)
            .unwrap_or_else(|| panic!("{series}: {}", self.text))
    }

    /// How many runs ended so.
    pub(crate) fn runs(&self, outcome: &str, trigger: &str) -> f64 {
        self.value(&format!(
            "meter_sync_runs_total{{outcome=\"{outcome}\",trigger=\"{trigger}\"}}"
        ))
    }

    /// All series of a family together.
    pub(crate) fn sum(&self, family: &str) -> f64 {
        let of_family = self
            .series
            .iter()
            .filter(|(series, _)| series.split('{').next() == Some(family));
        of_family.map(|(_, value)| value).sum()
    }

    /// How many changes of the action were made.
    pub(crate) fn changes(&self, action: &str) -> f64 {
        self.value(&format!("meter_sync_changes_total{{action=\"{action}\"}}"))
    }

    /// Whether a scrape speaks of it.
    pub(crate) fn has(&self, family: &str) -> bool {
        self.text.contains(family)
    }

    /// The health that holds.
    pub(crate) fn health(&self) -> String {
        let of_health = self
            .series
            .iter()
            .filter(|(series, _)| series.starts_with("meter_sync_health{"));
        let holding: Vec<_> = of_health.filter(|(_, value)| **value == 1.0).collect();
        assert_eq!(holding.len(), 1, "{holding:?}");
        labels(holding[0].0)[0].1.to_owned()
    }

    /// Each family with its type.
    pub(crate) fn families(&self) -> BTreeMap<String, String> {
        let types = self
            .text
            .lines()
            .filter_map(|line| line.strip_prefix("# TYPE "));
        types
            .map(|line| line.split_once(' ').expect("a type"))
            .map(|(name, kind)| (name.to_owned(), kind.to_owned()))
            .collect()
    }
}

/// The labels of a series; a quotation mark in a value would break this, as it would break the format.
pub(crate) fn labels(series: &str) -> Vec<(&str, &str)> {
    let Some((_, labels)) = series.split_once('{') else {
        return Vec::new();
    };
    let labels = labels.strip_suffix('}').expect("the end of the labels");
    let pairs = labels
        .split(',')
        .map(|label| label.split_once('=').expect("a label"));
    pairs
        .map(|(name, value)| (name, value.trim_matches('"')))
        .collect()
}

/// The answer to a scrape.
pub(crate) async fn get(address: &str) -> Response {
    let url = format!("http://{address}/metrics");
    Client::new().get(url).send().await.expect("an answer")
}

/// A scrape that is answered.
pub(crate) async fn scrape(address: &str) -> Scrape {
    let response = get(address).await;
    assert_eq!(response.status(), 200);
    Scrape::of(response.text().await.expect("text"))
}
