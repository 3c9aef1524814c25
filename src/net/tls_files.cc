#include "net/tls_files.h"

#include <functional>

#include "base/read_file.h"
#include "observe/log.h"

namespace sluice::net {

namespace {
constexpr size_t kFileBytesMax = 1024 * 1024;
constexpr Duration kInterval = std::chrono::milliseconds(500);
}  // namespace

Result<std::unique_ptr<TlsFiles>> TlsFiles::Open(runtime::Loop& loop, TlsContext::Options options, std::string module) {
  auto context = TlsContext::Make(options);
  if (!context) return tl::unexpected(context.error());
  return std::unique_ptr<TlsFiles>(new TlsFiles(loop, std::move(options), std::move(module), std::move(*context)));
}

TlsFiles::TlsFiles(runtime::Loop& loop, TlsContext::Options options, std::string module, TlsContext context)
    : loop_(loop),
      options_(std::move(options)),
      module_(std::move(module)),
      context_(std::move(context)),
      seen_(HashOfFiles()),
      tasks_(loop) {}

size_t TlsFiles::HashOfFiles() const {
  size_t hash = 0;
  const auto add = [&hash](const std::string& path) {
    if (path.empty()) return;
    const auto text = ReadFile(path, kFileBytesMax);
    hash = hash * 31 + std::hash<std::string>()(text ? *text : std::string());
  };
  for (const std::string* path : {&options_.certificate_path, &options_.key_path, &options_.client_ca_path}) add(*path);
  for (const TlsContext::Pair& pair : options_.others) {
    add(pair.certificate_path);
    add(pair.key_path);
  }
  return hash;
}

void TlsFiles::Look() {
  const size_t now = HashOfFiles();
  if (now == seen_) return;
  seen_ = now;
  auto context = TlsContext::Make(options_);
  if (context) context_ = std::move(*context);
  observe::Log(context ? observe::Level::kInfo : observe::Level::kWarn, module_,
               context ? "certificate reloaded" : "changed certificate refused, the former one stays",
               {{"file", options_.certificate_path}, {"error", context ? std::string() : context.error().message}});
}

runtime::Task<> TlsFiles::Follow() {
  for (;;) {
    co_await runtime::SleepFor(loop_, kInterval);
    Look();
  }
}

}  // namespace sluice::net
