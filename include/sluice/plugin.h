// Scheduling plugins from outside the tree: a shared object with one function, sluice_plugin_get, that returns a
// table of what the plugin does. A configuration names it:
//
//   plugins:
//   - name: my-scorer
//     type: shared-object
//     parameters: {path: my_scorer.so, config: {label: gpu}}
//
// Plain C (C99, usable from C++, Rust, Zig, Go), nothing else of Sluice is needed. How to: docs/develop/plugins.md.
//
// Thread rule: one instance (`self`) is called from several threads at once; what it changes after init it must guard.
// Ownership: everything passed to a call belongs to the caller and is good for the time of the call only.
// Cost: a call is made for every decision, so it should take microseconds; it must not wait, throw or end the process.
#pragma once

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Changes when a field changes its place or meaning. Fields that come later stand behind, so old plugins go on. */
#define SLUICE_PLUGIN_ABI 1u

/* Bytes, not ended by a zero. data is NULL when there is no such text. */
typedef struct sluice_text {
  const char* data;
  size_t size;
} sluice_text;

typedef struct sluice_request {
  sluice_text id;
  sluice_text model;        /* as the client named it */
  sluice_text target_model; /* what the engine will be asked for */
  sluice_text objective;
  sluice_text fairness_id;
  sluice_text session_id;
  int32_t priority;  /* below 0: may be shed */
  int32_t streaming; /* 1: the answer is wanted as a stream */
  uint64_t body_bytes;
  int64_t prompt_tokens;     /* -1: nobody counted them */
  int64_t output_tokens_max; /* -1: no limit was asked for */

  void* context; /* for the functions below */
  /* The last value of the request's header; names are compared without case. */
  sluice_text (*header)(void* context, sluice_text name);
  /* 64 random bits. A plugin that needs chance takes it from here: then a recorded decision can be repeated. */
  uint64_t (*random)(void* context);
} sluice_request;

/* The endpoints that are left, as columns: entry i of each is candidate i of `count`. */
typedef struct sluice_candidates {
  size_t count;
  const sluice_text* host_port;  /* "10.0.0.1:8000" */
  const float* waiting;          /* requests in the engine's queue, as last reported */
  const float* running;          /* requests that the engine works on */
  const float* kv_usage;         /* 0 to 1 */
  const float* matched_tokens;   /* of the prompt, thought to be in its cache; NULL: nobody computes it */
  const float* data_age_seconds; /* of waiting, running and kv_usage; infinity: never reported */

  void* context;
  /* The value of the candidate's label; `candidate` below count. */
  sluice_text (*label)(void* context, size_t candidate, sluice_text key);
} sluice_candidates;

/* What the plugin does. A function that is NULL is a role that it does not have; at least one of the three is there. */
typedef struct sluice_plugin {
  uint32_t abi;  /* SLUICE_PLUGIN_ABI */
  uint32_t size; /* sizeof(sluice_plugin) */

  /* Makes an instance from the configuration's `config`, as JSON text ("null" when there is none). Returns 0 and sets
   * *self, or returns anything else and writes why into error[0 .. error_size), ended by a zero. May be NULL. */
  int (*init)(const char* config_json, void** self, char* error, size_t error_size);
  void (*destroy)(void* self); /* may be NULL */

  /* Writes scores[i], 0 (worst) to 1 (best), for each candidate. NaN: no score. What is outside is clamped. */
  void (*score)(void* self, const sluice_request* request, const sluice_candidates* candidates, float* scores);
  /* keep[i] is 1; set it to 0 to drop candidate i. */
  void (*filter)(void* self, const sluice_request* request, const sluice_candidates* candidates, uint8_t* keep);
  /* Returns the index of the chosen candidate; totals[i] is the weighted sum of its scores. There is at least one. An
   * index out of range is counted and ignored: the highest total is taken. */
  size_t (*pick)(void* self, const sluice_request* request, const sluice_candidates* candidates, const float* totals);
} sluice_plugin;

/* The one function that the shared object exports. The table must stay good while the object is loaded. */
#if defined(__GNUC__)
__attribute__((visibility("default")))
#endif
const sluice_plugin*
sluice_plugin_get(void);

#ifdef __cplusplus
}
#endif
