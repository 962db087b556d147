//! The documented grants: roles that have exactly these do all that a sync does, and not one of them can be spared.

use std::path::Path;

use meter_sync::check::{self, Verdict};
use meter_sync::config::{CommandLineSettings, Setting};
use meter_sync::mirrors::RunRequest;
use meter_sync::model::{DeactivationApproval, RunOutcome, RunTrigger};
use serde_json::json;

use crate::support::site::{Site, config, finish, mirror, rows};

/// The statements of the document for the remote and for the local side.
fn documented() -> [Vec<String>; 2] {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/operating.md");
    let text = std::fs::read_to_string(path).expect("docs/operating.md");
    let (_, after) = text.split_once("## Roles and grants").expect("a section");
    let (section, _) = after.split_once("\n## ").expect("its end");
    let blocks: Vec<Vec<String>> = section.split("```sql").skip(1).map(statements).collect();
    blocks.try_into().expect("two scripts")
}

fn statements(block: &str) -> Vec<String> {
    let (script, _) = block.split_once("```").expect("the end of a script");
    let lines = script.lines().filter_map(|line| line.split("--").next());
    let lines = lines.map(str::trim).filter(|line| !line.is_empty());
    lines.map(str::to_owned).collect()
}

/// A site whose databases give nothing to everybody, and the roles that the scripts make there.
struct GrantedSite {
    site: Site,
    roles: [String; 2],
}

impl GrantedSite {
    /// The scripts but for the statements that begin with `left_out`.
    async fn new(left_out: &str) -> Self {
        let site = Site::new().await;
        let database = site.pair.remote_url.rsplit('/').next().expect("a name");
        let database = database.to_owned();
        let closed = format!(
            "revoke all on schema public from public; revoke all on database \"{database}\" from public"
        );
        site.on_remote(&closed).await;
        site.on_local(&closed).await;
        let roles = ["meter_reader", "meter_sync"];
        let own = roles.map(|role| format!("{role}_of_{database}"));
        for (at, script) in documented().iter().enumerate() {
            let script = script
                .iter()
                .filter(|statement| left_out.is_empty() || !statement.starts_with(left_out));
            for statement in script {
                let on = format!("on database \"{database}\"");
                let statement = statement
                    .replace("on database meters", &on)
                    .replace("on database site", &on)
                    .replace(&format!("to {}", roles[at]), &format!("to {}", own[at]))
                    .replace(&format!("role {}", roles[at]), &format!("role {}", own[at]))
                    .replace(
                        &format!("authorization {}", roles[at]),
                        &format!("authorization {}", own[at]),
                    );
                match at {
                    0 => site.on_remote(&statement).await,
                    _ => site.on_local(&statement).await,
                }
            }
        }
        site.on_remote(
            "insert into meter (id, tenant_id, name) values (1, 7, 'a'), (2, 7, 'b'), (3, 7, 'c')",
        )
        .await;
        Self { site, roles: own }
    }

    fn settings(&self) -> CommandLineSettings {
        let url = |url: &str, role: &str| url.replace("postgres@", &format!("{role}@"));
        self.site
            .settings()
            .with(
                Setting::RemoteUrl,
                url(&self.site.pair.remote_url, &self.roles[0]),
            )
            .with(
                Setting::LocalUrl,
                url(&self.site.pair.local_url, &self.roles[1]),
            )
    }

    /// What a sync by these roles comes to.
    async fn outcome(&self) -> Option<RunOutcome> {
        let run = finish(&mirror(&self.settings()), RunRequest::new(RunTrigger::Cli)).await;
        println!("{run:#?}");
        run.outcome
    }

    async fn drop_roles(self) {
        let [remote, local] = &self.roles;
        let drop = |role: &str| format!("drop owned by {role} cascade; drop role {role}");
        self.site.on_remote(&drop(remote)).await;
        self.site.on_local(&drop(local)).await;
    }
}

#[tokio::test]
async fn the_documented_grants_are_enough() {
    let guarded = GrantedSite::new("").await;
    let findings = check::run(&config(&guarded.settings())).await;
    let failed = findings
        .iter()
        .filter(|f| matches!(f.verdict, Verdict::Failed(_)));
    assert_eq!(failed.count(), 0, "{findings:#?}");
    assert_eq!(guarded.outcome().await, Some(RunOutcome::Succeeded));
    let change =
        "update meter set name = 'A' where id = 1; update meter set active = false where id = 2;
        delete from meter where id = 3; insert into meter (id, tenant_id, name) values (4, 7, 'd')";
    guarded.site.on_remote(change).await;
    let mut request = RunRequest::new(RunTrigger::Cli);
    request.allow.mass_deactivation = DeactivationApproval::Any;
    let run = finish(&mirror(&guarded.settings()), request).await;
    assert_eq!(run.outcome, Some(RunOutcome::Succeeded), "{run:#?}");
    let shown = "select id, name, active from meter order by id";
    assert_eq!(
        rows(&guarded.site.local, shown).await,
        json!([{"id": "1", "name": "A", "active": true}, {"id": "2", "name": "b", "active": false},
            {"id": "3", "name": "c", "active": false}, {"id": "4", "name": "d", "active": true}])
    );
    guarded.drop_roles().await;
}

#[tokio::test]
async fn none_of_the_documented_grants_can_be_spared() {
    for grant in documented().concat() {
        if grant.starts_with("create role") {
            continue;
        }
        println!("without {grant}");
        let guarded = GrantedSite::new(&grant).await;
        let outcome = guarded.outcome().await;
        assert_ne!(outcome, Some(RunOutcome::Succeeded), "without {grant}");
        guarded.drop_roles().await;
    }
}
