// The way from tokenizer.json to what a GGUF file carries: the other direction of gguf_vocabulary.h.
#pragma once
#include <string>
#include <vector>

#include "text/gguf_vocabulary.h"
#include "text/tokenizer_parts.h"

namespace trimeter {

struct WrittenGgufVocabulary {
  GgufVocabulary vocabulary;
  // What the file has no key for and llama.cpp's own converter leaves out too: sentences on texts that get other ids.
  std::vector<std::string> differences;
};

// The vocabulary from which parts_of_gguf makes a tokenizer that encodes as `parts` do. n_tokens: of the model; ids
// that have no token are filled up, unused. Byte-level BPE becomes "gpt2" with the name of its pre-tokenizer,
// SentencePiece's BPE with byte fallback "llama", its merges as scores. Throws Error(kUnsupported) with path and field
// for what a GGUF file cannot say, Unigram among it.
WrittenGgufVocabulary gguf_vocabulary_of(const TokenizerParts& parts, int64_t n_tokens, const std::string& path);

// By id, for merging by score: the highest score merges first, and any two neighbours merge whose concatenation is a
// token. -1 for what the first merges make, -2 for what the next ones make, and so on. That gives the tokens which the
// merges give, if (1) every such pair of tokens that can come to exist is among the merges and (2) the merges that make
// one token stand together. Both are checked. Among the merges of one token their order is lost: the leftmost in the
// text goes first. Only two that overlap could compete, x y z with xy = yz; but then the text repeats itself, and what
// has merged at its left has merged at its right. tokens: by id. Throws Error(kUnsupported) with path and merge.
std::vector<float> scores_of_merges(const BpeParts& bpe, const std::vector<std::string>& tokens,
                                    const std::vector<AddedToken>& added, const std::string& path);

}  // namespace trimeter
