#include "lab/evaluation_set.h"

#include <algorithm>
#include <cstdlib>
#include <nlohmann/json.hpp>
#include <set>
#include <sstream>

#include "base/error.h"
#include "io/file.h"
#include "io/json.h"

namespace trimeter {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

const json& field(const json& line, const char* name, json::value_t type, const std::string& where) {
  const auto found = line.find(name);
  const json wanted(type);
  if (found == line.end()) throw Error(Errc::kBadFile, "{}: '{}' is missing", where, name);
  if (found->type() != type)
    throw Error(Errc::kBadFile, "{}: '{}': wanted a {}, got {}", where, name, wanted.type_name(),
                printable_json(*found));
  return *found;
}

std::string text_field(const json& line, const char* name, const std::string& where) {
  std::string text = field(line, name, json::value_t::string, where).get<std::string>();
  if (text.empty()) throw Error(Errc::kBadFile, "{}: '{}' is empty", where, name);
  return text;
}

// Calls read(object, "file:line") for every line; ids must be unique.
template <class Read>
void each_line(const fs::path& path, Read&& read) {
  std::istringstream lines(read_file(path));
  std::set<std::string> ids;
  int n = 0;
  for (std::string text; std::getline(lines, text);) {
    const std::string where = fmt::format("{}:{}", path.string(), ++n);
    const json line = parse_json(text, where);
    if (!line.is_object()) throw Error(Errc::kBadFile, "{}: wanted an object, got {}", where, line.type_name());
    if (const std::string id = text_field(line, "id", where); !ids.insert(id).second)
      throw Error(Errc::kBadFile, "{}: id '{}' is there twice", where, id);
    read(line, where);
  }
  if (n == 0) throw Error(Errc::kBadFile, "{}: empty: wanted one JSON object a line", path.string());
}

std::vector<EvaluationText> read_texts(const fs::path& path) {
  std::vector<EvaluationText> texts;
  each_line(path, [&](const json& line, const std::string& where) {
    texts.push_back(
        {text_field(line, "id", where), text_field(line, "category", where), text_field(line, "text", where)});
  });
  return texts;
}

bool has_set(const fs::path& directory) {
  std::error_code unreadable;
  return fs::is_directory(directory / "eval", unreadable);
}

std::vector<fs::path> usual_places() {
  std::vector<fs::path> places;
  std::error_code no_proc;
  const fs::path program = fs::read_symlink("/proc/self/exe", no_proc);
  if (!no_proc) places.push_back((program.parent_path() / ".." / "data").lexically_normal());
  const fs::path source = fs::path(TRIMETER_BUILT_FROM) / "data";
  if (places.empty() || places[0] != source) places.push_back(source);
  return places;
}

}  // namespace

fs::path find_data_directory(const std::string& wanted) {
  const char* environment = std::getenv("TRIMETER_DATA");
  const bool from_environment = wanted.empty() && environment && *environment;
  if (const fs::path given = from_environment ? environment : wanted; !given.empty()) {
    if (has_set(given)) return given;
    throw Error(Errc::kNotFound, "evaluation data: no directory {} ({})", (given / "eval").string(),
                from_environment ? "TRIMETER_DATA" : "--eval-data");
  }
  std::string looked;
  for (const fs::path& place : usual_places()) {
    if (has_set(place)) return place;
    looked += (looked.empty() ? "" : ", ") + place.string();
  }
  throw Error(Errc::kNotFound, "evaluation data: not found in {}; give --eval-data or set TRIMETER_DATA", looked);
}

EvaluationSet read_evaluation_set(const fs::path& directory) {
  EvaluationSet set;
  each_line(directory / "eval" / "prompts.jsonl", [&](const json& line, const std::string& where) {
    set.prompts.push_back({text_field(line, "id", where), text_field(line, "category", where),
                           text_field(line, "prompt", where),
                           field(line, "chat", json::value_t::boolean, where).get<bool>()});
  });
  set.passages = read_texts(directory / "eval" / "passages.jsonl");
  set.calibration = read_calibration_texts(directory);
  return set;
}

std::vector<std::string> read_calibration_texts(const fs::path& directory) {
  std::vector<std::string> texts;
  for (EvaluationText& text : read_texts(directory / "calibration" / "calibration.jsonl"))
    texts.push_back(std::move(text.text));
  return texts;
}

std::vector<std::string> read_texts_of(const fs::path& path) {
  std::vector<std::string> texts;
  std::istringstream lines(read_file(path));
  const bool is_json = path.extension() == ".jsonl";
  int n = 0;
  bool in_paragraph = false;
  for (std::string line; std::getline(lines, line);) {
    const std::string where = fmt::format("{}:{}", path.string(), ++n);
    if (is_json) {
      const json object = parse_json(line, where);
      if (!object.is_object()) throw Error(Errc::kBadFile, "{}: wanted an object, got {}", where, object.type_name());
      texts.push_back(text_field(object, "text", where));
      continue;
    }
    const bool is_empty = line.find_first_not_of(" \t\r") == line.npos;
    if (!is_empty && in_paragraph)
      texts.back() += "\n" + line;
    else if (!is_empty)
      texts.push_back(line);
    in_paragraph = !is_empty;
  }
  if (texts.empty()) throw Error(Errc::kBadFile, "{}: wanted texts, got none", path.string());
  return texts;
}

std::vector<EvaluationPrompt> interleaved_prompts(const EvaluationSet& set, size_t n) {
  if (n < 1 || n > set.prompts.size())
    throw Error(Errc::kBadArgument, "prompts: wanted 1 to {} (the evaluation set has no more), got {}",
                set.prompts.size(), n);
  std::vector<std::vector<const EvaluationPrompt*>> categories;
  for (const EvaluationPrompt& prompt : set.prompts) {
    const auto same = std::find_if(categories.begin(), categories.end(),
                                   [&](const auto& category) { return category[0]->category == prompt.category; });
    if (same == categories.end())
      categories.push_back({&prompt});
    else
      same->push_back(&prompt);
  }
  std::vector<EvaluationPrompt> prompts;
  for (size_t turn = 0; prompts.size() < n; ++turn)
    for (const auto& category : categories)
      if (turn < category.size() && prompts.size() < n) prompts.push_back(*category[turn]);
  return prompts;
}

}  // namespace trimeter
