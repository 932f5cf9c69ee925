#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>
#include <unordered_map>
#include <unordered_set>

#include "base/error.h"
#include "io/file.h"
#include "io/json.h"
#include "text/tokenizer_parts.h"
#include "text/tokenizer_steps.h"

namespace trimeter {
namespace {

using Json = nlohmann::json;

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

BpeParts read_bpe(const Field& model, bool byte_level) {
  if (const Field dropout = model["dropout"]; !dropout.is_null() && dropout.number() != 0)
    dropout.unsupported("dropout, which makes tokens random,");
  for (const char* name : {"continuing_subword_prefix", "end_of_word_suffix"})
    if (const Field affix = model[name]; !affix.is_null() && !affix.string().empty())
      affix.unsupported(fmt::format("'{}' on tokens", affix.string()));
  BpeParts bpe;
  bpe.byte_level = byte_level;
  bpe.ignore_merges = model["ignore_merges"].boolean(false);
  model["vocab"].each_member([&](const std::string& token, const Field& id) { bpe.vocab.emplace(token, id.id()); });
  model["merges"].each_element([&](const Field& merge) { bpe.merges.push_back(merge_of(merge)); });
  // These come into play where a character has no token; with bytes, Bpe refuses such a vocabulary.
  if (byte_level) return bpe;
  bpe.byte_fallback = model["byte_fallback"].boolean(false);
  bpe.fuse_unk = model["fuse_unk"].boolean(false);
  if (const Field unk = model["unk_token"]; !unk.is_null()) {
    const auto found = bpe.vocab.find(unk.string());
    if (found == bpe.vocab.end()) unk.wanted("a token of model.vocab");
    bpe.unk_id = found->second;
  }
  return bpe;
}

UnigramParts read_unigram(const Field& model) {
  UnigramParts unigram;
  model["vocab"].each_element([&](const Field& entry) {
    std::vector<Field> pair;
    entry.each_element([&](const Field& one) { pair.push_back(one); });
    if (pair.size() != 2) entry.wanted("a token and its score");
    if (!unigram.vocab.emplace(pair[0].string(), static_cast<int32_t>(unigram.scores.size())).second)
      entry.wanted("a token that is not there already");
    unigram.scores.push_back(pair[1].number());  // JSON has no number that is not finite
  });
  if (unigram.scores.empty() || unigram.scores.size() > kMaxTokenId) model["vocab"].wanted("a list of tokens");
  unigram.unk_id =
      model["unk_id"].integer(0, static_cast<int64_t>(unigram.scores.size()) - 1, "a place in model.vocab");
  unigram.byte_fallback = model["byte_fallback"].boolean(false);
  return unigram;
}

std::variant<BpeParts, UnigramParts> read_model(const Field& model, bool byte_level) {
  // Files of before 2020 leave the type out.
  const std::string type = model["type"].is_null() ? "BPE" : model["type"].string();
  if (type == "Unigram" && byte_level) model["type"].unsupported("model 'Unigram' with the pre-tokenizer ByteLevel");
  if (type == "Unigram") return read_unigram(model);
  if (type != "BPE") model["type"].unsupported(fmt::format("model '{}' (BPE and Unigram are)", type));
  return read_bpe(model, byte_level);
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
  Ids(const TokenIds& vocab, const std::string& path) : id_of_(vocab) {
    for (const auto& [token, id] : vocab)
      if (const auto [other, is_new] = token_of_.emplace(id, token); !is_new)
        throw Error(Errc::kBadFile, "{}: model.vocab: wanted an id of its own for each token, got {} for '{}' and '{}'",
                    path, id, printable(std::min(token, other->second)), printable(std::max(token, other->second)));
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

void read_template(const Field& processor, const Ids& ids, TokenizerParts& parts) {
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
      (n_sequences == 0 ? parts.prefix : parts.suffix).push_back(id.id());
      ++i;
    });
    if (i == 0) entry.wanted("ids");
  });
  if (n_sequences != 1) processor["single"].wanted("the text once");
}

