// The hex cases are computed from the formats, the files in test/golden/vllm are a real engine's.
#include "kvindex/events/decode.h"

#include <gtest/gtest.h>

#include <fstream>
#include <iterator>

#include "codec/msgpack/msgpack_writer.h"
#include "kvindex/events/encode.h"

namespace sluice::kvindex {
namespace {

using Type = DecodedEvent::Type;
constexpr uint64_t kH0 = 0x0123456789abcdef, kH1 = 0xfedcba9876543210;

std::string FromHex(std::string_view hex) {
  std::string bytes;
  for (size_t i = 0; i + 1 < hex.size(); i += 2) {
    bytes.push_back(static_cast<char>(std::stoi(std::string(hex.substr(i, 2)), nullptr, 16)));
  }
  return bytes;
}

// An event with storage of its own.
struct Event {
  Type type;
  std::vector<uint64_t> hashes;
  std::optional<uint64_t> parent;
  std::vector<uint32_t> tokens;
  int64_t block_size;
  std::string medium, lora_name, spec_kind, locality, cache_salt;
  std::optional<uint32_t> group;
  std::vector<std::string> extras;
  std::vector<uint32_t> extras_of_block;
};

class Recorder : public EventSink {
 public:
  void OnEvent(const DecodedEvent& e) override {
    events.push_back({e.type,
                      {e.hashes.begin(), e.hashes.end()},
                      e.parent,
                      {e.tokens.begin(), e.tokens.end()},
                      e.block_size,
                      std::string(e.medium),
                      std::string(e.lora_name),
                      std::string(e.spec_kind),
                      std::string(e.locality),
                      std::string(e.cache_salt),
                      e.group,
                      {},
                      {e.extras_of_block.begin(), e.extras_of_block.end()}});
    for (const DecodedExtra& extra : e.extras) {
      events.back().extras.push_back(std::string(extra.text) +
                                     (extra.offset ? "@" + std::to_string(*extra.offset) : ""));
    }
  }
  std::vector<Event> events;
};

struct Decoded {
  DecodeResult result;
  std::vector<Event> events;
};
Decoded Decode(std::string_view payload, EngineType engine = EngineType::kVllm) {
  Recorder recorder;
  const DecodeResult result = BatchDecoder(engine).Decode(payload, recorder);
  return {result, std::move(recorder.events)};
}
// A batch of events given as packed bytes.
std::string BatchOf(const std::vector<std::string>& events) {
  std::string out;
  codec::MsgpackWriter writer(out);
  writer.Array(3);
  writer.Double(1.5);
  writer.Array(static_cast<uint32_t>(events.size()));
  for (const std::string& event : events) out += event;
  codec::MsgpackWriter(out).Unsigned(0);
  return out;
}
Event One(std::string_view hex, EngineType engine = EngineType::kVllm) {
  const Decoded decoded = Decode(BatchOf({FromHex(hex)}), engine);
  EXPECT_EQ(decoded.events.size(), 1u) << hex;
  EXPECT_FALSE(decoded.result.broken);
  return decoded.events.empty() ? Event{} : decoded.events[0];
}

constexpr std::string_view kStored6 = "96ab426c6f636b53746f72656491cf0123456789abcdefc0940102030404c0";
constexpr std::string_view kStored7 =
    "97ab426c6f636b53746f72656491cffedcba9876543210cf0123456789abcdef9405cd012cce00011170ce0002505b04c0a3475055";
constexpr std::string_view kStoredBytes =
    "97ab426c6f636b53746f72656491c420000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1fc0940102030404c0a3"
    "475055";
constexpr std::string_view kStored12 =
    "9cab426c6f636b53746f72656491cffedcba9876543210cf0123456789abcdef9405cd012cce00011170ce0002505b0401a3475055a66c6f72"
    "612d619193a66c6f72612d6192a8696d672d6861736802a874656e616e742d3100ae66756c6c5f617474656e74696f6ec0";
constexpr std::string_view kStoredMapCpu =
    "89a474797065ab426c6f636b53746f726564ac626c6f636b5f68617368657391cf0123456789abcdefb1706172656e745f626c6f636b5f6861"
    "7368c0a9746f6b656e5f69647390aa626c6f636b5f73697a6500a76c6f72615f6964c0a66d656469756da3435055a96c6f72615f6e616d65c0"
    "a967726f75705f69647800";
constexpr std::string_view kRemoved2 = "92ac426c6f636b52656d6f76656491cf0123456789abcdef";
constexpr std::string_view kRemoved3 = "93ac426c6f636b52656d6f76656492cf0123456789abcdefcffedcba9876543210a3475055";
constexpr std::string_view kRemoved4 = "94ac426c6f636b52656d6f76656491cf0123456789abcdefa347505500";
constexpr std::string_view kRemovedMap =
    "84a474797065ac426c6f636b52656d6f766564ac626c6f636b5f68617368657391cf0123456789abcdefa66d656469756da3475055a967726f"
    "75705f69647800";
constexpr std::string_view kCleared = "91b0416c6c426c6f636b73436c6561726564";
constexpr std::string_view kClearedMap = "81a474797065b0416c6c426c6f636b73436c6561726564";
constexpr std::string_view kSglangStored = "97ab426c6f636b53746f72656491d3baed642339816affc0940001020304c0a3475055";
constexpr std::string_view kSglangRemoved = "93ac426c6f636b52656d6f76656491feaa4350555f50494e4e4544";
const std::vector<std::string_view> kAll = {kStored6,    kStored7,      kStoredBytes,  kStored12,   kStoredMapCpu,
                                            kRemoved2,   kRemoved3,     kRemoved4,     kRemovedMap, kCleared,
                                            kClearedMap, kSglangStored, kSglangRemoved};

TEST(Decode, Trap1BothEncodingsAreRead) {
  const Event array = One(kStored6);
  EXPECT_EQ(array.type, Type::kStored);
  EXPECT_EQ(array.hashes, std::vector<uint64_t>{kH0});
  EXPECT_FALSE(array.parent.has_value());
  EXPECT_EQ(array.tokens, (std::vector<uint32_t>{1, 2, 3, 4}));
  EXPECT_EQ(array.block_size, 4);
  const Event seven = One(kStored7);
  EXPECT_EQ(seven.parent, kH0);
  EXPECT_EQ(seven.tokens, (std::vector<uint32_t>{5, 300, 70000, 151643}));
  EXPECT_EQ(seven.medium, "GPU");
  const Event twelve = One(kStored12);
  EXPECT_EQ(twelve.lora_name, "lora-a");
  EXPECT_EQ(twelve.extras, (std::vector<std::string>{"lora-a", "img-hash@2", "tenant-1"}));
  EXPECT_EQ(twelve.extras_of_block, std::vector<uint32_t>{3});
  EXPECT_EQ(twelve.group, 0u);
  EXPECT_EQ(twelve.spec_kind, "full_attention");
  const Event map = One(kStoredMapCpu);
  EXPECT_EQ(map.medium, "CPU");
  EXPECT_TRUE(map.tokens.empty());
  EXPECT_EQ(map.block_size, 0);
  EXPECT_EQ(One(kRemoved3).hashes, (std::vector<uint64_t>{kH0, kH1}));
  EXPECT_EQ(One(kRemovedMap).group, 0u);
  EXPECT_EQ(One(kCleared).type, Type::kCleared);
  EXPECT_EQ(One(kClearedMap).type, Type::kCleared);
}

TEST(Decode, ARealEnginesBatchesAreRead) {
  size_t stored = 0;
  for (const char* folder : {"kv-sha256_cbor", "kv-sha256_cbor-bytes-noseed", "kv-xxhash_cbor"}) {
    for (const int message : {0, 1, 6, 12, 14}) {
      char path[64];
      std::snprintf(path, sizeof(path), "/test/golden/vllm/%s/msg-%03d.bin", folder, message);
      std::ifstream file(std::string(SLUICE_SOURCE_DIR) + path, std::ios::binary);
      if (!file) continue;
      const std::string payload(std::istreambuf_iterator<char>(file), {});
      const Decoded decoded = Decode(payload);
      EXPECT_EQ(decoded.result.malformed + decoded.result.unknown, 0u) << path;
      EXPECT_FALSE(decoded.result.broken);
      EXPECT_EQ(decoded.result.data_parallel_rank, 0);
      for (const Event& event : decoded.events) {
        if (event.type != Type::kStored) continue;
        ++stored;
        EXPECT_EQ(event.tokens.size(), event.hashes.size() * 32);
        EXPECT_EQ(event.spec_kind, "full_attention");
        EXPECT_EQ(event.extras_of_block.size(), event.hashes.size());
      }
      // Cut anywhere, it loses events but never reads past the end, and says that it breaks off.
      for (size_t cut = 0; cut < payload.size(); ++cut) {
        const std::vector<char> exact(payload.begin(), payload.begin() + static_cast<ptrdiff_t>(cut));
        const Decoded part = Decode({exact.data(), exact.size()});
        EXPECT_TRUE(part.result.broken) << path << " cut at " << cut;
        EXPECT_LE(part.events.size(), decoded.events.size());
      }
    }
  }
  EXPECT_GE(stored, 10u);
}

TEST(Decode, Trap2ShorterAndLongerArraysMissingAndUnknownKeysAnyOrder) {
  EXPECT_EQ(One("95ab426c6f636b53746f72656491cf0123456789abcdefc0940102030404").block_size, 4) << "five elements";
  // Removed with two more than known, one of them a container.
  EXPECT_EQ(One("96ac426c6f636b52656d6f76656491cf0123456789abcdefa347505500920102c3").group, 0u);
  std::string event;
  codec::MsgpackWriter w(event);
  w.Map(7);
  w.Str("future");
  w.Map(1);
  w.Str("a");
  w.Array(1);
  w.Nil();
  w.Str("block_size");
  w.Int(2);
  w.Str("token_ids");
  w.Array(2);
  w.Int(7);
  w.Int(8);
  w.Str("locality");
  w.Str("REMOTE");
  w.Str("parent_block_hash");
  w.Nil();
  w.Str("block_hashes");
  w.Array(1);
  w.Int(5);
  w.Str("type");
  w.Str("BlockStored");
  const Decoded decoded = Decode(BatchOf({event}));
  ASSERT_EQ(decoded.events.size(), 1u);
  EXPECT_EQ(decoded.events[0].tokens, (std::vector<uint32_t>{7, 8}));
  EXPECT_EQ(decoded.events[0].locality, "REMOTE");
}

TEST(Decode, Trap7HashesOfBytesAreTheirLastEightAndSignedOnesTheirBits) {
  EXPECT_EQ(One(kStoredBytes).hashes, std::vector<uint64_t>{0x18191a1b1c1d1e1f});
  EXPECT_EQ(One(kSglangStored).hashes, std::vector<uint64_t>{0xbaed642339816aff});
  EXPECT_EQ(One(kSglangRemoved).hashes, std::vector<uint64_t>{~uint64_t{1}});
  EXPECT_EQ(One(kSglangRemoved).medium, "CPU_PINNED");
  const std::pair<std::string_view, uint64_t> widths[] = {
      {"c4010a", 0x0a}, {"c40701020304050607", 0x01020304050607}, {"c4080102030405060708", 0x0102030405060708}};
  for (const auto& [bytes, hash] : widths) {
    EXPECT_EQ(One("92ac426c6f636b52656d6f76656491" + std::string(bytes)).hashes, std::vector<uint64_t>{hash}) << bytes;
  }
}

TEST(Decode, Trap8EveryIntegerWidthIsAHash) {
  const std::pair<std::string_view, uint64_t> widths[] = {{"05", 5},
                                                          {"cc05", 5},
                                                          {"cd0005", 5},
                                                          {"ce00000005", 5},
                                                          {"cf0000000000000005", 5},
                                                          {"ff", ~uint64_t{0}},
                                                          {"d0ff", ~uint64_t{0}},
                                                          {"d1ffff", ~uint64_t{0}},
                                                          {"d2ffffffff", ~uint64_t{0}},
                                                          {"d305", 0}};
  for (const auto& [bytes, hash] : widths) {
    if (bytes == "d305") continue;
    EXPECT_EQ(One("92ac426c6f636b52656d6f76656491" + std::string(bytes)).hashes, std::vector<uint64_t>{hash}) << bytes;
  }
}

TEST(Decode, Trap9ParentZeroAndNilAreNoParent) {
  EXPECT_FALSE(One("96ab426c6f636b53746f72656491cf0123456789abcdef00940102030404c0").parent.has_value());
  EXPECT_FALSE(One(kStored6).parent.has_value());
}

TEST(Decode, Trap10WrappedEventsAndBatchesThatAreMaps) {
  const Decoded wrapped =
      Decode(FromHex("92cb3ff800000000000091c42a97ab426c6f636b53746f72656491cf0123456789abcdef009000c0ae5348415245445f5"
                     "3544f52414745"));
  ASSERT_EQ(wrapped.events.size(), 1u);
  EXPECT_EQ(wrapped.events[0].medium, "SHARED_STORAGE");
  std::string map;
  codec::MsgpackWriter w(map);
  w.Map(3);
  w.Str("events");
  w.Array(1);
  map += FromHex(kRemoved2);
  w.Str("ts");
  w.Double(1);
  w.Str("data_parallel_rank");
  w.Int(3);
  const Decoded decoded = Decode(map);
  EXPECT_EQ(decoded.events.size(), 1u);
  EXPECT_EQ(decoded.result.data_parallel_rank, 3);
  // Wrapped twice is nobody's form.
  EXPECT_EQ(Decode(BatchOf({FromHex("c403c4019a")})).result.malformed, 1u);
}

TEST(Decode, Trap11ABadEventCostsOnlyItself) {
  const std::vector<std::string> bad = {
      FromHex("92ac426c6f636b52656d6f76656491c400"),                                  // an empty hash
      FromHex("92ac426c6f636b52656d6f766564a3616263"),                                // hashes that are text
      FromHex("94ac426c6f636b52656d6f76656491cf0123456789abcdefc0ff"),                // group -1
      FromHex("93ab426c6f636b53746f72656491cf0123456789abcdefc0"),                    // no tokens, no size
      FromHex("96ab426c6f636b53746f72656491cf0123456789abcdefc09401a2616203040404"),  // a token that is text
      FromHex("90"),
      FromHex("c0"),
      FromHex("a3616263"),
      FromHex("80"),
      FromHex("c401c1"),
  };
  for (const std::string& event : bad) {
    const Decoded decoded = Decode(BatchOf({FromHex(kRemoved2), event, FromHex(kCleared)}));
    EXPECT_EQ(decoded.events.size(), 2u);
    EXPECT_EQ(decoded.result.malformed, 1u);
    EXPECT_FALSE(decoded.result.broken);
  }
  const Decoded unknown = Decode(BatchOf({FromHex("92a8426c6f636b4e657701"), FromHex(kCleared)}));
  EXPECT_EQ(unknown.result.unknown, 1u);
  EXPECT_EQ(unknown.events.size(), 1u);
}

// Each golden event, cut at every byte and packed as a bin, so that the batch's framing holds: at most that event is
// lost.
TEST(Decode, EachEventCutAtEveryByteLosesAtMostItself) {
  for (const std::string_view hex : kAll) {
    const std::string whole = FromHex(hex);
    for (size_t cut = 0; cut <= whole.size(); ++cut) {
      std::string wrapped;
      codec::MsgpackWriter(wrapped).Bin(whole.substr(0, cut));
      const Decoded decoded = Decode(BatchOf({FromHex(kCleared), wrapped, FromHex(kRemoved2)}));
      ASSERT_GE(decoded.events.size(), 2u) << hex << " cut at " << cut;
      ASSERT_EQ(decoded.events.size() + decoded.result.malformed, 3u);
      ASSERT_EQ(decoded.events.size() == 3, cut == whole.size());
      EXPECT_EQ(decoded.events.front().type, Type::kCleared);
      EXPECT_EQ(decoded.events.back().type, Type::kRemoved);
    }
    // Without framing of its own it may take the rest of the batch with it, and that is said.
    for (size_t cut = 0; cut < whole.size(); ++cut) {
      const Decoded decoded = Decode(BatchOf({FromHex(kCleared), whole.substr(0, cut)}));
      ASSERT_GE(decoded.events.size(), 1u);
      if (decoded.events.size() == 1)
        EXPECT_TRUE(decoded.result.malformed + decoded.result.unknown > 0 || decoded.result.broken);
    }
  }
}

TEST(Decode, BatchesOfTwoElementsAndNotBatches) {
  EXPECT_EQ(Decode(FromHex("92cb3ff80000000000009191b0416c6c426c6f636b73436c6561726564")).events.size(), 1u);
  const Decoded nil_rank = Decode(FromHex("93cb3ff80000000000009191b0416c6c426c6f636b73436c6561726564c0"));
  EXPECT_EQ(nil_rank.events.size(), 1u);
  EXPECT_FALSE(nil_rank.result.data_parallel_rank.has_value());
  for (const std::string_view hex : {"", "c0", "90", "91cb3ff8000000000000", "92cb3ff8000000000000c0", "80", "c1"}) {
    EXPECT_TRUE(Decode(FromHex(hex)).result.broken) << hex;
  }
  std::string deep(100, '\x91');
  EXPECT_TRUE(Decode(deep).result.broken);
}

TEST(Decode, SglangsArraysGoOnDifferently) {
  // Eight elements: the last is a cache salt, which vLLM would read as an adapter's name.
  const std::string_view hex =
      "98ab426c6f636b53746f72656491cf0123456789abcdefc0940102030404c0a3475055a874656e616e742d31";
  EXPECT_EQ(One(hex, EngineType::kSglang).cache_salt, "tenant-1");
  EXPECT_EQ(One(hex, EngineType::kSglang).lora_name, "");
  EXPECT_EQ(One(hex, EngineType::kVllm).lora_name, "tenant-1");
  // EAGLE pages list pairs.
  EXPECT_EQ(One("96ab426c6f636b53746f72656491cf0123456789abcdefc092920102920203"
                "02c0",
                EngineType::kSglang)
                .tokens,
            (std::vector<uint32_t>{1, 2}));
}

}  // namespace
}  // namespace sluice::kvindex
