//! Tables that inherit from the local one: its unique indexes do not cover them, so a key may be there twice.

use super::reached::Reached;
use super::{Finding, Verdict};
use crate::db::{Local, param};
use crate::sync::{self, Shape, SyncError};

/// Whether a key is held twice, where tables inherit from the local one.
pub(super) async fn finding(local: &mut Reached<Local>, shape: &Shape) -> Option<Finding> {
    let looked = look(local, shape).await.transpose()?;
    let looked = looked.map_err(|error| error.failure());
    Some(Finding::of("keys of inheriting tables", looked))
}

const INHERITED: &str = "\
-- look for tables that inherit
select exists (
    select from pg_catalog.pg_inherits i join pg_catalog.pg_class c on c.oid = i.inhparent
    where i.inhparent = $1 and c.relkind = 'r')";

async fn look(local: &mut Reached<Local>, shape: &Shape) -> Result<Option<Verdict>, SyncError> {
    let tx = local.look().await?;
    let params = [param::oid(shape.local_oid)];
    let is_inherited: bool = tx.query_one(INHERITED, &params).await?.get(0);
    if !is_inherited {
        return Ok(None);
    }
    tx.use_role_path().await?;
    sync::refuse_held_twice(&tx, shape, "true").await?;
    Ok(Some(Verdict::Ok("no key is held twice".to_owned())))
}
