// docs/record.schema.json against what to_json() writes: the schema must accept a whole record and refuse a damaged
// one.
#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>
#include <functional>
#include <nlohmann/json.hpp>
#include <valijson/adapters/nlohmann_json_adapter.hpp>
#include <valijson/schema.hpp>
#include <valijson/schema_parser.hpp>
#include <valijson/validation_results.hpp>
#include <valijson/validator.hpp>

#include "record/full_record.h"

namespace trimeter {
namespace {

using Json = nlohmann::json;
using Pointer = Json::json_pointer;

class RecordSchema : public ::testing::Test {
 protected:
  RecordSchema() {
    const char* root = std::getenv("TRIMETER_SOURCE_DIR");
    std::ifstream file(std::string(root ? root : ".") + "/docs/record.schema.json");
    source_ = Json::parse(file);
    valijson::adapters::NlohmannJsonAdapter adapter(source_);
    valijson::SchemaParser(valijson::SchemaParser::kDraft7).populateSchema(adapter, schema_);
  }

  bool accepts(const Json& json, std::string* why = nullptr) {
    valijson::ValidationResults results;
    valijson::adapters::NlohmannJsonAdapter adapter(json);
    const bool valid = valijson::Validator().validate(schema_, adapter, &results);
    for (valijson::ValidationResults::Error error; why && results.popError(error);) {
      for (const std::string& part : error.context) *why += part;
      *why += ": " + error.description + "\n";
    }
    return valid;
  }

  Json source_;
  valijson::Schema schema_;
};

Json whole() { return Json::parse(to_json(full_record())); }

// Calls visit(pointer) for every value below `at`.
void each_value(const Json& json, const Pointer& at, const std::function<void(const Pointer&)>& visit) {
  const Json& value = json[at];
  if (value.is_object())
    for (const auto& [key, item] : value.items()) {
      visit(at / key);
      each_value(json, at / key, visit);
    }
  if (value.is_array())
    for (size_t i = 0; i < value.size(); ++i) {
      visit(at / i);
      each_value(json, at / i, visit);
    }
}

TEST_F(RecordSchema, AcceptsAWholeRecordAndOneWithoutItsOptionalParts) {
  std::string why;
  EXPECT_TRUE(accepts(whole(), &why)) << why;
  Record record = full_record();
  record.kv_buffer_bytes.reset();
  record.noise_floor.reset();
  record.verdict.reset();
  for (RecordRun& run : record.runs) run.measured.reset();
  EXPECT_TRUE(accepts(Json::parse(to_json(record)), &why)) << why;
}

TEST_F(RecordSchema, RefusesAValueOfAnotherType) {
  const Json json = whole();
  int n = 0;
  each_value(json, Pointer(), [&](const Pointer& at) {
    Json mutated = json;
    mutated[at] = json[at].is_boolean() ? Json("x") : Json(true);
    EXPECT_FALSE(accepts(mutated)) << at << " = " << mutated[at];
    ++n;
  });
  EXPECT_GT(n, 200);
}

TEST_F(RecordSchema, RefusesAMissingFieldUnlessItIsOptional) {
  const Json json = whole();
  int n_optional = 0, n_required = 0;
  each_value(json, Pointer(), [&](const Pointer& at) {
    const Pointer parent = at.parent_pointer();
    if (!json[parent].is_object()) return;
    Json mutated = json;
    mutated[parent].erase(at.back());
    accepts(mutated) ? ++n_optional : ++n_required;
  });
  // kv_buffer_bytes, noise_floor, verdict, hardware.speed and its cpu_wait; measured, measured.quality, batch, floor,
  // profile and its decode of two runs, one ratio_to_baseline; and the keys of maps: 2 rates, 2 terms of two runs, 1
  // ordering.
  EXPECT_EQ(n_optional, 5 + 12 + 1 + 2 + 4 + 1);
  EXPECT_GT(n_required, 150);
}

TEST_F(RecordSchema, RefusesAnUnknownField) {
  for (const char* parent :
       {"", "/model", "/hardware", "/workload", "/runs/0", "/runs/0/kernel", "/runs/0/predicted", "/runs/0/measured",
        "/runs/0/measured/quality/kld", "/runs/0/profile", "/runs/0/profile/decode",
        "/runs/0/profile/prompt/operations/1", "/reconciliation/0", "/verdict"}) {
    Json mutated = whole();
    mutated[Pointer(parent)]["typo"] = 1;
    EXPECT_FALSE(accepts(mutated)) << parent;
  }
}

TEST_F(RecordSchema, RefusesValuesOutOfRange) {
  const std::pair<const char*, Json> cases[] = {
      {"/schema", 2},
      {"/started", "yesterday"},
      {"/hardware/kind", "tpu"},
      {"/workload/utilization", 1.5},
      {"/runs", Json::array()},
      {"/runs/0/predicted/binds", "luck"},
      {"/runs/0/measured/kv_blocks", -1},
      {"/runs/0/measured/kv_blocks", 1.5},
      {"/runs/0/measured/generation_tokens_per_s/ci95", Json::array({1, 2, 3})},
      {"/runs/0/measured/quality/perplexity", 0.5},
      {"/runs/0/profile/prompt/operations", Json::array()},
      {"/runs/0/profile/decode/steps", 0},
      {"/runs/0/measured/quality/top1_agreement", 1.01},
      {"/verdict/objective", "beauty"},
  };
  for (const auto& [at, value] : cases) {
    Json mutated = whole();
    mutated[Pointer(at)] = value;
    EXPECT_FALSE(accepts(mutated)) << at << " = " << value;
  }
}

}  // namespace
}  // namespace trimeter
