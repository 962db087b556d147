//! The HTTP server of an authorization server that gives its keys, and may fail at that.

use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Redirect, Response};
use tokio::net::TcpListener;
use tokio_util::sync::{CancellationToken, DropGuard};

/// How it answers.
#[derive(Clone)]
pub(super) enum Behaviour {
    /// With this text.
    Gives(String),
    /// With this status.
    Fails(StatusCode),
    /// Not at all.
    Hangs,
    /// With a body that never ends.
    Endless,
    /// From another path it would answer with this text; here it leads there.
    Redirects(String),
}

#[derive(Clone)]
struct Shared {
    behaviour: Arc<Mutex<Behaviour>>,
    asked: Arc<Mutex<usize>>,
}

/// Serves on a port of this machine until dropped.
pub(super) struct KeyServer {
    pub(super) url: String,
    shared: Shared,
    _stop: DropGuard,
}

impl KeyServer {
    pub(super) async fn new(behaviour: Behaviour) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!(
            "http://{}/keys?v=1",
            listener.local_addr().expect("an address")
        );
        let shared = Shared {
            behaviour: Arc::new(Mutex::new(behaviour)),
            asked: Arc::default(),
        };
        let router = Router::new().fallback(answer).with_state(shared.clone());
        let stop = CancellationToken::new();
        let stopped = stop.clone().cancelled_owned();
        let serving = async move {
            tokio::select! {
                served = axum::serve(listener, router) => served.expect("served"),
                () = stopped => {}
            }
        };
        #[expect(clippy::disallowed_methods, reason = "it ends when we are dropped")]
        tokio::spawn(serving);
        Self {
            url,
            shared,
            _stop: stop.drop_guard(),
        }
    }

    pub(super) fn now(&self, behaviour: Behaviour) {
        *self.shared.behaviour.lock().expect("no panic") = behaviour;
    }

    /// How often it was asked.
    pub(super) fn asked(&self) -> usize {
        *self.shared.asked.lock().expect("no panic")
    }
}

async fn answer(State(shared): State<Shared>, request: Request) -> Response {
    *shared.asked.lock().expect("no panic") += 1;
    let behaviour = shared.behaviour.lock().expect("no panic").clone();
    let is_asked_right = request
        .uri()
        .path_and_query()
        .is_some_and(|path| path == "/keys?v=1");
    match behaviour {
        Behaviour::Gives(text) if is_asked_right => text.into_response(),
        Behaviour::Redirects(_) if is_asked_right => Redirect::temporary("/moved").into_response(),
        Behaviour::Redirects(text) => text.into_response(),
        Behaviour::Gives(_) => StatusCode::NOT_FOUND.into_response(),
        Behaviour::Fails(status) => status.into_response(),
        Behaviour::Hangs => std::future::pending().await,
        Behaviour::Endless => {
            let piece = || Ok::<_, std::io::Error>(vec![b' '; 64 * 1024]);
            let pieces = futures_util::stream::repeat_with(piece);
            Body::from_stream(pieces).into_response()
        }
    }
}
