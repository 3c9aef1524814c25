// Error codes and what each means at every edge. One row a code (error.cc); docs/reference/errors.md is generated from
// it. Thread rule: immutable after start. Cost: a table lookup.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace sluice {

enum class Code : uint8_t {
  kInvalidArgument,
  kUnauthenticated,
  kPermissionDenied,
  kNotFound,
  kMethodNotAllowed,
  kTimeout,
  kConflict,
  kPreconditionFailed,
  kTooLarge,
  kUnsupportedMediaType,
  kUnprocessable,
  kHeadersTooLarge,
  kResourceExhausted,
  kCancelled,
  kInternal,
  kUnimplemented,
  kBadGateway,
  kUnavailable,
  kUpstreamTimeout,
};

struct Error {
  Code code = Code::kInternal;
  std::string message;  // what happened, where, what to do
  std::string param;    // the offending field, as the caller wrote it; empty when there is none
};

struct CodeInfo {
  Code code;
  std::string_view name;  // stable, lower_snake
  int http_status;
  std::string_view openai_type;  // "type" in OpenAI's error object, in vLLM's spelling
  int grpc_status;
  int exit_code;          // of a command that ends with this error; 2 = the caller's mistake
  std::string_view help;  // what the reader can do
};

const CodeInfo& Info(Code code);
std::span<const CodeInfo> AllCodes();

// The code for an HTTP status that a peer sent; kInternal when there is no better one.
Code CodeFromHttp(int http_status);

}  // namespace sluice
