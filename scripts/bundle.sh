#!/usr/bin/env bash
# Makes the bundle that desktop assistants install by a double click, for the platform it runs on:
#   scripts/bundle.sh [DOWNLOAD_URL]
# writes target/bundle/meter-sync-VERSION-PLATFORM.mcpb. With the URL of the folder it will be published in, also
# target/bundle/server.json: ours for the MCP registry with the bundle added, by its address and SHA-256.
set -euo pipefail
cd "$(dirname "$0")/.."

download=${1:-}
target=${CARGO_TARGET_DIR:-target}
bundles=$target/bundle
mcpb() { npx --yes @anthropic-ai/mcpb@2.1.2 "$@"; }

case "$(uname -s)" in
    Linux) platform=linux ;;
    Darwin) platform=darwin ;;
    *) echo "bundles are made on Linux and macOS" >&2; exit 1 ;;
esac

cargo build --release --locked
bytes=$(wc -c <"$target/release/meter-sync")
[ "$bytes" -lt 16000000 ] || { echo "the program's file has $bytes bytes; it is to stay under 16 MB" >&2; exit 1; }
rm -rf "$bundles" && mkdir -p "$bundles/content"
cp "$target/release/meter-sync" LICENSE-MIT LICENSE-APACHE "$bundles/content/"
# The program writes the manifest for all platforms; a bundle holds the program for one.
"$target/release/meter-sync" manifest | PLATFORM=$platform node -e '
    const manifest = JSON.parse(require("fs").readFileSync(0));
    manifest.compatibility.platforms = [process.env.PLATFORM];
    console.log(JSON.stringify(manifest, null, 2));
' >"$bundles/content/manifest.json"
mcpb validate "$bundles/content/manifest.json"
version=$(node -p 'require(process.argv[1]).version' "$(realpath "$bundles/content/manifest.json")")
bundle=$bundles/meter-sync-$version-$platform-$(uname -m).mcpb
mcpb pack "$bundles/content" "$bundle"

# What was packed is what a host unpacks and starts.
mcpb unpack "$bundle" "$bundles/unpacked"
hello='{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"bundle","version":"1"}}}'
echo "$hello" | METER_SYNC_SCHEDULE=off "$bundles/unpacked/meter-sync" stdio | grep -q '"name":"meter-sync"' ||
    { echo "the program in the bundle does not answer" >&2; exit 1; }

if [ -n "$download" ]; then
    sha256=$(node -p 'require("crypto").createHash("sha256").update(require("fs").readFileSync(process.argv[1])).digest("hex")' "$bundle")
    node -e '
        const [entry, identifier, fileSha256] = process.argv.slice(1);
        const server = JSON.parse(require("fs").readFileSync(entry));
        server.packages.push({registryType: "mcpb", identifier, fileSha256, transport: {type: "stdio"}});
        console.log(JSON.stringify(server, null, 2));
    ' server.json "$download/$(basename "$bundle")" "$sha256" >"$bundles/server.json"
fi
echo "$bundle: $(wc -c <"$bundle") bytes"
