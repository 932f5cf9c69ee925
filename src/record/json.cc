// The record's JSON. Each struct has one description that both the writer and the reader walk, so a field has one name.
#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>
#include <type_traits>

#include "base/error.h"
#include "record/record.h"

namespace trimeter {
namespace {

using Json = nlohmann::ordered_json;

template <class Archive, class T>
using Ref = std::conditional_t<Archive::kWrites, const T&, T&>;

template <class Archive>
void describe(Archive& a, Ref<Archive, Sampled> s) {
  a("median", s.median);
  a("mad", s.mad);
  a.pair("ci95", s.ci95_low, s.ci95_high);
  a("samples", s.samples);
}

template <class Archive>
void describe(Archive& a, Ref<Archive, MemoryBreakdown> m) {
  a("weights_bytes", m.weights_bytes);
  a("linear_bytes", m.linear_bytes);
  a("scales_bytes", m.scales_bytes);
  a("embedding_bytes", m.embedding_bytes);
  a("norm_bytes", m.norm_bytes);
  a("activation_bytes", m.activation_bytes);
  a("overhead_bytes", m.overhead_bytes);
  a("kv_bytes", m.kv_bytes);
}

template <class Archive>
void describe(Archive& a, Ref<Archive, RecordModel> m) {
  a("name", m.name);
  a("architecture", m.architecture);
  a("parameters", m.parameters);
  a("dtype", m.dtype);
}

template <class Archive>
void describe(Archive& a, Ref<Archive, RecordSpeed> s) {
  a("arithmetic", s.arithmetic);
  a("bandwidth", s.bandwidth);
  a("cpu_wait", s.cpu_wait);
}

template <class Archive>
void describe(Archive& a, Ref<Archive, RecordHardware> h) {
  a("name", h.name);
  a("kind", h.kind);
  a("isa", h.isa);
  a("threads", h.threads);
  a("memory_bytes", h.memory_bytes);
  a("read_bandwidth_bytes_per_s", h.read_bandwidth_bytes_per_s);
  a("rates", h.rates);
  a("profiled_at", h.profiled_at);
  a("speed", h.speed);
}

template <class Archive>
void describe(Archive& a, Ref<Archive, RecordWorkload> w) {
  a("prompts", w.prompts);
  a("prompt_tokens", w.prompt_tokens);
  a("max_tokens", w.max_tokens);
  a("temperature", w.temperature);
  a("device_memory_bytes", w.device_memory_bytes);
  a("utilization", w.utilization);
  a("block_size", w.block_size);
  a("max_model_len", w.max_model_len);
  a("max_num_seqs", w.max_num_seqs);
  a("max_num_batched_tokens", w.max_num_batched_tokens);
  a("rounds", w.rounds);
}

template <class Archive>
void describe(Archive& a, Ref<Archive, RecordKernel> k) {
  a("requested", k.requested);
  a("executed", k.executed);
  a("lines", k.lines);
}

template <class Archive>
void describe(Archive& a, Ref<Archive, RecordPredicted> p) {
  a("generation_tokens_per_s", p.generation_tokens_per_s);
  a("decode_tokens_per_s", p.decode_tokens_per_s);
  a("prompt_tokens_per_s", p.prompt_tokens_per_s);
  a("ttft_s", p.ttft_s);
  a("itl_s", p.itl_s);
  a("kv_blocks", p.kv_blocks);
  a("memory", p.memory);
  a("binds", p.binds);
  a("executed", p.executed);
  a("terms", p.terms);
}

template <class Archive>
void describe(Archive& a, Ref<Archive, RecordKld> k) {
  a("mean", k.mean);
  a("p50", k.p50);
  a("p90", k.p90);
  a("p95", k.p95);
  a("p99", k.p99);
  a("p999", k.p999);
  a("max", k.max);
}

template <class Archive>
void describe(Archive& a, Ref<Archive, RecordOutput> o) {
  a("prompt", o.prompt);
  a("text", o.text);
  a.nullable("first_divergence", o.first_divergence);
  a("garbage", o.garbage);
  a("garbage_reason", o.garbage_reason);
}

template <class Archive>
void describe(Archive& a, Ref<Archive, RecordQuality> q) {
  a("perplexity", q.perplexity);
  a("perplexity_se", q.perplexity_se);
  a("perplexity_ratio", q.perplexity_ratio);
  a("perplexity_ratio_se", q.perplexity_ratio_se);
  a("tokens_scored", q.tokens_scored);
  a("kld", q.kld);
  a("top1_agreement", q.top1_agreement);
  a("delta_p_mean", q.delta_p_mean);
  a("delta_p_rms", q.delta_p_rms);
  a("n_garbage", q.n_garbage);
  a("outputs", q.outputs);
}

template <class Archive>
void describe(Archive& a, Ref<Archive, RecordMeasured> m) {
  a("generation_tokens_per_s", m.generation_tokens_per_s);
  a("decode_tokens_per_s", m.decode_tokens_per_s);
  a("prompt_tokens_per_s", m.prompt_tokens_per_s);
  a("ttft_s", m.ttft_s);
  a("itl_s", m.itl_s);
  a("ratio_to_baseline", m.ratio_to_baseline);
  a("kv_blocks", m.kv_blocks);
  a("kv_cache_tokens", m.kv_cache_tokens);
  a("block_bytes", m.block_bytes);
  a("memory", m.memory);
  a("quality", m.quality);
}

template <class Archive>
void describe(Archive& a, Ref<Archive, RecordFloor> f) {
  a("read_bandwidth_bytes_per_s", f.read_bandwidth_bytes_per_s);
  a("prompt_tokens_per_s", f.prompt_tokens_per_s);
  a("decode_tokens_per_s", f.decode_tokens_per_s);
  a("prompt_bytes", f.prompt_bytes);
  a("prompt_operations", f.prompt_operations);
  a("decode_tokens", f.decode_tokens);
  a("decode_bytes", f.decode_bytes);
  a("decode_operations", f.decode_operations);
  a("prompt_binds", f.prompt_binds);
  a("decode_binds", f.decode_binds);
}

template <class Archive>
void describe(Archive& a, Ref<Archive, RecordOperation> o) {
  a("name", o.name);
  a("calls", o.calls);
  a("seconds", o.seconds);
  a("bytes", o.bytes);
  a("operations", o.operations);
  a("floor_s", o.floor_s);
}

template <class Archive>
void describe(Archive& a, Ref<Archive, RecordPhase> p) {
  a("steps", p.steps);
  a("seconds", p.seconds);
  a("operations", p.operations);
}

template <class Archive>
void describe(Archive& a, Ref<Archive, RecordProfile> p) {
  a("prompt", p.prompt);
  a("decode", p.decode);
}

template <class Archive>
void describe(Archive& a, Ref<Archive, RecordRun> r) {
  a("format", r.format);
  a("batch", r.batch);
  a("kernel", r.kernel);
  a("predicted", r.predicted);
  a("measured", r.measured);
  a("floor", r.floor);
  a("profile", r.profile);
}

template <class Archive>
void describe(Archive& a, Ref<Archive, RecordReconciliation> r) {
  a("format", r.format);
  a("meter", r.meter);
  a("predicted", r.predicted);
  a("measured", r.measured);
  a("ratio", r.ratio);
  a("within_band", r.within_band);
  a("band", r.band);
  a("explanation", r.explanation);
}

template <class Archive>
void describe(Archive& a, Ref<Archive, RecordOrdering> o) {
  a("predicted", o.predicted);
  a("measured", o.measured);
  a("holds", o.holds);
  a("explanation", o.explanation);
}

template <class Archive>
void describe(Archive& a, Ref<Archive, RecordVerdict> v) {
  a("objective", v.objective);
  a("format", v.format);
  a("binding_constraint", v.binding_constraint);
  a("because", v.because);
}

template <class Archive>
void describe(Archive& a, Ref<Archive, Record> r) {
  a.schema(Record::kSchema);
  a.group("trimeter", [&](Archive& trimeter) {
    trimeter("version", r.version);
    trimeter("commit", r.commit);
  });
  a("started", r.started);
  a("predicted_at", r.predicted_at);
  a("measured_from", r.measured_from);
  a("model", r.model);
  a("hardware", r.hardware);
  a("workload", r.workload);
  a("runs", r.runs);
  a("kv_buffer_bytes", r.kv_buffer_bytes);
  a("noise_floor", r.noise_floor);
  a("reconciliation", r.reconciliation);
  a("ordering", r.ordering);
  a("verdict", r.verdict);
}

class Writer {
 public:
  static constexpr bool kWrites = true;
  Writer(Json& json, std::string where) : json_(json), where_(std::move(where)) { json_ = Json::object(); }

