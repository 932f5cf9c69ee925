// Against transformers and jinja2, character for character (tests/golden/make_text_golden.py).
#include "text/chat_template.h"

#include <gtest/gtest.h>

#include <ctime>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "text/golden_files.h"

namespace trimeter {
namespace {

using Json = nlohmann::json;

std::string today() {
  const std::time_t now = std::time(nullptr);
  std::tm local{};
  localtime_r(&now, &local);
  char text[32];
  return {text, std::strftime(text, sizeof text, "%d %b %Y", &local)};
}

std::string replaced(std::string text, const std::string& from, const std::string& to) {
  for (size_t at = 0; (at = text.find(from, at)) != std::string::npos; at += to.size())
    text.replace(at, from.size(), to);
  return text;
}

std::vector<ChatMessage> messages_of(const Json& json) {
  std::vector<ChatMessage> messages;
  for (const Json& m : json) messages.push_back({m["role"], m["content"]});
  return messages;
}

std::string rendered(const std::string& source, const std::vector<ChatMessage>& messages = {{"user", "Hi"}}) {
  return ChatTemplate(source).render(messages, true, "<s>", "</s>");
}

TEST(ChatTemplate, RendersAsTransformers) {
  const Json golden = Json::parse(file_text(source_dir() / "tests/golden/text/chat.json"));
  size_t n_texts = 0, n_errors = 0;
  for (const Json& c : golden["cases"]) {
    const auto source = c["template"].get<std::string>();
    for (const Json& r : c["renderings"]) {
      const std::string what = c["name"].get<std::string>() + ": " + source.substr(0, 200) + " " + r["messages"].dump();
      try {
        const std::string got = ChatTemplate(source).render(messages_of(r["messages"]), r["add_generation_prompt"],
                                                            "<|begin_of_text|>", "<|eot_id|>");
        EXPECT_EQ(replaced(got, today(), "@TODAY@"), r.value("text", "an error")) << what;
        ++n_texts;
      } catch (const Error& e) {
        EXPECT_TRUE(r.contains("error")) << what << "\n" << e.what();
        ++n_errors;
      }
    }
  }
  EXPECT_GT(n_texts, 150u);
  EXPECT_GT(n_errors, 50u);
}

struct Refusal {
  const char* source;
  Errc code;
  const char* message;
};

const Refusal kRefusals[] = {
    {"{{ raise_exception('Roles must alternate') }}", Errc::kBadArgument,
     "refuses these messages: Roles must alternate"},
    {"a\n\n{% if x %}", Errc::kBadFile, "chat template, line 3: wanted 'endif', got the end of the template"},
    {"{%- macro f(x) %}{% endmacro %}", Errc::kBadFile, "line 1: statement 'macro' is not supported"},
    {"\n{% import 'x' as y %}", Errc::kBadFile, "line 2: statement 'import' is not supported"},
    {"{% raw %}{{ x }}{% endraw %}", Errc::kBadFile, "statement 'raw' is not supported"},
    {"{{ x | tojsonx }}", Errc::kBadFile, "filter 'tojsonx' is not supported"},
    {"{{ x is callable }}", Errc::kBadFile, "test 'callable' is not supported"},
    {"{{ 'a'.title() }}", Errc::kBadFile, "line 1: string method 'title' is not supported"},
    {"{{ 'a'.format(1) }}", Errc::kBadFile, "string method 'format' is not supported"},
    {"{{ messages.append(1) }}", Errc::kBadFile, "list method 'append' is not supported"},
    {"{{ messages[0].pop('role') }}", Errc::kBadFile, "dict method 'pop' is not supported"},
    {"{{ 2 ** 3 }}", Errc::kBadFile, "operator '**' is not supported"},
    {"{{ f(*x) }}", Errc::kBadFile, "arguments given as '*' or '**' are not supported"},
    {"{% for x in y recursive %}{% endfor %}", Errc::kBadFile, "a recursive loop is not supported"},
    {"{% for x in messages %}{{ loop.cycle(1) }}{% endfor %}", Errc::kBadFile, "'loop.cycle' is not supported"},
    {"{% for x in messages %}{% set l = loop %}{% endfor %}", Errc::kBadFile,
     "'loop' itself as a value is not supported"},
    {"{% for x in messages %}{% set l = [loop] %}{% endfor %}", Errc::kBadFile, "'loop' itself as a value"},
    {"{% for x in messages %}{% set n = namespace(l=loop) %}{% endfor %}", Errc::kBadFile, "'loop' itself as a value"},
    {"\n{{ x.y }}", Errc::kBadFile, "chat template, line 2: 'x' is undefined"},
    {"{{ [][0].y }}", Errc::kBadFile, "a list of 0 has no element 0"},
    {"{{ 'a' | tojson(sort_keys=true) }}", Errc::kBadFile,
     "tojson() with argument 'sort_keys', which is not supported"},
    {"{{ {1: 2} }}", Errc::kBadFile, "a dict key of type int is not supported"},
    {"{{ 9223372036854775807 + 1 }}", Errc::kBadFile, "needs more than 64 bits"},
    {"{{ 9223372036854775808 }}", Errc::kBadFile, "'9223372036854775808' is too large"},
    {"{{ '\\ud83d' }}", Errc::kBadFile, "is no character"},
    {"{{ 1 & 2 }}", Errc::kBadFile, "unexpected character '&'"},
    {"{{ namespace(a=1) }}", Errc::kBadFile, "a value of type namespace has no text"},
    {"\xFF", Errc::kBadFile, "not valid UTF-8"},
};

TEST(ChatTemplate, RefusesSayingWhere) {
  for (const Refusal& refusal : kRefusals) {
    try {
      ADD_FAILURE() << refusal.source << " rendered: " << rendered(refusal.source);
    } catch (const Error& e) {
      EXPECT_EQ(e.code(), refusal.code) << refusal.source;
      EXPECT_NE(std::string(e.what()).find(refusal.message), std::string::npos) << refusal.source << "\n" << e.what();
    }
  }
}

std::string repeat(const std::string& text, int n) {
  std::string out;
  for (int i = 0; i < n; ++i) out += text;
  return out;
}

// Templates come from strangers: none may hang, exhaust the memory or overrun the stack.
TEST(ChatTemplate, HostileTemplatesEnd) {
  const std::string loops = repeat("{% for i in range(100000) %}", 4) + "x" + repeat("{% endfor %}", 4);
  const std::string doubling =
      "{% set n = namespace(s='x') %}{% for i in range(99) %}{% set n.s = n.s ~ n.s %}{% endfor %}";
  const std::string lists =
      "{% set n = namespace(s=[1]) %}{% for i in range(99) %}{% set n.s = n.s + n.s %}{% endfor %}";
  const std::string nesting =
      "{% set n = namespace(s=[1]) %}{% for i in range(9999) %}{% set n.s = [n.s] %}{% endfor %}";
  const std::string tree =
      "{% set n = namespace(s=[1]) %}{% for i in range(60) %}{% set n.s = [n.s, n.s] %}{% endfor %}";
  for (const std::string& source :
       {loops, doubling, lists, nesting, tree + "{{ n.s }}", tree + "{{ n.s == n.s }}", tree + "{{ n.s | tojson }}",
        std::string("{{ 'x' * 9223372036854775807 }}"), std::string("{{ 'x' * 1000000000 }}"),
        "{{ " + repeat("(", 100000) + "1" + repeat(")", 100000) + " }}", "{{ " + repeat("[", 100000) + " }}",
        "{{ " + repeat("not ", 100000) + "1 }}", "{{ " + repeat("-", 100000) + "1 }}",
        "{{ 1" + repeat("+1", 100000) + " }}", "{{ x" + repeat("|trim", 100000) + " }}",
        "{{ x" + repeat(".a", 100000) + " }}", repeat("{% if 1 %}", 100000),
        "{{ 'a' | map(" + repeat("'map',", 100000) + "'trim') }}", "{{ 1" + repeat(" if 1 else 1", 100000) + " }}"}) {
    EXPECT_THROW(rendered(source), Error) << source.substr(0, 100);
  }
}

// What tests/fuzz/fuzz_chat_template.cc starts from and what it has found: seeds render, findings (crash-*) do as they
// like.
TEST(ChatTemplate, HandlesTheFuzzCorpus) {
  int n_rendered = 0;
  for (const auto& entry : std::filesystem::directory_iterator(source_dir() / "tests/fuzz/corpus/chat_template")) {
    try {
      rendered(file_text(entry.path()), {{"system", "Be brief."}, {"user", "Hi"}, {"assistant", ""}});
      ++n_rendered;
    } catch (const Error& e) {
      EXPECT_TRUE(entry.path().filename().string().starts_with("crash-")) << entry.path() << e.what();
    }
  }
  EXPECT_GE(n_rendered, 3);
}

// A long conversation is far from the limits that stop a hostile template.
TEST(ChatTemplate, RendersAMegabyteOfConversation) {
  const std::vector<ChatMessage> messages(1000, {"user", std::string(1000, 'x')});
  for (const char* name : {"qwen2.5-instruct", "llama-3-like", "llama-3.1-like", "llama-3.2-like"}) {
    const std::string source = file_text(source_dir() / "tests/golden/templates" / (std::string(name) + ".jinja"));
    EXPECT_GT(rendered(source, messages).size(), 1'000'000u) << name;
  }
}

TEST(ChatTemplate, AbsentSpecialTokensAreUndefined) {
  EXPECT_EQ(
      ChatTemplate("{{ bos_token is defined }}{{ eos_token is defined }}[{{ bos_token }}]").render({}, false, "", ""),
      "FalseFalse[]");
}

}  // namespace
}  // namespace trimeter
