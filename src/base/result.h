// Result<T>: how Sluice reports the world's faults (bad input, missing file, dead peer). Our own faults are CHECKs.
// An Error says what happened, where, and what to do about it; its code decides, through the one table in error.h, the
// HTTP status, OpenAI error type, gRPC status and exit code that a caller sees.
// Thread rule: plain values. Cost: an Error owns two strings; success allocates nothing.
#pragma once

#include <string>
#include <tl/expected.hpp>
#include <utility>

#include "base/error.h"

namespace sluice {

template <class T>
using Result = tl::expected<T, Error>;
using Status = Result<void>;

// Fail(code, message[, param]) builds the error side of any Result<T>.
inline tl::unexpected<Error> Fail(Code code, std::string message, std::string param = {}) {
  return tl::unexpected<Error>(Error{code, std::move(message), std::move(param)});
}

}  // namespace sluice
