#include "io/gguf.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <cstring>

#include "base/error.h"
#include "io/temporary_directory.h"

namespace trimeter {
namespace {

namespace fs = std::filesystem;

fs::path corpus() {
  const char* source = std::getenv("TRIMETER_SOURCE_DIR");
  return fs::path(source == nullptr ? "." : source) / "tests/fuzz/corpus/gguf";
}

GgufContent parse(const std::string& file) { return parse_gguf(std::as_bytes(std::span(file)), "x.gguf"); }

template <class Function>
std::string message_of(Function function) {
  try {
    function();
  } catch (const Error& e) {
    return e.what();
  }
  return "accepted";
}

TEST(Gguf, ReadsEveryTypeOfValue) {
  const GgufMetadata metadata = parse(read_file(corpus() / "ok_every_value")).metadata;
  EXPECT_EQ(metadata.integer("u8"), 7);
  EXPECT_EQ(metadata.integer("i8"), -7);
  EXPECT_EQ(metadata.integer("u16"), 700);
  EXPECT_EQ(metadata.integer("i16"), -700);
  EXPECT_EQ(metadata.integer("u32"), 70000);
  EXPECT_EQ(metadata.integer("i32"), -70000);
  EXPECT_EQ(metadata.integer("u64"), int64_t{1} << 40);
  EXPECT_EQ(metadata.integer("i64"), -(int64_t{1} << 40));
  EXPECT_EQ(metadata.number("f32"), 1.5);
  EXPECT_EQ(metadata.number("f64"), 2.5);
  EXPECT_EQ(metadata.number("u8"), 7);
  EXPECT_EQ(metadata.find_flag("bool"), true);
  EXPECT_EQ(metadata.text("string"), "text");
  EXPECT_EQ(*metadata.find_texts("texts"), (std::vector<std::string>{"a", ""}));
  EXPECT_EQ(metadata.find_integers("ints"), (std::vector<int64_t>{1, -2, 3}));
  EXPECT_EQ(metadata.find_numbers("floats"), std::vector<float>{0.5f});
  EXPECT_FALSE(metadata.find_integer("none").has_value());
  EXPECT_EQ(metadata.find_texts("none"), nullptr);
}

TEST(Gguf, AValueOfAnotherTypeIsRefusedWithItsKey) {
  const GgufMetadata metadata = parse(read_file(corpus() / "ok_every_value")).metadata;
  EXPECT_EQ(message_of([&] { metadata.integer("f32"); }),
            "x.gguf: metadata 'f32': wanted an integer below 2^63, got f32");
  EXPECT_EQ(message_of([&] { metadata.integer("bool"); }),
            "x.gguf: metadata 'bool': wanted an integer below 2^63, got bool");
  EXPECT_EQ(message_of([&] { metadata.text("u8"); }), "x.gguf: metadata 'u8': wanted a string, got u8");
  EXPECT_EQ(message_of([&] { metadata.text("none"); }), "x.gguf: metadata 'none': wanted a string, got none");
  EXPECT_EQ(message_of([&] { metadata.find_texts("ints"); }),
            "x.gguf: metadata 'ints': wanted an array of strings, got an array");
  EXPECT_EQ(message_of([&] { metadata.find_integers("floats"); }),
            "x.gguf: metadata 'floats': wanted an array of integers, got an array");
}

TEST(Gguf, ReadsTensorsWhereTheyLie) {
  for (const char* name : {"ok_two", "ok_version_2"}) {
    const std::string file = read_file(corpus() / name);
    const GgufContent content = parse(file);
    ASSERT_EQ(content.tensors.size(), 2u) << name;
    const GgufTensor &a = content.tensors[0], &b = content.tensors[1];
    EXPECT_EQ(a.shape, (std::vector<int64_t>{2, 3}));
    EXPECT_EQ(a.type_info().name, "f32");
    EXPECT_EQ(a.bytes.size(), 24u);
    EXPECT_EQ(a.bytes[23], std::byte{23});
    EXPECT_EQ(b.shape, (std::vector<int64_t>{4, 32}));
    EXPECT_EQ(b.type_info().name, "q8_0");
    EXPECT_EQ(b.bytes.size(), 4u * 34);
    EXPECT_EQ(reinterpret_cast<const char*>(b.bytes.data() + b.bytes.size()), file.data() + file.size());
  }
}

TEST(Gguf, RefusesWithWhatWasWantedAndGot) {
  const std::pair<const char*, const char*> table[] = {
      {"bad_short", "magic: truncated: wanted 4 bytes at 0, got 2"},
      {"bad_magic", "wanted it to start with 'GGUF', got 'GGML'"},
      {"bad_version_1", "GGUF version 1 is not supported, wanted 2 or 3"},
      {"bad_version_9", "GGUF version: wanted 2 or 3, got 9"},
      {"bad_big_endian", "big-endian GGUF is not supported"},
      {"bad_tensor_count", "number of tensors: wanted at most 0 in the 16 bytes left, got 18446744073709551615"},
      {"bad_pair_count", "number of metadata pairs: wanted at most 0 in the 8 bytes left, got 2305843009213693952"},
      {"bad_key_length", "key of metadata pair 0: truncated: wanted 18446744073709551615 bytes at 32, got 32"},
      {"bad_string_past_end", "metadata 'name': truncated: wanted 1000 bytes at 48, got 16"},
      {"bad_array_count", "metadata 'ints': wanted at most 3 in the 12 bytes left, got 4611686018427387904"},
      {"bad_text_count", "metadata 'texts': wanted at most 1 in the 11 bytes left, got 2305843009213693952"},
      {"bad_nested_array", "metadata 'nested': an array of arrays is not supported"},
      {"bad_value_type", "metadata 'odd': wanted a value type of 0 to 12, got 13"},
      {"bad_element_type", "metadata 'odd': wanted a value type of 0 to 12, got 99"},
      {"bad_bool", "metadata 'flag': wanted a bool of 0 or 1, got 2"},
      {"bad_duplicate_key", "metadata 'general.architecture': wanted it once, got it twice"},
      {"bad_duplicate_tensor", "tensor 'a': wanted it once, got it twice"},
      {"bad_no_dims", "tensor 'a': wanted 1 to 4 dimensions, got 0"},
      {"bad_five_dims", "tensor 'a': wanted 1 to 4 dimensions, got 5"},
      {"bad_zero_dim", "tensor 'a': wanted dimensions of 1 to 2^63 - 1, got 0"},
      {"bad_huge_dim", "tensor 'a': wanted dimensions of 1 to 2^63 - 1, got 9223372036854775808"},
      {"bad_overflow", "tensor 'a': shape [4294967296, 4294967296]: wanted fewer than 2^63 bytes in all"},
      {"bad_type", "tensor 'a': unknown ggml type 4"},
      {"bad_part_of_block", "tensor 'a': q8_0 [33]: wanted rows of whole blocks of 32, got 33 elements"},
      {"bad_misaligned", "tensor 'a': wanted an offset that is a multiple of 32, got 16"},
      {"bad_offset_past_end",
       "tensor 'a': wanted it within the file's 64 data bytes, got 16 bytes at offset 1099511627776"},
      {"bad_offset_overflow",
       "tensor 'a': wanted it within the file's 64 data bytes, got 16 bytes at offset 18446744073709551584"},
      {"bad_tensor_past_end", "tensor 'a': wanted it within the file's 64 data bytes, got 68 bytes at offset 0"},
      {"bad_overlap", "tensor 'a' overlaps tensor 'b': wanted an offset of 36 or more, got 32"},
      {"bad_alignment", "metadata 'general.alignment': wanted a power of two up to 1048576, got 24"},
      {"bad_alignment_zero", "metadata 'general.alignment': wanted a power of two up to 1048576, got 0"},
      {"bad_alignment_type", "metadata 'general.alignment': wanted an integer below 2^63, got a string"},
      {"bad_truncated", "number of tensors: wanted at most 1 in the 54 bytes left, got 2"},
  };
  std::map<std::string, std::string> wanted(std::begin(table), std::end(table));
  for (const auto& entry : fs::directory_iterator(corpus())) {
    const std::string name = entry.path().filename(), file = read_file(entry.path());
    const std::string message = message_of([&] { parse(file); });
    EXPECT_EQ(message, name.starts_with("ok_") ? "accepted" : "x.gguf: " + wanted[name]) << name;
    wanted.erase(name);
  }
  EXPECT_TRUE(wanted.empty()) << wanted.begin()->first;
}

// Every prefix of a good file is refused or lacks nothing that it says it has.
TEST(Gguf, EveryTruncationIsRefused) {
  const std::string file = read_file(corpus() / "ok_two");
  for (size_t n = 0; n < file.size(); ++n)
    EXPECT_NE(message_of([&] { parse(file.substr(0, n)); }), "accepted") << n << " bytes";
}

GgufTensorSource source(const std::string& name, GgmlType type, std::vector<int64_t> shape, size_t n_bytes, int seed) {
  return {name, type, std::move(shape), [n_bytes, seed] {
            std::vector<std::byte> bytes(n_bytes);
            for (size_t i = 0; i < n_bytes; ++i) bytes[i] = static_cast<std::byte>(seed + 7 * static_cast<int>(i));
            return bytes;
          }};
}

TEST(Gguf, WhatIsWrittenIsReadBack) {
  const TemporaryDirectory directory;
  const fs::path path = directory.path() / "x.gguf";
  const GgufContent given = parse(read_file(corpus() / "ok_every_value"));
  for (const uint32_t alignment : {32, 64}) {
    GgufMetadata metadata = given.metadata;
    metadata.set("general.alignment", alignment);
    const GgufTensorSource tensors[] = {source("b", GgmlType::kQ4_K, {3, 512}, 3 * 288, 1),
                                        source("a", GgmlType::kF32, {5}, 20, 2)};
    write_gguf(path, metadata, tensors);
    const Gguf gguf = Gguf::open(path);
    EXPECT_EQ(gguf.metadata().pairs().size(), metadata.pairs().size());
    for (const auto& [key, value] : metadata.pairs()) {
      const GgufValue& got = gguf.metadata().pairs().at(key);
      ASSERT_EQ(got.index(), value.index()) << key;
      const auto* array = std::get_if<GgufArray>(&value);
      EXPECT_TRUE(array == nullptr || std::get<GgufArray>(got).elements == array->elements) << key;
    }
    EXPECT_EQ(gguf.metadata().text("string"), "text");
    for (const GgufTensorSource& tensor : tensors) {
      const GgufTensor& got = gguf.at(tensor.name, tensor.shape);
      EXPECT_EQ(got.type, static_cast<uint32_t>(tensor.type));
      const std::vector<std::byte> want = tensor.bytes();
      EXPECT_TRUE(std::equal(got.bytes.begin(), got.bytes.end(), want.begin(), want.end())) << tensor.name;
      EXPECT_EQ((got.bytes.data() - got.file->bytes().data()) % alignment, 0);
    }
    EXPECT_EQ(message_of([&] { gguf.at("c"); }), path.string() + ": no tensor 'c'");
    EXPECT_EQ(message_of([&] { gguf.at("a", std::vector<int64_t>{6}); }),
              path.string() + ": tensor 'a': wanted shape [6], got [5]");
  }
}

TEST(Gguf, AFailedWriteLeavesNothing) {
  const TemporaryDirectory directory;
  const GgufTensorSource tensors[] = {
      {"a", GgmlType::kF32, {1}, []() -> std::vector<std::byte> { throw Error(Errc::kBadFile, "unreadable"); }}};
  EXPECT_EQ(message_of([&] { write_gguf(directory.path() / "x.gguf", GgufMetadata(), tensors); }), "unreadable");
  EXPECT_TRUE(fs::is_empty(directory.path()));
}

class SplitFile : public testing::Test {
 protected:
  fs::path part(int i, int n) const {
    return directory.path() / ("m-0000" + std::to_string(i) + "-of-0000" + std::to_string(n) + ".gguf");
  }
  void write(int i, const std::string& tensor, int number, int count = 2, int n_tensors = 2) {
    GgufMetadata metadata;
    metadata.set("split.no", static_cast<uint16_t>(number));
    metadata.set("split.count", static_cast<uint16_t>(count));
    metadata.set("split.tensors.count", static_cast<int32_t>(n_tensors));
    if (i == 1) metadata.set("general.architecture", std::string("llama"));
    const GgufTensorSource tensors[] = {source(tensor, GgmlType::kF32, {2}, 8, i)};
    write_gguf(part(i, 2), metadata, tensors);
  }
  std::string message(int i = 1) const {
    return message_of([&] { Gguf::open(part(i, 2)); });
  }
  const TemporaryDirectory directory;
};

TEST_F(SplitFile, AllPartsAreOneModelWhicheverIsNamed) {
  write(1, "a", 0), write(2, "b", 1);
  for (const int named : {1, 2}) {
    const Gguf gguf = Gguf::open(part(named, 2));
    EXPECT_EQ(gguf.tensors().size(), 2u);
    EXPECT_EQ(gguf.metadata().text("general.architecture"), "llama");
    EXPECT_EQ(gguf.at("b").bytes[0], std::byte{2});
    EXPECT_EQ(gguf.at("b").file->path(), part(2, 2));
  }
}

TEST_F(SplitFile, PartsThatDoNotFitAreRefused) {
  write(1, "a", 0);
  EXPECT_NE(message().find(part(2, 2).string() + ": cannot open"), std::string::npos) << message();
  write(2, "a", 1);
  EXPECT_NE(message().find("tensor 'a': wanted it in one part only"), std::string::npos) << message();
  write(2, "b", 0);
  EXPECT_NE(message().find("wanted 1 of 2, got 0 of 2"), std::string::npos) << message();
  write(2, "b", 1, 3);
  EXPECT_NE(message().find("wanted 1 of 2, got 1 of 3"), std::string::npos) << message();
  write(2, "b", 1), write(1, "a", 0, 2, 5);
  EXPECT_NE(message().find("'split.tensors.count': wanted 5 tensors in 2 parts, got 2"), std::string::npos)
      << message();
  write(1, "a", 0);
  fs::copy_file(part(1, 2), directory.path() / "plain.gguf");
  EXPECT_NE(message_of([&] {
              Gguf::open(directory.path() / "plain.gguf");
            }).find("one of 2 parts: wanted a name that ends in -00001-of-00002.gguf"),
            std::string::npos);
}

}  // namespace
}  // namespace trimeter
