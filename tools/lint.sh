#!/usr/bin/env bash
# Formatting, then clang-tidy over what changed against main (or over everything with --all). Needs a configured
# build/release for the compile commands. Usage: tools/lint.sh [--all|--fix] [FILE...]
set -euo pipefail
cd "$(dirname "$0")/.."
build=${BUILD:-build/release}

sources() { git ls-files --cached --others --exclude-standard -- '*.cc' '*.h' | while read -r f; do [ -f "$f" ] && echo "$f"; done; }
changed() {
  local base
  base=$(git merge-base HEAD main 2>/dev/null || git merge-base HEAD origin/main 2>/dev/null || git rev-parse HEAD)
  { git diff --name-only --diff-filter=d "$base" -- '*.cc' '*.h'
    git ls-files --others --exclude-standard -- '*.cc' '*.h'; } | sort -u
}

case "${1:-}" in
  --fix)
    sources | xargs clang-format-19 -i
    echo "formatted"
    exit 0 ;;
  --all) shift; mapfile -t files < <(sources) ;;
  -*) echo "usage: tools/lint.sh [--all|--fix] [FILE...]" >&2; exit 2 ;;
  "") mapfile -t files < <(changed) ;;
  *) files=("$@") ;;
esac

echo "==> clang-format: $(sources | wc -l) files"
sources | xargs clang-format-19 --dry-run -Werror || { echo "tools/lint.sh --fix formats them" >&2; exit 1; }

[ -f "$build/compile_commands.json" ] || { echo "error: $build is not configured; run \`make build\`" >&2; exit 1; }
# A header is checked through the files of its folder that include it. Tests are left out: they cost more than half of
# the time, and what a test does wrong it shows.
units=()
for f in "${files[@]}"; do
  case "$f" in
    *.cc) units+=("$f") ;;
    *.h) mapfile -t -O "${#units[@]}" units < <(grep -lF "\"${f#src/}\"" "$(dirname "$f")"/*.cc 2>/dev/null || true) ;;
  esac
done
mapfile -t units < <(printf '%s\n' "${units[@]}" | sort -u | grep -vE '^$|_(test|fuzz|bench)\.cc$' | while read -r f; do
  grep -qF "\"file\": \"$PWD/$f\"" "$build/compile_commands.json" && echo "$f"; done)
[ ${#units[@]} -gt 0 ] || { echo "==> clang-tidy: nothing changed against main (--all checks everything)"; exit 0; }

echo "==> clang-tidy: ${#units[@]} files"
check() {
  local begin=$SECONDS output
  if output=$(clang-tidy-19 --quiet -p "$1" "$2" 2>/dev/null); then
    echo "    $2 ($((SECONDS - begin)) s)"
  else
    printf '    %s\n%s\n' "$2" "$output"
    return 1
  fi
}
export -f check
printf '%s\n' "${units[@]}" | xargs -P "$(nproc)" -I{} bash -c 'check "$0" "$1"' "$build" {} ||
  { echo "clang-tidy found something" >&2; exit 1; }
