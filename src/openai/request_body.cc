#include "openai/request_body.h"

#include <nlohmann/json.hpp>

#include "codec/json/dom.h"
#include "openai/field_reader.h"

namespace sluice::openai {

Result<Json> ParseBody(std::string_view body) {
  FormFaults faults;
  if (body.empty()) {
    faults.Add("missing", "body", "Field required", "None");
    return tl::unexpected<Error>(faults.ToError());
  }
  auto parsed = codec::ParseDomWithFault(body, codec::DomLimits{});
  if (!parsed) {
    const codec::JsonFault& fault = parsed.error();
    if (fault.code != Code::kInvalidArgument) return Fail(fault.code, "the request body has " + fault.what);
    faults.Add("json_invalid", "body." + std::to_string(fault.offset), "JSON decode error", "<dict of 0 items>",
               "'error': " + PyQuoted(fault.what));
    return tl::unexpected<Error>(faults.ToError());
  }
  if (!parsed->is_object()) {
    faults.Add("model_attributes_type", "body", "Input should be a valid dictionary or object to extract fields from",
               ShowInput(*parsed));
    return tl::unexpected<Error>(faults.ToError());
  }
  return std::move(*parsed);
}

}  // namespace sluice::openai
