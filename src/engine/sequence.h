#pragma once
#include <cstdint>
#include <span>
#include <vector>

#include "engine/block_pool.h"

namespace trimeter {

// What the scheduler knows of a sequence: its tokens, how far they are computed, where their K and V lie.
struct Sequence {
  std::vector<int32_t> tokens;    // the prompt, then what was generated
  int32_t n_prompt = 0;           // all tokens when scoring
  int32_t next_logits = 0;        // logits are wanted from this position on: the last token's when generating, every
                                  // position's when scoring, and never one that has been delivered
  bool uses_prefix_cache = true;  // false when scoring: cached positions have no logits

  // The scheduler's own.
  int32_t n_computed = 0;          // tokens whose K and V are in blocks
  int32_t seat = -1;               // row of the block tables; -1: waiting
  int32_t* block_table = nullptr;  // [n_blocks]
  int32_t n_blocks = 0;
  int32_t n_known_blocks = 0;  // full blocks that the prefix cache knows, the last one by `known_serial`
  uint64_t known_serial = BlockPool::kNoParent;
  int32_t n_cached_tokens = -1;  // from the prefix cache at the first admission; -1: not admitted yet

  int32_t n_tokens() const { return static_cast<int32_t>(tokens.size()); }
};

}  // namespace trimeter
