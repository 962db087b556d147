#!/usr/bin/env bash
# Checks what is depended on against deny.toml. Advisories are only reported: whether one concerns us takes a person.
set -euo pipefail
cd "$(dirname "$0")/.."

tools=$(realpath -m "${CARGO_TARGET_DIR:-target}")/tools
version=0.20.2
if [ "$("$tools/bin/cargo-deny" --version 2>/dev/null)" != "cargo-deny $version" ]; then
    cargo install cargo-deny --version "$version" --locked --root "$tools"
fi
"$tools/bin/cargo-deny" --locked check licenses bans sources
timeout 60 "$tools/bin/cargo-deny" --locked check advisories ||
    echo "advisories: not clean, or their database cannot be reached from here; see above"
