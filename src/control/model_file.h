// Where a manifest's model.uri is on this machine.
//   file:///absolute/path.gguf, /absolute/path.gguf      that file
//   name.gguf, dir/name.gguf, file://name.gguf           looked up in the model folders, in order
//   hf:// s3:// oci:// pvc:// …                          refused: this version fetches nothing
// Thread rule: pure but for the file system. Cost: one stat a place.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace sluice::control {

// $SLUICE_MODEL_PATH (folders separated by ':'), ./models, ../share/sluice/models and ../../models beside the
// executable, ${SLUICE_CACHE_DIR:-~/.cache/sluice}/models.
std::vector<std::string> ModelFolders(const std::string& executable);

// The absolute path of the model. `field` names the manifest's field (or the flag) in errors.
Result<std::string> FindModelFile(std::string_view uri, std::string_view field,
                                  const std::vector<std::string>& folders);

}  // namespace sluice::control
