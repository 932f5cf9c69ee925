// The profile's JSON. Reading trusts nothing: every figure that a prediction divides by is checked here, once.
#include <cmath>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "cost/hardware.h"

namespace trimeter {
namespace {

using nlohmann::json;

// An object of the file with the path of fields that leads to it, for messages.
class Fields {
 public:
  Fields(const json& object, std::string file, std::string where)
      : object_(object), file_(std::move(file)), where_(std::move(where)) {
    if (!object_.is_object()) fail(where_.empty() ? "the file" : where_, "an object", object_);
  }

  std::string text(const std::string& key) const {
    const json& value = at(key);
    if (!value.is_string()) fail(place(key), "a string", value);
    return value.get<std::string>();
  }
  int64_t integer(const std::string& key, int64_t at_least) const {
    const json& value = at(key);
    if (!value.is_number_integer() || value.get<int64_t>() < at_least)
      fail(place(key), fmt::format("an integer of at least {}", at_least), value);
    return value.get<int64_t>();
  }
  // positive: zero is refused too, for what a prediction divides by.
  double number(const std::string& key, bool positive) const {
    const json& value = at(key);
    const double x = value.is_number() ? value.get<double>() : -1;
    if (!std::isfinite(x) || x < 0 || (positive && x == 0))
      fail(place(key), positive ? "a number above 0" : "a number, 0 or more", value);
    return x;
  }
  bool has(const std::string& key) const { return object_.contains(key); }
  double number_or(const std::string& key, double otherwise) const { return has(key) ? number(key, false) : otherwise; }
  Fields object(const std::string& key) const { return {at(key), file_, place(key)}; }
  std::vector<Fields> objects(const std::string& key, size_t at_least) const {
    const json& value = at(key);
    if (!value.is_array() || value.size() < at_least)
      fail(place(key), fmt::format("an array of at least {} entries", at_least), value);
    std::vector<Fields> rows;
    for (size_t i = 0; i < value.size(); ++i) rows.emplace_back(value[i], file_, fmt::format("{}[{}]", place(key), i));
    return rows;
  }
  std::map<std::string, double> numbers(const std::string& key, bool positive) const {
    const Fields map = object(key);
    std::map<std::string, double> values;
    for (const auto& item : map.object_.items()) values[item.key()] = map.number(item.key(), positive);
    return values;
  }
  [[noreturn]] void fail(const std::string& field, const std::string& wanted, const json& got) const {
    std::string text = got.dump(-1, ' ', false, json::error_handler_t::replace);
    if (text.size() > 80) text = text.substr(0, 77) + "...";
    throw Error(Errc::kBadFile, "{}: hardware profile: {}: wanted {}, got {}", file_, field, wanted, text);
  }
  std::string place(const std::string& key) const { return where_.empty() ? key : where_ + "." + key; }

 private:
  const json& at(const std::string& key) const {
    const auto found = object_.find(key);
    if (found == object_.end())
      throw Error(Errc::kBadFile, "{}: hardware profile: {}: wanted a value, got no such field", file_, place(key));
    return *found;
  }

