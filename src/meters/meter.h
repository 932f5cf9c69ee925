// What every meter takes: engines by name, and somebody to tell how far it is.
#pragma once
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

#include "api/engine.h"

namespace trimeter {

struct NamedEngine {
  std::string format;
  Engine* engine = nullptr;  // not owned
};

// Called on the calling thread, before the first piece of work and after each.
using MeterProgress = std::function<void(std::string_view what, int64_t n_done, int64_t n_total)>;

}  // namespace trimeter
