#include "api/engine.h"

#include <unordered_map>

#include "base/error.h"

namespace trimeter {

std::vector<RequestOutput> Engine::generate(std::vector<Request> requests) {
  std::unordered_map<std::string, size_t> place;
  std::vector<RequestOutput> outputs(requests.size());
  for (size_t i = 0; i < requests.size(); ++i) {
    TM_CHECK(place.emplace(requests[i].id, i).second, "two requests named '{}'", requests[i].id);
    submit(std::move(requests[i]));
  }
  for (bool busy = true; busy;) {
    StepResult result = step();
    busy = result.busy;
    for (RequestOutput& output : result.finished)
      if (const auto at = place.find(output.id); at != place.end()) outputs[at->second] = std::move(output);
  }
  return outputs;
}

}  // namespace trimeter
