//! The tenants that a caller may see.

use std::sync::Arc;

/// The tenants of which a caller may be told. A caller with a token that is limited to some tenants must not learn the
/// ids of others.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VisibleTenants(Option<Arc<[String]>>);

impl VisibleTenants {
    /// Creates the set of the tenants with these ids; `None` stands for all tenants.
    pub fn new(ids: Option<Vec<String>>) -> Self {
        Self(ids.map(Arc::from))
    }

    /// Whether the caller may be told the id of this tenant. The spelling must be the same.
    pub fn includes(&self, id: &str) -> bool {
        self.0
            .as_deref()
            .is_none_or(|ids| ids.iter().any(|known| known == id))
    }
}
