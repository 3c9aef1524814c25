#include "schedule/plugins/external/shared_library.h"

#include <dlfcn.h>
#include <openssl/evp.h>
#include <sys/mman.h>
#include <unistd.h>

#include <array>
#include <fstream>

#include "base/text.h"

namespace sluice::schedule {
namespace {

constexpr const char* kSymbol = "sluice_plugin_get";

Result<std::string> ReadAll(const std::string& path) {
  std::ifstream file(path, std::ios::binary | std::ios::ate);
  if (!file) return Fail(Code::kInvalidArgument, path + ": not found or not readable");
  const std::streamoff size = file.tellg();
  if (size < 0 || static_cast<size_t>(size) > SharedLibrary::kBytesMax) {
    return Fail(Code::kInvalidArgument, path + ": not a file of at most 256 MiB");
  }
  std::string bytes(static_cast<size_t>(size), '\0');
  if (!file.seekg(0).read(bytes.data(), size)) return Fail(Code::kInvalidArgument, path + ": cannot be read");
  return bytes;
}

std::string Sha256Hex(const std::string& bytes) {
  std::array<unsigned char, 32> digest{};
  unsigned size = 0;
  if (EVP_Digest(bytes.data(), bytes.size(), digest.data(), &size, EVP_sha256(), nullptr) != 1) return {};
  std::string hex;
  for (const unsigned char byte : digest) {
    hex += "0123456789abcdef"[byte >> 4];
    hex += "0123456789abcdef"[byte & 15];
  }
  return hex;
}

bool WriteAll(int fd, const std::string& bytes) {
  for (size_t at = 0; at < bytes.size();) {
    const ssize_t wrote = write(fd, bytes.data() + at, bytes.size() - at);
    if (wrote <= 0) return false;
    at += static_cast<size_t>(wrote);
  }
  return true;
}

}  // namespace

Status SharedLibrary::Load(const std::string& path, const std::string& bytes) {
  memory_ = memfd_create("sluice-plugin", MFD_CLOEXEC);
  if (memory_ < 0 || !WriteAll(memory_, bytes)) {
    return Fail(Code::kInvalidArgument, path + ": no memory to load it into");
  }
  handle_ = dlopen(("/proc/self/fd/" + std::to_string(memory_)).c_str(), RTLD_NOW | RTLD_LOCAL);
  if (handle_ == nullptr) {
    const char* why = dlerror();
    return Fail(Code::kInvalidArgument,
                path + ": not a shared object that can be loaded here: " + (why != nullptr ? why : "unknown reason"));
  }
  const auto get = reinterpret_cast<const sluice_plugin* (*)()>(dlsym(handle_, kSymbol));
  if (get == nullptr) {
    return Fail(Code::kInvalidArgument, path + ": does not export " + kSymbol + " (include/sluice/plugin.h)");
  }
  table_ = get();
  if (table_ == nullptr) return Fail(Code::kInvalidArgument, path + ": " + kSymbol + " returned nothing");
  if (table_->abi != SLUICE_PLUGIN_ABI || table_->size < sizeof(sluice_plugin)) {
    return Fail(Code::kInvalidArgument, path + ": speaks version " + std::to_string(table_->abi) +
                                            " of the plugin interface (" + std::to_string(table_->size) +
                                            " bytes), this program version " + std::to_string(SLUICE_PLUGIN_ABI) +
                                            " (" + std::to_string(sizeof(sluice_plugin)) +
                                            "): compile it with this program's include/sluice/plugin.h");
  }
  if (table_->score == nullptr && table_->filter == nullptr && table_->pick == nullptr) {
    return Fail(Code::kInvalidArgument, path + ": has none of score, filter and pick");
  }
  return {};
}

Status SharedLibrary::Start(const std::string& path, const std::string& config_json) {
  std::array<char, 512> why{};
  if (table_->init != nullptr && table_->init(config_json.c_str(), &self_, why.data(), why.size()) != 0) {
    why.back() = '\0';
    return Fail(Code::kInvalidArgument,
                path + ": refused its configuration: " + (why[0] != '\0' ? why.data() : "it does not say why"));
  }
  started_ = true;
  return {};
}

Result<std::unique_ptr<SharedLibrary>> SharedLibrary::Open(const std::string& path, const std::string& sha256,
                                                           const std::string& config_json) {
  auto bytes = ReadAll(path);
  if (!bytes) return tl::unexpected(bytes.error());
  if (!sha256.empty()) {
    const std::string found = Sha256Hex(*bytes);
    if (!EqualsIgnoreCase(found, sha256)) {
      return Fail(Code::kInvalidArgument, path + ": its sha256 is " + found + ", expected " + sha256);
    }
  }
  std::unique_ptr<SharedLibrary> library(new SharedLibrary);
  if (const Status loaded = library->Load(path, *bytes); !loaded) return tl::unexpected(loaded.error());
  if (const Status started = library->Start(path, config_json); !started) return tl::unexpected(started.error());
  return library;
}

SharedLibrary::~SharedLibrary() {
  if (started_ && table_->destroy != nullptr) table_->destroy(self_);
  if (handle_ != nullptr) dlclose(handle_);
  if (memory_ >= 0) close(memory_);
}

}  // namespace sluice::schedule
