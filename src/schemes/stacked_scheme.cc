#include "schemes/stacked_scheme.h"

#include <algorithm>
#include <charconv>
#include <map>
#include <memory>
#include <mutex>

#include "base/error.h"

namespace trimeter {
namespace {

class StackedScheme final : public Scheme {
 public:
  StackedScheme(std::vector<StackedPart> parts, std::string name)
      : parts_(std::move(parts)), name_(std::move(name)), title_("stack of " + name_), info_(describe()) {
    for (const StackedPart& part : parts_) n_rows_ += part.n_rows;
  }

  const SchemeInfo& info() const override { return info_; }

  WeightBytes bytes(MatShape shape) const override {
    WeightBytes sum;
    for (size_t i = 0; i < parts_.size(); ++i) {
      const MatShape part = part_shape(shape, i);
      if (part.out == 0) continue;
      const WeightBytes bytes = parts_[i].scheme->bytes(part);
      sum.values += bytes.values;
      sum.scales += bytes.scales;
    }
    return sum;
  }

  std::string refuses(MatShape shape) const override {
    if (shape.out <= 0) return fmt::format("the shape {} x {} is empty", shape.out, shape.in);
    for (size_t i = 0; i < parts_.size(); ++i)
      if (const MatShape part = part_shape(shape, i); part.out > 0)
        if (std::string reason = parts_[i].scheme->refuses(part); !reason.empty()) return reason;
    return "";
  }

  KernelPlan plan(Isa isa) const override {
    KernelPlan plan{.kernel = {}, .requested = std::string(info_.requested), .executed = {}, .reason = {}};
    for (const StackedPart& part : parts_) {
      const KernelPlan one = part.scheme->plan(isa);
      plan.kernel += (plan.kernel.empty() ? "" : " + ") + one.kernel;
      if (plan.executed.find(one.executed) == std::string::npos)
        plan.executed += (plan.executed.empty() ? "" : " + ") + one.executed;
      if (plan.reason.empty()) plan.reason = one.reason;
    }
    return plan;
  }

  CanonicalWeight quantize_rtn(std::span<const DenseRows> rows, MatShape shape, ThreadPool& pool) const override {
    CanonicalWeight weight;
    weight.shape = shape;
    for (size_t i = 0; i < parts_.size(); ++i)
      if (const MatShape part = part_shape(shape, i); part.out > 0)
        weight.parts.push_back(
            parts_[i].scheme->quantize_rtn(slice(rows, shape.in, first_row(shape, i), part.out), part, pool));
    return weight;
  }

  std::vector<float> dequantize(const CanonicalWeight& weight) const override {
    std::vector<float> values;
    each(weight.shape, [&](size_t i, size_t p, int64_t) {
      const std::vector<float> part = parts_[i].scheme->dequantize(weight.parts[p]);
      values.insert(values.end(), part.begin(), part.end());
    });
    return values;
  }

  PackedWeight pack(const CanonicalWeight& weight, ThreadPool& pool) const override {
    PackedWeight packed;
    packed.shape = weight.shape;
    each(weight.shape, [&](size_t i, size_t p, int64_t) {
      packed.parts.push_back(parts_[i].scheme->pack(weight.parts[p], pool));
      const PackedWeight& part = packed.parts.back();
      TM_CHECK(part.input_scale == 0 && part.input_order.empty(), "{}: parts share their prepared input", info_.name);
    });
    return packed;
  }

  void unpack_row(const PackedWeight& weight, int64_t row, float* values) const override {
    each(weight.shape, [&](size_t i, size_t p, int64_t first) {
      const PackedWeight& part = weight.parts[p];
      if (row >= first && row < first + part.shape.out) parts_[i].scheme->unpack_row(part, row - first, values);
    });
  }

  int64_t prepared_bytes(int64_t n_tokens, int64_t in, Isa isa) const override {
    int64_t bytes = 0;
    for (size_t i = 0; i < parts_.size(); ++i)
      if (first_of_scheme(i) == i) bytes += parts_[i].scheme->prepared_bytes(n_tokens, in, isa);
    return bytes;
  }

  PreparedInput take_prepared(Arena& arena, int64_t n_tokens, int64_t in, Isa isa) const override {
    PreparedInput prepared{.n_tokens = n_tokens, .in = in};
    for (size_t i = 0; i < parts_.size(); ++i) {
      if (const size_t first = first_of_scheme(i); first != i) {
        prepared.parts[i] = prepared.parts[first];
      } else {
        const PreparedInput part = parts_[i].scheme->take_prepared(arena, n_tokens, in, isa);
        prepared.parts[i] = {part.values, part.row_scales, part.group_sums};
      }
    }
    return prepared;
  }

  void prepare(const PackedWeight& weight, const float* x, int64_t token_begin, int64_t token_end,
               const PreparedInput& prepared, Isa isa) const override {
    each(weight.shape, [&](size_t i, size_t p, int64_t) {
      if (first_of_scheme(i) == i || part_shape(weight.shape, first_of_scheme(i)).out == 0)
        parts_[i].scheme->prepare(weight.parts[p], x, token_begin, token_end, part_input(prepared, i), isa);
    });
  }

  void multiply(const PackedWeight& weight, const PreparedInput& x, int64_t row_begin, int64_t row_end,
                const float* bias, bool accumulate, float* y, int64_t ldy, Isa isa) const override {
    each(weight.shape, [&](size_t i, size_t p, int64_t first) {
      const PackedWeight& part = weight.parts[p];
      const int64_t begin = std::max<int64_t>(row_begin - first, 0), end = std::min(row_end - first, part.shape.out);
      if (begin >= end) return;
      parts_[i].scheme->multiply(part, part_input(x, i), begin, end, bias == nullptr ? nullptr : bias + first,
                                 accumulate, y + first, ldy, isa);
    });
  }

