//! Shares one read among all callers who wait for its result.
//!
//! A caller asks for a value that was read at a given time or later, and waits until such a value is published. One
//! task at a time reads, so a thousand callers cost one read, and none of them holds a connection. The task ends when
//! every caller has an answer, or when nobody waits any more.

use std::sync::Arc;

use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

/// How often a caller starts a read or waits for one, before it gives up. Only a bug makes reads end without a value
/// more than once.
const ATTEMPTS: u32 = 3;

/// The value that was read last, and the state of the task that reads the next one.
#[derive(Debug)]
pub(in crate::mirrors) struct SharedRead<T> {
    state: watch::Sender<State<T>>,
}

#[derive(Debug)]
struct State<T> {
    last: Option<Published<T>>,
    /// The latest time for which a caller has asked for a value. The task reads until it has a value that is as new.
    /// `None` if no task is reading.
    asked_at: Option<Instant>,
}

#[derive(Debug)]
struct Published<T> {
    /// When the read began.
    read_at: Instant,
    value: T,
}

impl<T> Default for SharedRead<T> {
    fn default() -> Self {
        let (last, asked_at) = (None, None);
        Self {
            state: watch::Sender::new(State { last, asked_at }),
        }
    }
}

impl<T: Clone + Send + Sync + 'static> SharedRead<T> {
    /// Returns the value that was published last, however old it is; `None` before the first.
    pub(in crate::mirrors) fn last(&self) -> Option<T> {
        let state = self.state.borrow();
        state.last.as_ref().map(|last| last.value.clone())
    }

    /// Returns a value that was read at `time` or later. If there is none yet and no task is reading, starts a task on
    /// `tasks` that calls `read` with the last value. Returns `None` only if a bug ends the reads.
    pub(in crate::mirrors) async fn since<R>(
        self: &Arc<Self>,
        time: Instant,
        tasks: &TaskTracker,
        read: impl Fn(Option<T>) -> R + Clone + Send + Sync + 'static,
    ) -> Option<T>
    where
        R: Future<Output = T> + Send + 'static,
    {
        let mut published = self.state.subscribe();
        for _ in 0..ATTEMPTS {
            if self.ask(time) {
                tasks.spawn(Arc::clone(self).read(read.clone()));
            }
            let is_over = |state: &State<T>| state.asked_at.is_none() || state.is_read_since(time);
            let state = published.wait_for(is_over).await.ok()?;
            if let Some(last) = state.last.as_ref().filter(|last| last.read_at >= time) {
                return Some(last.value.clone());
            }
        }
        None
    }

    /// Listens to all publications, whoever asked for them.
    pub(in crate::mirrors) fn listener(&self) -> Listener<T> {
        Listener(self.state.subscribe())
    }

    /// Asks for a value read at `time` or later. Returns whether the caller must start the task that reads.
    fn ask(&self, time: Instant) -> bool {
        let mut must_start = false;
        self.state.send_if_modified(|state| {
            if !state.is_read_since(time) {
                must_start = state.asked_at.is_none();
                state.asked_at = state.asked_at.max(Some(time));
            }
            false
        });
        must_start
    }

    async fn read<R>(self: Arc<Self>, read: impl Fn(Option<T>) -> R)
    where
        R: Future<Output = T>,
    {
        let mut unfinished = Unfinished(Some(&self));
        let read_once = async || {
            let read_at = Instant::now();
            let value = read(self.last()).await;
            self.publish(Published { read_at, value })
        };
        let reads = async { while !read_once().await {} };
        tokio::select! {
            () = reads => unfinished.0 = None,
            () = self.state.closed() => {}
        }
    }

    /// Publishes a value. Returns whether it answers all callers, so that the task that reads is over.
    fn publish(&self, published: Published<T>) -> bool {
        let mut is_answered = false;
        self.state.send_modify(|state| {
            is_answered = state.asked_at <= Some(published.read_at);
            if is_answered {
                state.asked_at = None;
            }
            state.last = Some(published);
        });
        is_answered
    }
}

