//! Scenes of the demo: states that an operator should have seen once, such as a sync that the brake holds back. A scene
//! changes the remote after the first sync, and the sync after that shows it.

use super::owner_connection::OwnerConnection;
use crate::error::Failure;
use crate::mirrors::Mirror;
use crate::model::PauseRequest;

/// A state that the demo can show.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum DemoScene {
    /// The central database has lost most meters: the brake refuses the sync until a person decides
    Brake,
    /// The central database has renamed a column
    Drift,
    /// A meter's new name is too long for the site's column: its row is rejected
    Rejected,
    /// The central database was restored from an earlier backup
    Restore,
    /// A person has paused the syncs
    Paused,
}

const BRAKE: &str = "\
-- demo: lose most meters
delete from meter where tenant_id = 7 and id > 40";

const DRIFT: &str = "\
-- demo: rename a column
alter table meter rename column notes to remarks";

const REJECTED: &str = "\
-- demo: give a meter a name that is too long for the site
update meter set name = rpad(name || ' ', 100, 'and so on '), updated_at = now() where id = 5 and tenant_id = 7";

const RESTORE: &str = "\
-- demo: restore the meters from an earlier backup
alter table meter rename to meter_before;
create table meter (like meter_before including all);
insert into meter select * from meter_before where id <> 42;
drop table meter_before";

impl DemoScene {
    /// Brings the scene about.
    pub(super) async fn set(self, remote_url: &str, mirror: &Mirror) -> anyhow::Result<()> {
        let sql = match self {
            Self::Brake => BRAKE,
            Self::Drift => DRIFT,
            Self::Rejected => REJECTED,
            Self::Restore => RESTORE,
            Self::Paused => return Ok(pause(mirror).await?),
        };
        let mut owner = OwnerConnection::connect(remote_url).await?;
        let tx = owner.begin().await?;
        tx.batch_execute(sql).await?;
        tx.commit().await?;
        owner.close().await;
        Ok(())
    }
}

async fn pause(mirror: &Mirror) -> Result<(), Failure> {
    let request = PauseRequest {
        by: Some("demo".to_owned()),
        reason: "an electrician is replacing meters in the boiler house".to_owned(),
        until: None,
    };
    mirror.pause(&request).await.map(drop)
}
