// The unigram model of SentencePiece (arXiv:1804.10959): of all ways to cut a word into tokens, the one with the
// highest sum of scores (log probabilities), found by Viterbi's algorithm. An unknown character scores 10 below the
// worst token.
#pragma once
#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "text/token_model.h"

namespace trimeter {

struct UnigramParts {
  TokenIds vocab;
  std::vector<double> scores;  // by id, finite
  int32_t unk_id = 0;          // neighbouring unknown characters are one
  bool byte_fallback = false;  // an unknown run is its bytes' tokens if all of them are there
};

class Unigram : public TokenModel {
 public:
  explicit Unigram(UnigramParts parts);
  // Steps: bytes compared, at most n + n times the bytes of the longest token.
  int64_t encode(std::string_view word, std::vector<int32_t>& out) const override;

 private:
  struct Node {
    double score = 0;    // of the best path that ends here
    int32_t begin = -1;  // where its last token begins; -1: no path ends here
    int32_t id = 0;
  };
  int64_t extend(std::string_view word, size_t begin, std::vector<Node>& best) const;
  void append(std::string_view text, int32_t id, std::vector<int32_t>& out) const;

  UnigramParts parts_;
  double unk_score_;
  std::vector<std::pair<std::string_view, int32_t>> sorted_;  // tokens, of parts_.vocab
  std::array<int32_t, 257> first_byte_;                       // where tokens with that first byte begin in sorted_
  std::array<int32_t, 256> byte_ids_;                         // -1: no token
};

}  // namespace trimeter