  const json& object_;
  std::string file_, where_;
};

std::vector<RowTime> row_times(const Fields& fields, const std::string& key, size_t at_least, bool positive) {
  std::vector<RowTime> times;
  for (const Fields& point : fields.objects(key, at_least))
    times.push_back({point.integer("n_rows", 1), point.number("seconds", positive)});
  return times;
}
LayerTimes layer_times(const Fields& row) {
  LayerTimes layer{.scheme = row.text("scheme"),
                   .hidden_size = row.integer("hidden_size", 1),
                   .intermediate_size = row.integer("intermediate_size", 1),
                   .n_heads = row.integer("n_heads", 1),
                   .n_kv_heads = row.integer("n_kv_heads", 1),
                   .head_dim = row.integer("head_dim", 1),
                   .n_new = row.integer("n_new", 1),
                   .n_context = row.integer("n_context", 0),
                   .times = row_times(row, "times", 1, true)};
  if (layer.n_heads % layer.n_kv_heads != 0)
    row.fail(row.place("n_heads"), fmt::format("a multiple of n_kv_heads, {}", layer.n_kv_heads), layer.n_heads);
  for (const RowTime& time : layer.times)
    if (time.n_rows % layer.n_new != 0)
      row.fail(row.place("times"), fmt::format("rows in multiples of n_new, {}", layer.n_new), time.n_rows);
  return layer;
}
HeadTimes head_times(const Fields& row) {
  return {row.text("scheme"), row.integer("hidden_size", 1), row.integer("vocab_size", 1),
          row_times(row, "times", 1, true)};
}

nlohmann::ordered_json json_of(const std::vector<RowTime>& times) {
  nlohmann::ordered_json rows = json::array();
  for (const RowTime& time : times) rows.push_back({{"n_rows", time.n_rows}, {"seconds", time.seconds}});
  return rows;
}
nlohmann::ordered_json json_of(const LayerTimes& layer) {
  return {
      {"scheme", layer.scheme},   {"hidden_size", layer.hidden_size}, {"intermediate_size", layer.intermediate_size},
      {"n_heads", layer.n_heads}, {"n_kv_heads", layer.n_kv_heads},   {"head_dim", layer.head_dim},
      {"n_new", layer.n_new},     {"n_context", layer.n_context},     {"times", json_of(layer.times)}};
}
nlohmann::ordered_json json_of(const HeadTimes& head) {
  return {{"scheme", head.scheme},
          {"hidden_size", head.hidden_size},
          {"vocab_size", head.vocab_size},
          {"times", json_of(head.times)}};
}

json parse(const std::string& text, const std::string& path) {
  try {
    return json::parse(text);
  } catch (const json::exception&) {
    throw Error(Errc::kBadFile, "{}: hardware profile: wanted JSON, got what is none", path);
  }
}

}  // namespace

HardwareProfile hardware_profile_from_json(const std::string& text, const std::string& path) {
  const json document = parse(text, path);
  const Fields fields(document, path, "");
  if (fields.integer("schema", 0) != HardwareProfile::kSchema)
    fields.fail("schema", fmt::format("{}", HardwareProfile::kSchema), document["schema"]);
  HardwareProfile profile;
  profile.name = fields.text("name");
  profile.kind = fields.text("kind");
  if (profile.kind != "cpu" && profile.kind != "cuda") fields.fail("kind", "\"cpu\" or \"cuda\"", document["kind"]);
  profile.source = fields.text("source");
  if (profile.source != "measured" && profile.source != "datasheet")
    fields.fail("source", "\"measured\" or \"datasheet\"", document["source"]);
  profile.isa = fields.text("isa");
  profile.measured_at = fields.text("measured_at");
  profile.build = fields.text("build");
  profile.threads = static_cast<int>(fields.integer("threads", 1));
  if (fields.has("n_multiprocessors"))
    profile.n_multiprocessors = static_cast<int>(fields.integer("n_multiprocessors", 0));
  profile.memory_bytes = fields.integer("memory_bytes", 0);
  profile.l2_bytes = fields.integer("l2_bytes", 0);
  profile.l3_bytes = fields.integer("l3_bytes", 0);
  for (const Fields& row : fields.objects("read_bandwidth", 1))
    profile.read_bandwidth.push_back({row.integer("working_set_bytes", 1), static_cast<int>(row.integer("threads", 1)),
                                      row.number("bytes_per_s", true)});
  profile.rates = fields.numbers("rates", true);
  for (const Fields& row : fields.objects("kernels", 0))
    profile.kernels.push_back({row.text("scheme"), row.text("isa"), row.integer("n_tokens", 1),
                               row.number("seconds_per_weight", true), row.number("seconds_per_output", false),
                               row.number("seconds_per_input", false), row.number("overlap", false),
                               row.number_or("seconds_per_call", 0)});
  profile.attention_seconds_per_call = fields.number("attention_seconds_per_call", false);
  profile.attention_seconds_per_kv_element = fields.numbers("attention_seconds_per_kv_element", false);
  profile.attention_seconds_per_query_element = fields.number("attention_seconds_per_query_element", false);
  profile.elementwise_seconds_per_byte = fields.numbers("elementwise_seconds_per_byte", false);
  profile.sampling_seconds_per_logit = fields.number("sampling_seconds_per_logit", false);
  profile.barrier_s = fields.number("barrier_s", false);
  profile.launch_s = fields.number_or("launch_s", 0);
  profile.launched_step_s = fields.number_or("launched_step_s", 0);
  profile.launched_layer_s = fields.number_or("launched_layer_s", 0);
  if (fields.has("launched_layers")) profile.launched_layers = fields.numbers("launched_layers", false);
  if (fields.has("layer_times"))
    for (const Fields& row : fields.objects("layer_times", 0)) profile.layer_times.push_back(layer_times(row));
  if (fields.has("head_times"))
    for (const Fields& row : fields.objects("head_times", 0)) profile.head_times.push_back(head_times(row));
  if (fields.has("step_overheads")) profile.step_overheads = row_times(fields, "step_overheads", 0, false);
  if (fields.has("layer_overheads")) profile.layer_overheads = row_times(fields, "layer_overheads", 0, false);
  profile.step_overhead_s = fields.number("step_overhead_s", false);
  profile.layer_overhead_s = fields.number("layer_overhead_s", false);
  return profile;
}

std::string to_json(const HardwareProfile& profile) {
  nlohmann::ordered_json document = {{"schema", HardwareProfile::kSchema},
                                     {"name", profile.name},
                                     {"kind", profile.kind},
                                     {"source", profile.source},
                                     {"isa", profile.isa},
                                     {"measured_at", profile.measured_at},
                                     {"build", profile.build},
                                     {"threads", profile.threads},
                                     {"memory_bytes", profile.memory_bytes},
                                     {"l2_bytes", profile.l2_bytes},
                                     {"l3_bytes", profile.l3_bytes}};
  if (profile.n_multiprocessors != 0) document["n_multiprocessors"] = profile.n_multiprocessors;
  document["read_bandwidth"] = json::array();
  for (const BandwidthPoint& point : profile.read_bandwidth)
    document["read_bandwidth"].push_back({{"working_set_bytes", point.working_set_bytes},
                                          {"threads", point.threads},
                                          {"bytes_per_s", point.bytes_per_s}});
  document["rates"] = profile.rates;
  document["kernels"] = json::array();
  for (const KernelRate& rate : profile.kernels)
    document["kernels"].push_back({{"scheme", rate.scheme},
                                   {"isa", rate.isa},
                                   {"n_tokens", rate.n_tokens},
                                   {"seconds_per_weight", rate.seconds_per_weight},
                                   {"seconds_per_output", rate.seconds_per_output},
                                   {"seconds_per_input", rate.seconds_per_input},
                                   {"overlap", rate.overlap}});
  if (profile.kind == "cuda")
    for (size_t i = 0; i < profile.kernels.size(); ++i)
      document["kernels"][i]["seconds_per_call"] = profile.kernels[i].seconds_per_call;
  document["attention_seconds_per_call"] = profile.attention_seconds_per_call;
  document["attention_seconds_per_kv_element"] = profile.attention_seconds_per_kv_element;
  document["attention_seconds_per_query_element"] = profile.attention_seconds_per_query_element;
  document["elementwise_seconds_per_byte"] = profile.elementwise_seconds_per_byte;
  document["sampling_seconds_per_logit"] = profile.sampling_seconds_per_logit;
  document["barrier_s"] = profile.barrier_s;
  if (profile.kind == "cuda") {
    document["launch_s"] = profile.launch_s;
    document["launched_step_s"] = profile.launched_step_s;
    document["launched_layer_s"] = profile.launched_layer_s;
    document["launched_layers"] = profile.launched_layers;
    document["layer_times"] = document["head_times"] = json::array();
    for (const LayerTimes& layer : profile.layer_times) document["layer_times"].push_back(json_of(layer));
    for (const HeadTimes& head : profile.head_times) document["head_times"].push_back(json_of(head));
    document["step_overheads"] = json_of(profile.step_overheads);
    if (!profile.layer_overheads.empty()) document["layer_overheads"] = json_of(profile.layer_overheads);
  }
  document["step_overhead_s"] = profile.step_overhead_s;
  document["layer_overhead_s"] = profile.layer_overhead_s;
  return document.dump(2) + "\n";
}

}  // namespace trimeter
