#include "io/safetensors.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <cstring>

#include "base/error.h"
#include "io/temporary_directory.h"

namespace trimeter {
namespace {

namespace fs = std::filesystem;

// A file of that header and that many data bytes 0, 1, 2, ...
std::string file_of(const std::string& header, int data_bytes) {
  std::string file;
  for (int i = 0; i < 8; ++i) file.push_back(static_cast<char>(header.size() >> (8 * i)));
  file += header;
  for (int i = 0; i < data_bytes; ++i) file.push_back(static_cast<char>(i));
  return file;
}

std::vector<TensorView> parse(const std::string& file) {
  return parse_safetensors(std::as_bytes(std::span(file)), "x.safetensors");
}

std::string message_of(const std::string& file) {
  try {
    parse(file);
  } catch (const Error& e) {
    return e.what();
  }
  return "accepted";
}

TEST(Safetensors, ReadsNamesShapesAndBytes) {
  const std::string file = file_of(R"({"__metadata__": {"format": "pt"},
      "b": {"dtype": "F32", "shape": [], "data_offsets": [6, 10]},
      "a": {"dtype": "BF16", "shape": [3, 1], "data_offsets": [0, 6]},
      "empty": {"dtype": "I8", "shape": [0, 7], "data_offsets": [6, 6]}}   )",
                                   10);
  const std::vector<TensorView> views = parse(file);
  ASSERT_EQ(views.size(), 3u);  // in the order of their bytes
  EXPECT_EQ(views[0].name, "a");
  EXPECT_EQ(views[0].dtype, DType::kBF16);
  EXPECT_EQ(views[0].shape, (std::vector<int64_t>{3, 1}));
  EXPECT_EQ(views[0].shape_text(), "[3, 1]");
  EXPECT_EQ(views[0].n_elements(), 3);
  EXPECT_EQ(views[0].bytes.size(), 6u);
  EXPECT_EQ(views[1].name, "empty");
  EXPECT_EQ(views[1].n_elements(), 0);
  EXPECT_EQ(views[2].name, "b");
  EXPECT_EQ(views[2].n_elements(), 1);
  EXPECT_EQ(views[2].bytes.size(), 4u);
  EXPECT_EQ(views[2].bytes[0], std::byte{6});
  EXPECT_EQ(reinterpret_cast<const char*>(views[2].bytes.data()), file.data() + file.size() - 4);
}

TEST(Safetensors, NoTensorsIsAFile) { EXPECT_TRUE(parse(file_of("{}", 0)).empty()); }

struct Bad {
  std::string file;
  const char* message;  // the whole of it, behind the path
};

// One tensor of that description and 8 data bytes.
std::string one(const std::string& description) { return file_of("{\"t\": " + description + "}", 8); }

