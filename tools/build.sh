#!/usr/bin/env bash
# Configures when needed, then builds: tools/build.sh PRESET [TARGET...]. What it needs comes from tools/deps.sh.
set -euo pipefail
cd "$(dirname "$0")/.."
[ $# -ge 1 ] || { echo "usage: tools/build.sh release|dev|asan|tsan [TARGET...]" >&2; exit 2; }
preset=$1
shift
build="build/$preset" log="build/$preset.configure.log"
export CCACHE_BASEDIR=$PWD CCACHE_NOHASHDIR=1 NINJA_STATUS='[%f/%t %es] '

tools/deps.sh packages
case $preset in asan | tsan) tools/deps.sh test-packages ;; esac
tools/deps.sh native
tools/deps.sh model

# Ninja configures again by itself when a CMakeLists.txt changes; it does not see the presets, nor that build/native
# now points to the archives of another CPU, or that cargo came or went.
native="$(readlink build/native) $(readlink build/tokenizers || true)"
if [ ! -f "$build/build.ninja" ] || [ CMakePresets.json -nt "$build/build.ninja" ] ||
  [ "$(cat "$build/native-used" 2>/dev/null)" != "$native" ]; then
  printf '\033[1m==>\033[0m configuring %s\n' "$build" >&2
  cmake --preset "$preset" >"$log" 2>&1 || { tail -n 40 "$log" >&2; echo "error: configuring failed; the whole log is $log" >&2; exit 1; }
  echo "$native" >"$build/native-used"
fi
exec ninja -C "$build" "$@"
