//! Limits the number of open HTTP connections, and closes an idle one to make room for a new one.
//!
//! A connection is idle while the server waits for its client: for a request, for the rest of a request, or for the
//! client to read a response. Idle connections on which no request was answered yet are closed first, then those that
//! have been idle longest. So clients that send nothing cannot lock others out. If no connection is idle, a few
//! connections beyond the limit are accepted, and only health checks are answered on them.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use tokio_util::sync::CancellationToken;

/// How many connections are accepted beyond the limit while no connection is idle. They may request only the health
/// checks. One more closes the oldest of them.
const FOR_HEALTH: usize = 16;

/// The open connections of the server. Clones share one list.
#[derive(Clone, Debug)]
pub(super) struct OpenConnections {
    limit: usize,
    open: Arc<Mutex<OpenConnectionTable>>,
}

/// The open connections, each under a number of its own, and the number for the next one.
#[derive(Debug, Default)]
struct OpenConnectionTable {
    known: BTreeMap<u64, OpenConnection>,
    next: u64,
}

/// One open connection: its client's address, whether it is idle or busy, and the token that closes it.
#[derive(Debug)]
struct OpenConnection {
    peer: IpAddr,
    is_for_health: bool,
    activity: ConnectionActivity,
    close: CancellationToken,
}

/// Whether a connection is idle or busy, and since when. Clones share one state.
#[derive(Clone, Debug)]
pub(super) struct ConnectionActivity(Arc<Mutex<ConnectionActivityState>>);

/// The data of a [`ConnectionActivity`], which its clones share.
#[derive(Debug)]
struct ConnectionActivityState {
    /// Whether the server waits for a request, or for the rest of one.
    waits: bool,
    /// Whether a response cannot be sent further because the client does not read.
    is_unread: bool,
    was_answered: bool,
    since: Instant,
}

/// The entry of one open connection in [`OpenConnections`]. Dropping it removes the entry.
#[derive(Debug)]
pub(super) struct ConnectionSlot {
    id: u64,
    connections: OpenConnections,
    /// Whether only health checks are answered on this connection.
    pub(super) is_for_health: bool,
    pub(super) activity: ConnectionActivity,
    /// Cancelled when the connection must be closed to make room for another one.
    pub(super) close: CancellationToken,
}

impl OpenConnections {
    pub(super) fn new(limit: usize) -> Self {
        Self {
            limit,
            open: Arc::default(),
        }
    }

    /// Adds a connection from `peer` and returns its entry. If the limit is reached, an idle connection is closed. If
    /// none is idle, the new connection may request only the health checks.
    pub(super) fn enter(&self, peer: IpAddr) -> ConnectionSlot {
        let mut open = self.lock();
        let is_for_health = !open.make_room(self.limit, peer);
        if is_for_health {
            open.make_room_for_health();
        }
        let id = open.next;
        open.next += 1;
        let (activity, close) = (ConnectionActivity::new(), CancellationToken::new());
        let known = OpenConnection {
            peer,
            is_for_health,
            activity: activity.clone(),
            close: close.clone(),
        };
        open.known.insert(id, known);
        ConnectionSlot {
            id,
            connections: self.clone(),
            is_for_health,
            activity,
            close,
        }
    }

    /// Closes one idle connection, to free a file descriptor when the process cannot accept another connection. Returns
    /// `false` if no connection is idle.
    pub(super) fn close_one(&self) -> bool {
        let mut open = self.lock();
        let longest = open.longest_waiting(|_| true);
        longest.is_some_and(|id| open.close(id))
    }

    fn lock(&self) -> MutexGuard<'_, OpenConnectionTable> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl OpenConnectionTable {
    /// Makes room for one more connection from `peer`: if it would exceed `limit`, closes an idle connection. Returns
    /// `false` if it would exceed the limit and no connection can be closed.
    ///
    /// One peer may have at most three quarters of `limit`, so that a reverse proxy, which needs many, leaves some for
    /// other clients. If a peer has that many, one of its own idle connections is closed.
    fn make_room(&mut self, limit: usize, peer: IpAddr) -> bool {
        let most = (limit - limit / 4).max(1);
        if self.count(|known| known.peer == peer) >= most {
            let longest = self.longest_waiting(|known| known.peer == peer);
            return longest.is_some_and(|id| self.close(id));
        }
        if self.count(|_| true) < limit {
            return true;
        }
        let longest = self.longest_waiting(|_| true);
        longest.is_some_and(|id| self.close(id))
    }

    fn make_room_for_health(&mut self) {
        let mut for_health = self.known.iter().filter(|(_, known)| known.is_for_health);
        let oldest = for_health.next().map(|(id, _)| *id);
        if for_health.count() + 1 >= FOR_HEALTH
            && let Some(oldest) = oldest
        {
            self.close(oldest);
        }
    }

