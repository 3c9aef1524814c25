// ProtoFields beside parse::ProtoReader: whatever the bytes, both find the same fields and the same end.
#include "extproc/proto_fields.h"

#include <gtest/gtest.h>

#include "base/rng.h"
#include "extproc/proto_writer.h"
#include "extproc/testing.h"
#include "parse/proto_reader.h"

namespace sluice::extproc {
namespace {

void ExpectSame(std::string_view message) {
  ProtoFields fields(message);
  parse::ProtoReader reader(message);
  while (const auto field = reader.Next()) {
    ASSERT_TRUE(fields.Next());
    EXPECT_EQ(fields.number(), field->number);
    ASSERT_EQ(fields.is_bytes(), field->kind == parse::ProtoField::Kind::kBytes);
    if (fields.is_bytes()) {
      EXPECT_EQ(fields.bytes().data(), field->bytes.data());
      EXPECT_EQ(fields.bytes(), field->bytes);
    } else {
      EXPECT_EQ(fields.value(), field->value);
    }
  }
  EXPECT_FALSE(fields.Next());
  EXPECT_EQ(fields.ok(), reader.ok());
  EXPECT_FALSE(fields.Next()) << "it stays at its end";
  EXPECT_EQ(fields.ok(), reader.ok());
}

std::string AllKinds() {
  std::string out;
  ProtoWriter writer(out);
  writer.Varint(1, 0);
  writer.Varint(15, ~uint64_t{0});
  writer.Varint(16, 127);
  writer.Varint(0x1fffffff, 128);
  writer.Double(2, -1.5);
  writer.Bytes(3, "");
  writer.Bytes(4, "text");
  writer.Bytes(5, std::string(300, 'x'));
  out += std::string("\x35\x01\x02\x03\x04", 5);  // 6: fixed32
  return out;
}

TEST(ProtoFields, AgreesWithTheOtherReader) {
  const std::string all = AllKinds();
  ExpectSame(all);
  ExpectSame("");
  for (size_t size = 0; size < all.size(); ++size) ExpectSame(std::string_view(all).substr(0, size));
  // Numbers of ten bytes, and more; field 0; groups; numbers beyond the largest.
  ExpectSame(std::string("\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", 11));
  ExpectSame(std::string("\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02", 11));
  ExpectSame(std::string("\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", 12));
  ExpectSame(std::string("\x00\x01", 2));
  ExpectSame(std::string("\x0b\x0c", 2));
  ExpectSame(std::string("\x80\x80\x80\x80\x10\x00", 6));
  ExpectSame(std::string("\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", 11));
}

TEST(ProtoFields, AgreesOnBrokenMessages) {
  Rng rng(7);
  const std::string whole = AllKinds() + HeadMessage(2, {{":path", "/v1"}, {"a", "b"}}) + BodyMessage(4, "{}", true);
  for (int round = 0; round < 20'000; ++round) {
    std::string message = whole;
    for (uint64_t edits = 1 + rng.Below(4); edits > 0; --edits) {
      message[rng.Below(message.size())] = static_cast<char>(rng.Below(256));
    }
    const size_t from = rng.Below(message.size());
    ExpectSame(std::string_view(message).substr(from));
  }
}

}  // namespace
}  // namespace sluice::extproc
