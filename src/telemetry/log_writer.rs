//! Writes log lines to stderr from a thread of its own, so that the program never blocks if nobody reads its stderr. If
//! too many lines wait to be written, further lines are dropped, and a later line reports how many.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::Duration;

/// How many lines can wait to be written. Further lines are dropped.
const WAITING: usize = 1024;
/// How long the program waits, when it ends, for lines that are not written yet.
const PATIENCE: Duration = Duration::from_secs(1);

/// Queues log lines for the thread that writes them.
#[derive(Clone, Debug)]
pub(super) struct LogWriter {
    queue: SyncSender<LogMessage>,
    lost: Arc<AtomicU64>,
}

/// What is sent to the thread that writes log lines.
#[derive(Debug)]
enum LogMessage {
    Line(Vec<u8>),
    /// Asks the thread to send `()` once all earlier lines are written.
    Written(SyncSender<()>),
}

/// A guard for the end of the program: dropping it waits until all queued lines are written, for at most a second. It
/// does not wait if the queue is full, because then nobody reads the lines.
#[derive(Debug)]
#[must_use = "the last lines may be lost without it"]
pub struct LogGuard(LogWriter);

impl LogWriter {
    /// Starts the thread that writes to `output`, and returns its queue and a guard for the end of the program. If
    /// writing to `output` blocks, only that thread waits.
    pub(super) fn start(output: impl io::Write + Send + 'static) -> io::Result<(Self, LogGuard)> {
        let (queue, waiting) = sync_channel(WAITING);
        let lines = Self {
            queue,
            lost: Arc::default(),
        };
        let lost = Arc::clone(&lines.lost);
        let write = move || write(&waiting, output, &lost);
        thread::Builder::new().name("log".to_owned()).spawn(write)?;
        Ok((lines.clone(), LogGuard(lines)))
    }
}

fn write(waiting: &Receiver<LogMessage>, mut output: impl io::Write, lost: &AtomicU64) {
    for message in waiting {
        match message {
            // A failed write is ignored: the program goes on without its log.
            LogMessage::Line(line) => drop(output.write_all(&line)),
            LogMessage::Written(answer) => drop(answer.send(())),
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

/// Each call of `write` queues one line, because the log formatter writes one line per call. If the queue is full, the
/// line is dropped and counted.
impl io::Write for LogWriter {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if self
            .queue
            .try_send(LogMessage::Line(line.to_vec()))
            .is_err()
        {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for LogGuard {
    fn drop(&mut self) {
        let (answer, written) = sync_channel(1);
        let is_asked = self.0.queue.try_send(LogMessage::Written(answer)).is_ok();
        if is_asked && written.recv_timeout(PATIENCE).is_err() {
            // Nobody reads stderr, so the lines that still wait are lost.
        }
    }
}
