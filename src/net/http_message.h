// HTTP messages' heads as values: a header list in one buffer, and what the parser found before the body.
// Thread rule: plain values. Cost: HeaderList keeps all bytes in one string; clearing keeps its capacity.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace sluice::net {

struct Header {
  std::string_view name;
  std::string_view value;
};

class HeaderList {
 public:
  void Clear();
  void Reserve(size_t headers, size_t bytes);
  void Add(std::string_view name, std::string_view value);
  // For a parser, which hands over a head as it came (AppendText, in pieces) and says where in it the names and values
  // are: NameAt, BeginValue, ValueAt for each header. A name or value that is cut by a piece's end is told in parts.
  void AppendText(std::string_view piece) { text_.append(piece); }
  void NameAt(size_t at, size_t size);
  void BeginValue();
  void ValueAt(size_t at, size_t size);

  size_t size() const { return items_.size(); }
  size_t bytes() const { return text_.size(); }  // names and values, or the whole head
  Header operator[](size_t i) const;
  // The first value of that name (case-insensitive).
  std::optional<std::string_view> Get(std::string_view name) const;

  struct Iterator {
    const HeaderList* list;
    size_t at;
    Header operator*() const { return (*list)[at]; }
    Iterator& operator++() {
      ++at;
      return *this;
    }
    bool operator!=(const Iterator& other) const { return at != other.at; }
  };
  Iterator begin() const { return {this, 0}; }
  Iterator end() const { return {this, items_.size()}; }

 private:
  struct Item {
    uint32_t name_at, name_size, value_at, value_size;
  };
  std::string text_;
  std::vector<Item> items_;
};

struct MessageHead {
  std::string method;  // requests: "GET"
  std::string target;  // requests: "/v1/models?x=1"
  int status = 0;      // responses
  int minor_version = 1;
  HeaderList headers;
  std::optional<uint64_t> content_length;
  bool chunked = false;
  bool expects_continue = false;
  bool wants_close = false;  // requests: HTTP/1's "connection: close", or a version that closes unless told otherwise

  std::string_view path() const { return std::string_view(target).substr(0, target.find('?')); }
  std::string_view query() const;
};

// "OK" for 200. Never empty.
std::string_view ReasonPhrase(int status);

// Headers that concern one connection only and are never forwarded (RFC 9110 §7.6.1), and the framing ones.
bool IsHopByHop(std::string_view name);

// Whether `value` may stand in a header: no control characters. Foreign text (a request id) is checked before it is
// echoed.
bool IsHeaderValue(std::string_view value);

}  // namespace sluice::net
