#include "schedule/plugins/produce/image_dimensions.h"

#include <gtest/gtest.h>

#include <string>

namespace sluice::schedule {
namespace {

using namespace std::string_literals;

std::string Base64(std::string_view bytes) {
  constexpr std::string_view kAlphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string out;
  for (size_t i = 0; i < bytes.size(); i += 3) {
    uint32_t group = 0;
    for (size_t k = 0; k < 3; ++k) group = group << 8 | (i + k < bytes.size() ? static_cast<uint8_t>(bytes[i + k]) : 0);
    for (size_t k = 0; k < 4; ++k) {
      out += i + k > bytes.size() ? '=' : kAlphabet[group >> (18 - 6 * k) & 63];
    }
  }
  return out;
}

std::optional<ImageDimensions> OfBytes(std::string_view bytes) {
  return DimensionsOf("data:image/any;base64," + Base64(bytes));
}
constexpr ImageDimensions k640x480{640, 480};

const std::string kPng = "\x89PNG\r\n\x1A\n\0\0\0\x0DIHDR\0\0\x02\x80\0\0\x01\xE0\x08\x02\0\0\0"s;
// A comment of 300 bytes and a quantisation table stand before the frame header.
const std::string kJpeg = "\xFF\xD8\xFF\xE0\0\x10JFIF\0\x01\x01\0\0\x01\0\x01\0\0"s + "\xFF\xFE\x01\x2E"s +
                          std::string(300, 'c') + "\xFF\xDB\0\x04\0\0\xFF\xC4\0\x03\0\xFF\xFF\xC2\0\x11\x08"s +
                          "\x01\xE0\x02\x80\x03"s;

// A 1 x 1 GIF and a 1 x 1 PNG as they are found in many pages.
constexpr std::string_view kGifPixel = "data:image/gif;base64,R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7";
constexpr std::string_view kPngPixel =
    "data:image/"
    "png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==";

TEST(ImageDimensions, OfThePixelsThatEveryoneKnows) {
  EXPECT_EQ(DimensionsOf(kGifPixel), (ImageDimensions{1, 1}));
  EXPECT_EQ(DimensionsOf(kPngPixel), (ImageDimensions{1, 1}));
}

TEST(ImageDimensions, OfEachFormat) {
  EXPECT_EQ(OfBytes(kPng), k640x480);
  EXPECT_EQ(OfBytes(kJpeg), k640x480);
  EXPECT_EQ(OfBytes("GIF87a\x80\x02\xE0\x01"s), k640x480);
  EXPECT_EQ(OfBytes("RIFF\0\0\0\0WEBPVP8X\x0A\0\0\0\0\0\0\0\x7F\x02\0\xDF\x01\0"s), k640x480);
  // 14 bits of width - 1, then 14 bits of height - 1.
  EXPECT_EQ(OfBytes("RIFF\0\0\0\0WEBPVP8L\0\0\0\0\x2F\x7F\xC2\x77\0"s), k640x480);
  EXPECT_EQ(OfBytes("RIFF\0\0\0\0WEBPVP8 \0\0\0\0\0\0\0\x9D\x01\x2A\x80\x02\xE0\x01"s), k640x480);
}

TEST(ImageDimensions, OfBase64WithoutADataUrl) { EXPECT_EQ(DimensionsOf(Base64(kPng)), k640x480); }

TEST(ImageDimensions, NothingForWhatIsNotAnImage) {
  EXPECT_EQ(DimensionsOf(""), std::nullopt);
  EXPECT_EQ(DimensionsOf("https://example.org/cat.png"), std::nullopt);
  EXPECT_EQ(DimensionsOf("data:image/svg+xml,<svg/>"), std::nullopt);
  EXPECT_EQ(DimensionsOf("data:image/png;base64,%%%%"), std::nullopt);
  EXPECT_EQ(OfBytes("no picture at all, but long enough"), std::nullopt);
  EXPECT_EQ(OfBytes("GIF89a\0\0\x01\0"s), std::nullopt);  // no width
}

TEST(ImageDimensions, NothingForOneThatIsCutShort) {
  for (const std::string& whole : {kPng.substr(0, 24), kJpeg.substr(0, kJpeg.size() - 1)}) {
    ASSERT_EQ(OfBytes(whole), k640x480);
    for (size_t size = 0; size + 3 < whole.size(); ++size) {
      EXPECT_EQ(OfBytes(std::string_view(whole).substr(0, size)), std::nullopt) << size;
    }
  }
}

// Segments of no length, or of the least one, do not keep it busy.
TEST(ImageDimensions, ABrokenJpegEnds) {
  EXPECT_EQ(OfBytes("\xFF\xD8\xFF\xE0\0\0\0\0\0\0\0\0\0\0\0\0"s), std::nullopt);
  std::string endless = "\xFF\xD8"s;
  for (int i = 0; i < 100'000; ++i) endless += "\xFF\xE0\0\x02"s;
  EXPECT_EQ(OfBytes(endless), std::nullopt);
}

}  // namespace
}  // namespace sluice::schedule
