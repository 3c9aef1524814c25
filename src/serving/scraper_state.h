// What a Scraper keeps of its plan and of each endpoint: shared by scraper.cc, which asks, and scraper_read.cc, which
// reads the answers. Nobody else includes it. Thread rule: the loop's thread.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "serving/scraper.h"

namespace sluice::serving {

struct Scraper::Plan {
  struct Source {
    schedule::MetricsDataSource::Kind kind;
    std::string type;
    std::string path;
    uint16_t port = 0;
    bool own_scheme = false;                     // else the endpoint's
    std::shared_ptr<const net::TlsContext> tls;  // with its own scheme; null: clear text
    Duration interval;
    const schedule::CoreMetricsExtractor* extractor = nullptr;
    const schedule::DcgmExtractor* dcgm = nullptr;
    pool::DialectTable dialects;  // of the extractor
    std::string_view ExtractorType() const {
      if (kind == schedule::MetricsDataSource::Kind::kModels) return schedule::ModelsExtractor::kInfo.type;
      return dcgm != nullptr ? schedule::DcgmExtractor::kInfo.type : schedule::CoreMetricsExtractor::kInfo.type;
    }
  };
  std::shared_ptr<const schedule::Policy> policy;  // owns the plugins
  std::vector<Source> sources;                     // models first: an endpoint without them serves nobody
  Duration tick;
};

// Sources at one address share it: they are asked one after another.
struct Scraper::Connection {
  Connection(net::Address a, std::shared_ptr<const net::TlsContext> t)
      : address(std::move(a)), tls(std::move(t)), parser(net::HttpParser::Kind::kResponse, {}) {}
  net::Address address;
  std::shared_ptr<const net::TlsContext> tls;  // null: clear text
  std::optional<net::Wire> wire;
  net::HttpParser parser;
  bool received_nothing = true;
};

struct Scraper::Poll {
  Poll(const Plan::Source& s, Connection& c) : source(&s), connection(&c) {}
  const net::Address& address() const { return connection->address; }
  const Plan::Source* source;
  Connection* connection;
  std::string request;
  bool answered = false;  // on this connection, at least once
  TimePoint due{};
  std::string problem;  // of the last page; empty: none
  const pool::Dialect* recognised = nullptr;
  TimePoint recognise_due{};
};

struct Scraper::Watched {
  Watched(runtime::Loop& loop, model::EndpointId endpoint_id, const model::Endpoint& endpoint)
      : id(endpoint_id),
        name(endpoint.name),
        address{endpoint.address, endpoint.port},
        encrypted(endpoint.scheme == model::Scheme::kHttps),
        go(loop),
        expired(loop),
        tasks(loop) {}

  model::EndpointId id;
  std::string name;
  net::Address address;
  bool encrypted;
  std::vector<ServedModel> models;
  bool models_known = false;

  std::shared_ptr<const Plan> plan;
  std::vector<std::unique_ptr<Connection>> connections;
  std::vector<std::unique_ptr<Poll>> polls;
  enum class State : uint8_t { kIdle, kQueued, kRunning } state = State::kIdle;
  TimePoint due{};
  TimePoint deadline = TimePoint::max();
  std::string page;          // what came so far of an answer in several pieces
  bool collectable = false;  // an answer is waited for
  runtime::Event go;         // begin a round; collect an answer
  runtime::Event expired;    // the deadline has passed
  runtime::TaskScope tasks;  // last: its task refers to the rest
};

struct Scraper::Meter {
  explicit Meter(Scraper& s) : scraper(s), began(s.clock_.Now()) {}
  ~Meter() {
    const Duration took = scraper.clock_.Now() - began;
    scraper.budget_ -= took;
    scraper.spent_ += took;
  }
  Scraper& scraper;
  TimePoint began;
};

}  // namespace sluice::serving
