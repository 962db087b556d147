//! Shares one read of a value, such as a query, among all callers who wait for the value at the same time.
//!
//! A caller says how old its answer may be, and waits for a value that was read since that time. The callers take turns
//! to read. Those who wait for their turn are answered as soon as another caller publishes a value that is new enough.
//! So a thousand callers at the same time cost one or two reads, and only one of them holds a connection. If a read
//! takes long, for example because its connection is frozen, a second caller reads at the same time.
//!
//! Each caller reads in a task of its own. Otherwise a caller that nobody polls, for example because its client reads
//! slowly, would block all others during its turn. The task continues after its caller has gone away, as long as others
//! wait.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Mutex, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

/// How long a caller waits for its turn to read. After that, it reads at the same time as the caller whose turn it is.
/// This is longer than the longest wait for a count of meters, so a read that only waits for such a count does not
/// cause a second read.
const SLOW: Duration = Duration::from_secs(3);

/// A value that is read again when a caller needs a newer one, with the locks that let callers read in turn.
#[derive(Debug)]
pub(crate) struct SharedRead<T> {
    last: watch::Sender<Option<PublishedValue<T>>>,
    /// Whether to drop the last value when nobody waits for a value, so that it takes no memory.
    forgets: bool,
    /// The lock that a caller holds while it reads.
    turn: Mutex<()>,
    /// The lock that a second caller holds while it reads, because the read of the first caller takes long.
    second_turn: Mutex<()>,
}

/// A value that a caller has read and published.
#[derive(Debug)]
pub(crate) struct PublishedValue<T> {
    /// When the read began.
    read_at: Instant,
    pub(crate) value: T,
}

impl<T> Default for SharedRead<T> {
    fn default() -> Self {
        Self::new(false)
    }
}

impl<T> SharedRead<T> {
    /// Creates a shared read that has no value yet. If `forgets` is set, the last value is dropped as soon as nobody
    /// waits.
    pub(crate) fn new(forgets: bool) -> Self {
        Self {
            last: watch::Sender::new(None),
            forgets,
            turn: Mutex::default(),
            second_turn: Mutex::default(),
        }
    }
}

impl<T: Clone + Send + Sync + 'static> SharedRead<T> {
    /// Returns the last value that a caller read, however old it is; `None` if there is none, or if it was dropped.
    pub(crate) fn last(&self) -> Option<T> {
        let last = self.last.borrow();
        last.as_ref().map(|last| last.value.clone())
    }

    /// Returns a value that was read at `time` or later. If the last value is older, waits for this caller's turn and
    /// reads a new one with `read`, which gets the last value. If another caller publishes such a value first, returns
    /// that. Returns `None` only if a bug ends the read.
    pub(crate) async fn since<R: Future<Output = T> + Send>(
        self: &Arc<Self>,
        time: Instant,
        tasks: &TaskTracker,
        read: impl FnOnce(Option<T>) -> R + Send + 'static,
    ) -> Option<T> {
        if is_since(&self.last.borrow(), time) {
            return self.last();
        }
        let shared = Arc::clone(self);
        let reading = async move { shared.read_in_turn(time, read).await };
        let mut caller = WaitingCaller {
            shared: self,
            reading: tasks.spawn(reading),
        };
        let mut published = self.last.subscribe();
        tokio::select! {
            biased;
            answer = published.wait_for(|last| is_since(last, time)) => {
                answer.ok()?.as_ref().map(|last| last.value.clone())
            }
            value = &mut caller.reading => value.ok()?,
        }
    }

    async fn read_in_turn<R: Future<Output = T>>(
        &self,
        time: Instant,
        read: impl FnOnce(Option<T>) -> R,
    ) -> Option<T> {
        let second_turn = async {
            tokio::time::sleep(SLOW).await;
            self.second_turn.lock().await
        };
        let _turn = tokio::select! {
            turn = self.turn.lock() => turn,
            turn = second_turn => turn,
        };
        // Another caller may have published an answer just before it gave up its turn.
        if is_since(&self.last.borrow(), time) {
            return self.last();
        }
        let read_at = Instant::now();
        let value = read(self.last()).await;
        self.last.send_if_modified(|last| {
            let is_newest = !is_since(last, read_at);
            if is_newest {
                let value = value.clone();
                *last = Some(PublishedValue { read_at, value });
            }
            is_newest
        });
        Some(value)
    }

    /// Returns a channel with the last value that a caller published.
    pub(crate) fn subscribe(&self) -> watch::Receiver<Option<PublishedValue<T>>> {
        self.last.subscribe()
    }
}

