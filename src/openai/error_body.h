// Error bodies in vLLM's shapes. Thread rule: pure. Cost: one string.
#pragma once

#include <string>
#include <string_view>

#include "base/error.h"

namespace sluice::openai {

// {"error":{"message":…,"type":…,"param":…,"code":…}}. The type comes from the table in base/error.h, except that
// faults of a body's form (param "body" or "body.…") have "Bad Request", as vLLM's have.
std::string ErrorBody(const Error& error);
// As above with a given type.
std::string ErrorBody(const Error& error, std::string_view type);
// {"detail":"Not Found"}: a path or method that does not exist.
std::string DetailBody(std::string_view detail);
// {"error":"Unauthorized"}: vLLM's answer to a missing or wrong API key.
std::string UnauthorizedBody();

// A fault of one parameter in vLLM's words: "<what> (parameter=<name>, value=<value>)"; without ", value=" when empty.
Error ParameterError(std::string what, std::string_view parameter, std::string_view value = {});

}  // namespace sluice::openai
