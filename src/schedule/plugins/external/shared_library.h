// SharedLibrary: a plugin compiled outside the tree, loaded and made ready (include/sluice/plugin.h). The file is read
// once; its bytes are checked and then loaded from memory. So what was checked is what runs, and a file that was
// replaced under the same name is the new one at the next load.
// Thread rule: Open at load time; afterwards immutable, the plugin's functions are for any thread. Ownership: the
// instance and the code live as long as the object.
#pragma once

#include <sluice/plugin.h>
#include <memory>
#include <string>

#include "base/result.h"

namespace sluice::schedule {

class SharedLibrary {
 public:
  static constexpr size_t kBytesMax = size_t{256} << 20;

  // `sha256`: of the file, in hex; empty: not checked. Errors are kInvalidArgument and say what to do.
  static Result<std::unique_ptr<SharedLibrary>> Open(const std::string& path, const std::string& sha256,
                                                     const std::string& config_json);
  ~SharedLibrary();
  SharedLibrary(const SharedLibrary&) = delete;
  SharedLibrary& operator=(const SharedLibrary&) = delete;

  const sluice_plugin& table() const { return *table_; }
  void* self() const { return self_; }

 private:
  SharedLibrary() = default;
  Status Load(const std::string& path, const std::string& bytes);
  Status Start(const std::string& path, const std::string& config_json);

  int memory_ = -1;  // open while the code is used: the loader knows the code by this number
  void* handle_ = nullptr;
  const sluice_plugin* table_ = nullptr;
  void* self_ = nullptr;
  bool started_ = false;
};

}  // namespace sluice::schedule
