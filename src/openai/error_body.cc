#include "openai/error_body.h"

#include "codec/json/write.h"

namespace sluice::openai {

std::string ErrorBody(const Error& error) {
  const bool form = error.code == Code::kInvalidArgument && (error.param == "body" || error.param.starts_with("body."));
  return ErrorBody(error, form ? std::string_view("Bad Request") : Info(error.code).openai_type);
}

std::string ErrorBody(const Error& error, std::string_view type) {
  std::string out;
  codec::JsonWriter writer(out);
  writer.BeginObject().Key("error").BeginObject().Field("message", error.message).Field("type", type).Key("param");
  if (error.param.empty())
    writer.Null();
  else
    writer.String(error.param);
  writer.Field("code", Info(error.code).http_status).EndObject().EndObject();
  return out;
}

std::string DetailBody(std::string_view detail) {
  std::string out;
  codec::JsonWriter(out).BeginObject().Field("detail", detail).EndObject();
  return out;
}

std::string UnauthorizedBody() { return "{\"error\":\"Unauthorized\"}"; }

Error ParameterError(std::string what, std::string_view parameter, std::string_view value) {
  what += " (parameter=";
  what += parameter;
  if (!value.empty()) {
    what += ", value=";
    what += value;
  }
  what += ')';
  return Error{Code::kInvalidArgument, std::move(what), std::string(parameter)};
}

}  // namespace sluice::openai
