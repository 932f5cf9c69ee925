#include "engine/block_pool.h"

#include <algorithm>
#include <bit>
#include <limits>

#include "base/error.h"
#include "engine/mix.h"

namespace trimeter {
namespace {

uint64_t hash_of(uint64_t parent, std::span<const int32_t> tokens) {
  uint64_t hash = mix64(parent);
  for (const int32_t token : tokens) hash = mix64(hash ^ static_cast<uint32_t>(token));
  return hash;
}

}  // namespace

BlockPool::BlockPool(int64_t n_blocks, int32_t block_size) : block_size_(block_size) {
  TM_CHECK(n_blocks > 0 && n_blocks <= std::numeric_limits<int32_t>::max() / 4, "a pool of {} blocks", n_blocks);
  TM_CHECK(block_size > 0, "blocks of {} tokens", block_size);
  entries_.resize(static_cast<size_t>(n_blocks));
  tokens_.resize(static_cast<size_t>(n_blocks * block_size));
  slots_.assign(std::bit_ceil(static_cast<size_t>(2 * n_blocks)), -1);
  for (int32_t block = 0; block < n_blocks; ++block) link_before(block, -1);
}

int32_t BlockPool::allocate() {
  TM_CHECK(n_free_ > 0, "allocate() from an empty pool of {} blocks", n_blocks());
  const int32_t block = head_;
  unlink(block);
  forget(block);
  entry(block).n_refs = 1;
  return block;
}

void BlockPool::retain(int32_t block) {
  Entry& e = entry(block);
  TM_CHECK(e.n_refs > 0 || e.serial != 0, "block {} is free and blank: its content is unknown", block);
  if (e.n_refs++ == 0) unlink(block);
}

void BlockPool::release(int32_t block) {
  Entry& e = entry(block);
  TM_CHECK(e.n_refs > 0, "block {} released twice", block);
  if (--e.n_refs == 0) link_before(block, e.serial != 0 ? -1 : head_);
}

int32_t BlockPool::find(uint64_t parent, std::span<const int32_t> tokens) const {
  return slots_[slot_of(hash_of(parent, tokens), parent, tokens)];
}

uint64_t BlockPool::insert(int32_t block, uint64_t parent, std::span<const int32_t> tokens) {
  Entry& e = entry(block);
  TM_CHECK(e.n_refs > 0 && e.serial == 0, "block {} has {} references and serial {}", block, e.n_refs, e.serial);
  const uint64_t hash = hash_of(parent, tokens);
  int32_t& slot = slots_[slot_of(hash, parent, tokens)];
  if (slot >= 0) return entry(slot).serial;
  slot = block;
  ++n_cached_;
  e.serial = next_serial_++;
  e.parent = parent;
  e.hash = hash;
  std::copy(tokens.begin(), tokens.end(), tokens_.begin() + static_cast<int64_t>(block) * block_size_);
  return e.serial;
}

void BlockPool::clear_cache() {
  if (n_cached_ == 0) return;
  n_cached_ = 0;
  std::fill(slots_.begin(), slots_.end(), -1);
  for (Entry& e : entries_) e.serial = 0;
}

BlockPool::Entry& BlockPool::entry(int32_t block) {
  TM_CHECK(block >= 0 && block < n_blocks(), "block {} of {}", block, n_blocks());
  return entries_[static_cast<size_t>(block)];
}

const BlockPool::Entry& BlockPool::entry(int32_t block) const { return const_cast<BlockPool*>(this)->entry(block); }

std::span<const int32_t> BlockPool::tokens_of(int32_t block) const {
  return {tokens_.data() + static_cast<int64_t>(block) * block_size_, static_cast<size_t>(block_size_)};
}

// Puts `block` into the free list before `next`; next = -1: at the end.
void BlockPool::link_before(int32_t block, int32_t next) {
  Entry& e = entry(block);
  e.next = next;
  e.previous = next >= 0 ? entry(next).previous : tail_;
  (e.previous >= 0 ? entry(e.previous).next : head_) = block;
  (next >= 0 ? entry(next).previous : tail_) = block;
  ++n_free_;
}

void BlockPool::unlink(int32_t block) {
  Entry& e = entry(block);
  (e.previous >= 0 ? entry(e.previous).next : head_) = e.next;
  (e.next >= 0 ? entry(e.next).previous : tail_) = e.previous;
  e.previous = e.next = -1;
  --n_free_;
}

// Where this content stands in the table, or the empty slot where it would.
size_t BlockPool::slot_of(uint64_t hash, uint64_t parent, std::span<const int32_t> tokens) const {
  TM_CHECK(tokens.size() == static_cast<size_t>(block_size_), "{} tokens, a block has {}", tokens.size(), block_size_);
  const size_t mask = slots_.size() - 1;
  for (size_t slot = hash & mask;; slot = (slot + 1) & mask) {
    const int32_t block = slots_[slot];
    if (block < 0) return slot;
    const Entry& e = entry(block);
    if (e.hash == hash && e.parent == parent && std::ranges::equal(tokens_of(block), tokens)) return slot;
  }
}

// Takes the block out of the table. Entries behind it move up, so that no probe ever ends early at the gap.
void BlockPool::forget(int32_t block) {
  Entry& e = entry(block);
  if (e.serial == 0) return;
  const size_t mask = slots_.size() - 1;
  size_t gap = slot_of(e.hash, e.parent, tokens_of(block));
  TM_CHECK(slots_[gap] == block, "block {} is not in the table", block);
  for (size_t slot = (gap + 1) & mask; slots_[slot] >= 0; slot = (slot + 1) & mask) {
    const size_t home = entry(slots_[slot]).hash & mask;
    if (((slot - home) & mask) < ((slot - gap) & mask)) continue;  // its probe starts behind the gap
    slots_[gap] = slots_[slot];
    gap = slot;
  }
  slots_[gap] = -1;
  --n_cached_;
  e.serial = 0;
}

void BlockPool::check_invariants() const {
  int32_t n_listed = 0;
  for (int32_t block = head_, previous = -1; block >= 0; previous = block, block = entry(block).next) {
    TM_CHECK(entry(block).n_refs == 0, "free block {} has {} references", block, entry(block).n_refs);
    TM_CHECK(entry(block).previous == previous, "block {}: the list's links disagree", block);
    TM_CHECK(++n_listed <= n_blocks(), "the free list has a loop");
  }
  const auto n_unused = std::ranges::count_if(entries_, [](const Entry& e) { return e.n_refs == 0; });
  TM_CHECK(n_listed == n_free_ && n_unused == n_free_, "{} listed, {} unused, {} said to be free", n_listed, n_unused,
           n_free_);
  int64_t n_found = 0;
  for (int32_t block = 0; block < n_blocks(); ++block) {
    const Entry& e = entry(block);
    if (e.serial == 0) continue;
    ++n_found;
    TM_CHECK(find(e.parent, tokens_of(block)) == block, "cached block {} can't be found", block);
  }
  TM_CHECK(std::ranges::count_if(slots_, [](int32_t b) { return b >= 0; }) == n_found, "the table has stray entries");
  TM_CHECK(n_found == n_cached_, "{} cached blocks, {} counted", n_found, n_cached_);
}

}  // namespace trimeter
