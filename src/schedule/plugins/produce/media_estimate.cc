#include "schedule/plugins/produce/media_estimate.h"

#include <algorithm>
#include <cmath>

#include "base/text.h"
#include "schedule/plugins/produce/image_dimensions.h"

namespace sluice::schedule {
namespace {

using codec::yaml::MapReader;

// 0 where the field is absent: "the default", as upstream has it.
double Count(MapReader& map, std::string_view field, double fallback) {
  const auto value = static_cast<double>(map.Int(field, 0, {.min = 0, .max = 1'000'000'000}));
  return value > 0 ? value : fallback;
}
double Amount(MapReader& map, std::string_view field, double fallback) {
  const double value = map.Number(field, 0, {.min = 0, .max = 1e9});
  return value > 0 ? value : fallback;
}

void ReadResolution(MapReader parent, double& width, double& height) {
  width = Count(parent, "width", width);
  height = Count(parent, "height", height);
  parent.Finish();
}

bool IsStatic(MapReader& map) {
  static constexpr std::string_view kModes[] = {"dynamic", "static"};
  return map.Choice("mode", "dynamic", kModes) == "static";
}

double Positive(std::string_view text) {
  const auto value = ParseNumber<double>(TrimSpace(text));
  return value && std::isfinite(*value) && *value > 0 ? *value : 0;
}

double WholePositive(std::string_view text) {
  const auto value = ParseNumber<uint32_t>(TrimSpace(text));
  return value ? *value : 0;
}

}  // namespace

VideoHeaders VideoHeaders::Of(const model::Request& request) {
  VideoHeaders headers;
  headers.seconds = Positive(request.Header("x-llm-d-video-duration-seconds"));
  headers.fps = Positive(request.Header("x-llm-d-video-fps"));
  const std::string_view resolution = request.Header("x-llm-d-video-resolution");
  const size_t by = resolution.find_first_of("xX");
  if (by == std::string_view::npos) return headers;
  headers.width = WholePositive(resolution.substr(0, by));
  headers.height = WholePositive(resolution.substr(by + 1));
  return headers;
}

void MediaEstimate::Read(MapReader& estimate) {
  ReadImage(estimate.Map("image"));
  ReadVideo(estimate.Map("video"));
}

void MediaEstimate::ReadImage(MapReader image) {
  image_.fixed = IsStatic(image);
  ReadResolution(image.Map("defaultResolution"), image_.width, image_.height);
  MapReader dynamic = image.Map("dynamic");
  image_.factor = Count(dynamic, "factor", image_.factor);
  dynamic.Finish();
  MapReader fixed = image.Map("static");
  image_.tokens = Count(fixed, "staticToken", image_.tokens);
  fixed.Finish();
  image.Finish();
}

void MediaEstimate::ReadVideo(MapReader video) {
  ReadResolution(video.Map("defaultResolution"), video_.width, video_.height);
  video_.seconds = Amount(video, "defaultDuration", video_.seconds);
  video_.tokens_max = Count(video, "maxVideoTokens", 0);
  MapReader per_frame = video.Map("tokensPerFrame");
  video_.fixed = IsStatic(per_frame);
  MapReader dynamic = per_frame.Map("dynamic");
  video_.factor = Count(dynamic, "factor", video_.factor);
  dynamic.Finish();
  MapReader fixed = per_frame.Map("static");
  video_.tokens = Count(fixed, "numTokensPerFrame", video_.tokens);
  fixed.Finish();
  per_frame.Finish();
  ReadFrames(video.Map("frames"));
  video.Finish();
}

void MediaEstimate::ReadFrames(MapReader frames) {
  static constexpr std::string_view kModes[] = {"sampled", "strided"};
  video_.strided = frames.Choice("mode", "sampled", kModes) == "strided";
  video_.min_frames = Count(frames, "minFrames", 0);
  video_.max_frames = Count(frames, "maxFrames", 0);
  MapReader sampled = frames.Map("sampled");
  video_.sample_fps = Amount(sampled, "sampleFPS", video_.sample_fps);
  video_.patch = Count(sampled, "temporalPatchSize", video_.patch);
  sampled.Finish();
  MapReader strided = frames.Map("strided");
  video_.source_fps = Amount(strided, "defaultSourceFPS", video_.source_fps);
  video_.stride = Count(strided, "frameStride", video_.stride);
  strided.Finish();
  frames.Finish();
}

double MediaEstimate::ImageTokens(std::string_view content) const {
  if (image_.fixed) return image_.tokens;
  const auto own = DimensionsOf(content);
  const double pixels = own ? double{1} * own->width * own->height : image_.width * image_.height;
  return std::floor(pixels / image_.factor);
}

double MediaEstimate::Frames(const VideoHeaders& headers) const {
  const double seconds = headers.seconds > 0 ? headers.seconds : video_.seconds;
  const double fps = headers.fps > 0 ? headers.fps : video_.source_fps;
  double frames =
      video_.strided ? std::floor(std::floor(seconds * fps) / video_.stride) : std::floor(seconds * video_.sample_fps);
  frames = std::max(frames, video_.min_frames);
  if (video_.max_frames > 0) frames = std::min(frames, video_.max_frames);
  return video_.strided ? frames : std::floor(frames / video_.patch);
}

double MediaEstimate::VideoTokens(const VideoHeaders& headers) const {
  double per_frame = video_.tokens;
  if (!video_.fixed) {
    const bool known = headers.width > 0 && headers.height > 0;
    const double pixels = known ? headers.width * headers.height : video_.width * video_.height;
    per_frame = std::max(1.0, std::floor(pixels / video_.factor));
  }
  const double tokens = Frames(headers) * per_frame;
  return video_.tokens_max > 0 ? std::min(tokens, video_.tokens_max) : tokens;
}

uint32_t MediaEstimate::TokensOf(const model::Media& media, const VideoHeaders& headers) const {
  double tokens = 0;
  switch (media.kind) {
    case model::Media::Kind::kImage:
      tokens = ImageTokens(media.content);
      break;
    case model::Media::Kind::kVideo:
      tokens = VideoTokens(headers);
      break;
    case model::Media::Kind::kAudio:
      tokens = std::ceil(static_cast<double>(media.content.size()) / 4);
      break;
  }
  return static_cast<uint32_t>(std::clamp(tokens, 1.0, double{kTokensMax}));
}

}  // namespace sluice::schedule