  template <class T>
  void operator()(const char* name, const T& value) {
    json_[name] = to(value, path_of(name));
  }
  template <class T>
  void operator()(const char* name, const std::optional<T>& value) {
    if (value) (*this)(name, *value);
  }
  void nullable(const char* name, const std::optional<int64_t>& value) {
    json_[name] = value ? Json(*value) : Json(nullptr);
  }
  void pair(const char* name, double low, double high) {
    const std::string where = path_of(name);
    json_[name] = Json::array({to(low, where), to(high, where)});
  }
  void schema(int number) { json_["schema"] = number; }
  template <class Body>
  void group(const char* name, Body&& body) {
    Writer inner(json_[name], path_of(name));
    body(inner);
  }

 private:
  std::string path_of(const char* name) const { return where_.empty() ? name : where_ + "." + name; }

  static Json to(double value, const std::string& where) {
    if (!std::isfinite(value))
      throw Error(Errc::kBadArgument, "record: {} is {}: not a number that JSON has", where, value);
    return value;
  }
  template <class T>
  requires std::is_integral_v<T>
  static Json to(T value, const std::string&) { return value; }
  static Json to(const std::string& value, const std::string&) { return value; }
  template <class T>
  static Json to(const std::vector<T>& values, const std::string& where) {
    Json array = Json::array();
    for (size_t i = 0; i < values.size(); ++i) array.push_back(to(values[i], fmt::format("{}[{}]", where, i)));
    return array;
  }
  template <class T>
  static Json to(const std::map<std::string, T>& values, const std::string& where) {
    Json object = Json::object();
    for (const auto& [key, value] : values) object[key] = to(value, where + "." + key);
    return object;
  }
  template <class T>
  requires std::is_class_v<T>
  static Json to(const T& value, const std::string& where) {
    Json object;
    Writer inner(object, where);
    describe(inner, value);
    return object;
  }

