// An error becomes a Result through Fail(): a Result<std::string> must not take an error's text for a success.
// expect: no viable conversion from returned value of type 'sluice::Error'
#include <string>

#include "base/result.h"

sluice::Result<std::string> Good() { return sluice::Fail(sluice::Code::kNotFound, "no such model"); }

#ifdef BROKEN
sluice::Result<std::string> Bad() { return sluice::Error{sluice::Code::kNotFound, "no such model", ""}; }
#endif
