#include "codec/cbor/cbor_writer.h"

#include <gtest/gtest.h>

#include <limits>

namespace sluice::codec {
namespace {

template <class Write>
std::string Hex(Write write) {
  std::string out;
  CborWriter writer(out);
  write(writer);
  std::string hex;
  for (const char c : out) {
    constexpr char kDigits[] = "0123456789abcdef";
    hex += kDigits[static_cast<uint8_t>(c) >> 4];
    hex += kDigits[static_cast<uint8_t>(c) & 15];
  }
  return hex;
}

// RFC 8949 appendix A.
TEST(CborWriter, UnsignedTakesTheShortestHead) {
  const auto hex = [](uint64_t v) { return Hex([v](CborWriter& w) { w.Unsigned(v); }); };
  EXPECT_EQ(hex(0), "00");
  EXPECT_EQ(hex(23), "17");
  EXPECT_EQ(hex(24), "1818");
  EXPECT_EQ(hex(255), "18ff");
  EXPECT_EQ(hex(256), "190100");
  EXPECT_EQ(hex(65535), "19ffff");
  EXPECT_EQ(hex(65536), "1a00010000");
  EXPECT_EQ(hex(4294967295), "1affffffff");
  EXPECT_EQ(hex(4294967296), "1b0000000100000000");
  EXPECT_EQ(hex(std::numeric_limits<uint64_t>::max()), "1bffffffffffffffff");
}

TEST(CborWriter, NegativeIntegersAreMajorTypeOne) {
  const auto hex = [](int64_t v) { return Hex([v](CborWriter& w) { w.Int(v); }); };
  EXPECT_EQ(hex(10), "0a");
  EXPECT_EQ(hex(-1), "20");
  EXPECT_EQ(hex(-24), "37");
  EXPECT_EQ(hex(-25), "3818");
  EXPECT_EQ(hex(-1000), "3903e7");
  EXPECT_EQ(hex(std::numeric_limits<int64_t>::min()), "3b7fffffffffffffff");
}

TEST(CborWriter, StringsArraysMapsNull) {
  EXPECT_EQ(Hex([](CborWriter& w) { w.Text("IETF"); }), "6449455446");
  EXPECT_EQ(Hex([](CborWriter& w) { w.Bytes(std::string_view("\x01\x02\x03\x04", 4)); }), "4401020304");
  EXPECT_EQ(Hex([](CborWriter& w) { w.Text(std::string(300, 'a')); }).substr(0, 6), "79012c");
  EXPECT_EQ(Hex([](CborWriter& w) {
              w.Array(3);
              w.Unsigned(1);
              w.Map(1);
              w.Text("a");
              w.Unsigned(2);
              w.Null();
            }),
            "8301a1616102f6");
  EXPECT_EQ(Hex([](CborWriter& w) { w.Array(32); }), "9820");
}

}  // namespace
}  // namespace sluice::codec
