// `sluice get` and `sluice down`: they find a running platform of this user by its state folder and ask it.
// Thread rule: main's thread. Cost: one small file and one HTTP request, or the wait for the stop.
#pragma once

#include <cstdint>
#include <cstdio>
#include <string>

#include "base/result.h"

namespace sluice::control {

enum class OutputFormat : uint8_t { kTable, kJson, kYaml };

// The text of `sluice get`. Port 0: the only platform that runs. kUnavailable (exit code 1) when there is none.
Result<std::string> GetText(uint16_t port, OutputFormat format);

// The URL of a running platform's gateway. Port 0: the only one that runs. kUnavailable (exit code 1) when there is
// none.
Result<std::string> GatewayUrl(uint16_t port);

// A page of JSON that a gateway answered, in the format that is wanted (kTable: as it is).
Result<std::string> JsonAs(std::string json, OutputFormat format);

// SIGTERM to the supervisor, then waits until everything is gone, saying on `out` what is left. 0 when it was stopped.
// kUnavailable (exit code 1) when nothing runs, kTimeout when it did not end.
Result<int> RunDown(uint16_t port, std::FILE* out);

}  // namespace sluice::control
