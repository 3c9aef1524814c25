#include "codec/json/dom.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <vector>

namespace sluice::codec {
namespace {

using Json = nlohmann::ordered_json;
using Members = std::vector<Json::object_t::value_type>;  // what an ordered object is underneath

// Counts depth and values, and keeps the first fault; with `root` also builds the tree. Members are appended without
// looking for an earlier one of that name (nlohmann's own way, quadratic for a stranger's object of a million keys);
// repeats are settled once, when the object ends.
class Builder final : public nlohmann::json_sax<Json> {
 public:
  Builder(const DomLimits& limits, Json* root) : limits_(limits), root_(root) {}

  JsonFault fault;

  bool null() override { return Add(nullptr); }
  bool boolean(bool value) override { return Add(value); }
  bool number_integer(number_integer_t value) override { return Add(value); }
  bool number_unsigned(number_unsigned_t value) override { return Add(value); }
  bool number_float(number_float_t value, const string_t&) override { return Add(value); }
  bool string(string_t& value) override { return Add(std::move(value)); }
  bool binary(binary_t&) override { return Stop(Code::kInvalidArgument, "binary values are not JSON"); }

  bool start_object(size_t) override { return Open(Json::value_t::object); }
  bool start_array(size_t) override { return Open(Json::value_t::array); }
  bool end_array() override { return Close(); }
  bool end_object() override {
    if (root_ != nullptr) SettleRepeats(stack_.back()->get_ref<Json::object_t&>());
    return Close();
  }
  bool key(string_t& name) override {
    if (root_ != nullptr) pending_key_ = std::move(name);
    return true;
  }
  bool parse_error(size_t position, const std::string&, const nlohmann::detail::exception& error) override {
    fault.code = Code::kInvalidArgument;
    // nlohmann counts the byte it choked on.
    fault.offset = position > 0 ? position - 1 : 0;
    fault.what = Shorten(error.what());
    return false;
  }

 private:
  // "[json.exception.parse_error.101] parse error at line 1, column 35: syntax error while …" without its first parts.
  static std::string Shorten(std::string_view what) {
    if (const size_t at = what.find("column "); at != std::string_view::npos) {
      if (const size_t colon = what.find(": ", at); colon != std::string_view::npos) what.remove_prefix(colon + 2);
    } else if (const size_t bracket = what.find("] "); bracket != std::string_view::npos) {
      what.remove_prefix(bracket + 2);
    }
    return std::string(what.substr(0, 200));
  }

  bool Stop(Code code, std::string what) {
    fault.code = code;
    fault.what = std::move(what);
    return false;
  }

  template <class Value>
  bool Add(Value&& value) {
    if (++values_ > limits_.values_max) {
      return Stop(Code::kTooLarge, "more than " + std::to_string(limits_.values_max) + " values");
    }
    if (root_ != nullptr) Place(Json(std::forward<Value>(value)));
    return true;
  }

  Json* Place(Json&& value) {
    if (stack_.empty()) {
      *root_ = std::move(value);
      return root_;
    }
    Json& parent = *stack_.back();
    if (parent.is_array()) {
      auto& elements = parent.get_ref<Json::array_t&>();
      elements.push_back(std::move(value));
      return &elements.back();
    }
    auto& members = static_cast<Members&>(parent.get_ref<Json::object_t&>());
    members.emplace_back(std::move(pending_key_), std::move(value));
    return &members.back().second;
  }

  bool Open(Json::value_t type) {
    if (++depth_ > limits_.depth_max) {
      return Stop(Code::kInvalidArgument, "nested deeper than " + std::to_string(limits_.depth_max) + " levels");
    }
    if (++values_ > limits_.values_max) {
      return Stop(Code::kTooLarge, "more than " + std::to_string(limits_.values_max) + " values");
    }
    if (root_ != nullptr) stack_.push_back(Place(Json(type)));
    return true;
  }

  bool Close() {
    --depth_;
    if (root_ != nullptr) stack_.pop_back();
    return true;
  }

  static void SettleRepeats(Json::object_t& object) {
    auto& members = static_cast<Members&>(object);
    if (members.size() < 2) return;
    std::vector<size_t> order(members.size());
    for (size_t i = 0; i < order.size(); ++i) order[i] = i;
    std::sort(order.begin(), order.end(), [&](size_t a, size_t b) {
      const int compared = members[a].first.compare(members[b].first);
      return compared != 0 ? compared < 0 : a < b;
    });
    std::vector<bool> repeat(members.size(), false);
    bool any = false;
    for (size_t first = 0; first < order.size();) {
      size_t last = first;
      while (last + 1 < order.size() && members[order[last + 1]].first == members[order[first]].first) ++last;
      if (last > first) {
        any = true;
        members[order[first]].second = std::move(members[order[last]].second);
        for (size_t i = first + 1; i <= last; ++i) repeat[order[i]] = true;
      }
      first = last + 1;
    }
    if (!any) return;
    Members kept;
    kept.reserve(members.size());
    for (size_t i = 0; i < members.size(); ++i) {
      if (!repeat[i]) kept.emplace_back(members[i].first, std::move(members[i].second));
    }
    members.swap(kept);
  }

  const DomLimits& limits_;
  Json* root_;
  std::vector<Json*> stack_;
  std::string pending_key_;
  size_t depth_ = 0;
  size_t values_ = 0;
};

// False with builder.fault set. The offset of a limit is not known to a SAX reader; it is given as 0.
bool Run(std::string_view text, const DomLimits& limits, Builder& builder) {
  if (text.size() > limits.bytes_max) {
    builder.fault = {Code::kTooLarge, limits.bytes_max,
                     std::to_string(text.size()) + " bytes; the limit is " + std::to_string(limits.bytes_max)};
    return false;
  }
  return Json::sax_parse(text.begin(), text.end(), &builder, nlohmann::detail::input_format_t::json, /*strict=*/true);
}

Error ToError(const JsonFault& fault) {
  std::string message = "invalid JSON";
  if (fault.code == Code::kInvalidArgument) message += " at byte " + std::to_string(fault.offset);
  return Error{fault.code, message + ": " + fault.what, {}};
}

}  // namespace

tl::expected<Json, JsonFault> ParseDomWithFault(std::string_view text, const DomLimits& limits) {
  Json root;
  Builder builder(limits, &root);
  if (!Run(text, limits, builder)) return tl::unexpected<JsonFault>(std::move(builder.fault));
  return root;
}

Result<Json> ParseDom(std::string_view text, const DomLimits& limits) {
  auto parsed = ParseDomWithFault(text, limits);
  if (!parsed) return tl::unexpected<Error>(ToError(parsed.error()));
  return std::move(*parsed);
}

Status CheckJson(std::string_view text, const DomLimits& limits) {
  Builder builder(limits, nullptr);
  if (!Run(text, limits, builder)) return tl::unexpected<Error>(ToError(builder.fault));
  return {};
}

std::string Dump(const Json& value) { return value.dump(-1, ' ', false, Json::error_handler_t::replace); }

}  // namespace sluice::codec
