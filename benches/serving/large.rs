//! A site of many meters and a long log, where something is committed before each question.

use anyhow::Result;

use crate::conversation::{Conversation, Lines, OverHttp, Session};
use crate::message::Question;
use crate::program::Program;
use crate::results::Asked;
use crate::round::Round;

impl Round<'_> {
    /// Asks over standard input and output, and at `/mcp`.
    pub(crate) async fn large(&mut self) -> Result<()> {
        let question = Question::Status(self.site.meters);
        let (program, pipes) = Program::stdio(self.site)?;
        let mut client = Lines::begin(pipes).await?;
        let first = client.ask(question, 1).await?;
        self.results.asked(Asked::LargeFirst, &[first]);
        self.ask_anew(&mut client, Asked::LargeStdio).await?;
        drop(client);
        program.stop().await?;

        let (program, address) = Program::serve(self.site).await?;
        let mut session = Session::begin(&address).await?;
        session.ask(question, 1).await?;
        self.ask_anew(&mut session, Asked::LargeSession).await?;
        drop(session);
        program.stop().await
    }
}
