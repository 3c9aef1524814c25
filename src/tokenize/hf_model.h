// HfModel: what a Hugging Face model folder says about text: tokenizer.json, and its chat template from
// chat_template.jinja or tokenizer_config.json.
// Thread rule: Open is pure but for reading files; its parts are immutable, any thread. Cost: HfTokenizer's Open.
#pragma once

#include <memory>
#include <string>

#include "base/result.h"
#include "tokenize/hf_tokenizer.h"
#include "tokenize/vllm_chat.h"

namespace sluice::tokenize {

struct HfModel {
  std::unique_ptr<HfTokenizer> tokenizer;
  std::unique_ptr<VllmChat> chat;  // null: the folder has no usable template, and `chat_problem` says why
  std::string chat_problem;
};

// kNotFound: no tokenizer.json there. kInvalidArgument: a file cannot be read. kUnavailable: see HfTokenizer.
Result<HfModel> OpenHfModel(const std::string& folder);

}  // namespace sluice::tokenize
