//! Finds a meter by its key or by a part of its name, as people name it.

use chrono::{DateTime, Utc};

use super::parse_meter_key::MeterKeyText;
use super::search_meters::MATCHES;
use crate::db::{DbError, Local, Tx};
use crate::error::{ErrorCode, Failure};
use crate::mirrors::Mirror;
use crate::model::ChangeCursor;
use crate::reports::meter_report::{MeterMatch, MeterReport};
use crate::store::changes::{self, MeterChangesQuery};
use crate::store::migrations;
use crate::tenants::meter_table::MeterTable;

/// What to tell of a meter that is found.
#[derive(Clone, Copy, Debug)]
pub struct FindMeterQuery {
    /// The time in the past for which to tell how the meter was; `None` for no such time.
    pub at: Option<DateTime<Utc>>,
    /// The time since which to list changes; `None` for no limit.
    pub since: Option<DateTime<Utc>>,
    /// The last change of the page before; `None` for the first page.
    pub before: Option<ChangeCursor>,
    /// The maximum number of changes to list.
    pub limit: u32,
}

/// The meters that were found.
#[derive(Debug)]
pub enum FoundMeters {
    /// The meter with this key, or the only one with the text in its name.
    One(Box<MeterReport>),
    /// None or several meters have the text in their names.
    Others {
        /// These meters, at most 20.
        matches: Vec<MeterMatch>,
        /// Whether there are more of them.
        has_more: bool,
    },
}

impl FoundMeters {
    fn none() -> Self {
        Self::Others {
            matches: Vec::new(),
            has_more: false,
        }
    }

    /// Describes what was found for the text `meter`.
    pub(crate) fn in_words(&self, meter: &str) -> String {
        match self {
            Self::One(report) => report.in_words(),
            Self::Others { matches, .. } if matches.is_empty() => {
                format!("There is no meter here with the key `{meter}` or with that in its name.")
            }
            Self::Others { matches, has_more } => format!(
                "{}{} meters have `{meter}` in their name; ask again with the key of one.",
                if *has_more { "More than " } else { "" },
                matches.len()
            ),
        }
    }
}

impl Mirror {
    /// Finds the meter with the key `meter`, or else the meters with that text in their names. The values of a key of
    /// several columns are separated by commas; a comma within a value is `%2C`.
    pub async fn find_meter(
        &self,
        meter: &str,
        query: FindMeterQuery,
    ) -> Result<FoundMeters, Failure> {
        let read = async |tx: &Tx<'_, Local>| {
            let meters = self.meters(tx).await?;
            let looked = self.look(tx, &meters, meter, query).await;
            looked.map_err(|error| match error.is_too_much_to_compute() {
                true => too_long(),
                false => error.into(),
            })
        };
        let mut found = self.local()?.read("meter", read).await?;
        if let FoundMeters::One(report) = &mut found {
            self.hide_in_meter(&mut report.changes);
        }
        Ok(found)
    }

    async fn look(
        &self,
        tx: &Tx<'_, Local>,
        meters: &MeterTable,
        meter: &str,
        query: FindMeterQuery,
    ) -> Result<FoundMeters, DbError> {
        let parts = meter.split(',').map(|part| part.trim().to_owned());
        let keys = [
            Some(MeterKeyText::Ordered(vec![meter.to_owned()])),
            Some(MeterKeyText::Ordered(parts.collect())),
            MeterKeyText::parse(meter),
        ];
        for key in keys.into_iter().flatten() {
            let found = self.found(tx, meters, key, query).await?;
            if let Some(found) = found {
                return Ok(FoundMeters::One(found));
            }
            tx.use_role_path().await?;
        }
        let mut matches = meters.named(tx, meter).await?;
        let [only] = matches.as_slice() else {
            let has_more = matches.len() > MATCHES;
            matches.truncate(MATCHES);
            return Ok(FoundMeters::Others { matches, has_more });
        };
        let key = MeterKeyText::Ordered(only.key_texts.clone());
        let found = self.found(tx, meters, key, query).await?;
        Ok(found.map_or_else(FoundMeters::none, FoundMeters::One))
    }

    /// Returns the meter with this key, with one page of its changes as the query asks for; `None` if there is no
    /// such meter.
    async fn found(
        &self,
        tx: &Tx<'_, Local>,
        meters: &MeterTable,
        key: MeterKeyText,
        query: FindMeterQuery,
    ) -> Result<Option<Box<MeterReport>>, DbError> {
        let options = self.report_options(query.at);
        let Some(mut report) = meters.find(tx, &key, options).await? else {
            return Ok(None);
        };
        let limit = query.limit;
        if migrations::exist(tx).await? {
            let page = MeterChangesQuery {
                since: query.since,
                before: query.before,
                limit: i64::from(limit) + 1,
            };
            let log = meters.scope.log();
            report.changes = changes::of_meter(tx, log, &report.key_json, &page).await?;
        }
        report.has_more = report.changes.len() > limit as usize;
        report.changes.truncate(limit as usize);
        Ok(Some(Box::new(report)))
    }
}

fn too_long() -> Failure {
    let message = "The meters were too many to look through their names in a second.";
    Failure::new(ErrorCode::LocalTimeout, message)
        .with_remedy("Give the key of the meter as `meter`.")
}
