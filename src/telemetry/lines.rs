//! The log's lines on their way to stderr. A thread of its own writes them, so that nothing waits for whoever started the
//! program and does not read its stderr: what comes while too many lines wait is lost, counted, and told of afterwards.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::Duration;

/// So many lines wait to be written.
const WAITING: usize = 1024;
/// The end of the program waits so long for what is still to be written.
const PATIENCE: Duration = Duration::from_secs(1);

/// Where lines are put.
#[derive(Clone, Debug)]
pub(super) struct Lines {
    queue: SyncSender<Message>,
    lost: Arc<AtomicU64>,
}

#[derive(Debug)]
enum Message {
    Line(Vec<u8>),
    /// All before it is written: answer.
    Written(SyncSender<()>),
}

/// Keeps the log written. Dropping it waits until what was logged is written, for a second at most.
#[derive(Debug)]
#[must_use = "the last lines may be lost without it"]
pub struct Logging(Lines);

impl Lines {
    /// Starts to write to `output`, which nothing else waits for.
    pub(super) fn to(output: impl io::Write + Send + 'static) -> io::Result<(Self, Logging)> {
        let (queue, waiting) = sync_channel(WAITING);
        let lines = Self {
            queue,
            lost: Arc::default(),
        };
        let lost = Arc::clone(&lines.lost);
        let write = move || write(&waiting, output, &lost);
        thread::Builder::new().name("log".to_owned()).spawn(write)?;
        Ok((lines.clone(), Logging(lines)))
    }
}

fn write(waiting: &Receiver<Message>, mut output: impl io::Write, lost: &AtomicU64) {
    for message in waiting {
        match message {
            // Nothing ends because nobody takes the log.
            Message::Line(line) => drop(output.write_all(&line)),
            Message::Written(answer) => drop(answer.send(())),
        }
        let lost = lost.swap(0, Ordering::Relaxed);
        if lost > 0 {
            tracing::warn!(
                lines = lost,
                "lines of this log were lost: they were not read in time"
            );
        }
    }
}

/// Takes one line a call, as the formatting layer gives them.
impl io::Write for Lines {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if self.queue.try_send(Message::Line(line.to_vec())).is_err() {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Logging {
    fn drop(&mut self) {
        let (answer, written) = sync_channel(1);
        let is_asked = self.0.queue.try_send(Message::Written(answer)).is_ok();
        if is_asked && written.recv_timeout(PATIENCE).is_err() {
            // Nobody reads: what still waits is lost.
        }
    }
}
