//! The page as a browser without scripts has it: what it says in every state, what its forms do, and whom it
//! lets in. What needs a browser is for `tests/judges/page`.

mod brake;
mod pause;
mod run_and_meter_pages;
mod security;
mod status;
mod tenant_pages;
mod tenants;

use meter_sync::config::Setting;
use reqwest::redirect::Policy;
use reqwest::{Client, RequestBuilder, Response};

use crate::support::http_server::{HttpServer, send};
use crate::support::site::{LOCAL_SCHEMA, REMOTE_SCHEMA, Site};

const READ: &str = "0123456789abcdef";
const OPERATE: &str = "fedcba9876543210";

/// A browser at a served site; it follows no redirect by itself.
struct Browser<'a> {
    served: &'a HttpServer,
    client: Client,
    cookie: Option<String>,
}

impl<'a> Browser<'a> {
    fn new(served: &'a HttpServer) -> Self {
        let client = Client::builder().redirect(Policy::none()).build();
        Self {
            served,
            client: client.expect("a client"),
            cookie: None,
        }
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.served.address)
    }

    fn with_cookie(&self, request: RequestBuilder) -> RequestBuilder {
        let request = request.header("accept", "text/html");
        match &self.cookie {
            Some(cookie) => request.header("cookie", cookie),
            None => request,
        }
    }

    async fn open(&self, path: &str) -> Response {
        send(self.with_cookie(self.client.get(self.url(path)))).await
    }

    /// The page's HTML; it must be there.
    async fn read(&self, path: &str) -> String {
        let response = self.open(path).await;
        assert_eq!(response.status(), 200, "{path}");
        response.text().await.expect("a body")
    }

    fn form(&self, path: &str, form: &str) -> RequestBuilder {
        let request = self.client.post(self.url(path));
        self.with_cookie(request)
            .header("content-type", "application/x-www-form-urlencoded")
            .body(form.to_owned())
    }

    /// Sends a form as a page of the server's own does; gives the answer.
    async fn send(&self, path: &str, form: &str) -> Response {
        let own = format!("http://{}", self.served.address);
        send(self.form(path, form).header("origin", own)).await
    }

    /// Sends a form that leads somewhere; gives where.
    async fn follow(&self, path: &str, form: &str) -> String {
        let response = self.send(path, form).await;
        assert_eq!(response.status(), 303, "{form}");
        header(&response, "location")
    }

    async fn sign_in(&mut self, token: &str) {
        let response = self.send("/sign-in", &format!("token={token}")).await;
        assert_eq!(response.status(), 303);
        let given = header(&response, "set-cookie");
        let pair = given.split(';').next().expect("a pair");
        self.cookie = Some(pair.to_owned());
    }
}

fn header(response: &Response, name: &str) -> String {
    let value = response.headers().get(name).expect(name);
    value.to_str().expect("text").to_owned()
}

/// What a person reads of a page.
fn words(html: &str) -> String {
    let mut text = String::new();
    for piece in html.split('<') {
        let (tag, said) = piece.split_once('>').unwrap_or(("", piece));
        let is_inline = [
            "span", "/span", "strong", "/strong", "bdi", "/bdi", "a ", "/a", "abbr", "/abbr",
        ];
        if !is_inline.iter().any(|inline| tag.starts_with(inline)) {
            text.push(' ');
        }
        text.push_str(said);
    }
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn assert_says(html: &str, expected: &[&str]) {
    let words = words(html);
    for text in expected {
        assert!(words.contains(text), "`{text}` is not in: {words}");
    }
}

async fn served(site: &Site) -> HttpServer {
    HttpServer::new(&site.settings()).await
}

/// A site of the tenants 7, 8 and 9, whose meters are in one local table.
async fn shared_site() -> Site {
    let local = format!(
        "{LOCAL_SCHEMA}; alter table meter add tenant_id bigint; insert into tenant values (8, 'Byte'), (9, 'Cole')"
    );
    Site::with_schemas(REMOTE_SCHEMA, &local).await
}

/// The page of many mirrors over a site.
async fn served_for(site: &Site, tenants: &str) -> HttpServer {
    HttpServer::new(&site.settings().with(Setting::Tenants, tenants)).await
}

/// The values of an attribute in a page.
fn attributes(html: &str, name: &str) -> Vec<String> {
    let start = format!(" {name}=\"");
    let values = html.split(start.as_str()).skip(1);
    let values = values.filter_map(|rest| rest.split('"').next());
    values.map(|value| value.replace("&amp;", "&")).collect()
}
