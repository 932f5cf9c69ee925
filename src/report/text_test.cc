#include "report/text.h"

#include <gtest/gtest.h>

namespace trimeter {
namespace {

TEST(Text, WidthIsWhatATerminalShows) {
  EXPECT_EQ(display_width(""), 0);
  EXPECT_EQ(display_width("abc"), 3);
  EXPECT_EQ(display_width("31.2 \u00b10.4"), 9);
  EXPECT_EQ(display_width("\u96e8\ud55c"), 4);  // two wide characters
  EXPECT_EQ(display_width("\U0001F600"), 2);    // an emoji
  EXPECT_EQ(display_width("e\u0301"), 1);       // e and a combining accent
  EXPECT_EQ(display_width("\xff\xc3"), 2);      // bytes that are no character
}

TEST(Text, ShortenedNeverSplitsACharacter) {
  EXPECT_EQ(shortened("abcdef", 6), "abcdef");
  EXPECT_EQ(shortened("abcdefg", 6), "abc...");
  EXPECT_EQ(shortened("\u96e8\u96e8\u96e8\u96e8", 7), "\u96e8\u96e8...");
  EXPECT_EQ(shortened("\u96e8\u96e8\u96e8\u96e8", 6), "\u96e8...");  // half a wide character doesn't fit
}

TEST(Text, WrapsAtSpacesAndBreaksLongWords) {
  using Lines = std::vector<std::string>;
  EXPECT_EQ(wrapped("", 5), Lines{""});
  EXPECT_EQ(wrapped("one two three", 7), (Lines{"one two", "three"}));
  EXPECT_EQ(wrapped("one two three", 6), (Lines{"one", "two", "three"}));
  EXPECT_EQ(wrapped("abcdefgh ij", 3), (Lines{"abc", "def", "gh", "ij"}));
  EXPECT_EQ(wrapped("\u96e8\u96e8\u96e8", 4), (Lines{"\u96e8\u96e8", "\u96e8"}));
}

TEST(Text, OneLineDisarmsControlCharacters) {
  EXPECT_EQ(one_line("a\nb\tc"), "a\\nb\\tc");
  EXPECT_EQ(one_line("\x1b[31mred\x07"), "\\x1b[31mred\\x07");
  EXPECT_EQ(one_line("\u009b31m"), "\\x9b31m");            // C1: what some terminals take for ESC [
  EXPECT_EQ(one_line("\u202egnp.exe"), "\\u202egnp.exe");  // turns the direction of text
  EXPECT_EQ(one_line("\xff"), "\\xff");
  EXPECT_EQ(one_line("na\u00efve \u96e8"), "na\u00efve \u96e8");
}

TEST(Text, Numbers) {
  EXPECT_EQ(rate_text(87.25), "87.2");
  EXPECT_EQ(rate_text(99.96), "100");
  EXPECT_EQ(rate_text(9800.4), "9,800");
  EXPECT_EQ(bytes_text(1023), "1023 B");
  EXPECT_EQ(bytes_text(1024), "1.0 KiB");
  EXPECT_EQ(bytes_text(1024 * 1024 - 1), "1.0 MiB");
  EXPECT_EQ(bytes_text(int64_t{24} << 30), "24.0 GiB");
  EXPECT_EQ(time_text(2.5), "2.50 s");
  EXPECT_EQ(time_text(0.1234), "123 ms");
  EXPECT_EQ(time_text(0.01234), "12.3 ms");
  EXPECT_EQ(time_text(0.001234), "1.23 ms");
  EXPECT_EQ(time_text(0.000123), "123 us");
  EXPECT_EQ(significant(0.001234), "0.0012");
  EXPECT_EQ(significant(0.1004), "0.10");
  EXPECT_EQ(significant(31.2), "31");
  EXPECT_EQ(significant(1.2e-5), "1.2e-05");
  EXPECT_EQ(significant(0), "0");
  EXPECT_EQ(percent(0.97834), "97.8%");
}

}  // namespace
}  // namespace trimeter
