#include "net/query.h"

#include <gtest/gtest.h>

namespace sluice::net {
namespace {

TEST(Query, FindsAndDecodes) {
  EXPECT_EQ(QueryValue("a=1&b=x%20y+z&b=2", "b"), "x y z");
  EXPECT_EQ(QueryValue("a=1&b", "b"), "");
  EXPECT_EQ(QueryValue("", "a"), "");
  EXPECT_EQ(QueryValue("ab=1", "a"), "");
  EXPECT_EQ(QueryValue("a=50%&c=%zz%4", "a"), "50%");
  EXPECT_EQ(QueryValue("a=50%&c=%zz%4", "c"), "%zz%4");
  EXPECT_EQ(QueryValue("a==b=c", "a"), "=b=c");
}

TEST(Query, EscapedTextComesBack) {
  const std::string text = "/v1/chat?a=b&c d+\xc3\xa9%";
  EXPECT_EQ(QueryValue("x=" + QueryEscape(text), "x"), text);
}

}  // namespace
}  // namespace sluice::net
