#include "record/record.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "base/error.h"
#include "record/full_record.h"

namespace trimeter {
namespace {

std::string error_of(const std::string& json) {
  try {
    record_from_json(json, "r.json");
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), Errc::kBadFile);
    return error.what();
  }
  return "no error";
}

std::string replaced(std::string text, const std::string& from, const std::string& to) {
  const size_t at = text.find(from);
  EXPECT_NE(at, std::string::npos) << from;
  return text.replace(at, from.size(), to);
}

TEST(Record, SampledHasTheStatisticsOfItsSamples) {
  const Sampled s = Sampled::of({5, 1, 4, 2, 3, 100});
  EXPECT_EQ(s.samples, (std::vector<double>{5, 1, 4, 2, 3, 100}));
  EXPECT_DOUBLE_EQ(s.median, 3.5);
  EXPECT_DOUBLE_EQ(s.mad, 1.5);  // |x - 3.5| = 1.5 2.5 .5 1.5 .5 96.5
  EXPECT_EQ(s.ci95_low, 1);
  EXPECT_EQ(s.ci95_high, 100);
  EXPECT_EQ(Sampled::of({}), Sampled{});
}

// Every field of full_record() differs from its default, so a field that either way forgets makes the two unequal.
TEST(Record, RoundTripKeepsEveryField) {
  const Record record = full_record();
  const std::string json = to_json(record);
  const Record back = record_from_json(json, "r.json");
  EXPECT_EQ(back, record);
  EXPECT_EQ(to_json(back), json);
}

TEST(Record, AbsentPartsStayAbsent) {
  Record record = full_record();
  record.kv_buffer_bytes.reset();
  record.noise_floor.reset();
  record.verdict.reset();
  record.runs[1].measured->quality.reset();
  record.runs[0].measured.reset();
  const std::string json = to_json(record);
  EXPECT_EQ(json.find("verdict"), std::string::npos);
  EXPECT_EQ(record_from_json(json, "r.json"), record);
}

TEST(Record, NumbersThatJsonLacksAreRefusedByName) {
  for (const double bad : {std::nan(""), std::numeric_limits<double>::infinity()}) {
    Record record = full_record();
    record.runs[1].measured->ttft_s.samples[1] = bad;
    try {
      to_json(record);
      ADD_FAILURE() << "wrote " << bad;
    } catch (const Error& error) {
      EXPECT_NE(std::string(error.what()).find("runs[1].measured.ttft_s.samples[1]"), std::string::npos)
          << error.what();
    }
  }
}

TEST(Record, NamesThatAreNotUtf8DoNotCostTheRecord) {
  Record record = full_record();
  record.model.name = "models/\xff";
  EXPECT_EQ(record_from_json(to_json(record), "r.json").model.name, "models/\xEF\xBF\xBD");
}

TEST(Record, ErrorsNameFileAndField) {
  const std::string json = to_json(full_record());
  EXPECT_EQ(error_of(replaced(json, "\"kv_blocks\": 8101", "\"kv_blocks\": \"many\"")),
            "r.json: runs[0].predicted.kv_blocks: wanted an integer, got string");
  EXPECT_EQ(error_of(replaced(json, "\"kv_blocks\": 8101", "\"kv_blocks\": 1.5")),
            "r.json: runs[0].predicted.kv_blocks: wanted an integer, got 1.5");
  EXPECT_EQ(error_of(replaced(json, "\"threads\": 3", "\"threads\": 3000000000")),
            "r.json: hardware.threads: wanted an integer of 32 bits, got 3000000000");
  EXPECT_EQ(error_of(replaced(json, "\"kv_blocks\": 8101", "\"kv_blocks\": 9300000000000000000")),
            "r.json: runs[0].predicted.kv_blocks: wanted an integer of 64 bits, got 9300000000000000000");
  EXPECT_EQ(error_of(replaced(json, "\"holds\": true", "\"holds\": 1")),
            "r.json: ordering.kv_blocks.holds: wanted true or false, got number");
  EXPECT_EQ(error_of(replaced(json, "\"executed\"", "\"ran\"")), "r.json: runs[0].kernel.executed is missing");
  EXPECT_EQ(error_of(replaced(json, "\"schema\": 1", "\"schema\": 2")), "r.json: schema: wanted 1, got 2");
  EXPECT_EQ(error_of("[]"), "r.json: the record: wanted an object, got array");
  EXPECT_EQ(error_of("{").substr(0, 17), "r.json: not JSON:");
  EXPECT_EQ(error_of(replaced(json, "\"threads\": 3", "\"threads\": 1e999")).substr(0, 17), "r.json: not JSON:");
}

TEST(Record, IntervalsAreTwoNumbers) {
  std::string json = to_json(full_record());
  const size_t at = json.find("\"ci95\": [") + 9;
  json.insert(at, "1, ");
  EXPECT_EQ(error_of(json), "r.json: hardware.speed.arithmetic.ci95: wanted two numbers, got 3");
}

}  // namespace
}  // namespace trimeter