fn is_since<T>(last: &Option<PublishedValue<T>>, time: Instant) -> bool {
    last.as_ref().is_some_and(|last| last.read_at >= time)
}

/// A caller who waits, with the task that reads for it. When it is dropped and nobody else waits, ends the task, and
/// drops the last value if `forgets` is set.
struct WaitingCaller<'a, T> {
    shared: &'a SharedRead<T>,
    reading: JoinHandle<Option<T>>,
}

impl<T> Drop for WaitingCaller<'_, T> {
    fn drop(&mut self) {
        if self.shared.last.receiver_count() > 0 {
            return;
        }
        self.reading.abort();
        if self.shared.forgets {
            self.shared.last.send_replace(None);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use futures_util::future::join_all;

    use super::*;

    /// A value for tests that counts how often it is read. The first `hanging` reads never end.
    #[derive(Debug, Default)]
    struct Source {
        begun: AtomicU32,
        hanging: u32,
    }

    impl Source {
        fn hanging_once() -> Arc<Self> {
            Arc::new(Self {
                hanging: 1,
                ..Self::default()
            })
        }

        async fn read(self: Arc<Self>) -> u32 {
            let n = self.begun.fetch_add(1, Ordering::SeqCst) + 1;
            if n <= self.hanging {
                std::future::pending::<()>().await;
            }
            n
        }
    }

    async fn now(published: &Arc<SharedRead<u32>>, source: &Arc<Source>) -> Option<u32> {
        let (source, tasks) = (Arc::clone(source), TaskTracker::new());
        let read = |_| source.read();
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
        let (published, source) = (Arc::default(), Source::hanging_once());
        let patience = Duration::from_millis(20);
        let waited = tokio::time::timeout(patience, now(&published, &source)).await;
        assert!(waited.is_err(), "{waited:?}");
        assert_eq!(now(&published, &source).await, Some(2));
    }

    #[tokio::test(start_paused = true)]
    async fn callers_that_nobody_polls_keep_no_turn_from_others() {
        let (published, source): (Arc<SharedRead<u32>>, Arc<Source>) = Default::default();
        let mut unpolled: Vec<_> = (0..5).map(|_| Box::pin(now(&published, &source))).collect();
        for caller in &mut unpolled {
            // They ask once and are left alone from then on.
            assert!(futures_util::poll!(caller).is_pending());
        }
        let began = Instant::now();
        assert!(now(&published, &source).await.is_some());
        assert!(began.elapsed() < SLOW, "{:?}", began.elapsed());
    }

    #[tokio::test]
    async fn a_read_that_panics_leaves_nobody_waiting() {
        let (published, tasks): (Arc<SharedRead<u32>>, _) = (Arc::default(), TaskTracker::new());
        let read = |_| async { panic!("a bug") };
        let answer = published.since(Instant::now(), &tasks, read).await;
        assert_eq!(answer, None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_read_that_hangs_holds_nobody_up_for_longer_than_it_may_take() {
        let (published, source) = (Arc::default(), Source::hanging_once());
        let began = Instant::now();
        let answers = join_all((0..10).map(|_| now(&published, &source))).await;
        assert_eq!(answers, [Some(2); 10]);
        assert!(began.elapsed() < SLOW * 2, "{:?}", began.elapsed());
    }

    #[tokio::test]
    async fn a_value_that_nobody_waits_for_is_forgotten_where_that_is_wanted() {
        for forgets in [false, true] {
            let (published, source) = (Arc::new(SharedRead::new(forgets)), Arc::default());
            assert_eq!(now(&published, &source).await, Some(1));
            assert_eq!(published.last(), (!forgets).then_some(1));
        }
    }
}
