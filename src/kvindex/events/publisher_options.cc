#include <limits>
#include <nlohmann/json.hpp>

#include "base/text.h"
#include "kvindex/events/publisher.h"

namespace sluice::kvindex {
namespace {

using nlohmann::json;

constexpr std::string_view kFlag = "--kv-events-config";
constexpr std::string_view kKeys[] = {"enable_kv_cache_events", "publisher",    "endpoint",
                                      "replay_endpoint",        "buffer_steps", "hwm",
                                      "max_queue_size",         "topic",        "bind"};

tl::unexpected<Error> Bad(std::string_view key, std::string_view what) {
  return Fail(Code::kInvalidArgument, std::string(kFlag) + ": " + std::string(key) + " " + std::string(what),
              std::string(key));
}

template <class Number>
Status TakeNumber(const json& value, std::string_view key, int64_t low, int64_t high, Number& out) {
  const std::string range = "must be a whole number from " + std::to_string(low) + " to " + std::to_string(high);
  if (!value.is_number_integer()) return Bad(key, range);
  if (value.is_number_unsigned() && value.get<uint64_t>() > static_cast<uint64_t>(high)) return Bad(key, range);
  const auto number = value.get<int64_t>();
  if (number < low || number > high) return Bad(key, range + ", not " + std::to_string(number));
  out = static_cast<Number>(number);
  return {};
}

Status TakeString(const json& value, std::string_view key, std::string& out) {
  if (value.is_null()) return {};
  if (!value.is_string()) return Bad(key, "must be a string");
  if (value.get_ref<const std::string&>().size() > 1024) return Bad(key, "is longer than 1024 bytes");
  out = value.get<std::string>();
  return {};
}

Status TakeField(const std::string& key, const json& value, PublisherOptions& out, bool& publisher_named) {
  constexpr int64_t kMost = 10'000'000;
  if (key == "enable_kv_cache_events") {
    if (!value.is_boolean()) return Bad(key, "must be true or false");
    out.enable_kv_cache_events = value.get<bool>();
    return {};
  }
  if (key == "publisher") {
    publisher_named = !value.is_null();
    auto status = TakeString(value, key, out.publisher);
    if (status && publisher_named && out.publisher != "zmq" && out.publisher != "null") {
      return Bad(key, "'" + out.publisher + "' is not known; use \"zmq\" or \"null\"");
    }
    return status;
  }
  if (key == "bind") {
    if (!value.is_boolean()) return Bad(key, "must be true or false");
    out.bind = value.get<bool>();
    return {};
  }
  if (key == "endpoint") return TakeString(value, key, out.endpoint);
  if (key == "replay_endpoint") return TakeString(value, key, out.replay_endpoint);
  if (key == "topic") return TakeString(value, key, out.topic);
  if (key == "buffer_steps") return TakeNumber(value, key, 0, kMost, out.buffer_steps);
  if (key == "hwm") return TakeNumber(value, key, 1, kMost, out.hwm);
  if (key == "max_queue_size") return TakeNumber(value, key, 1, kMost, out.max_queue_size);
  return Fail(Code::kInvalidArgument, std::string(kFlag) + ": unknown key '" + key + "'" + DidYouMean(key, kKeys), key);
}

}  // namespace

Result<PublisherOptions> ParsePublisherOptions(std::string_view text) {
  const json document = json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (document.is_discarded()) return Fail(Code::kInvalidArgument, std::string(kFlag) + " is not valid JSON");
  if (!document.is_object()) {
    return Fail(Code::kInvalidArgument,
                std::string(kFlag) + " must be a JSON object such as {\"enable_kv_cache_events\":true}");
  }
  PublisherOptions options;
  bool publisher_named = false;
  for (const auto& [key, value] : document.items()) {
    if (auto status = TakeField(key, value, options, publisher_named); !status) {
      return tl::unexpected(std::move(status.error()));
    }
  }
  if (!publisher_named) options.publisher = options.enable_kv_cache_events ? "zmq" : "null";
  return options;
}

}  // namespace sluice::kvindex
