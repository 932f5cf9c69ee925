#include "io/json.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "base/error.h"

namespace trimeter {
namespace {

std::string message_of(std::string_view text) {
  try {
    parse_json(text, "x.json");
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), Errc::kBadFile);
    return e.what();
  }
  return "accepted";
}

TEST(Json, RefusesWithPathAndPlace) {
  EXPECT_EQ(message_of(R"({"a": 1, "b": [1 2]})"), "x.json: not valid JSON (UTF-8) at byte 18 of 20");
  EXPECT_EQ(message_of(""), "x.json: not valid JSON (UTF-8) at byte 1 of 0");
  EXPECT_EQ(message_of("{\"a\": \"\xff\"}"), "x.json: not valid JSON (UTF-8) at byte 8 of 10");
  EXPECT_EQ(message_of("[1e999]"), "x.json: not valid JSON: a number is too large for a double");
  EXPECT_EQ(message_of("[1] x"), "x.json: not valid JSON (UTF-8) at byte 5 of 5");
}

TEST(Json, RefusesADuplicateKeyOfOneObjectOnly) {
  EXPECT_EQ(message_of(R"({"a": {"b": 1, "c": 2, "b": 3}})"),
            "x.json: duplicate key 'b': wanted each key once in an object");
  EXPECT_EQ(message_of(R"({"a": {}, "a": 1})"), "x.json: duplicate key 'a': wanted each key once in an object");
  EXPECT_EQ(message_of(R"({"b": {"a": 1}, "a": {"a": [{"a": 1}, {"a": 2}]}})"), "accepted");
}

TEST(Json, RefusesDeepNesting) {
  EXPECT_EQ(message_of(std::string(1'000'000, '[') + std::string(1'000'000, ']')),
            "x.json: nesting: wanted at most 128 levels, got more");
  EXPECT_EQ(message_of(std::string(130, '[') + std::string(130, ']')),
            "x.json: nesting: wanted at most 128 levels, got more");
  EXPECT_EQ(message_of(std::string(128, '[') + std::string(128, ']')), "accepted");
}

TEST(Printable, IsShortAsciiOnOneLine) {
  EXPECT_EQ(printable("model.layers.0.weight"), "model.layers.0.weight");
  EXPECT_EQ(printable("a\nb\x1b[2J"), "a\\nb\\u001b[2J");
  EXPECT_EQ(printable("\xc3\xa9\xff"), "\\u00e9\\ufffd");
  EXPECT_EQ(printable(std::string(1000, 'a')), std::string(120, 'a') + "...");
  EXPECT_EQ(printable_json({{"a", {1, "b\n\xc3\xa9"}}}), R"({"a":[1,"b\n\u00e9"]})");
  EXPECT_EQ(printable_json(std::string(1000, 'a')), '"' + std::string(119, 'a') + "...");
}

}  // namespace
}  // namespace trimeter
