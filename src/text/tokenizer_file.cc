#include "text/tokenizer_file.h"

#include <nlohmann/json.hpp>
#include <optional>
#include <unordered_map>
#include <unordered_set>

#include "base/error.h"
#include "io/json.h"

namespace trimeter {
namespace {

using Json = nlohmann::json;

constexpr int64_t kMaxId = int64_t{1} << 22;  // tables are as long as the largest id; no vocabulary comes near
constexpr const char* kGpt2Pattern = R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";

// One value of a file, with the words to complain about it.
class Field {
 public:
  Field(const Json& value, const std::string& path, std::string name)
      : value_(&value), path_(&path), name_(std::move(name)) {}

  bool is_null() const { return value_->is_null(); }
  bool is_string() const { return value_->is_string(); }
  bool is_array() const { return value_->is_array(); }
  bool is_object() const { return value_->is_object(); }

  [[noreturn]] void wanted(const std::string& what) const {
    throw Error(Errc::kBadFile, "{}: {}: wanted {}, got {}", *path_, name_, what, printable_json(*value_));
  }
  [[noreturn]] void unsupported(const std::string& what) const {
    throw Error(Errc::kUnsupported, "{}: {}: {} is not supported", *path_, name_, what);
  }

  // A member that is absent reads as null.
  Field operator[](const char* key) const {
    static const Json null;
    if (!is_object()) wanted("an object");
    const auto found = value_->find(key);
    return {found == value_->end() ? null : *found, *path_, name_.empty() ? key : name_ + "." + key};
  }
  template <class F>
  void each_element(F f) const {
    if (!is_array()) wanted("an array");
    for (size_t i = 0; i < value_->size(); ++i) f(Field((*value_)[i], *path_, fmt::format("{}[{}]", name_, i)));
  }
  template <class F>
  void each_member(F f) const {
    if (!is_object()) wanted("an object");
    for (const auto& [key, value] : value_->items()) f(key, Field(value, *path_, name_ + "." + key));
  }

  const std::string& string() const {
    if (!is_string()) wanted("a string");
    return value_->get_ref<const std::string&>();
  }
  bool boolean(bool absent) const {
    if (is_null()) return absent;
    if (!value_->is_boolean()) wanted("true or false");
    return value_->get<bool>();
  }
  double number() const {
    if (!value_->is_number()) wanted("a number");
    return value_->get<double>();
  }
  int32_t id() const {
    if (!value_->is_number_integer() || *value_ < 0 || *value_ >= kMaxId)
      wanted(fmt::format("a token id from 0 to {}", kMaxId - 1));
    return value_->get<int32_t>();
  }
  std::string type() const {
    const Field type = (*this)["type"];
    return type.is_string() ? type.string() : std::string();
  }

