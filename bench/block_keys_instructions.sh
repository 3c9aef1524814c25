#!/usr/bin/env bash
# Counts the instructions of naming the blocks of an 8k-token prompt (kvindex::BlockKeys::AppendChain), which other work on
# the machine does not change as it does times. Usage: bench/block_keys_instructions.sh [BUILD]   (default: build/release)
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
program="$(cd "$root" && realpath -m "${1:-build/release}")/bench/kvindex_bench"
[ -x "$program" ] || { echo "error: $program is not built; run \`ninja -C build/release kvindex_bench\`" >&2; exit 1; }
command -v valgrind >/dev/null || { echo "error: valgrind is not installed; run \`apt-get install valgrind\`" >&2; exit 1; }
calls=100 bytes=$((8192 * 4))
for kind in xxh64 cbor_fnv; do
  count=$(valgrind --tool=callgrind --callgrind-out-file=/dev/null \
    --toggle-collect='sluice::kvindex::BlockKeys::AppendChain*' \
    "$program" --benchmark_filter="BM_AppendChainCounted/$kind/" 2>&1 |
    awk '/Collected :/ { gsub(",", "", $4); print $4 }')
  awk -v kind="$kind" -v n="$count" -v calls="$calls" -v bytes="$bytes" 'BEGIN {
    printf "%-8s %9d instructions a prompt, %.2f a byte\n", kind, n / calls, n / calls / bytes }'
done
