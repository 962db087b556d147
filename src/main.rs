//! The `meter-sync` command.

fn main() {}
