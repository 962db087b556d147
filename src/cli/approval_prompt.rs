//! Asks the person at the terminal to approve deactivations that a run held back, and finds that person's account name
//! for the run log.

use std::fs;
use std::io::IsTerminal;

use tokio::io::{AsyncBufReadExt, BufReader};
use tokio_util::sync::CancellationToken;

use super::CommandReport;
use crate::config::Environment;
use crate::make_printable;
use crate::model::HeldDeactivations;

/// The text to print if there is no terminal to ask on, as in a script or in a program that an AI assistant starts.
const NO_TERMINAL: &str = "--allow-mass-deactivation asks on the terminal, and there is none, so the sync stays refused. Use --allow-plan with the \
    id of the run that showed the meters. Where a person has decided beforehand that any number may be deactivated, add --yes.\n";

/// Shows the meters that the last run did not deactivate because they are too many, and asks the person to type their
/// number. Returns whether exactly that number was typed; `false` if there is no terminal or if `stopped` is cancelled.
pub(super) async fn ask_for_approval(
    held: &HeldDeactivations,
    stopped: CancellationToken,
) -> anyhow::Result<bool> {
    if !std::io::stdin().is_terminal() || !std::io::stderr().is_terminal() {
        CommandReport::write_to_stderr_now(NO_TERMINAL)?;
        return Ok(false);
    }
    let number = held.deactivated;
    let question = format!(
        "{}\nThey keep their rows and readings, and become active again when the remote has them active.\nType {number} to deactivate them, or anything else to leave them as they are: ",
        held.in_words("the remote")
    );
    CommandReport::write_to_stderr_now(&make_printable::lines(&question))?;
    let mut typed = String::new();
    let mut input = BufReader::new(tokio::io::stdin());
    let read = stopped.run_until_cancelled(input.read_line(&mut typed));
    read.await.transpose()?;
    Ok(typed.trim() == number.to_string())
}

/// Returns who runs this program, for the run log, such as `ann on host7`. If the program runs as root through `sudo`,
/// the account that called `sudo` is named, too: `ann as root on host7`.
pub(super) fn account(host: &str) -> String {
    let uid = rustix::process::getuid().as_raw();
    let name = name(uid).unwrap_or_else(|| format!("uid {uid}"));
    let behind = Environment::of_process().account_behind_sudo();
    let behind = behind.filter(|_| uid == 0).filter(|behind| *behind != name);
    let name = behind.map_or(name.clone(), |behind| format!("{behind} as {name}"));
    format!("{name} on {host}")
}

fn name(uid: u32) -> Option<String> {
    let accounts = fs::read_to_string("/etc/passwd").ok()?;
    named(&accounts, uid)
}

/// Returns the account name of a user id. `accounts` is the text of `/etc/passwd`; `None` if it does not have the id.
fn named(accounts: &str, uid: u32) -> Option<String> {
    accounts.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)? == uid.to_string()).then(|| name.to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_is_named_as_the_system_names_it() {
        let accounts = "root:x:0:0:root:/root:/bin/sh\n\n+::\nann:x:1000:1000::/home/ann:/bin/sh\n";
        assert_eq!(named(accounts, 0).as_deref(), Some("root"));
        assert_eq!(named(accounts, 1000).as_deref(), Some("ann"));
        assert_eq!(named(accounts, 100), None);
    }
}