void read_post_processor(const Field& field, const Ids& ids, TokenizerParts& parts) {
  if (field.is_null()) return;
  const std::string type = field.type();
  if (type == "Sequence") {
    field["processors"].each_element([&](const Field& one) { read_post_processor(one, ids, parts); });
  } else if (type == "TemplateProcessing") {
    if (!parts.prefix.empty() || !parts.suffix.empty()) field.unsupported("a second template");
    read_template(field, ids, parts);
  } else if (type != "ByteLevel") {  // ByteLevel moves offsets, which we have none of
    field.unsupported(fmt::format("post-processor '{}' (ByteLevel, TemplateProcessing and Sequence are)", type));
  }
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
  if (!field.is_array()) field.wanted("a string or an array of named ones");
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
    if (c < '0' || c > '9' || id >= kMaxTokenId) entry.wanted("a token id as its key");
    id = 10 * id + (c - '0');
  }
  if (key.empty() || id >= kMaxTokenId) entry.wanted("a token id as its key");
  return static_cast<int32_t>(id);
}

void read_config(const Field& config, Ids& ids, TokenizerParts& parts) {
  std::unordered_set<std::string> known;
  for (const AddedToken& token : parts.added_tokens) known.insert(token.content);
  if (const Field decoder = config["added_tokens_decoder"]; !decoder.is_null())
    decoder.each_member([&](const std::string& key, const Field& entry) {
      const AddedToken token = added_token(entry, id_of_key(key, entry));
      ids.add(token, entry);
      if (known.insert(token.content).second) parts.added_tokens.push_back(token);
    });
  parts.bos_token = token_name(config["bos_token"], ids);
  parts.eos_token = token_name(config["eos_token"], ids);
  // One that the vocabulary lacks pads nothing.
  const Field pad = config["pad_token"];
  if (const Field name = pad.is_object() ? pad["content"] : pad; name.is_string() && ids.find(name.string()))
    parts.pad_token = name.string();
  parts.chat_template = chat_template_of(config["chat_template"]);
}

}  // namespace

const TokenIds& vocab_of(const TokenizerParts& parts) {
  return std::visit([](const auto& model) -> const TokenIds& { return model.vocab; }, parts.model);
}

TokenizerParts parse_tokenizer_file(std::string_view tokenizer_json, std::string_view config_json,
                                    const std::string& path) {
  const Json json = parse_json(tokenizer_json, path);
  const Field root(json, path, "");
  TokenizerParts parts;
  read_normalizer(root["normalizer"], parts.normalizer_steps);
  const bool byte_level = read_pre_tokenizer(root["pre_tokenizer"], parts.split_steps);
  parts.decoder = read_decoder(root["decoder"], byte_level);
  parts.model = read_model(root["model"], byte_level);

  Ids ids(vocab_of(parts), path);
  if (const Field added = root["added_tokens"]; !added.is_null())
    added.each_element([&](const Field& entry) {
      parts.added_tokens.push_back(added_token(entry, entry["id"].id()));
      ids.add(parts.added_tokens.back(), entry);
    });
  if (!config_json.empty()) {
    const std::string config_path = std::filesystem::path(path).replace_filename("tokenizer_config.json").string();
    const Json config = parse_json(config_json, config_path);
    read_config(Field(config, config_path, ""), ids, parts);
  }
  read_post_processor(root["post_processor"], ids, parts);
  return parts;
}

TokenizerParts read_tokenizer_directory(const std::filesystem::path& directory) {
  const auto path = directory / "tokenizer.json", config = directory / "tokenizer_config.json";
  TokenizerParts parts =
      parse_tokenizer_file(read_file(path), std::filesystem::exists(config) ? read_file(config) : "", path.string());
  parts.chat_template_path = config.string();
  if (const auto jinja = directory / "chat_template.jinja"; std::filesystem::exists(jinja)) {
    parts.chat_template = read_file(jinja);
    parts.chat_template_path = jinja.string();
  }
  return parts;
}

}  // namespace trimeter
