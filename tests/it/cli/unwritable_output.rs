//! Output that cannot be written.

use std::fs::File;
use std::process::Stdio;

use tokio::process::Command;

use crate::support::program;

/// Runs a command with its standard output there; gives its exit code and what it wrote to standard error.
async fn run_with_output(mut command: Command, output: Stdio) -> (i32, String) {
    let child = command.stdout(output).stderr(Stdio::piped()).spawn();
    let ended = child.expect("start it").wait_with_output().await;
    let ended = ended.expect("wait for it");
    let told = String::from_utf8(ended.stderr).expect("UTF-8");
    (ended.status.code().expect("an exit code"), told)
}

/// Linux has a file on a disk that is always full.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_report_that_cannot_be_written_is_an_error() {
    for arguments in [&["manifest"][..], &["--help"]] {
        let full = File::options().write(true).open("/dev/full");
        let full = Stdio::from(full.expect("open /dev/full"));
        let (code, told) = run_with_output(program::bare(arguments, &[]), full).await;
        assert_eq!(code, 1, "{told}");
        assert!(
            told.starts_with("error: standard output cannot be written: "),
            "{told}"
        );
    }
}

#[tokio::test]
async fn a_reader_that_has_gone_is_no_error() {
    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    let (code, told) =
        run_with_output(program::bare(&["manifest"], &[]), Stdio::from(writer)).await;
    assert_eq!((code, told.as_str()), (0, ""));
}