 private:
  const Json* value_;
  const std::string* path_;
  std::string name_;
};

bool reads_as_nfc(const Field& normalizer) {
  if (normalizer.is_null()) return false;
  const std::string type = normalizer.type();
  if (type == "NFC") return true;
  if (type != "Sequence") normalizer.unsupported(fmt::format("normalizer '{}' (NFC and Sequence are)", type));
  bool nfc = false;
  normalizer["normalizers"].each_element([&](const Field& one) { nfc |= reads_as_nfc(one); });
  return nfc;
}

SplitBehavior behavior_of(const Field& field) {
  static const std::unordered_map<std::string, SplitBehavior> names = {
      {"Isolated", SplitBehavior::kIsolated},
      {"Removed", SplitBehavior::kRemoved},
      {"MergedWithPrevious", SplitBehavior::kMergedWithPrevious},
      {"MergedWithNext", SplitBehavior::kMergedWithNext},
      {"Contiguous", SplitBehavior::kContiguous}};
  const auto found = names.find(field.string());
  if (found == names.end()) field.wanted("Isolated, Removed, MergedWithPrevious, MergedWithNext or Contiguous");
  return found->second;
}

std::string escaped(const std::string& literal) {
  std::string pattern;
  for (const char c : literal) {
    if (std::string_view(R"(\^$.|?*+()[]{}#-)").find(c) != std::string_view::npos) pattern += '\\';
    pattern += c;
  }
  return pattern;
}

SplitStep split_step(const Field& split) {
  SplitStep step;
  const Field pattern = split["pattern"];
  step.pattern = pattern["Regex"].is_null() ? escaped(pattern["String"].string()) : pattern["Regex"].string();
  if (step.pattern.empty()) pattern.wanted("a pattern that is not empty");
  step.behavior = behavior_of(split["behavior"]);
  step.invert = split["invert"].boolean(false);
  return step;
}

// has_byte_level: whether the pieces are in the byte-level alphabet already, after which nothing may look at
// characters.
void read_pre_tokenizer(const Field& field, std::vector<SplitStep>& steps, bool& has_byte_level) {
  const std::string type = field.is_null() ? "null" : field.type();
  if (type == "Sequence") {
    field["pretokenizers"].each_element([&](const Field& one) { read_pre_tokenizer(one, steps, has_byte_level); });
    return;
  }
  if (type != "Split" && type != "ByteLevel")
    field.unsupported(fmt::format("pre-tokenizer '{}' (Split, ByteLevel and Sequence are)", type));
  if (has_byte_level) field.unsupported(fmt::format("'{}' behind ByteLevel", type));
  if (type == "Split") {
    steps.push_back(split_step(field));
    return;
  }
  has_byte_level = true;
  SplitStep step;
  step.prefix_space = field["add_prefix_space"].boolean(true);
  if (field["use_regex"].boolean(true)) step.pattern = kGpt2Pattern;
  if (step.prefix_space || !step.pattern.empty()) steps.push_back(step);
}

std::pair<std::string, std::string> merge_of(const Field& field) {
  std::vector<std::string> parts;
  if (field.is_array()) {
    field.each_element([&](const Field& part) { parts.push_back(part.string()); });
  } else {
    const std::string& line = field.string();
    const size_t space = line.find(' ');
    if (space != std::string::npos && line.find(' ', space + 1) == std::string::npos)
      parts = {line.substr(0, space), line.substr(space + 1)};
  }
  if (parts.size() != 2 || parts[0].empty() || parts[1].empty()) field.wanted("a pair of tokens");
  return {parts[0], parts[1]};
}

void read_model(const Field& model, TokenizerFile& file) {
  if (const Field type = model["type"]; !type.is_null() && type.string() != "BPE")
    type.unsupported(fmt::format("model '{}' (BPE is)", type.string()));
  if (const Field dropout = model["dropout"]; !dropout.is_null() && dropout.number() != 0)
    dropout.unsupported("dropout, which makes tokens random,");
  for (const char* name : {"continuing_subword_prefix", "end_of_word_suffix"})
    if (const Field affix = model[name]; !affix.is_null() && !affix.string().empty())
      affix.unsupported(fmt::format("'{}' on tokens", affix.string()));
  // unk_token, fuse_unk and byte_fallback come into play where a byte has no token; Bpe refuses such a vocabulary.
  file.ignore_merges = model["ignore_merges"].boolean(false);
  model["vocab"].each_member([&](const std::string& token, const Field& id) { file.vocab.emplace(token, id.id()); });
  model["merges"].each_element([&](const Field& merge) { file.merges.push_back(merge_of(merge)); });
}

AddedToken added_token(const Field& field, int32_t id) {
  AddedToken token;
  token.content = field["content"].string();
  token.id = id;
  token.special = field["special"].boolean(false);
  token.lstrip = field["lstrip"].boolean(false);
  token.rstrip = field["rstrip"].boolean(false);
  token.single_word = field["single_word"].boolean(false);
  token.normalized = field["normalized"].boolean(!token.special);
  return token;
}

// Every id has one token and every token one id, whichever of the two files names it.
class Ids {
 public:
  explicit Ids(const TokenIds& vocab) : id_of_(vocab) {
    for (const auto& [token, id] : vocab) token_of_.emplace(id, token);
  }
  void check_model(const Field& vocab) const {
    if (token_of_.size() != id_of_.size()) vocab.wanted("one id for each token");
  }
  // The token may be in the vocabulary already, by the same id.
  void add(const AddedToken& token, const Field& field) {
    const auto by_text = id_of_.emplace(token.content, token.id).first;
    if (by_text->second != token.id) field.wanted(fmt::format("id {} for '{}'", by_text->second, token.content));
    const auto by_id = token_of_.emplace(token.id, token.content).first;
    if (by_id->second != token.content)
      field.wanted(fmt::format("an id other than {}, which is '{}'", token.id, by_id->second));
  }
  std::optional<int32_t> find(const std::string& token) const {
    const auto found = id_of_.find(token);
    return found == id_of_.end() ? std::nullopt : std::optional(found->second);
  }

