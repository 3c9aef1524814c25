#include <gtest/gtest.h>

#include <set>

#include "base/base64.h"
#include "base/byte_block.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/result.h"
#include "base/rng.h"
#include "base/text.h"

namespace sluice {
namespace {

TEST(ErrorTable, EveryCodeHasAUsableRow) {
  std::set<std::string_view> names;
  for (const CodeInfo& row : AllCodes()) {
    EXPECT_TRUE(names.insert(row.name).second) << row.name;
    EXPECT_GE(row.http_status, 400);
    EXPECT_LT(row.http_status, 600);
    EXPECT_FALSE(row.help.empty());
    EXPECT_EQ(Info(row.code).name, row.name);
    EXPECT_EQ(CodeFromHttp(row.http_status), row.code);
  }
  EXPECT_EQ(CodeFromHttp(418), Code::kInvalidArgument);
  EXPECT_EQ(CodeFromHttp(599), Code::kInternal);
}

TEST(Rng, SameSeedSameNumbersAndBelowIsInRange) {
  Rng a(7), b(7), c(8);
  EXPECT_EQ(a(), b());
  EXPECT_NE(a(), c());
  std::array<int, 5> seen{};
  for (int i = 0; i < 5000; ++i) ++seen[a.Below(5)];
  for (int n : seen) EXPECT_NEAR(n, 1000, 150);
}

TEST(Rng, UuidHasVersionAndVariant) {
  Rng rng(1);
  const std::string id = MakeUuid(rng);
  ASSERT_EQ(id.size(), 36u);
  EXPECT_EQ(id[14], '4');
  EXPECT_NE(std::string("89ab").find(id[19]), std::string::npos);
  EXPECT_NE(id, MakeUuid(rng));
}

TEST(Text, NearestNameFindsTyposAndRefusesStrangers) {
  const std::vector<std::string> known = {"max_tokens", "temperature", "top_p"};
  EXPECT_EQ(DidYouMean("max_token", known), "; did you mean 'max_tokens'?");
  EXPECT_EQ(DidYouMean("Temprature", known), "; did you mean 'temperature'?");
  EXPECT_EQ(DidYouMean("colour", known), "");
}

TEST(Text, ParseNumberTakesTheWholeText) {
  EXPECT_EQ(ParseNumber<int>("42"), 42);
  EXPECT_EQ(ParseNumber<int>("-3"), -3);
  EXPECT_EQ(ParseNumber<int>("42x"), std::nullopt);
  EXPECT_EQ(ParseNumber<int>(""), std::nullopt);
  EXPECT_EQ(ParseNumber<uint8_t>("256"), std::nullopt);
  EXPECT_EQ(ParseNumber<double>("0.5"), 0.5);
}

TEST(Text, SplitKeepsEmptyPieces) {
  EXPECT_EQ(Split("a,,b", ','), (std::vector<std::string_view>{"a", "", "b"}));
  EXPECT_EQ(Split("", ',').size(), 1u);
}

TEST(ByteBlock, FindByteSeesEachPlaceOnce) {
  const auto is_mark = [](ByteBlock c) { return (c == '"') | (c >= 0xf0); };
  for (size_t size = 0; size < 100; ++size) {
    const std::string text(size, 'x');
    ASSERT_EQ(FindByte(text, is_mark), size);
    for (size_t at = 0; at < size; ++at) {
      std::string marked = text;
      marked.back() = '\xff';
      marked[at] = '"';
      ASSERT_EQ(FindByte(marked, is_mark), at) << size;
      ASSERT_EQ(FindByte(std::string_view(marked).substr(0, at), is_mark), at) << "bytes behind the end count not";
    }
  }
}

TEST(Base64, Rfc4648Vectors) {
  const std::pair<const char*, const char*> vectors[] = {{"", ""},
                                                         {"f", "Zg=="},
                                                         {"fo", "Zm8="},
                                                         {"foo", "Zm9v"},
                                                         {"foob", "Zm9vYg=="},
                                                         {"fooba", "Zm9vYmE="},
                                                         {"foobar", "Zm9vYmFy"},
                                                         {"\xff\xfe", "//4="}};
  for (const auto& [bytes, text] : vectors) {
    EXPECT_EQ(Base64Encode(bytes), text);
    EXPECT_EQ(Base64Decode(text), bytes);
  }
}

TEST(Base64, DecodingIsStrict) {
  for (const char* wrong :
       {"Zg", "Zg=", "Zg===", "Z===", "====", "Zh==", "Zm9=", "Zm 9", "Zm9v\n", "Zg==Zg==", "Zm-_"}) {
    EXPECT_EQ(Base64Decode(wrong), std::nullopt) << wrong;
  }
}

TEST(Result, FailCarriesCodeMessageAndParam) {
  const Result<int> result = Fail(Code::kInvalidArgument, "n must be positive", "n");
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().param, "n");
  EXPECT_EQ(Info(result.error().code).http_status, 400);
}

TEST(ManualClock, MovesOnlyWhenTold) {
  ManualClock clock;
  const TimePoint start = clock.Now();
  EXPECT_EQ(clock.Now(), start);
  clock.Advance(FromSeconds(1.5));
  EXPECT_DOUBLE_EQ(Seconds(clock.Now() - start), 1.5);
}

}  // namespace
}  // namespace sluice