  Json& json_;
  std::string where_;
};

class Reader {
 public:
  static constexpr bool kWrites = false;
  Reader(const Json& json, const std::string& file, std::string where)
      : json_(json), file_(file), where_(std::move(where)) {
    if (!json_.is_object()) fail(where_.empty() ? "the record" : where_, "an object", json_.type_name());
  }

  template <class T>
  void operator()(const char* name, T& value) {
    from(at(name), value, path_of(name));
  }
  template <class T>
  void operator()(const char* name, std::optional<T>& value) {
    if (json_.contains(name)) (*this)(name, value.emplace());
  }
  void nullable(const char* name, std::optional<int64_t>& value) {
    if (const Json& json = at(name); !json.is_null()) from(json, value.emplace(), path_of(name));
  }
  void pair(const char* name, double& low, double& high) {
    std::vector<double> both;
    (*this)(name, both);
    if (both.size() != 2) fail(path_of(name), "two numbers", std::to_string(both.size()));
    low = both[0];
    high = both[1];
  }
  void schema(int wanted) {
    int64_t got = 0;
    (*this)("schema", got);
    if (got != wanted) fail("schema", std::to_string(wanted), std::to_string(got));
  }
  template <class Body>
  void group(const char* name, Body&& body) {
    Reader inner(at(name), file_, path_of(name));
    body(inner);
  }

 private:
  [[noreturn]] void fail(const std::string& where, const std::string& wanted, const std::string& got) const {
    throw Error(Errc::kBadFile, "{}: {}: wanted {}, got {}", file_, where, wanted, got);
  }
  std::string path_of(const char* name) const { return where_.empty() ? name : where_ + "." + name; }
  const Json& at(const char* name) const {
    const auto found = json_.find(name);
    if (found == json_.end()) throw Error(Errc::kBadFile, "{}: {} is missing", file_, path_of(name));
    return *found;
  }

  void from(const Json& json, double& value, const std::string& where) const {
    if (!json.is_number()) fail(where, "a number", json.type_name());
    value = json.get<double>();
    if (!std::isfinite(value)) fail(where, "a finite number", json.dump());
  }
  void from(const Json& json, bool& value, const std::string& where) const {
    if (!json.is_boolean()) fail(where, "true or false", json.type_name());
    value = json.get<bool>();
  }
  template <class T>
  requires std::is_integral_v<T>
  void from(const Json& json, T& value, const std::string& where) const {
    using Limits = std::numeric_limits<T>;
    if (!json.is_number_integer()) fail(where, "an integer", json.is_number() ? json.dump() : json.type_name());
    const bool fits = json.is_number_unsigned()
                          ? json.get<uint64_t>() <= static_cast<uint64_t>(Limits::max())
                          : json.get<int64_t>() >= Limits::min() && json.get<int64_t>() <= Limits::max();
    if (!fits) fail(where, fmt::format("an integer of {} bits", 8 * sizeof(T)), json.dump());
    value = json.get<T>();
  }
  void from(const Json& json, std::string& value, const std::string& where) const {
    if (!json.is_string()) fail(where, "a string", json.type_name());
    value = json.get<std::string>();
  }
  template <class T>
  void from(const Json& json, std::vector<T>& values, const std::string& where) const {
    if (!json.is_array()) fail(where, "an array", json.type_name());
    values.resize(json.size());
    for (size_t i = 0; i < values.size(); ++i) from(json[i], values[i], fmt::format("{}[{}]", where, i));
  }
  template <class T>
  void from(const Json& json, std::map<std::string, T>& values, const std::string& where) const {
    if (!json.is_object()) fail(where, "an object", json.type_name());
    for (const auto& [key, item] : json.items()) from(item, values[key], where + "." + key);
  }
  template <class T>
  requires std::is_class_v<T>
  void from(const Json& json, T& value, const std::string& where) const {
    Reader inner(json, file_, where);
    describe(inner, value);
  }

  const Json& json_;
  const std::string& file_;
  std::string where_;
};

}  // namespace

std::string to_json(const Record& record) {
  Json json;
  Writer writer(json, "");
  describe(writer, record);
  // A model may be in a directory whose name is not UTF-8: that must not cost the record.
  return json.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
}

Record record_from_json(const std::string& text, const std::string& path) {
  Json json;
  try {
    json = Json::parse(text);
  } catch (const Json::exception& error) {
    throw Error(Errc::kBadFile, "{}: not JSON: {}", path, error.what());
  }
  Record record;
  Reader reader(json, path, "");
  describe(reader, record);
  return record;
}

}  // namespace trimeter