 private:
  TokenIds id_of_;
  std::unordered_map<int32_t, std::string> token_of_;
};

void read_template(const Field& processor, const Ids& ids, TokenizerFile& file) {
  int n_sequences = 0;
  processor["single"].each_element([&](const Field& item) {
    if (const Field sequence = item["Sequence"]; !sequence.is_null()) {
      if (sequence["id"].string() != "A") sequence["id"].wanted("A, the only text");
      ++n_sequences;
      return;
    }
    const Field name = item["SpecialToken"]["id"];
    const Field entry = processor["special_tokens"][name.string().c_str()];
    if (entry.is_null()) name.wanted("a token that special_tokens describes");
    std::vector<std::string> tokens;
    entry["tokens"].each_element([&](const Field& token) { tokens.push_back(token.string()); });
    size_t i = 0;
    entry["ids"].each_element([&](const Field& id) {
      const auto known = i < tokens.size() ? ids.find(tokens[i]) : std::nullopt;
      if (!known || *known != id.id())
        id.wanted(known ? fmt::format("{}, the id of '{}'", *known, tokens[i]) : "the id of a token in the vocabulary");
      (n_sequences == 0 ? file.prefix : file.suffix).push_back(id.id());
      ++i;
    });
    if (i == 0) entry.wanted("ids");
  });
  if (n_sequences != 1) processor["single"].wanted("the text once");
}

void read_post_processor(const Field& field, const Ids& ids, TokenizerFile& file) {
  if (field.is_null()) return;
  const std::string type = field.type();
  if (type == "Sequence") {
    field["processors"].each_element([&](const Field& one) { read_post_processor(one, ids, file); });
  } else if (type == "TemplateProcessing") {
    if (!file.prefix.empty() || !file.suffix.empty()) field.unsupported("a second template");
    read_template(field, ids, file);
  } else if (type != "ByteLevel") {  // ByteLevel moves offsets, which we have none of
    field.unsupported(fmt::format("post-processor '{}' (ByteLevel, TemplateProcessing and Sequence are)", type));
  }
}

void check_decoder(const Field& decoder) {
  const std::string type = decoder.is_null() ? "null" : decoder.type();
  if (type != "ByteLevel") decoder.unsupported(fmt::format("decoder '{}' (ByteLevel is)", type));
}

// A string, or an AddedToken written as an object.
std::string token_name(const Field& field, const Ids& ids) {
  if (field.is_null()) return {};
  const std::string& token = field.is_object() ? field["content"].string() : field.string();
  if (!ids.find(token)) field.wanted("a token of the vocabulary");
  return token;
}

std::string chat_template_of(const Field& field) {
  if (field.is_null()) return {};
  if (field.is_string()) return field.string();
  std::string chosen;
  bool found = false;
  field.each_element([&](const Field& entry) {
    if (entry["name"].string() != "default") return;
    chosen = entry["template"].string();
    found = true;
  });
  if (!found) field.wanted("a template named 'default'");
  return chosen;
}

int32_t id_of_key(const std::string& key, const Field& entry) {
  int64_t id = 0;
  for (const char c : key) {
    if (c < '0' || c > '9' || id >= kMaxId) entry.wanted("a token id as its key");
    id = 10 * id + (c - '0');
  }
  if (key.empty() || id >= kMaxId) entry.wanted("a token id as its key");
  return static_cast<int32_t>(id);
}

void read_config(const Field& config, Ids& ids, TokenizerFile& file) {
  std::unordered_set<std::string> known;
  for (const AddedToken& token : file.added_tokens) known.insert(token.content);
  if (const Field decoder = config["added_tokens_decoder"]; !decoder.is_null())
    decoder.each_member([&](const std::string& key, const Field& entry) {
      const AddedToken token = added_token(entry, id_of_key(key, entry));
      ids.add(token, entry);
      if (known.insert(token.content).second) file.added_tokens.push_back(token);
    });
  file.bos_token = token_name(config["bos_token"], ids);
  file.eos_token = token_name(config["eos_token"], ids);
  file.chat_template = chat_template_of(config["chat_template"]);
}

}  // namespace

TokenizerFile parse_tokenizer_file(std::string_view tokenizer_json, std::string_view config_json,
                                   const std::string& path) {
  const Json json = parse_json(tokenizer_json, path);
  const Field root(json, path, "");
  TokenizerFile file;
  file.nfc = reads_as_nfc(root["normalizer"]);
  bool has_byte_level = false;
  read_pre_tokenizer(root["pre_tokenizer"], file.split_steps, has_byte_level);
  if (!has_byte_level) root["pre_tokenizer"].unsupported("a pre-tokenizer without ByteLevel");
  check_decoder(root["decoder"]);
  read_model(root["model"], file);

  Ids ids(file.vocab);
  ids.check_model(root["model"]["vocab"]);
  if (const Field added = root["added_tokens"]; !added.is_null())
    added.each_element([&](const Field& entry) {
      file.added_tokens.push_back(added_token(entry, entry["id"].id()));
      ids.add(file.added_tokens.back(), entry);
    });
  if (!config_json.empty()) {
    const std::string config_path = path + " (tokenizer_config.json)";
    const Json config = parse_json(config_json, config_path);
    read_config(Field(config, config_path, ""), ids, file);
  }
  read_post_processor(root["post_processor"], ids, file);
  return file;
}

}  // namespace trimeter
