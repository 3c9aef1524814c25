// Fuzz target: any bytes give an expression within its limits or an error with a column; evaluating it ends, and twice
// gives the same.
#include <array>
#include <cstddef>
#include <cstdint>
#include <limits>

#include "base/check.h"
#include "schedule/plugins/report/cel_expression.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using sluice::schedule::CelExpression;
  static constexpr std::array<std::string_view, 3> kNames = {"a", "usage.b", "usage.c"};
  const auto expression = CelExpression::Parse({reinterpret_cast<const char*>(data), size}, kNames);
  if (!expression) {
    SLUICE_CHECK(expression.error().message.starts_with("column "), "an error says where");
    return 0;
  }
  for (const int64_t value : {int64_t{0}, int64_t{1}, int64_t{-7}, std::numeric_limits<int64_t>::min(),
                              std::numeric_limits<int64_t>::max()}) {
    const std::array<std::optional<int64_t>, 3> values = {value, 3, std::nullopt};
    const auto result = expression->Evaluate(values);
    SLUICE_CHECK(result == expression->Evaluate(values), "equal values give an equal result");
    if (result && expression->type() == CelExpression::Type::kBool) {
      SLUICE_CHECK(*result == 0 || *result == 1, "a boolean is 0 or 1");
    }
  }
  return 0;
}