    fn count(&self, counts: impl Fn(&OpenConnection) -> bool) -> usize {
        let known = self.known.values();
        known
            .filter(|known| !known.is_for_health && counts(known))
            .count()
    }

    fn longest_waiting(&self, may_go: impl Fn(&OpenConnection) -> bool) -> Option<u64> {
        let ours = self
            .known
            .iter()
            .filter(|(_, known)| !known.is_for_health && may_go(known));
        let waiting = ours.filter_map(|(id, known)| Some((known.activity.waiting()?, *id)));
        waiting.min().map(|(_, id)| id)
    }

    fn close(&mut self, id: u64) -> bool {
        let known = self.known.remove(&id);
        known.inspect(|known| known.close.cancel()).is_some()
    }
}

impl Drop for ConnectionSlot {
    fn drop(&mut self) {
        self.connections.lock().known.remove(&self.id);
    }
}

impl ConnectionActivity {
    fn new() -> Self {
        Self(Arc::new(Mutex::new(ConnectionActivityState {
            waits: true,
            is_unread: false,
            was_answered: false,
            since: Instant::now(),
        })))
    }

    /// Marks the connection as busy. Called when a handler has read the whole request body, or has dropped it.
    pub(super) fn mark_busy(&self) {
        self.change(|doing| doing.waits = false);
    }

    /// Marks the connection as idle: the request was answered, and the server waits for the next one.
    pub(super) fn mark_answered(&self) {
        self.change(|doing| {
            doing.waits = true;
            doing.was_answered = true;
        });
    }

    /// Records whether a response cannot be sent further because the client does not read. If so, the connection is
    /// idle.
    pub(super) fn set_unread(&self, is_unread: bool) {
        self.change(|doing| doing.is_unread = is_unread);
    }

    /// Returns whether a request was ever answered on the connection, and since when it is idle. `None` if it is busy.
    fn waiting(&self) -> Option<(bool, Instant)> {
        let doing = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        (doing.waits || doing.is_unread).then_some((doing.was_answered, doing.since))
    }

    fn change(&self, change: impl FnOnce(&mut ConnectionActivityState)) {
        let mut doing = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut doing);
        doing.since = Instant::now();
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    fn peer(n: u8) -> IpAddr {
        Ipv4Addr::new(10, 0, 0, n).into()
    }

    #[test]
    fn one_that_was_never_answered_goes_before_those_that_were() {
        let connections = OpenConnections::new(4);
        let answered = connections.enter(peer(1));
        answered.activity.mark_busy();
        answered.activity.mark_answered();
        let silent = [2, 3].map(|n| connections.enter(peer(n)));
        let working = connections.enter(peer(4));
        working.activity.mark_busy();
        let fifth = connections.enter(peer(5));
        assert!(!fifth.is_for_health);
        assert!(silent[0].close.is_cancelled(), "it has waited longest");
        fifth.activity.mark_busy();
        let _sixth = connections.enter(peer(6));
        assert!(silent[1].close.is_cancelled());
        let seventh = connections.enter(peer(7));
        assert!(!answered.close.is_cancelled() && !seventh.is_for_health);
        assert!(!working.close.is_cancelled());
    }

    #[test]
    fn one_peer_leaves_others_a_quarter() {
        let connections = OpenConnections::new(8);
        let of_one: Vec<_> = (0..6).map(|_| connections.enter(peer(1))).collect();
        of_one.iter().for_each(|slot| slot.activity.mark_busy());
        assert!(connections.enter(peer(1)).is_for_health);
        assert!(!connections.enter(peer(2)).is_for_health);
    }

    #[test]
    fn where_all_are_at_work_some_are_taken_for_health_checks() {
        let connections = OpenConnections::new(2);
        let working = [1, 2].map(|n| connections.enter(peer(n)));
        working.iter().for_each(|slot| slot.activity.mark_busy());
        let taken: Vec<_> = (0..=FOR_HEALTH)
            .map(|_| connections.enter(peer(3)))
            .collect();
        assert!(taken.iter().all(|slot| slot.is_for_health));
        let closed = taken.iter().filter(|slot| slot.close.is_cancelled());
        assert_eq!(closed.count(), 1);
        assert!(taken[0].close.is_cancelled());
        assert!(working.iter().all(|slot| !slot.close.is_cancelled()));
        working[0].activity.set_unread(true);
        assert!(!connections.enter(peer(4)).is_for_health);
        assert!(working[0].close.is_cancelled(), "its client does not read");
        drop(working);
        assert!(!connections.enter(peer(5)).is_for_health);
    }
}
