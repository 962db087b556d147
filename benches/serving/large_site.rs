//! A large site: many meters and a long log, where something is committed before each question. The status and the
//! page are measured.

use std::time::Instant;

use anyhow::{Result, ensure};

use crate::conversation::{Conversation, OverHttp, SessionConversation, StdioConversation};
use crate::http::Connection;
use crate::message::Question;
use crate::program::Program;
use crate::results::Asked;
use crate::round::Round;

impl Round<'_> {
    /// Asks over standard input and output, and at `/mcp`.
    pub(crate) async fn large(&mut self) -> Result<()> {
        let question = Question::Status(self.site.meters);
        let (program, pipes) = Program::stdio(self.site.command("stdio"))?;
        let mut client = StdioConversation::begin(pipes).await?;
        let first = client.ask(question, 1).await?;
        self.results.asked(Asked::LargeFirst, &[first]);
        self.ask_anew(&mut client, Asked::LargeStdio).await?;
        drop(client);
        program.stop().await?;

        let (program, address) = Program::serve(self.site.command("serve")).await?;
        let mut session = SessionConversation::begin(&address).await?;
        session.ask(question, 1).await?;
        self.ask_anew(&mut session, Asked::LargeSession).await?;
        drop(session);
        self.page(&address).await?;
        program.stop().await
    }

    /// Asks for the page as a browser does; the whole of it comes at once, so its first byte does not come later.
    async fn page(&mut self, address: &str) -> Result<()> {
        let mut browser = Connection::open(address).await?;
        let request = "GET / HTTP/1.1\r\nhost: localhost\r\naccept: text/html\r\n\r\n";
        let mut times = Vec::new();
        for _ in 0..self.options.calls {
            self.site.commit().await?;
            let asked = Instant::now();
            let (head, body) = browser.ask(request).await?;
            times.push(asked.elapsed());
            ensure!(head.status == 200, "the page answers {}", head.status);
            self.results.page_bytes = self.results.page_bytes.max(body.len() as u64);
        }
        self.results.asked(Asked::LargePage, &times);
        Ok(())
    }
}
