//! The settings that say which tenants' meters a process keeps in sync.

use std::collections::BTreeSet;

use serde_json::json;

use super::error::ConfigError;
use super::setting_definitions::Setting;
use super::setting_layers::{FoundSetting, SettingLayers};
use super::settings_file::SettingValue;
use super::table_name_per_tenant::TENANT_PLACEHOLDER;
use super::{Mapping, table_name_per_tenant, trim_sql};
use crate::hex_digest::hex_digest;
use crate::model::TenantId;

/// How many runs of different tenants may go on at the same time, if no setting says so.
pub const DEFAULT_WORKERS: u32 = 4;

/// Which tenants' meters this process keeps in sync. Each tenant has one mirror: its meters in one local table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TenantSelection {
    /// One tenant. `None` means that each run reads its id from the single row of the local table `tenant`.
    One(Option<TenantId>),
    /// The tenants of this list, which names no tenant twice.
    Listed(Vec<TenantId>),
    /// Every row of the local table `tenant`, which is read again while the process runs.
    All,
    /// The tenants whose ids are in the first column of this query on the local database. The query is run again while
    /// the process runs.
    Query(String),
}

impl TenantSelection {
    /// Whether the process is set up for a single tenant, so that requests need not name the tenant. `Listed` counts as
    /// several tenants even with one id.
    pub fn is_one(&self) -> bool {
        match self {
            Self::One(_) => true,
            Self::Listed(_) | Self::All | Self::Query(_) => false,
        }
    }

    /// Returns the first 8 bytes of the SHA-256 of this setting, in hexadecimal. The local database stores this digest
    /// in the keys of sweeps (each checks all mirrors) and of their slots (scheduled times), so it must stay the same
    /// in all versions. Lists of the same ids have the same digest, whatever their order.
    pub fn digest(&self) -> String {
        hex_digest(&self.key_text(), 8)
    }

    /// Returns the text that the digest is computed from. Different settings have different texts.
    fn key_text(&self) -> String {
        match self {
            Self::One(None) => "one".to_owned(),
            Self::One(Some(id)) => format!("one {}", json!(id)),
            Self::Listed(ids) => {
                let sorted: BTreeSet<&str> = ids.iter().map(TenantId::as_str).collect();
                format!("listed {}", json!(sorted))
            }
            Self::All => "all".to_owned(),
            Self::Query(query) => format!("query {query}"),
        }
    }
}

/// The settings that can name the tenants. Only one of them is used.
pub(super) const TENANT_SETTINGS: &[Setting] =
    &[Setting::TenantId, Setting::Tenants, Setting::TenantsQuery];

/// The value of the setting `tenants` that means every row of the local table `tenant`. In an array of the settings
/// file, it is an ordinary id.
const ALL: &str = "all";

/// Reads which tenants to keep in sync: from the first source that has one of [`TENANT_SETTINGS`]. If none has, the
/// tenant is read from the local database.
pub(super) fn read(layers: &SettingLayers) -> Result<TenantSelection, ConfigError> {
    Ok(match layers.find_one_of(TENANT_SETTINGS)? {
        None => TenantSelection::One(None),
        Some((Setting::Tenants, found)) => several(&found)?,
        Some((Setting::TenantsQuery, found)) => TenantSelection::Query(trim_sql::trim(&found)?),
        Some((_, found)) => TenantSelection::One(TenantId::new(found.exact_text())),
    })
}

fn several(found: &FoundSetting) -> Result<TenantSelection, ConfigError> {
    if matches!(&found.value, SettingValue::Text(text) if text.trim() == ALL) {
        return Ok(TenantSelection::All);
    }
    let mut ids: Vec<TenantId> = Vec::new();
    for id in found.ids().into_iter().flat_map(TenantId::new) {
        if !ids.contains(&id) {
            ids.push(id);
        }
    }
    match ids.is_empty() {
        true => Err(found.error("names no tenant")),
        false => Ok(TenantSelection::Listed(ids)),
    }
}

