#include "engine/block_pool.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <random>

namespace trimeter {
namespace {

constexpr int kBlockSize = 4;

std::vector<int32_t> block_of(int32_t token) { return std::vector<int32_t>(kBlockSize, token); }

TEST(BlockPool, EveryBlockIsUsableBlockZeroToo) {
  BlockPool pool(3, kBlockSize);
  std::vector<int32_t> blocks = {pool.allocate(), pool.allocate(), pool.allocate()};
  std::ranges::sort(blocks);
  EXPECT_EQ(blocks, (std::vector<int32_t>{0, 1, 2}));
  EXPECT_EQ(pool.n_free(), 0);
  EXPECT_DEATH(pool.allocate(), "empty pool");
}

TEST(BlockPool, MisuseStopsTheProgram) {
  BlockPool pool(2, kBlockSize);
  const int32_t block = pool.allocate();
  pool.release(block);
  EXPECT_DEATH(pool.release(block), "released twice");
  EXPECT_DEATH(pool.retain(block), "free and blank");
  EXPECT_DEATH(pool.release(2), "block 2 of 2");
}

TEST(BlockPool, BlankBlocksGoBeforeCachedAndThoseByAge) {
  BlockPool pool(4, kBlockSize);
  const int32_t a = pool.allocate(), b = pool.allocate(), c = pool.allocate(), d = pool.allocate();
  pool.insert(a, BlockPool::kNoParent, block_of(1));
  pool.insert(b, BlockPool::kNoParent, block_of(2));
  pool.insert(c, BlockPool::kNoParent, block_of(3));
  for (const int32_t block : {b, a, c, d}) pool.release(block);
  pool.retain(a);  // used again: now the youngest
  pool.release(a);
  EXPECT_EQ(pool.allocate(), d);
  EXPECT_EQ(pool.allocate(), b);
  EXPECT_EQ(pool.allocate(), c);
  EXPECT_EQ(pool.find(BlockPool::kNoParent, block_of(2)), -1) << "given away, so forgotten";
  EXPECT_EQ(pool.find(BlockPool::kNoParent, block_of(1)), a);
}

TEST(BlockPool, TheSameTokensAfterAnotherPrefixAreAnotherBlock) {
  BlockPool pool(4, kBlockSize);
  const int32_t a = pool.allocate(), b = pool.allocate(), c = pool.allocate(), d = pool.allocate();
  const uint64_t after_a = pool.insert(a, BlockPool::kNoParent, block_of(1));
  const uint64_t after_b = pool.insert(b, BlockPool::kNoParent, block_of(2));
  pool.insert(c, after_a, block_of(7));
  EXPECT_EQ(pool.find(after_a, block_of(7)), c);
  EXPECT_EQ(pool.find(after_b, block_of(7)), -1);
  EXPECT_EQ(pool.find(BlockPool::kNoParent, block_of(7)), -1);
  // A block computed twice: the first stays the known one, and both continue under its serial.
  EXPECT_EQ(pool.insert(d, BlockPool::kNoParent, block_of(1)), after_a);
  EXPECT_EQ(pool.find(BlockPool::kNoParent, block_of(1)), a);
  EXPECT_EQ(pool.serial(d), 0u);
}

TEST(BlockPool, ASerialNumberIsNeverUsedAgain) {
  BlockPool pool(2, kBlockSize);
  const int32_t a = pool.allocate(), b = pool.allocate();
  const uint64_t first = pool.insert(a, BlockPool::kNoParent, block_of(1));
  pool.insert(b, first, block_of(2));
  pool.release(a);
  const int32_t again = pool.allocate();  // a, blank now; b still caches "2 after a's old content"
  EXPECT_EQ(again, a);
  const uint64_t second = pool.insert(again, BlockPool::kNoParent, block_of(9));
  EXPECT_NE(second, first);
  EXPECT_EQ(pool.find(second, block_of(2)), -1) << "must not be found behind other content in the same block";
}

TEST(BlockPool, ClearForgetsContentAndKeepsReferences) {
  BlockPool pool(2, kBlockSize);
  const int32_t a = pool.allocate();
  pool.insert(a, BlockPool::kNoParent, block_of(1));
  pool.clear_cache();
  EXPECT_EQ(pool.find(BlockPool::kNoParent, block_of(1)), -1);
  EXPECT_EQ(pool.n_refs(a), 1);
  pool.check_invariants();
}

// Random operations beside a model that knows the truth by brute force. A small alphabet makes equal contents, a small
// pool makes evictions; the table is at most half full, so probes collide as well.
TEST(BlockPool, RandomOperationsKeepEveryInvariant) {
  for (const int n_blocks : {1, 5, 64}) {
    std::mt19937 random(static_cast<unsigned>(n_blocks));
    BlockPool pool(n_blocks, kBlockSize);
    std::vector<int32_t> held;                                           // one entry per reference
    std::map<std::pair<uint64_t, std::vector<int32_t>>, int32_t> known;  // every content inserted and not evicted
    std::vector<uint64_t> serials = {BlockPool::kNoParent};
    const auto any_parent = [&] {  // one of the latest, or none: what can still be in the pool
      return random() % 2 == 0 ? BlockPool::kNoParent
                               : serials[serials.size() - 1 - random() % std::min<size_t>(serials.size(), 4)];
    };
    int n_hits = 0, n_evictions = 0;
    for (int step = 0; step < 4000; ++step) {
      const std::vector<int32_t> tokens = block_of(static_cast<int32_t>(random() % 3));
      switch (random() % 16) {
        case 0:
        case 1:
        case 2:
        case 3:
        case 4:
          if (pool.n_free() == 0) break;
          held.push_back(pool.allocate());
          n_evictions += static_cast<int>(std::erase_if(known, [&](auto& k) { return k.second == held.back(); }));
          break;
        case 5:
        case 6:
        case 7:
        case 8: {
          if (held.empty()) break;
          const size_t i = random() % held.size();
          pool.release(held[i]);
          held.erase(held.begin() + static_cast<int64_t>(i));
          break;
        }
        case 9:
        case 10:
        case 11: {
          if (held.empty()) break;
          const int32_t block = held[random() % held.size()];
          if (pool.serial(block) != 0) break;
          const uint64_t parent = any_parent();
          const uint64_t serial = pool.insert(block, parent, tokens);
          const auto [at, is_new] = known.try_emplace({parent, tokens}, block);
          ASSERT_EQ(pool.serial(at->second), serial);
          ASSERT_EQ(pool.serial(block) != 0, is_new);
          if (is_new) serials.push_back(serial);
          break;
        }
        case 15:
          if (random() % 64 != 0) break;
          pool.clear_cache();
          known.clear();
          break;
        default: {
          const uint64_t parent = any_parent();
          const auto at = known.find({parent, tokens});
          const int32_t block = pool.find(parent, tokens);
          ASSERT_EQ(block, at == known.end() ? -1 : at->second);
          if (block < 0) break;
          ++n_hits;
          pool.retain(block);
          held.push_back(block);
        }
      }
      pool.check_invariants();
      std::vector<int32_t> refs(static_cast<size_t>(n_blocks));
      for (const int32_t block : held) ++refs[static_cast<size_t>(block)];
      for (int32_t block = 0; block < n_blocks; ++block)
        ASSERT_EQ(pool.n_refs(block), refs[static_cast<size_t>(block)]);
      ASSERT_EQ(pool.n_free(), std::ranges::count(refs, 0));
    }
    EXPECT_GT(n_hits, 25);
    EXPECT_GT(n_evictions, 25);
  }
}

}  // namespace
}  // namespace trimeter
