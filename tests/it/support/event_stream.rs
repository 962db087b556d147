//! Reads a stream of server-sent events.

use futures_util::{Stream, stream};
use reqwest::Response;

/// The events of a stream, each with its name.
pub(crate) fn events(response: Response) -> impl Stream<Item = (String, String)> {
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    stream::unfold((response, Vec::new()), async |(mut response, mut read)| {
        loop {
            if let Some(end) = read.windows(2).position(|pair| pair == b"\n\n") {
                let event: Vec<u8> = read.drain(..end + 2).collect();
                match parsed(&String::from_utf8(event).expect("UTF-8")) {
                    Some(event) => return Some((event, (response, read))),
                    None => continue, // a sign of life
                }
            }
            let more = response.chunk().await.ok().flatten()?;
            read.extend_from_slice(&more);
        }
    })
}

/// An event's name and data.
fn parsed(event: &str) -> Option<(String, String)> {
    let field = |name| event.lines().find_map(|line| line.strip_prefix(name));
    Some((field("event: ")?.to_owned(), field("data: ")?.to_owned()))
}
