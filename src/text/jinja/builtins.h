// The filters, tests, methods and functions that templates may call.
#pragma once
#include <deque>
#include <iterator>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/error.h"
#include "text/jinja/value.h"

namespace trimeter::jinja {

// What a call was given. An argument is taken by position or by name; done() refuses what nobody took.
class Arguments {
 public:
  Arguments(std::vector<Value> positional, std::vector<std::pair<std::string, Value>> named)
      : positional_(std::make_move_iterator(positional.begin()), std::make_move_iterator(positional.end())),
        named_(std::move(named)) {}
  // The next parameter's value; nullptr if it isn't given.
  const Value* take(std::string_view name);
  // Throws Error(kBadFile) naming `callee` if it isn't given.
  const Value& require(std::string_view callee, std::string_view name);
  void done(std::string_view callee) const;
  // What is left, as the arguments of something else: select("equalto", 1).
  Arguments rest() const;
  const std::vector<std::pair<std::string, Value>>& named() const { return named_; }

 private:
  std::deque<Value> positional_;  // pointers that take() gave stay valid
  std::vector<std::pair<std::string, Value>> named_;
  size_t next_ = 0;
};

[[noreturn]] void fail(const std::string& what);  // Error(kBadFile); the evaluation adds the line

bool is_filter(std::string_view name);
bool is_test(std::string_view name);
bool is_function(std::string_view name);
Value apply_filter(std::string_view name, const Value& subject, Arguments arguments, Budget& budget);
bool apply_test(std::string_view name, const Value& subject, Arguments arguments, Budget& budget);
// raise_exception throws Error(kBadArgument) with the template's words.
Value call_function(std::string_view name, Arguments arguments, Budget& budget);

// A method as a value, an entry, or undefined: subject.name and subject["name"].
Value attribute_of(const Value& subject, std::string_view name, Budget& budget);
Value item_of(const Value& subject, const Value& key, Budget& budget);
Value call_method(const Value& self, std::string_view name, Arguments arguments, Budget& budget);

// What `for` walks over: items of a list, keys of a dict, characters of a string, nothing of undefined.
std::vector<Value> elements_of(const Value& value, Budget& budget);
std::vector<std::string_view> characters_of(std::string_view text);
bool contains(const Value& container, const Value& item, Budget& budget);
bool less(const Value& a, const Value& b, Budget& budget);
Value make_string(std::string text, Budget& budget);

// Python's str.strip: white space, or the characters of `set`.
std::string_view strip(std::string_view text, const std::string* set, bool left, bool right);
std::string replace_all(std::string_view text, std::string_view from, std::string_view to, int64_t limit,
                        Budget& budget);
std::string with_case(std::string_view text, bool upper);

}  // namespace trimeter::jinja