TEST(Safetensors, RefusesWithTensorWantedAndGot) {
  std::string endless = file_of("{}", 0), huge = endless;
  endless[0] = 50;
  std::memset(huge.data(), 0xff, 8);
  const Bad table[] = {
      {"", "too short for safetensors: wanted at least 8 bytes, got 0"},
      {"1234567", "too short for safetensors: wanted at least 8 bytes, got 7"},
      {endless, "truncated: wanted a header of 50 bytes, got 2"},
      {huge, "header length: wanted at most 100000000, got 18446744073709551615"},
      {file_of("", 0), "header: wanted it to start with '{', got ''"},
      {file_of("[]", 0), "header: wanted it to start with '{', got '['"},
      {file_of("{\"t\": ", 0), "header: not valid JSON (UTF-8) at byte 7 of 6"},
      {file_of("{\"\xff\": 1}", 0), "header: not valid JSON (UTF-8) at byte 3 of 8"},
      {file_of(R"({"t": 1, "t": 1})", 0), "header: duplicate key 't': wanted each key once in an object"},
      {file_of(R"({"__metadata__": {"n": 1}})", 0), "__metadata__: wanted an object of strings, got {\"n\":1}"},
      {one("7"), "tensor 't': description: wanted an object, got 7"},
      {one("{}"), "tensor 't': dtype: wanted one, got none"},
      {one(R"({"dtype": 1})"), "tensor 't': dtype: wanted a string, got 1"},
      {one(R"({"dtype": "F4"})"), "tensor 't': unknown dtype 'F4'"},
      {one(R"({"dtype": "U8"})"), "tensor 't': shape: wanted one, got none"},
      {one(R"({"dtype": "U8", "shape": 8})"), "tensor 't': shape: wanted an array of non-negative integers, got 8"},
      {one(R"({"dtype": "U8", "shape": [-8]})"), "tensor 't': shape: wanted non-negative integers below 2^63, got -8"},
      {one(R"({"dtype": "U8", "shape": [8.0]})"),
       "tensor 't': shape: wanted non-negative integers below 2^63, got 8.0"},
      {one(R"({"dtype": "U8", "shape": [9223372036854775808]})"),
       "tensor 't': shape: wanted non-negative integers below 2^63, got 9223372036854775808"},
      {one(R"({"dtype": "U8", "shape": [4294967296, 4294967296], "data_offsets": [0, 8]})"),
       "tensor 't': shape [4294967296, 4294967296]: wanted fewer than 2^63 bytes in all"},
      {one(R"({"dtype": "F64", "shape": [2305843009213693952], "data_offsets": [0, 0]})"),  // 2^61 * 8 wraps to 0
       "tensor 't': shape [2305843009213693952]: wanted fewer than 2^63 bytes in all"},
      {one(R"({"dtype": "U8", "shape": [8]})"), "tensor 't': data_offsets: wanted one, got none"},
      {one(R"({"dtype": "U8", "shape": [8], "data_offsets": [0]})"),
       "tensor 't': data_offsets: wanted [begin, end], got [0]"},
      {one(R"({"dtype": "U8", "shape": [8], "data_offsets": [-1, 7]})"),
       "tensor 't': data_offsets: wanted non-negative integers below 2^63, got -1"},
      {one(R"({"dtype": "U8", "shape": [8], "data_offsets": [8, 0]})"),
       "tensor 't': data_offsets: wanted begin <= end, got [8, 0]"},
      {one(R"({"dtype": "U8", "shape": [9], "data_offsets": [0, 9]})"),
       "tensor 't': data_offsets [0, 9]: wanted an end within the file's 8 data bytes, got 1 too many"},
      {one(R"({"dtype": "F16", "shape": [2, 3], "data_offsets": [0, 8]})"),
       "tensor 't': F16 [2, 3]: wanted 12 bytes, got 8"},
      {one(R"({"dtype": "U8", "shape": [8], "data_offsets": [0, 8]}, "u\u001b": {"dtype": "U8", "shape": [2],
               "data_offsets": [6, 8]})"),
       "tensor 'u\\u001b': overlaps tensor 't': wanted a begin of 8, got 6"},
      {one(R"({"dtype": "U8", "shape": [4], "data_offsets": [0, 4]}, "u": {"dtype": "U8", "shape": [2],
               "data_offsets": [6, 8]})"),
       "tensor 'u': a hole of 2 bytes before it: wanted a begin of 4, got 6"},
      {one(R"({"dtype": "U8", "shape": [5], "data_offsets": [0, 5]})"),
       "3 bytes behind the last tensor: wanted 5 data bytes, got 8"},
  };
  for (const Bad& bad : table) EXPECT_EQ(message_of(bad.file), std::string("x.safetensors: ") + bad.message);
}

std::string tensor_file(const std::string& name) {
  return file_of("{\"" + name + R"(": {"dtype": "U8", "shape": [2, 3], "data_offsets": [0, 6]}})", 6);
}

std::string open_message(const fs::path& directory) {
  try {
    Checkpoint::open(directory);
  } catch (const Error& e) {
    std::string message = e.what();  // without the directory, which has a random name
    for (size_t at; (at = message.find(directory.string())) != message.npos;)
      message.replace(at, directory.string().size(), "DIR");
    return message;
  }
  return "accepted";
}

TEST(Checkpoint, OneFile) {
  const TemporaryDirectory directory;
  directory.write("model.safetensors", tensor_file("a"));
  const Checkpoint checkpoint = Checkpoint::open(directory.path());
  EXPECT_TRUE(checkpoint.has("a"));
  EXPECT_FALSE(checkpoint.has("b"));
  EXPECT_EQ(checkpoint.at("a", std::vector<int64_t>{2, 3}).bytes[5], std::byte{5});

  const auto message = [](auto&& function) -> std::string {
    try {
      function();
    } catch (const Error& e) {
      return e.what();
    }
    return "accepted";
  };
  const std::string at = directory.path().string();
  EXPECT_EQ(message([&] { checkpoint.at("b"); }), at + ": no tensor 'b' among its 1");
  for (const std::vector<int64_t>& shape : {std::vector<int64_t>{3, 2}, {2, 3, 1}, {2}, {}})
    EXPECT_NE(message([&] { checkpoint.at("a", shape); }).find("model.safetensors: tensor 'a': wanted shape ["),
              std::string::npos);
  EXPECT_EQ(message([&] { checkpoint.at("a", std::vector<int64_t>{6}); }),
            at + "/model.safetensors: tensor 'a': wanted shape [6], got [2, 3]");
}

