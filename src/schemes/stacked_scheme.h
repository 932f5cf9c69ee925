// A fused linear whose parts are held in different schemes: q and k in q4_K, v in q6_K, as mixed GGUF files have them.
// Rows of the parts are stacked; each part is a weight of its own scheme, and an input is prepared once per scheme.
#pragma once
#include <span>

#include "schemes/scheme.h"

namespace trimeter {

struct StackedPart {
  const Scheme* scheme;
  int64_t n_rows;
};

// The scheme of that stack, and its name, which scheme() knows from then on: "ggml_q4_k*384+ggml_q6_k*128". Parts of
// one scheme that follow each other are one; a stack of one is that scheme. Every part but the last must be whole panels
// of kPanelRows rows: throws Error(kUnsupported) if it is not.
// A matrix with another number of rows than the parts' together (the probe's) is cut in the same proportions.
const Scheme& stacked_scheme(std::span<const StackedPart> parts);
// A stack by its name, made if there is none yet (another process may have kept the name); nullptr if it is no such
// name.
const Scheme* find_stacked_scheme(std::string_view name);

// One weight per part, in their order, as one weight of the stack.
CanonicalWeight stack_weights(std::vector<CanonicalWeight> parts);

}  // namespace trimeter
