// Which headers the picker passes back to Envoy. Upstream sets every header of a request again; here those are left out
// that Envoy refuses or that would change by it: pseudo-headers, and names that occur more than once (setting one value
// would drop the others).
// Thread rule: pure. Cost: quadratic in the number of headers for up to 64 of them, beyond that none is set again.
#pragma once

#include <span>
#include <string_view>

#include "extproc/messages.h"

namespace sluice::extproc {

// Names that belong to the router: what a client or an engine says there is not passed on by the picker.
bool IsSystemHeader(std::string_view name);

// Appends those of `headers` that are set again.
void AppendEchoed(std::span<const HeaderView> headers, Headers& out);

}  // namespace sluice::extproc