impl Mapping {
    /// Returns this mapping for one tenant: sets `tenant`, and replaces [`TENANT_PLACEHOLDER`] in the name of the local
    /// table by the id. Error: with this id, the name is too long.
    pub fn for_tenant(&self, id: &TenantId) -> Result<Self, ConfigError> {
        let refused = |problem| ConfigError::invalid(Setting::LocalTable.env(), problem);
        let local_table =
            table_name_per_tenant::fill(&self.local_table, id.as_str()).map_err(refused)?;
        Ok(Self {
            tenant: Some(id.clone()),
            local_table,
            ..self.clone()
        })
    }

    /// Whether each tenant has a local table of its own: the name of the local table contains [`TENANT_PLACEHOLDER`].
    pub fn has_table_per_tenant(&self) -> bool {
        table_name_per_tenant::is_pattern(&self.local_table)
    }

    /// Returns this mapping unchanged. Error: the name of the local table contains [`TENANT_PLACEHOLDER`]. This is used
    /// if no setting names a tenant, so that nothing could replace the placeholder.
    pub(super) fn without_placeholder(self) -> Result<Self, ConfigError> {
        if !table_name_per_tenant::is_pattern(&self.local_table) {
            return Ok(self);
        }
        Err(ConfigError::Invalid {
            place: Setting::LocalTable.env().to_owned(),
            problem: format!("holds {TENANT_PLACEHOLDER}, but no tenant is set"),
            remedy: Some("Set METER_SYNC_TENANT_ID or METER_SYNC_TENANTS."),
        })
    }
}

#[cfg(test)]
mod tests {
    use clap::{Args, FromArgMatches};

    use super::*;
    use crate::config::tests::{LOCAL, file, load, refusal};
    use crate::config::{CommandLineSettings, Config, Environment};

    fn with_flags(flags: &[&str], environment: &Environment) -> Result<Config, ConfigError> {
        let command = CommandLineSettings::augment_args(clap::Command::new("meter-sync"));
        let matches = command.no_binary_name(true).get_matches_from(flags);
        Config::load_from(
            &CommandLineSettings::from_arg_matches(&matches).unwrap(),
            environment,
        )
    }

    fn ids(list: &[&str]) -> Vec<TenantId> {
        list.iter().flat_map(|&id| TenantId::new(id)).collect()
    }

    #[test]
    fn the_settings_say_which_tenants() {
        let file = |text: &str| {
            let file = file(text);
            load([("METER_SYNC_CONFIG", file.path().to_str().unwrap())])
                .unwrap()
                .tenants
        };
        let variable = |name, value| load([(name, value)]).unwrap().tenants;
        let query = "select id from tenant";
        for (tenants, expected) in [
            (
                variable("METER_SYNC_TENANT_ID", "7"),
                TenantSelection::One(TenantId::new("7")),
            ),
            (
                variable("METER_SYNC_TENANTS", "7"),
                TenantSelection::Listed(ids(&["7"])),
            ),
            (
                variable("METER_SYNC_TENANTS", "7, 8,,7"),
                TenantSelection::Listed(ids(&["7", "8"])),
            ),
            (
                variable("METER_SYNC_TENANTS", " all\n"),
                TenantSelection::All,
            ),
            (
                variable("METER_SYNC_TENANTS_QUERY", "select id from tenant; -- all"),
                TenantSelection::Query(query.to_owned()),
            ),
            (
                file("tenants = [7, 'a,b', 7]"),
                TenantSelection::Listed(ids(&["7", "a,b"])),
            ),
            (file("tenants = 7"), TenantSelection::Listed(ids(&["7"]))),
            (file("tenants = 'all'"), TenantSelection::All),
        ] {
            assert_eq!(tenants, expected);
        }
        let several = load([("METER_SYNC_TENANTS", "7,8")]).unwrap();
        assert_eq!((several.mapping.tenant, several.workers), (None, 4));
    }

    /// Local databases store these digests, so no version may change them.
    #[test]
    fn each_kind_of_setting_keeps_its_digest() {
        let listed = |list: &[&str]| TenantSelection::Listed(ids(list)).digest();
        assert_eq!(TenantSelection::One(None).digest(), "7692c3ad3540bb80");
        let one = TenantSelection::One(TenantId::new("7"));
        assert_eq!(one.digest(), "427d27ef94397979");
        assert_eq!(listed(&["7", "8"]), "a5d8ecd31ae79586");
        assert_eq!(listed(&["8", "7"]), listed(&["7", "8"]));
        assert_ne!(listed(&["7,8"]), listed(&["7", "8"]));
        assert_ne!(listed(&["7"]), one.digest());
        assert_eq!(TenantSelection::All.digest(), "5ef5ef0364b6939c");
        let query = TenantSelection::Query("select id from tenant".to_owned());
        assert_eq!(query.digest(), "355a9dbb2ce695cc");
    }

