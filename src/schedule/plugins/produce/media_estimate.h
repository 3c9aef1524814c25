// MediaEstimate: how many tokens an image, a video or a sound stands for, from what can be known without decoding it.
// Upstream's rules and defaults, with bounds: a client cannot make the router hold more tokens than kTokensMax for one.
// Thread rule: immutable after Read. Cost: an image's first bytes; otherwise arithmetic.
#pragma once

#include <cstdint>

#include "codec/yaml/reader.h"
#include "model/request.h"

namespace sluice::schedule {

// What the request's headers say about its videos: x-llm-d-video-duration-seconds, -resolution and -fps. 0: nothing.
struct VideoHeaders {
  double seconds = 0;
  double fps = 0;
  double width = 0, height = 0;
  static VideoHeaders Of(const model::Request& request);
};

class MediaEstimate {
 public:
  static constexpr uint32_t kTokensMax = 65536;  // of one; an image of 8192 x 8192

  // Reads `image` and `video` of the token-producer's `estimate`.
  void Read(codec::yaml::MapReader& estimate);

  // At least 1.
  uint32_t TokensOf(const model::Media& media, const VideoHeaders& headers) const;

 private:
  struct Image {
    bool fixed = false;  // mode: static
    double tokens = 1;
    double width = 640, height = 360;
    double factor = 1024;
  };
  struct Video {
    bool fixed = false;  // tokensPerFrame.mode: static
    double tokens = 1;
    double factor = 1024;
    bool strided = false;  // frames.mode
    double min_frames = 0, max_frames = 0;
    double sample_fps = 2, patch = 1;
    double source_fps = 24, stride = 1;
    double width = 640, height = 360;
    double seconds = 10;
    double tokens_max = 0;
  };
  void ReadImage(codec::yaml::MapReader image);
  void ReadVideo(codec::yaml::MapReader video);
  void ReadFrames(codec::yaml::MapReader frames);
  double ImageTokens(std::string_view content) const;
  double Frames(const VideoHeaders& headers) const;
  double VideoTokens(const VideoHeaders& headers) const;

  Image image_;
  Video video_;
};

}  // namespace sluice::schedule