impl<T> State<T> {
    fn is_read_since(&self, time: Instant) -> bool {
        self.last.as_ref().is_some_and(|last| last.read_at >= time)
    }
}

/// Wakes the callers if the task that reads ends without answering all of them, because nobody waited or because of a
/// bug. Holds `None` once all are answered.
struct Unfinished<'a, T>(Option<&'a SharedRead<T>>);

impl<T> Drop for Unfinished<'_, T> {
    fn drop(&mut self) {
        if let Some(shared) = self.0 {
            shared.state.send_modify(|state| state.asked_at = None);
        }
    }
}

/// A listener for the values that are published.
#[derive(Debug)]
pub(in crate::mirrors) struct Listener<T>(watch::Receiver<State<T>>);

impl<T> Listener<T> {
    /// Waits until the last published value is one for which `is_wanted` holds. Returns at once if it already is.
    /// Returns `false` if no more values can be published.
    pub(in crate::mirrors) async fn wait_for(&mut self, is_wanted: impl Fn(&T) -> bool) -> bool {
        let is_wanted = |state: &State<T>| {
            let last = state.last.as_ref();
            last.is_some_and(|last| is_wanted(&last.value))
        };
        self.0.wait_for(is_wanted).await.is_ok()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::time::Duration;

    use futures_util::future::join_all;
    use tokio::sync::Semaphore;

    use super::*;

    /// Counts reads, each of which waits for a permit.
    #[derive(Debug, Default)]
    struct Source {
        begun: AtomicU32,
        permits: Option<Semaphore>,
    }

    impl Source {
        async fn read(self: Arc<Self>) -> u32 {
            let n = self.begun.fetch_add(1, Ordering::SeqCst) + 1;
            if let Some(permits) = &self.permits {
                permits.acquire().await.expect("open").forget();
            }
            n
        }
    }

    async fn now(published: &Arc<SharedRead<u32>>, source: &Arc<Source>) -> Option<u32> {
        let (source, tasks) = (Arc::clone(source), TaskTracker::new());
        let read = move |_| Arc::clone(&source).read();
        published.since(Instant::now(), &tasks, read).await
    }

    #[tokio::test]
    async fn callers_at_the_same_time_share_a_read() {
        let (published, source) = (Arc::default(), Arc::default());
        let answers = join_all((0..1000).map(|_| now(&published, &source))).await;
        assert!(answers.iter().all(Option::is_some), "{answers:?}");
        assert!(source.begun.load(Ordering::SeqCst) <= 2, "{source:?}");
        // What was read before a caller came is no answer to it.
        let last = published.last();
        assert!(now(&published, &source).await > last);
    }

    #[tokio::test]
    async fn a_read_that_nobody_waits_for_ends_and_the_next_caller_starts_another() {
        let permits = Some(Semaphore::new(0));
        let source = Arc::new(Source {
            permits,
            ..Source::default()
        });
        let published: Arc<SharedRead<u32>> = Arc::default();
        let patience = Duration::from_millis(20);
        let waited = tokio::time::timeout(patience, now(&published, &source)).await;
        assert!(waited.is_err(), "{waited:?}");
        // The task has to hear of it.
        while published.state.borrow().asked_at.is_some() {
            tokio::task::yield_now().await;
        }
        source.permits.as_ref().expect("permits").add_permits(1);
        assert_eq!(now(&published, &source).await, Some(2));
    }

    #[tokio::test]
    async fn a_read_that_panics_leaves_nobody_waiting() {
        let (published, tasks): (Arc<SharedRead<u32>>, _) = (Arc::default(), TaskTracker::new());
        let read = |_| async { panic!("a bug") };
        let answer = published.since(Instant::now(), &tasks, read).await;
        assert_eq!(answer, None);
    }
}
