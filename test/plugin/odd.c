/* For tests: returns what a plugin should not, and what the interface passes in. Compiled several times, see
 * src/schedule/CMakeLists.txt: ODD_ABI, ODD_SIZE and ODD_NOTHING make tables that must be refused. */
#include <math.h>
#include <sluice/plugin.h>
#include <string.h>

#ifndef ODD_ABI
#define ODD_ABI SLUICE_PLUGIN_ABI
#endif
#ifndef ODD_SIZE
#define ODD_SIZE sizeof(sluice_plugin)
#endif

static int is(sluice_text text, const char* words) {
  return text.size == strlen(words) && memcmp(text.data, words, text.size) == 0;
}

static sluice_text header(const sluice_request* request, const char* name) {
  const sluice_text text = {name, strlen(name)};
  return request->header(request->context, text);
}

/* The request's header "score" says which number to return: NaN, infinities, or a column's. */
static void score(void* self, const sluice_request* request, const sluice_candidates* candidates, float* scores) {
  const sluice_text what = header(request, "score");
  (void)self;
  for (size_t i = 0; i < candidates->count; ++i) {
    if (is(what, "nan"))
      scores[i] = NAN;
    else if (is(what, "big"))
      scores[i] = i == 0 ? INFINITY : -1e30f;
    else if (is(what, "running"))
      scores[i] = candidates->running[i];
    else if (is(what, "kv"))
      scores[i] = candidates->kv_usage[i];
    else if (is(what, "age"))
      scores[i] = candidates->data_age_seconds[i];
    else if (is(what, "matched"))
      scores[i] = candidates->matched_tokens ? candidates->matched_tokens[i] / 1000 : 0.5f;
    else if (is(what, "host"))
      scores[i] = is(candidates->host_port[i], "10.0.0.2:8000");
    else if (is(what, "request"))
      scores[i] = is(request->model, "m") && is(request->session_id, "s") && request->priority == -3 &&
                  request->prompt_tokens == 100 && request->output_tokens_max == 7 && request->objective.data == NULL;
    else
      scores[i] = 0;
  }
}

/* "pick": a number, or "random". */
static size_t pick(void* self, const sluice_request* request, const sluice_candidates* candidates,
                   const float* totals) {
  const sluice_text what = header(request, "pick");
  (void)self;
  (void)totals;
  if (is(what, "random")) return (size_t)(request->random(request->context) % candidates->count);
  return what.size == 1 ? (size_t)(what.data[0] - '0') : (size_t)-1;
}

const sluice_plugin* sluice_plugin_get(void) {
#ifdef ODD_NOTHING
  static const sluice_plugin plugin = {ODD_ABI, (uint32_t)ODD_SIZE, NULL, NULL, NULL, NULL, NULL};
  (void)score;
  (void)pick;
#else
  static const sluice_plugin plugin = {ODD_ABI, (uint32_t)ODD_SIZE, NULL, NULL, score, NULL, pick};
#endif
  return &plugin;
}
