#include "net/http_message.h"

#include <algorithm>
#include <array>

#include "base/text.h"

namespace sluice::net {

void HeaderList::Clear() {
  text_.clear();
  items_.clear();
}

void HeaderList::Reserve(size_t headers, size_t bytes) {
  items_.reserve(headers);
  text_.reserve(bytes);
}

void HeaderList::Add(std::string_view name, std::string_view value) {
  const auto at = static_cast<uint32_t>(text_.size());
  text_.append(name);
  text_.append(value);
  items_.push_back({at, static_cast<uint32_t>(name.size()), at + static_cast<uint32_t>(name.size()),
                    static_cast<uint32_t>(value.size())});
}

void HeaderList::NameAt(size_t at, size_t size) {
  const bool goes_on = !items_.empty() && items_.back().value_at == 0;  // values begin after their names, so never at 0
  if (!goes_on) items_.push_back({static_cast<uint32_t>(at), 0, 0, 0});
  Item& item = items_.back();
  item.name_size = static_cast<uint32_t>(at + size) - item.name_at;
}

void HeaderList::BeginValue() {
  Item& item = items_.back();
  item.value_at = item.name_at + item.name_size;
}

void HeaderList::ValueAt(size_t at, size_t size) {
  Item& item = items_.back();
  if (item.value_size == 0) item.value_at = static_cast<uint32_t>(at);
  item.value_size = static_cast<uint32_t>(at + size) - item.value_at;
}

Header HeaderList::operator[](size_t i) const {
  const Item& item = items_[i];
  const std::string_view text = text_;
  return {text.substr(item.name_at, item.name_size), text.substr(item.value_at, item.value_size)};
}

std::optional<std::string_view> HeaderList::Get(std::string_view name) const {
  for (size_t i = 0; i < items_.size(); ++i) {
    if (items_[i].name_size != name.size()) continue;
    const Header header = (*this)[i];
    if (EqualsIgnoreCase(header.name, name)) return header.value;
  }
  return std::nullopt;
}

std::string_view MessageHead::query() const {
  const size_t mark = target.find('?');
  return mark == std::string::npos ? std::string_view() : std::string_view(target).substr(mark + 1);
}

std::string_view ReasonPhrase(int status) {
  switch (status) {
    case 100:
      return "Continue";
    case 200:
      return "OK";
    case 201:
      return "Created";
    case 202:
      return "Accepted";
    case 204:
      return "No Content";
    case 301:
      return "Moved Permanently";
    case 302:
      return "Found";
    case 304:
      return "Not Modified";
    case 307:
      return "Temporary Redirect";
    case 400:
      return "Bad Request";
    case 401:
      return "Unauthorized";
    case 403:
      return "Forbidden";
    case 404:
      return "Not Found";
    case 405:
      return "Method Not Allowed";
    case 408:
      return "Request Timeout";
    case 409:
      return "Conflict";
    case 411:
      return "Length Required";
    case 412:
      return "Precondition Failed";
    case 413:
      return "Payload Too Large";
    case 415:
      return "Unsupported Media Type";
    case 422:
      return "Unprocessable Entity";
    case 429:
      return "Too Many Requests";
    case 431:
      return "Request Header Fields Too Large";
    case 500:
      return "Internal Server Error";
    case 501:
      return "Not Implemented";
    case 502:
      return "Bad Gateway";
    case 503:
      return "Service Unavailable";
    case 504:
      return "Gateway Timeout";
    default:
      return "Status";
  }
}

bool IsHopByHop(std::string_view name) {
  static constexpr std::array<std::string_view, 9> kNames = {
      "connection", "keep-alive",        "proxy-connection", "proxy-authenticate", "proxy-authorization", "te",
      "trailer",    "transfer-encoding", "upgrade"};
  return std::any_of(kNames.begin(), kNames.end(),
                     [&](std::string_view n) { return n.size() == name.size() && EqualsIgnoreCase(n, name); });
}

bool IsHeaderValue(std::string_view value) {
  return std::all_of(value.begin(), value.end(), [](char c) {
    const auto u = static_cast<unsigned char>(c);
    return (u >= 0x20 && u != 0x7f) || c == '\t';
  });
}

}  // namespace sluice::net
