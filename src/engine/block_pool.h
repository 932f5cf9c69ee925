// Who owns which KV block, and what the blocks still hold: reference counts, a free list in the order in which blocks
// should be taken, and the prefix cache. Bookkeeping alone: no bytes of any cache are here.
//
// Prefix cache. A full block is known by what came before it and by its own tokens. What came before is told by the
// serial number of the block that it follows (kNoParent for a sequence's first block); a serial number is given once,
// when a block's content becomes known, and never again. Two blocks are therefore taken for equal only if all their
// tokens, and all tokens before them, were compared; the hash only finds the candidates. (vLLM chains a hash over the
// tokens instead and trusts it; the chain here costs nothing more and can't be deceived.)
//
// Every block is usable: there is no reserved block 0, as nothing here needs a null block. All memory is taken in the
// constructor: about 4 * block_size + 60 bytes a block, on the host.
#pragma once
#include <cstdint>
#include <span>
#include <vector>

namespace trimeter {

class BlockPool {
 public:
  static constexpr uint64_t kNoParent = 0;

  BlockPool(int64_t n_blocks, int32_t block_size);

  int32_t n_blocks() const { return static_cast<int32_t>(entries_.size()); }
  int32_t n_free() const { return n_free_; }  // cached ones included: they are given away when needed
  int32_t block_size() const { return block_size_; }
  int32_t n_refs(int32_t block) const { return entry(block).n_refs; }
  uint64_t serial(int32_t block) const { return entry(block).serial; }  // 0 unless it is in the prefix cache

  // A block with one reference and unknown content. The caller has made sure that n_free() > 0. Blank blocks go first,
  // then cached ones, least recently released first; what a block cached is forgotten when it is given away.
  int32_t allocate();
  // One more reference to a cached block, which may be free.
  void retain(int32_t block);
  // One reference less; at zero the block is free. A sequence releases its blocks last to first, so that a prefix
  // outlives what follows it.
  void release(int32_t block);

  // The cached block that holds these block_size tokens after `parent`; -1 if there is none. Takes no reference.
  int32_t find(uint64_t parent, std::span<const int32_t> tokens) const;
  // Makes known that `block` (in use, not cached) holds these tokens after `parent`, and returns its serial number: the
  // parent of the next block. If another block already holds the same, that one stays the known one and its serial is
  // returned.
  uint64_t insert(int32_t block, uint64_t parent, std::span<const int32_t> tokens);
  // Forgets the content of all blocks; references stay. Costs nothing where none is known.
  void clear_cache();

  // Throws (TM_CHECK) unless every invariant holds: for tests.
  void check_invariants() const;

 private:
  struct Entry {
    int32_t n_refs = 0;
    int32_t previous = -1, next = -1;  // neighbours in the free list
    uint64_t serial = 0, parent = 0, hash = 0;
  };

  Entry& entry(int32_t block);
  const Entry& entry(int32_t block) const;
  std::span<const int32_t> tokens_of(int32_t block) const;
  void link_before(int32_t block, int32_t next);
  void unlink(int32_t block);
  void forget(int32_t block);
  size_t slot_of(uint64_t hash, uint64_t parent, std::span<const int32_t> tokens) const;

  int32_t block_size_;
  int32_t n_free_ = 0, n_cached_ = 0;
  int32_t head_ = -1, tail_ = -1;
  uint64_t next_serial_ = 1;
  std::vector<Entry> entries_;
  std::vector<int32_t> tokens_;  // [n_blocks][block_size]
  std::vector<int32_t> slots_;   // open addressing, linear probing, a power of two, at most half full; -1: empty
};

}  // namespace trimeter