 private:
  static PreparedInput part_input(const PreparedInput& x, size_t i) {
    PreparedInput part{.n_tokens = x.n_tokens, .in = x.in};
    part.values = x.parts[i].values;
    part.row_scales = x.parts[i].row_scales;
    part.group_sums = x.parts[i].group_sums;
    return part;
  }

  SchemeInfo describe() const {
    SchemeInfo info = parts_.front().scheme->info();
    info.name = name_;
    info.title = title_;
    info.grid = nullptr;
    double bits = 0, rows = 0;
    for (const StackedPart& part : parts_) {
      bits += part.scheme->info().bits_per_weight * static_cast<double>(part.n_rows);
      rows += static_cast<double>(part.n_rows);
      info.group_size = std::max(info.group_size, part.scheme->info().group_size);
    }
    info.bits_per_weight = bits / rows;
    return info;
  }

  // Of a matrix with shape.out rows: where part i begins.
  int64_t first_row(MatShape shape, size_t i) const {
    if (i == parts_.size()) return shape.out;
    int64_t before = 0;
    for (size_t j = 0; j < i; ++j) before += parts_[j].n_rows;
    if (shape.out == n_rows_) return before;
    return std::min(shape.out * before / n_rows_ / kPanelRows * kPanelRows, shape.out);
  }
  MatShape part_shape(MatShape shape, size_t i) const {
    return {first_row(shape, i + 1) - first_row(shape, i), shape.in};
  }
  size_t first_of_scheme(size_t i) const {
    size_t first = 0;
    while (parts_[first].scheme != parts_[i].scheme) ++first;
    return first;
  }
  // function(i, p, first row) for every part that has rows: part i of the stack is part p of the weight.
  template <class Function>
  void each(MatShape shape, Function function) const {
    size_t p = 0;
    for (size_t i = 0; i < parts_.size(); ++i)
      if (part_shape(shape, i).out > 0) function(i, p++, first_row(shape, i));
  }
  static std::vector<DenseRows> slice(std::span<const DenseRows> rows, int64_t in, int64_t first, int64_t n) {
    std::vector<DenseRows> sliced;
    for (const DenseRows& part : rows) {
      const int64_t begin = std::clamp<int64_t>(first, 0, part.n_rows),
                    end = std::clamp<int64_t>(first + n, 0, part.n_rows);
      if (begin < end) sliced.push_back({part.data + begin * in * size_of(part.dtype), part.dtype, end - begin});
      first -= part.n_rows;
    }
    return sliced;
  }

  const std::vector<StackedPart> parts_;
  const std::string name_, title_;
  const SchemeInfo info_;
  int64_t n_rows_ = 0;
};

struct Registry {
  std::mutex mutex;
  std::map<std::string, std::unique_ptr<const StackedScheme>, std::less<>> stacks;
};
Registry& registry() {
  static Registry stacks;
  return stacks;
}

}  // namespace

const Scheme& stacked_scheme(std::span<const StackedPart> wanted) {
  std::vector<StackedPart> parts;
  for (const StackedPart& part : wanted) {
    if (!parts.empty() && parts.back().scheme == part.scheme)
      parts.back().n_rows += part.n_rows;
    else
      parts.push_back(part);
  }
  TM_CHECK(!parts.empty() && parts.size() <= PreparedInput().parts.size(), "a stack of {}", parts.size());
  if (parts.size() == 1) return *parts[0].scheme;
  std::string name;
  for (const StackedPart& part : parts) {
    if (&part != &parts.back() && part.n_rows % kPanelRows != 0)
      throw Error(Errc::kUnsupported, "{} rows in {} beside other schemes: wanted a multiple of {}", part.n_rows,
                  part.scheme->info().name, kPanelRows);
    name += fmt::format("{}{}*{}", name.empty() ? "" : "+", part.scheme->info().name, part.n_rows);
  }
  const std::lock_guard lock(registry().mutex);
  std::unique_ptr<const StackedScheme>& stack = registry().stacks[name];
  if (!stack) stack = std::make_unique<const StackedScheme>(std::move(parts), name);
  return *stack;
}

const Scheme* find_stacked_scheme(std::string_view name) {
  {
    const std::lock_guard lock(registry().mutex);
    if (const auto found = registry().stacks.find(name); found != registry().stacks.end()) return found->second.get();
  }
  std::vector<StackedPart> parts;
  for (std::string_view rest = name; !rest.empty();) {
    const std::string_view part = rest.substr(0, rest.find('+'));
    rest.remove_prefix(std::min(part.size() + 1, rest.size()));
    const size_t star = part.find('*');
    if (star == part.npos) return nullptr;
    const auto found = std::ranges::find(all_schemes(), part.substr(0, star),
                                         [](const Scheme* scheme) { return scheme->info().name; });
    int64_t n_rows = 0;
    const auto [end, error] = std::from_chars(part.data() + star + 1, part.data() + part.size(), n_rows);
    if (found == all_schemes().end() || error != std::errc() || end != part.data() + part.size() || n_rows <= 0)
      return nullptr;
    parts.push_back({*found, n_rows});
  }
  if (parts.size() < 2 || parts.size() > PreparedInput().parts.size()) return nullptr;
  const Scheme& stack = stacked_scheme(parts);
  return stack.info().name == name ? &stack : nullptr;
}

CanonicalWeight stack_weights(std::vector<CanonicalWeight> parts) {
  CanonicalWeight weight;
  weight.shape.in = parts.front().shape.in;
  for (const CanonicalWeight& part : parts) weight.shape.out += part.shape.out;
  weight.parts = std::move(parts);
  return weight;
}

}  // namespace trimeter
