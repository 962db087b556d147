//! The commands that a text on the terminal names, for a person to enter next. In a process that syncs several tenants,
//! they name the tenant.

use crate::config::CommandLineSettings;
use crate::error::ErrorCode;
use crate::make_printable;
use crate::model::RunId;

/// Builds the commands about the runs of one tenant.
#[derive(Clone, Debug, Default)]
pub(super) struct NextCommands {
    /// What follows each command: the flag `--tenant` with the tenant's id, or nothing if the process needs no such
    /// flag.
    tenant_flag: String,
}

impl NextCommands {
    /// Builds commands that contain the flag `--tenant` if this command line does.
    pub(super) fn repeating(settings: &CommandLineSettings) -> Self {
        let id = settings.only_tenant();
        id.map_or_else(Self::default, Self::of_tenant)
    }

    /// Commands that name the tenant with this id.
    pub(super) fn of_tenant(id: &str) -> Self {
        Self {
            tenant_flag: format!(" --tenant {}", shell_word(id)),
        }
    }

    /// Returns the command that shows a run with its changes and rejected rows.
    pub(super) fn show_run(&self, id: RunId) -> String {
        format!("meter-sync status --run {id}{}", self.tenant_flag)
    }

    /// Returns the command that shows the status of the tenant.
    pub(super) fn show_status(&self) -> String {
        format!("meter-sync status{}", self.tenant_flag)
    }

    /// Returns the lines that tell a person how to let a refused sync pass; none if `code`, the error of the run, is
    /// not a refusal that a person may lift. `awaits_decision` is the run whose deactivations a person may approve.
    ///
    /// The remedies of the errors do not name these commands, because AI assistants follow remedies.
    pub(super) fn let_pass(
        &self,
        code: Option<ErrorCode>,
        awaits_decision: Option<RunId>,
    ) -> Vec<String> {
        let of_error = match code {
            Some(ErrorCode::TenantMismatch) => Some((
                "To turn the table over to this tenant",
                "--allow-tenant-change --allow-mass-deactivation",
            )),
            Some(ErrorCode::RemoteChangedRefused) => {
                Some(("To follow the remote as it is now", "--allow-remote-change"))
            }
            Some(_) | None => None,
        };
        let of_error = of_error.map(|(purpose, flags)| (purpose, flags.to_owned()));
        let of_plan = awaits_decision.map(|id| {
            let purpose = "To let exactly these deactivations pass";
            (purpose, format!("--allow-plan {id}"))
        });
        let flags = of_error.into_iter().chain(of_plan);
        flags
            .map(|(purpose, flags)| {
                format!("{purpose}: meter-sync sync {flags}{}", self.tenant_flag)
            })
            .collect()
    }
}

/// Returns the text as one word of a shell command, in quotes if it needs them.
fn shell_word(text: &str) -> String {
    let is_plain = |c: char| c.is_alphanumeric() || "-_.:@+,".contains(c);
    let text = make_printable::line(text, usize::MAX);
    match !text.is_empty() && text.chars().all(is_plain) {
        true => text,
        false => format!("'{}'", text.replace('\'', r"'\''")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_one_word_of_a_shell() {
        for (id, word) in [
            ("8", "8"),
            ("-8", "-8"),
            ("Zürich_1", "Zürich_1"),
            ("a b", "'a b'"),
            ("it's", r"'it'\''s'"),
            ("$(reboot)", "'$(reboot)'"),
        ] {
            assert_eq!(shell_word(id), word);
        }
    }

    #[test]
    fn a_refusal_that_a_person_may_lift_has_its_command() {
        let of_8 = NextCommands::of_tenant("8");
        let commands = |code| of_8.let_pass(Some(code), None);
        assert_eq!(
            commands(ErrorCode::TenantMismatch),
            [
                "To turn the table over to this tenant: meter-sync sync --allow-tenant-change --allow-mass-deactivation --tenant 8"
            ]
        );
        assert_eq!(
            commands(ErrorCode::RemoteChangedRefused),
            ["To follow the remote as it is now: meter-sync sync --allow-remote-change --tenant 8"]
        );
        assert!(commands(ErrorCode::LocalSchema).is_empty());
        let id = "0190c2f1-7a00-7000-8000-000000000001";
        let id: RunId = id.parse().expect("an id");
        assert_eq!(
            NextCommands::default().let_pass(Some(ErrorCode::MassDeactivationRefused), Some(id)),
            [format!(
                "To let exactly these deactivations pass: meter-sync sync --allow-plan {id}"
            )]
        );
    }
}
