#!/usr/bin/env bash
# Runs every libFuzzer target of BUILD (a build with the asan preset) for SECONDS each, starting from its corpus, and
# fails when one finds something. New inputs stay in BUILD/fuzz/corpus/, findings in BUILD/fuzz/findings/.
# Usage: tools/fuzz.sh BUILD SECONDS [TARGET...]
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
[ $# -ge 2 ] || { echo "usage: tools/fuzz.sh BUILD SECONDS [TARGET...]" >&2; exit 2; }
build=$(cd "$root" && realpath -m "$1") seconds=$2
shift 2
cd "$root"
grep -qs '^SLUICE_FUZZ:[A-Z]*=ON$' "$build/CMakeCache.txt" ||
  { echo "error: $build is not a fuzzing build; run \`make fuzz\` or \`cmake --preset asan\`" >&2; exit 1; }

targets=("$@")
[ ${#targets[@]} -gt 0 ] || mapfile -t targets < <(find "$build/fuzz" -maxdepth 1 -name '*_fuzz' -type f -printf '%f\n' | sort)
[ ${#targets[@]} -gt 0 ] || { echo "error: $build/fuzz has no targets" >&2; exit 1; }

export ASAN_OPTIONS=${ASAN_OPTIONS:-allocator_may_return_null=1} UBSAN_OPTIONS=${UBSAN_OPTIONS:-print_stacktrace=1}
findings="$build/fuzz/findings" failed=() n=0
mkdir -p "$findings"
for target in "${targets[@]}"; do
  n=$((n + 1))
  printf '[%d/%d] %-28s %s s ... ' "$n" "${#targets[@]}" "$target" "$seconds"
  new="$build/fuzz/corpus/$target" log="$build/fuzz/$target.log"
  mkdir -p "$new"
  if "$build/fuzz/$target" -max_total_time="$seconds" -timeout=10 -rss_limit_mb=2048 -print_final_stats=1 \
      -artifact_prefix="$findings/$target-" "$new" "fuzz/corpus/$target" >"$log" 2>&1; then
    printf '%s runs, %s new inputs, coverage %s\n' "$(awk '/stat::number_of_executed_units/ { print $2 }' "$log")" \
      "$(awk '/stat::new_units_added/ { print $2 }' "$log")" "$(grep -o 'cov: [0-9]*' "$log" | tail -n 1 | cut -c6-)"
  else
    echo "FAILED"
    tail -n 40 "$log"
    failed+=("$target")
  fi
done
[ ${#failed[@]} = 0 ] || { echo "failed: ${failed[*]} (inputs in $findings)" >&2; exit 1; }
