/* An example of a plugin outside the tree: prefers endpoints whose label has the value of a request header.
 *
 *   config: {"label": "tier", "header": "x-tier"}
 *
 * score: 1 for a match, 0 otherwise. filter: drops endpoints that wait for `waiting_max` requests or more, but never
 * all. The configuration is read with a few lines of C; a real plugin would take its JSON library of choice. */
#include <sluice/plugin.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct instance {
  char label[64];
  char header[64];
  double waiting_max;
};

/* The string under "key" of a flat JSON object, without escapes. */
static int find_string(const char* json, const char* key, char* out, size_t size) {
  char quoted[80];
  snprintf(quoted, sizeof quoted, "\"%s\":\"", key);
  const char* at = strstr(json, quoted);
  if (at == NULL) return 0;
  at += strlen(quoted);
  const char* end = strchr(at, '"');
  if (end == NULL || (size_t)(end - at) >= size) return 0;
  memcpy(out, at, (size_t)(end - at));
  out[end - at] = 0;
  return 1;
}

static int init(const char* config_json, void** self, char* error, size_t error_size) {
  struct instance* made = calloc(1, sizeof *made);
  if (made == NULL) return 1;
  if (!find_string(config_json, "label", made->label, sizeof made->label) ||
      !find_string(config_json, "header", made->header, sizeof made->header)) {
    snprintf(error, error_size, "config needs the strings label and header");
    free(made);
    return 1;
  }
  const char* limit = strstr(config_json, "\"waiting_max\":");
  made->waiting_max = limit != NULL ? strtod(limit + strlen("\"waiting_max\":"), NULL) : 1e9;
  *self = made;
  return 0;
}

static void destroy(void* self) { free(self); }

static sluice_text text_of(const char* words) {
  sluice_text text = {words, strlen(words)};
  return text;
}

static void score(void* self, const sluice_request* request, const sluice_candidates* candidates, float* scores) {
  const struct instance* me = self;
  const sluice_text wanted = request->header(request->context, text_of(me->header));
  for (size_t i = 0; i < candidates->count; ++i) {
    const sluice_text has = candidates->label(candidates->context, i, text_of(me->label));
    const int equal = wanted.data != NULL && has.data != NULL && has.size == wanted.size &&
                      memcmp(has.data, wanted.data, has.size) == 0;
    scores[i] = equal ? 1.0f : 0.0f;
  }
}

static void filter(void* self, const sluice_request* request, const sluice_candidates* candidates, uint8_t* keep) {
  const struct instance* me = self;
  size_t kept = 0;
  (void)request;
  for (size_t i = 0; i < candidates->count; ++i) kept += candidates->waiting[i] < me->waiting_max;
  for (size_t i = 0; i < candidates->count && kept > 0; ++i) keep[i] = candidates->waiting[i] < me->waiting_max;
}

const sluice_plugin* sluice_plugin_get(void) {
  static const sluice_plugin plugin = {
      SLUICE_PLUGIN_ABI, sizeof(sluice_plugin), init, destroy, score, filter, NULL,
  };
  return &plugin;
}
