#include "meters/token_scores.h"

#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "meters/distribution.h"

namespace trimeter {
namespace {

constexpr size_t kMinGroup = 2;

void check(std::span<const Scorer> scorers, Passages passages) {
  if (scorers.empty()) throw Error(Errc::kBadArgument, "quality: wanted at least one engine, got none");
  if (passages.empty()) throw Error(Errc::kBadArgument, "quality: wanted at least one passage, got none");
  for (size_t i = 0; i < passages.size(); ++i)
    if (passages[i].size() < 2)
      throw Error(Errc::kBadArgument, "quality: passage {}: wanted at least 2 tokens, got {}", i, passages[i].size());
  for (const Scorer& scorer : scorers)
    if (scorer.engine->info().vocab_size != scorers[0].engine->info().vocab_size)
      throw Error(Errc::kBadArgument, "quality: {}: vocabulary: wanted {} as {} has, got {}", scorer.name,
                  scorers[0].engine->info().vocab_size, scorers[0].name, scorer.engine->info().vocab_size);
}

// The baseline's logits of a group of passages and what the others' are compared with.
class Group {
 public:
  Group(Passages passages, size_t first_passage, size_t n_passages, size_t vocab_size)
      : passages_(passages.subspan(first_passage, n_passages)), first_passage_(first_passage), vocab_size_(vocab_size) {
    for (const std::vector<int32_t>& passage : passages_) {
      first_row_.push_back(n_rows_);
      n_rows_ += passage.size() - 1;
    }
    logits_.resize(n_rows_ * vocab_size);
    lse_.resize(n_rows_);
  }

  // Appends the group's scores to `out`; the baseline goes first.
  void score(const Scorer& scorer, bool is_baseline, TokenScores& out) {
    const size_t begin = out.nll.size();
    out.nll.resize(begin + n_rows_);
    out.kld.resize(begin + n_rows_);
    out.delta_p.resize(begin + n_rows_);
    out.same_top1.resize(begin + n_rows_);
    size_t n_scored = 0;
    scorer.engine->score(passages_, scorer.max_batch, [&](int sequence, int position, std::span<const float> logits) {
      const std::vector<int32_t>& passage = passages_[static_cast<size_t>(sequence)];
      const size_t next = static_cast<size_t>(position) + 1;
      if (next == passage.size()) return;
      TM_CHECK(next < passage.size() && logits.size() == vocab_size_, "position {} of {}, {} logits of {}", position,
               passage.size(), logits.size(), vocab_size_);
      const size_t row = first_row_[static_cast<size_t>(sequence)] + next - 1;
      const size_t at = begin + row;
      const double lse = log_sum_exp(logits);
      const auto truth = static_cast<size_t>(passage[next]);
      out.nll[at] = lse - logits[truth];
      const std::span<float> base(logits_.data() + row * vocab_size_, vocab_size_);
      if (is_baseline) {
        std::copy(logits.begin(), logits.end(), base.begin());
        lse_[row] = lse;
        out.same_top1[at] = true;
      } else {
        out.kld[at] = kl_divergence(base, lse_[row], logits, lse);
        out.delta_p[at] = std::exp(logits[truth] - lse) - std::exp(base[truth] - lse_[row]);
        out.same_top1[at] = argmax(base) == argmax(logits);
      }
      if (!std::isfinite(out.nll[at]) || !std::isfinite(out.kld[at]))
        throw Error(Errc::kUnsupported, "quality: {}: passage {}, position {}: wanted finite logits, got {}",
                    scorer.name, first_passage_ + static_cast<size_t>(sequence), position, out.nll[at]);
      ++n_scored;
    });
    TM_CHECK(n_scored == n_rows_, "{}: {} of {} tokens scored", scorer.name, n_scored, n_rows_);
  }

 private:
  Passages passages_;
  size_t first_passage_, vocab_size_, n_rows_ = 0;
  std::vector<size_t> first_row_;  // of each passage
  std::vector<float> logits_;      // [n_rows, vocab_size]
  std::vector<double> lse_;        // [n_rows]
};

size_t size_of_group(Passages passages, size_t begin, size_t vocab_size, size_t max_bytes) {
  size_t n = 0, bytes = 0;
  while (begin + n < passages.size()) {
    bytes += (passages[begin + n].size() - 1) * vocab_size * sizeof(float);
    if (n >= kMinGroup && bytes > max_bytes) break;
    ++n;
  }
  return n;
}

}  // namespace

std::vector<TokenScores> score_passages(std::span<const Scorer> scorers, Passages passages,
                                        const MeterProgress& progress, size_t max_group_bytes) {
  check(scorers, passages);
  const auto vocab_size = static_cast<size_t>(scorers[0].engine->info().vocab_size);
  std::vector<TokenScores> scores(scorers.size());
  const auto n_total = static_cast<int64_t>(scorers.size() * passages.size());
  int64_t n_done = 0;
  if (progress) progress("quality", 0, n_total);
  for (size_t begin = 0; begin < passages.size();) {
    const size_t n = size_of_group(passages, begin, vocab_size, max_group_bytes);
    Group group(passages, begin, n, vocab_size);
    for (size_t i = 0; i < scorers.size(); ++i) {
      group.score(scorers[i], i == 0, scores[i]);
      if (progress) progress("quality", n_done += static_cast<int64_t>(n), n_total);
    }
    begin += n;
  }
  return scores;
}

}  // namespace trimeter
