#include "worker/engine/text_stream.h"

#include <gtest/gtest.h>

#include "base/rng.h"

namespace sluice::worker {
namespace {

TEST(TextStream, HoldsAnIncompleteCharacter) {
  TextStream t({}, false);
  EXPECT_EQ(t.Append("a\xE2\x82").text, "a");
  EXPECT_EQ(t.Append("\xAC!").text, "€!");
  EXPECT_EQ(t.Append("\xF0\x9F").text, "");
  EXPECT_EQ(t.Finish(), "\xEF\xBF\xBD");
  EXPECT_EQ(t.Finish(), "");
}

TEST(TextStream, ReplacesWhatIsNoCharacter) {
  std::string out;
  EXPECT_EQ(AppendUtf8("a\x80z\xC0\xAF\xED\xA0\x80", out), 0U);
  EXPECT_EQ(out, "a\xEF\xBF\xBDz\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD");
  out.clear();
  EXPECT_EQ(AppendUtf8("\xE2\x82"
                       "a",
                       out),
            0U);
  EXPECT_EQ(out,
            "\xEF\xBF\xBD"
            "a")
      << "one for the whole cut-off character";
}

TEST(TextStream, StopsAcrossPieces) {
  TextStream t({"END", "##"}, false);
  EXPECT_EQ(t.Append("one E").text, "one ");
  EXPECT_EQ(t.Append("N").text, "");
  EXPECT_EQ(t.Append("O two #").text, "ENO two ");
  const auto last = t.Append("# tail");
  EXPECT_EQ(last.text, "");
  EXPECT_EQ(last.stop, "##");
}

TEST(TextStream, EarliestStopWinsAndMayBeIncluded) {
  TextStream t({"cd", "bc"}, true);
  const auto p = t.Append("abcd");
  EXPECT_EQ(p.text, "abc");
  EXPECT_EQ(p.stop, "bc");
}

TEST(TextStream, StopIsPlainTextBeforeItMayStop) {
  TextStream t({"x"}, false);
  const auto p = t.Append("axb", false);
  EXPECT_EQ(p.text, "axb");
  EXPECT_FALSE(p.stop);
  EXPECT_EQ(t.Append("cx").text, "c");
}

TEST(TextStream, HeldTextIsShownAtTheEnd) {
  TextStream t({"<end>"}, false);
  EXPECT_EQ(t.Append("a<en").text, "a");
  EXPECT_EQ(t.Finish(), "<en");
}

// Cut anywhere, the same text comes out, and the first stop string ends it.
TEST(TextStream, AnyCutGivesTheSameText) {
  Rng rng(7);
  const std::string text = "aab€ab\xF0\x9F\x98\x80 abaabc and more";
  const std::string stop = "abaabc";
  for (int round = 0; round < 500; ++round) {
    TextStream t({stop, "zzz"}, false);
    std::string shown;
    std::optional<std::string> hit;
    for (size_t i = 0; i < text.size() && !hit;) {
      const size_t n = std::min<size_t>(1 + rng.Below(5), text.size() - i);
      auto p = t.Append(std::string_view(text).substr(i, n));
      shown += p.text;
      hit = p.stop;
      i += n;
    }
    ASSERT_EQ(shown, text.substr(0, text.find(stop)));
    ASSERT_EQ(hit, stop);
  }
}

}  // namespace
}  // namespace sluice::worker
