#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "codec/msgpack/msgpack_reader.h"
#include "codec/msgpack/msgpack_writer.h"

namespace sluice::codec {
namespace {

std::string Hex(std::string_view bytes) {
  std::string hex;
  for (const char c : bytes) {
    constexpr char kDigits[] = "0123456789abcdef";
    hex += kDigits[static_cast<uint8_t>(c) >> 4];
    hex += kDigits[static_cast<uint8_t>(c) & 15];
  }
  return hex;
}

template <class Write>
std::string Packed(Write write) {
  std::string out;
  MsgpackWriter writer(out);
  write(writer);
  return out;
}

std::string Bytes(std::initializer_list<int> values) {
  std::string out;
  for (const int v : values) out.push_back(static_cast<char>(v));
  return out;
}

TEST(MsgpackWriter, IntegersTakeTheSmallestForm) {
  const auto hex = [](int64_t v) { return Hex(Packed([v](MsgpackWriter& w) { w.Int(v); })); };
  EXPECT_EQ(hex(0), "00");
  EXPECT_EQ(hex(127), "7f");
  EXPECT_EQ(hex(128), "cc80");
  EXPECT_EQ(hex(255), "ccff");
  EXPECT_EQ(hex(300), "cd012c");
  EXPECT_EQ(hex(70000), "ce00011170");
  EXPECT_EQ(hex(4294967296), "cf0000000100000000");
  EXPECT_EQ(hex(-1), "ff");
  EXPECT_EQ(hex(-32), "e0");
  EXPECT_EQ(hex(-33), "d0df");
  EXPECT_EQ(hex(-128), "d080");
  EXPECT_EQ(hex(-129), "d1ff7f");
  EXPECT_EQ(hex(-32769), "d2ffff7fff");
  EXPECT_EQ(hex(-2147483649), "d3ffffffff7fffffff");
  EXPECT_EQ(hex(-4977211910723114241), "d3baed642339816aff");
}

TEST(MsgpackWriter, HashesAreAlwaysNineBytes) {
  EXPECT_EQ(Hex(Packed([](MsgpackWriter& w) { w.WideUnsigned(1); })), "cf0000000000000001");
}

TEST(MsgpackWriter, StringsAndContainersChangeFormAtTheirLimits) {
  const auto str = [](size_t n) { return Packed([n](MsgpackWriter& w) { w.Str(std::string(n, 'x')); }); };
  EXPECT_EQ(Hex(str(31).substr(0, 1)), "bf");
  EXPECT_EQ(Hex(str(32).substr(0, 2)), "d920");
  EXPECT_EQ(Hex(str(256).substr(0, 3)), "da0100");
  EXPECT_EQ(Hex(str(65536).substr(0, 5)), "db00010000");
  const auto bin = [](size_t n) { return Packed([n](MsgpackWriter& w) { w.Bin(std::string(n, 'x')); }); };
  EXPECT_EQ(Hex(bin(32).substr(0, 2)), "c420");
  EXPECT_EQ(Hex(bin(256).substr(0, 3)), "c50100");
  const auto array = [](uint32_t n) { return Hex(Packed([n](MsgpackWriter& w) { w.Array(n); })); };
  EXPECT_EQ(array(15), "9f");
  EXPECT_EQ(array(16), "dc0010");
  EXPECT_EQ(array(65536), "dd00010000");
  const auto map = [](uint32_t n) { return Hex(Packed([n](MsgpackWriter& w) { w.Map(n); })); };
  EXPECT_EQ(map(11), "8b");
  EXPECT_EQ(map(16), "de0010");
  EXPECT_EQ(Hex(Packed([](MsgpackWriter& w) { w.Double(1.5); })), "cb3ff8000000000000");
}

TEST(MsgpackReader, ReadsBackEveryWrittenForm) {
  const std::string input = Packed([](MsgpackWriter& w) {
    w.Array(8);
    w.Nil();
    w.Bool(true);
    w.Int(std::numeric_limits<int64_t>::min());
    w.Unsigned(std::numeric_limits<uint64_t>::max());
    w.Double(-0.25);
    w.Str("naïve");
    w.Bin(std::string_view("\0\1", 2));
    w.Map(1);
    w.Str("k");
    w.Int(-5);
  });
  MsgpackReader reader(input);
  MsgpackItem item;
  const auto next = [&] {
    EXPECT_TRUE(reader.Next(item)) << (reader.Fault() != nullptr ? reader.Fault() : "end");
    return item;
  };
  EXPECT_EQ(next().count, 8u);
  EXPECT_EQ(item.type, MsgpackType::kArray);
  EXPECT_EQ(next().type, MsgpackType::kNil);
  EXPECT_TRUE(next().boolean);
  EXPECT_EQ(static_cast<int64_t>(next().number), std::numeric_limits<int64_t>::min());
  EXPECT_EQ(item.type, MsgpackType::kNegative);
  EXPECT_EQ(next().number, std::numeric_limits<uint64_t>::max());
  EXPECT_EQ(next().real, -0.25);
  EXPECT_EQ(next().bytes, "naïve");
  EXPECT_EQ(next().bytes, std::string_view("\0\1", 2));
  EXPECT_EQ(item.type, MsgpackType::kBin);
  EXPECT_EQ(next().type, MsgpackType::kMap);
  EXPECT_EQ(next().bytes, "k");
  EXPECT_FALSE(reader.AtEnd());
  EXPECT_EQ(static_cast<int64_t>(next().number), -5);
  EXPECT_TRUE(reader.AtEnd());
  EXPECT_FALSE(reader.Next(item));
  EXPECT_EQ(reader.Fault(), nullptr);
}

TEST(MsgpackReader, SmallSignedFormsKeepTheirSign) {
  const std::string input = Bytes({0xd0, 0x05, 0xd0, 0x80, 0xd1, 0xff, 0x7f, 0xd2, 0xff, 0xff, 0xff, 0xff});
  MsgpackReader reader(input);
  MsgpackItem item;
  ASSERT_TRUE(reader.Next(item));
  EXPECT_EQ(item.type, MsgpackType::kUnsigned);
  EXPECT_EQ(item.number, 5u);
  ASSERT_TRUE(reader.Next(item));
  EXPECT_EQ(static_cast<int64_t>(item.number), -128);
  ASSERT_TRUE(reader.Next(item));
  EXPECT_EQ(static_cast<int64_t>(item.number), -129);
  ASSERT_TRUE(reader.Next(item));
  EXPECT_EQ(static_cast<int64_t>(item.number), -1);
  EXPECT_EQ(item.type, MsgpackType::kNegative);
}

TEST(MsgpackReader, FloatAndExtForms) {
  const std::string input = Bytes({0xca, 0x3f, 0xc0, 0, 0, 0xd5, 0xff, 'a', 'b', 0xc7, 3, 7, 'x', 'y', 'z'});
  MsgpackReader reader(input);
  MsgpackItem item;
  ASSERT_TRUE(reader.Next(item));
  EXPECT_EQ(item.real, 1.5);
  ASSERT_TRUE(reader.Next(item));
  EXPECT_EQ(item.ext_type, -1);
  EXPECT_EQ(item.bytes, "ab");
  ASSERT_TRUE(reader.Next(item));
  EXPECT_EQ(item.ext_type, 7);
  EXPECT_EQ(item.bytes, "xyz");
  EXPECT_TRUE(reader.AtEnd());
}

void ExpectFault(const std::string& input, std::string_view fault) {
  MsgpackReader reader(input);
  MsgpackItem item;
  while (reader.Next(item)) {
  }
  ASSERT_NE(reader.Fault(), nullptr) << Hex(input);
  EXPECT_NE(std::string_view(reader.Fault()).find(fault), std::string_view::npos) << reader.Fault();
  EXPECT_FALSE(reader.AtEnd());
  EXPECT_FALSE(reader.Next(item)) << "a fault must stay";
}

TEST(MsgpackReader, RefusesWhatIsCutShort) {
  ExpectFault(Bytes({0xcf, 1, 2}), "ends inside an item");
  ExpectFault(Bytes({0xa5, 'a'}), "longer than the input");
  ExpectFault(Bytes({0xdb, 0xff, 0xff, 0xff, 0xff, 'a'}), "longer than the input");
  ExpectFault(Bytes({0x92, 0x91, 0x01}), "ends inside a container");
  ExpectFault(Bytes({0xc1}), "not a MessagePack type");
  ExpectFault(Bytes({0xd6, 1, 'a'}), "longer than the input");
}

TEST(MsgpackReader, RefusesAContainerLargerThanTheInput) {
  ExpectFault(Bytes({0xdd, 0xff, 0xff, 0xff, 0xff}), "claims more items");
  ExpectFault(Bytes({0xdf, 0x00, 0x00, 0x00, 0x02, 1, 1, 1}), "claims more items");
  ExpectFault(Bytes({0x93, 1, 1}), "claims more items");
}

TEST(MsgpackReader, NestingStopsAtTheLimit) {
  std::string input(MsgpackReader::kDepthMax, '\x91');
  input += '\x01';
  MsgpackReader reader(input);
  MsgpackItem item;
  while (reader.Next(item)) {
  }
  EXPECT_TRUE(reader.AtEnd());
  ExpectFault(std::string(MsgpackReader::kDepthMax + 1, '\x91') + '\x01', "nested too deep");
}

TEST(MsgpackReader, SkipContentsPassesNestedContainers) {
  const std::string input = Packed([](MsgpackWriter& w) {
    w.Array(2);
    w.Map(2);
    w.Str("a");
    w.Array(2);
    w.Int(1);
    w.Array(0);
    w.Str("b");
    w.Nil();
    w.Int(9);
  });
  MsgpackReader reader(input);
  MsgpackItem item;
  ASSERT_TRUE(reader.Next(item));
  ASSERT_TRUE(reader.Next(item));
  ASSERT_TRUE(reader.SkipContents(item));
  ASSERT_TRUE(reader.Next(item));
  EXPECT_EQ(item.number, 9u);
  EXPECT_TRUE(reader.AtEnd());
}

}  // namespace
}  // namespace sluice::codec
