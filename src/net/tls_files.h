// TlsFiles: a server's TLS context that follows its files: when a certificate is renewed, connections that begin from
// then on get it, those that run keep theirs, and none is dropped. Files that do not fit each other change nothing,
// which is logged: a new certificate is there some time before its key. Thread rule: the loop's thread. Ownership: owns
// the context and the task that watches. Cost: a read of each file twice a second.
#pragma once

#include <memory>
#include <string>

#include "net/tls_stream.h"
#include "runtime/loop.h"

namespace sluice::net {

class TlsFiles {
 public:
  // `module`: who says in the log that files were reloaded.
  static Result<std::unique_ptr<TlsFiles>> Open(runtime::Loop& loop, TlsContext::Options options, std::string module);
  TlsFiles(const TlsFiles&) = delete;

  // Stays at its address when it is replaced.
  const TlsContext& context() const { return context_; }
  // Begins to follow the files.
  void Watch() { tasks_.Spawn(Follow()); }
  // Looks once.
  void Look();

 private:
  TlsFiles(runtime::Loop& loop, TlsContext::Options options, std::string module, TlsContext context);
  runtime::Task<> Follow();
  // Of all files' bytes; of what cannot be read, nothing.
  size_t HashOfFiles() const;

  runtime::Loop& loop_;
  TlsContext::Options options_;
  std::string module_;
  TlsContext context_;
  size_t seen_;
  runtime::TaskScope tasks_;  // last: its task refers to the rest
};

}  // namespace sluice::net
