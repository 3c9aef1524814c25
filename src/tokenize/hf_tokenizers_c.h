// The C interface of third_party/tokenizers/src/lib.rs; who reads one changes the other. Only hf_tokenizer.cc and the
// benchmark include this. Lists that it gives are freed by the function for their kind, exactly once.
#pragma once

#include <cstddef>
#include <cstdint>

extern "C" {

struct SluiceHfHandle;
struct SluiceHfIds {
  uint32_t* data;
  size_t size;
};
struct SluiceHfBytes {
  uint8_t* data;
  size_t size;
};

SluiceHfHandle* sluice_hf_open(const uint8_t* json, size_t size, SluiceHfBytes* error);
void sluice_hf_close(SluiceHfHandle* handle);
bool sluice_hf_encode(const SluiceHfHandle* handle, const uint8_t* data, size_t size, bool add_special,
                      bool parse_special, SluiceHfIds* out, SluiceHfBytes* error);
// For tokenize_bench: `rounds` times, without leaving Rust; the number of ids.
size_t sluice_hf_encode_rounds(const SluiceHfHandle* handle, const uint8_t* data, size_t size, size_t rounds);
bool sluice_hf_decode(const SluiceHfHandle* handle, const uint32_t* ids, size_t count, bool skip_special,
                      SluiceHfBytes* out, SluiceHfBytes* error);
// The vocabulary's spelling of a token (which is not its text).
bool sluice_hf_token(const SluiceHfHandle* handle, uint32_t id, SluiceHfBytes* out);
uint32_t sluice_hf_vocab_size(const SluiceHfHandle* handle);
// The added tokens, one record each: id, flags (SluiceHfAddedFlags), bytes of its text (u32, little-endian), then
// these.
void sluice_hf_added(const SluiceHfHandle* handle, SluiceHfBytes* out);
void sluice_hf_free_ids(SluiceHfIds list);
void sluice_hf_free_bytes(SluiceHfBytes list);
}

enum SluiceHfAddedFlags : uint32_t {
  kSluiceHfSpecial = 1,
  kSluiceHfNormalized = 2,
  kSluiceHfSingleWord = 4,
};
