// Width and height of an image within a request, from the first bytes of its base64 text: PNG, JPEG, GIF and WebP.
// Nothing else is decoded, and of a JPEG only the heads of its segments, wherever they are.
// Thread rule: pure. Cost: a few hundred bytes looked at, no allocation, whatever the image's size.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

namespace sluice::schedule {

struct ImageDimensions {
  uint32_t width = 0, height = 0;
  bool operator==(const ImageDimensions&) const = default;
};

// `content` as in model::Media: a data URL, or base64 data. Nothing for other URLs, other formats and broken data.
std::optional<ImageDimensions> DimensionsOf(std::string_view content);

}  // namespace sluice::schedule