    #[test]
    fn the_nearest_setting_about_tenants_decides_alone() {
        let file = file("tenants_query = 'select 1'");
        let path = file.path().to_str().unwrap();
        let all = Environment::from([("METER_SYNC_TENANTS", "all"), ("METER_SYNC_CONFIG", path)]);
        let tenants = |flags: &[&str]| with_flags(flags, &all).unwrap().tenants;
        assert_eq!(tenants(&[]), TenantSelection::All);
        assert_eq!(
            tenants(&["--tenant", "all"]),
            TenantSelection::One(TenantId::new("all"))
        );
        assert_eq!(
            tenants(&["--tenant-id", "7"]),
            TenantSelection::One(TenantId::new("7"))
        );
        let several = ["--tenant", "-7", "--tenant", "a,b"];
        assert_eq!(
            tenants(&several),
            TenantSelection::Listed(ids(&["-7", "a,b"]))
        );
    }

    #[test]
    fn two_settings_about_tenants_in_one_place_are_refused() {
        for second in ["--tenant-id", "--tenants", "--tenants-query"] {
            let flags = ["--tenant", "7", second, "8"];
            let refused = with_flags(&flags, &Environment::default()).unwrap_err();
            let expected = format!("--tenant: cannot be used together with {second}");
            assert_eq!(refused.to_string(), expected);
        }
        let refused = refusal([("METER_SYNC_TENANTS", "7"), ("METER_SYNC_TENANT_ID", "7")]);
        for name in ["METER_SYNC_TENANTS", "METER_SYNC_TENANT_ID"] {
            assert!(refused.message.contains(name), "{refused}");
        }
    }

    #[test]
    fn a_tenant_in_the_local_tables_name_is_filled_in_when_it_is_known() {
        let pattern = ("METER_SYNC_LOCAL_TABLE", "site_{tenant}.Meter");
        let one = load([pattern, ("METER_SYNC_TENANT_ID", "A.1")]).unwrap();
        assert_eq!(one.mapping.local_table, "\"site_A.1\".meter");
        assert_eq!(one.mapping.tenant, TenantId::new("A.1"));

        let several = load([pattern, ("METER_SYNC_TENANTS", "7,8")]).unwrap();
        assert_eq!(several.mapping.local_table, pattern.1);
        let mapping = several
            .mapping
            .for_tenant(&TenantId::new("8").unwrap())
            .unwrap();
        assert_eq!(mapping.local_table, "site_8.meter");
        assert_eq!(mapping.tenant, TenantId::new("8"));

        let refused = refusal([pattern]);
        assert!(refused.remedy.contains("METER_SYNC_TENANTS"), "{refused}");
        let long = "x".repeat(60);
        for tenants in ["METER_SYNC_TENANT_ID", "METER_SYNC_TENANTS"] {
            let refused = refusal([pattern, (tenants, &long)]);
            assert!(refused.message.starts_with(pattern.0), "{refused}");
        }
    }

    #[test]
    fn no_tenants_table_can_be_both_sides() {
        let sides = [
            ("METER_SYNC_REMOTE_URL", LOCAL),
            ("METER_SYNC_LOCAL_URL", LOCAL),
            ("METER_SYNC_LOCAL_TABLE", "meter_{tenant}"),
            ("METER_SYNC_REMOTE_TABLE", "public.\"meter_8\""),
        ];
        let [remote, local, pattern, table] = sides;
        for (tenants, is_taken) in [
            (("METER_SYNC_TENANTS", "7,8"), false),
            (("METER_SYNC_TENANT_ID", "8"), false),
            (("METER_SYNC_TENANTS", "7,9"), true),
            (("METER_SYNC_TENANTS", "all"), true),
        ] {
            let loaded = load([remote, local, pattern, table, tenants]);
            assert_eq!(loaded.is_ok(), is_taken, "{tenants:?}");
        }
    }
}