TEST(Checkpoint, DemoModel) {
  const char* source = std::getenv("TRIMETER_SOURCE_DIR");
  ASSERT_NE(source, nullptr);
  const Checkpoint checkpoint = Checkpoint::open(fs::path(source) / "models/demo");
  EXPECT_EQ(checkpoint.tensors().size(), 74u);  // 12 a layer, embedding, final norm
  const TensorView& embedding = checkpoint.at("model.embed_tokens.weight", std::vector<int64_t>{4096, 256});
  EXPECT_EQ(embedding.dtype, DType::kBF16);
  EXPECT_EQ(embedding.bytes.size(), 4096u * 256 * 2);
}

TEST(Checkpoint, Shards) {
  const TemporaryDirectory directory;
  directory.write("1.safetensors", tensor_file("a"));
  directory.write("2.safetensors", tensor_file("b"));
  const auto index = [&](const char* map) {
    directory.write("model.safetensors.index.json", std::string(R"({"metadata": {}, "weight_map": )") + map + "}");
  };
  index(R"({"a": "1.safetensors", "b": "2.safetensors"})");
  EXPECT_EQ(Checkpoint::open(directory.path()).tensors().size(), 2u);

  const std::string at = "DIR/model.safetensors.index.json: ";
  index("{}");
  EXPECT_EQ(open_message(directory.path()), at + "weight_map: wanted an object that names shards, got {}");
  for (const char* name : {"../1.safetensors", "/etc/passwd", "..", ".", "", "a\\\\b", "1.safetensors\\u0000"}) {
    index((std::string(R"({"a": ")") + name + "\"}").c_str());
    EXPECT_EQ(open_message(directory.path()),
              at + "tensor 'a': wanted a plain file name as its shard, got \"" + name + "\"");
  }
  index(R"({"a": 1})");
  EXPECT_EQ(open_message(directory.path()), at + "tensor 'a': wanted a plain file name as its shard, got 1");
  index(R"({"a": "3.safetensors"})");
  EXPECT_EQ(open_message(directory.path()),
            "DIR/3.safetensors: missing: DIR/model.safetensors.index.json names it as a shard");
  index(R"({"a": "2.safetensors", "b": "1.safetensors"})");
  EXPECT_EQ(open_message(directory.path()),
            "DIR/2.safetensors: tensor 'a': wanted in this shard by "
            "model.safetensors.index.json, got it in 1.safetensors");
  index(R"({"a": "1.safetensors", "c": "1.safetensors"})");
  EXPECT_EQ(open_message(directory.path()),
            "DIR/1.safetensors: tensor 'c': wanted in this shard by model.safetensors.index.json, got it in none");
  directory.write("2.safetensors", tensor_file("a"));
  index(R"({"a": "1.safetensors", "b": "2.safetensors"})");
  EXPECT_EQ(open_message(directory.path()),
            "DIR/2.safetensors: tensor 'a': wanted it in one shard only, got it in DIR/1.safetensors as well");
  directory.write("model.safetensors.index.json", "{}");
  EXPECT_EQ(open_message(directory.path()), at + "weight_map: wanted an object that names shards, got none");
}

TEST(Checkpoint, NoWeights) {
  const TemporaryDirectory directory;
  EXPECT_EQ(open_message(directory.path()),
            "DIR: wanted model.safetensors or model.safetensors.index.json, got neither");
}

// What the fuzzer starts from and what it once found: "ok_" files parse, "bad_" files are refused, none does more.
TEST(Safetensors, FuzzCorpus) {
  const char* source = std::getenv("TRIMETER_SOURCE_DIR");
  ASSERT_NE(source, nullptr);
  int n_ok = 0, n_bad = 0;
  for (const auto& entry : fs::directory_iterator(fs::path(source) / "tests/fuzz/corpus/safetensors")) {
    const std::string name = entry.path().filename().string(), message = message_of(read_file(entry.path()));
    EXPECT_EQ(message == "accepted", name.starts_with("ok_")) << name << ": " << message;
    ++(message == "accepted" ? n_ok : n_bad);
  }
  EXPECT_GE(n_ok, 3);
  EXPECT_GE(n_bad, 8);
}

}  // namespace
}  // namespace trimeter
