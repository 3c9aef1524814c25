// PromptTokens: exact token ids of a pool's requests, made before the decision as the pool's token-producer says: by
// vLLM's render endpoints, or in this process. What cannot be had is loud: the request flows on estimates, and the
// receipt, a metric and a log line say why.
// Thread rule: the loop's thread; prompts over kInlineBytes are tokenized on an own worker pool meanwhile. Ownership: a
// call keeps the PromptTokens that it waits for; borrows loop, client and metrics.
// Cost: see local_tokens.h and render_client.h; nothing for requests that bring token ids. Limits: kThreads, kQueueMax.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "model/request.h"
#include "observe/log.h"
#include "runtime/worker_pool.h"
#include "serving/local_tokens.h"
#include "serving/render_client.h"
#include "serving/router_metrics.h"

namespace sluice::serving {

class PromptTokens {
 public:
  static constexpr size_t kInlineBytes = 2 << 10;  // of a body: about 0.5 ms of tokenizing
  static constexpr size_t kThreads = 2;
  static constexpr size_t kQueueMax = 1024;

  // `source` does not estimate. An error when its tokenizer cannot be opened, or its URL is none. May take a second.
  static Result<std::shared_ptr<PromptTokens>> Open(runtime::Loop& loop, net::HttpClient& client,
                                                    RouterMetrics& metrics, std::string pool,
                                                    schedule::TokenSource source);

  struct Made {
    std::vector<RenderClient::Prompt> prompts;  // none: they could not be had
    model::TokenOrigin origin;
    bool waited = false;  // other requests ran meanwhile
    // Puts the ids into the prompts of a request that was read from the same body; its media then are the engine's.
    // Views into this.
    void Apply(model::Request& request) const;
  };
  // `body` as it will be sent, for the model that it names; it must live until the task ends. While the task waits
  // other requests run.
  runtime::Task<Made> Make(parse::Api api, std::string_view body, const model::Request& request);

  const schedule::TokenSource& source() const { return source_; }
  // Tries the render endpoint once and says how that went.
  static runtime::Task<> WarmUp(std::shared_ptr<PromptTokens> self);

 private:
  PromptTokens(runtime::Loop& loop, RouterMetrics& metrics, std::string pool, schedule::TokenSource source);
  runtime::Task<Status> MakeLocal(parse::Api api, std::string_view body, std::string_view model, Made& made);
  std::string_view SourceName() const;

  runtime::Loop& loop_;
  RouterMetrics& metrics_;
  std::string pool_;
  schedule::TokenSource source_;
  std::unique_ptr<RenderClient> render_;
  std::shared_ptr<LocalTokens> local_;  // shared with jobs whose callers have gone
  std::unique_ptr<runtime::WorkerPool> workers_;
  SystemClock clock_;
  observe::Every failure_log_{1};
};

}  // namespace sluice::serving
