//! Shares one read among all callers who wait for its result.
//!
//! A caller names the oldest moment that its answer may be from, and waits for a publication that was read since. One
//! task at a time reads, so a thousand callers cost one read, and none of them holds a connection. If that read takes long,
//! because its connection is frozen say, a second task reads beside it. A task ends when it has answered everyone, or when
//! nobody waits any more.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

/// How often a caller sees all reads end without an answer before it gives up. Once can happen, if everyone who waited for
/// a read has gone away; more often is a bug.
const ATTEMPTS: u32 = 3;
/// How long a read may take before a second one is started beside it: longer than a read waits for a count of the meters.
const SLOW: Duration = Duration::from_secs(3);
/// How many tasks read at the same time.
const TASKS: u32 = 2;

/// The last value that was read, and the tasks that read the next.
#[derive(Debug)]
pub(crate) struct SharedRead<T> {
    state: watch::Sender<State<T>>,
    /// Whether the last value is dropped when nobody waits, so that it takes no memory.
    forgets: bool,
}

#[derive(Debug)]
struct State<T> {
    last: Option<Published<T>>,
    /// When the last caller asked whom no publication has answered yet; `None` if all are answered.
    asked_at: Option<Instant>,
    /// How many tasks read.
    tasks: u32,
    /// When the newest read began.
    begun_at: Option<Instant>,
}

#[derive(Debug)]
struct Published<T> {
    /// When the read began.
    read_at: Instant,
    value: T,
}

impl<T> Default for SharedRead<T> {
    fn default() -> Self {
        Self::new(false)
    }
}

impl<T> SharedRead<T> {
    /// Nothing is read yet. With `forgets`, the last value is dropped as soon as nobody waits.
    pub(crate) fn new(forgets: bool) -> Self {
        let state = State {
            last: None,
            asked_at: None,
            tasks: 0,
            begun_at: None,
        };
        Self {
            state: watch::Sender::new(state),
            forgets,
        }
    }

    /// Drops the last value if that is wanted and nothing is being read.
    fn forget(&self) {
        if self.forgets {
            self.state.send_if_modified(|state| {
                state.last = state.last.take().filter(|_| state.tasks > 0);
                false
            });
        }
    }
}

impl<T: Clone + Send + Sync + 'static> SharedRead<T> {
    /// Returns the value that was published last, however old it is; `None` before the first.
    pub(crate) fn last(&self) -> Option<T> {
        let state = self.state.borrow();
        state.last.as_ref().map(|last| last.value.clone())
    }

    /// Returns the value as it was read at `time` or later. Starts a task that reads it if there is none, or if that one is
    /// slow; the task is handed the last value. Returns `None` only if a bug ends the reads.
    pub(crate) async fn since<R>(
        self: &Arc<Self>,
        time: Instant,
        tasks: &TaskTracker,
        read: impl Fn(Option<T>) -> R + Clone + Send + Sync + 'static,
    ) -> Option<T>
    where
        R: Future<Output = T> + Send + 'static,
    {
        let mut waiting = Waiting {
            published: self.state.subscribe(),
            shared: self,
        };
        let mut attempts = 0;
        while attempts < ATTEMPTS {
            if self.ask(time) {
                tasks.spawn(Arc::clone(self).read(read.clone()));
            }
            let is_over = |state: &State<T>| state.tasks == 0 || state.is_read_since(time);
            let waited = tokio::time::timeout(SLOW, waiting.published.wait_for(is_over)).await;
            let Ok(state) = waited else {
                continue;
            };
            let state = state.ok()?;
            if let Some(last) = state.last.as_ref().filter(|last| last.read_at >= time) {
                return Some(last.value.clone());
            }
            attempts += 1;
        }
        None
    }

    /// Listens to all publications, whoever asked for them.
    pub(crate) fn listener(&self) -> Listener<T> {
        Listener(self.state.subscribe())
    }

    /// Asks for a value read at `time` or later. Returns whether the caller must start a task that reads.
    fn ask(&self, time: Instant) -> bool {
        let now = Instant::now();
        let mut must_start = false;
        self.state.send_if_modified(|state| {
            if state.is_read_since(time) {
                return false;
            }
            state.asked_at = state.asked_at.max(Some(time));
            let is_slow = state
                .begun_at
                .is_none_or(|at| now.duration_since(at) >= SLOW);
            must_start = state.tasks == 0 || is_slow && state.tasks < TASKS;
            if must_start {
                state.tasks += 1;
                state.begun_at = Some(now);
            }
            false
        });
        must_start
    }

    async fn read<R>(self: Arc<Self>, read: impl Fn(Option<T>) -> R)
    where
        R: Future<Output = T>,
    {
        let mut running = Running(Some(&self));
        let read_once = async || {
            let read_at = Instant::now();
            let value = read(self.last()).await;
            self.publish(Published { read_at, value })
        };
        let reads = async { while !read_once().await {} };
        tokio::select! {
            () = reads => running.0 = None,
            () = self.state.closed() => {}
        }
        drop(running);
        if self.state.receiver_count() == 0 {
            self.forget();
        }
    }

    /// Publishes a value, unless a newer one was published meanwhile. Returns whether all that was asked is answered; the
    /// task that reads is over then.
    fn publish(&self, published: Published<T>) -> bool {
        let mut is_answered = false;
        self.state.send_modify(|state| {
            if !state.is_read_since(published.read_at) {
                state.last = Some(published);
            }
            let answered = state.last.as_ref().map(|last| last.read_at);
            is_answered = state.asked_at <= answered;
            if is_answered {
                state.asked_at = None;
                state.tasks = state.tasks.saturating_sub(1);
            } else {
                state.begun_at = Some(Instant::now());
            }
        });
        is_answered
    }
}

impl<T> State<T> {
    fn is_read_since(&self, time: Instant) -> bool {
        self.last.as_ref().is_some_and(|last| last.read_at >= time)
    }
}

/// A task that reads. If it ends without an answer, it wakes the callers. `None` once it has answered.
struct Running<'a, T>(Option<&'a SharedRead<T>>);

impl<T> Drop for Running<'_, T> {
    fn drop(&mut self) {
        if let Some(shared) = self.0 {
            shared.state.send_modify(|state| {
                state.tasks = state.tasks.saturating_sub(1);
            });
        }
    }
}

/// A caller that waits.
struct Waiting<'a, T> {
    published: watch::Receiver<State<T>>,
    shared: &'a SharedRead<T>,
}

impl<T> Drop for Waiting<'_, T> {
    fn drop(&mut self) {
        if self.shared.state.receiver_count() == 1 {
            self.shared.forget();
        }
    }
}

/// A listener for the values that are published.
#[derive(Debug)]
pub(crate) struct Listener<T>(watch::Receiver<State<T>>);

impl<T> Listener<T> {
    /// Waits until the last published value is one for which `is_wanted` holds. Returns at once if it already is.
    /// Returns `false` if no more values can be published.
    pub(crate) async fn wait_for(&mut self, is_wanted: impl Fn(&T) -> bool) -> bool {
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

    use super::*;

    /// Counts reads. The first `hanging` of them never end.
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
        let (published, source): (Arc<SharedRead<u32>>, _) =
            (Arc::default(), Source::hanging_once());
        let patience = Duration::from_millis(20);
        let waited = tokio::time::timeout(patience, now(&published, &source)).await;
        assert!(waited.is_err(), "{waited:?}");
        // The task has to hear of it.
        while published.state.borrow().tasks > 0 {
            tokio::task::yield_now().await;
        }
        assert_eq!(now(&published, &source).await, Some(2));
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
