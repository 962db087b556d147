//! docs/rest.md: its table of routes and its examples are correct.

use std::collections::BTreeSet;
use std::path::Path;

use reqwest::RequestBuilder;

use super::api_client::ApiClient;
use crate::support::http_server::send;
use crate::support::site::Site;

const BASE: &str = "http://127.0.0.1:8765";

fn document() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/rest.md");
    std::fs::read_to_string(path).expect("docs/rest.md")
}

#[tokio::test]
async fn the_document_names_the_routes_that_there_are() {
    let site = Site::new().await;
    let api = ApiClient::new(&site.settings()).await;
    // One sentence stands for those that a tenant has like the process.
    let of_tenant = "/api/v1/tenants/{tenant_id}/";
    let routes = api.routes().into_iter();
    let (of_tenants, described): (BTreeSet<_>, BTreeSet<_>) =
        routes.partition(|route| route.contains(of_tenant));
    let document = document();
    assert!(document.contains(&format!("`{of_tenant}..`")));
    for route in of_tenants {
        let alone = route.replace(of_tenant, "/api/v1/");
        assert!(described.contains(&alone), "{route}");
    }
    let rows = document.lines().filter(|line| line.contains("` | "));
    let first = rows.filter_map(|row| row.strip_prefix("| `")?.split_once('`'));
    let named = first.map(|(route, _)| route.to_owned());
    let named: BTreeSet<_> = named.filter(|route| route.contains(" /")).collect();
    assert_eq!(named, described);
}

/// What a line with curl asks: `METHOD /path`, and what is added to the request.
#[derive(Debug, Default)]
struct Example {
    line: String,
    headers: Vec<(String, String)>,
    body: Option<String>,
}

impl Example {
    fn read(text: &str, run: &str) -> Self {
        let text = text.replace("$RUN", run);
        let (mut method, mut example) = ("GET".to_owned(), Self::default());
        let mut words = words(&text).into_iter().skip(1);
        while let Some(word) = words.next() {
            let mut value = || words.next().expect("a value");
            match word.as_str() {
                "-N" => {}
                "-X" => method = value(),
                "-d" => example.body = Some(value()),
                "-H" => {
                    let header = value();
                    let (name, value) = header.split_once(": ").expect("a header");
                    example.headers.push((name.to_owned(), value.to_owned()));
                }
                url => example.line = url.strip_prefix(BASE).expect("our address").to_owned(),
            }
        }
        example.line = format!("{method} {}", example.line);
        example
    }

    fn add(self, mut request: RequestBuilder) -> RequestBuilder {
        for (name, value) in self.headers {
            request = request.header(name, value);
        }
        match self.body {
            Some(body) => request.body(body),
            None => request,
        }
    }
}

/// The words of a line of shell, in quotes or not.
fn words(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    for (index, part) in text.split('\'').enumerate() {
        match index % 2 {
            0 => words.extend(part.split_whitespace().map(str::to_owned)),
            _ => words.push(part.to_owned()),
        }
    }
    words
}

#[tokio::test]
async fn the_examples_of_the_document_succeed() {
    let site = Site::new().await;
    site.on_remote("insert into meter (id, tenant_id) values (42, 7)")
        .await;
    let run = site.sync().await.run_id.to_string();
    let api = ApiClient::new(&site.settings()).await;
    let document = document();
    let examples: Vec<_> = document
        .lines()
        .filter(|line| line.starts_with("curl "))
        .collect();
    assert_eq!(examples.len(), 17);
    for text in examples {
        let example = Example::read(text, &run);
        let line = example.line.clone();
        if line == "GET /api/v1/events" {
            assert_eq!(send(api.served.request(&line)).await.status(), 200);
            continue;
        }
        let answer = api.ask_with(&line, |request| example.add(request)).await;
        assert!(
            [200, 202, 204].contains(&answer.status),
            "{text}: {answer:?}"
        );
        if answer.status == 202 {
            crate::support::run_hold::outcomes(&site).await;
        }
    }
}
