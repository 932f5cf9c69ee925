// The expressions of the template language: the part of the parser that statements are built on.
#pragma once
#include <algorithm>
#include <array>
#include <charconv>
#include <cstdlib>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "text/jinja/ast.h"
#include "text/jinja/builtins.h"
#include "text/jinja/lexer.h"

namespace trimeter::jinja {

class ExpressionParser {
 protected:
  explicit ExpressionParser(std::string_view source) : tokens_(tokenize(source)) {}

  static constexpr int kMaxLevel = 300;        // of the parser's own recursion; a pair of parentheses takes three
  static constexpr size_t kMaxArguments = 32;  // a filter that applies filters recurses once for each
  static constexpr int kMaxDepth = 100;        // of an expression's tree, which evaluation recurses into

  // Counts how deep the parser has recursed.
  class Level {
   public:
    explicit Level(ExpressionParser& parser) : parser_(parser) {
      if (++parser_.level_ > kMaxLevel) parser_.fail(fmt::format("nested deeper than {}", kMaxLevel));
    }
    ~Level() { --parser_.level_; }
    Level(const Level&) = delete;
    Level& operator=(const Level&) = delete;

   private:
    ExpressionParser& parser_;
  };

  [[noreturn]] void fail(const std::string& what) const {
    throw Error(Errc::kBadFile, "chat template, line {}: {}", peek().line, what);
  }
  [[noreturn]] void fail_expected(const std::string& what) const {
    if (peek().type == TokenType::kEnd) fail(fmt::format("wanted {}, got the end of the template", what));
    fail(fmt::format("wanted {}, got '{}'", what, peek().text));
  }

  const Token& peek(size_t ahead = 0) const { return tokens_[std::min(at_ + ahead, tokens_.size() - 1)]; }
  Token take() { return at_ + 1 < tokens_.size() ? tokens_[at_++] : tokens_[at_]; }
  bool is_operator(std::string_view text) const { return peek().type == TokenType::kOperator && peek().text == text; }
  bool is_name(std::string_view text, size_t ahead = 0) const {
    return peek(ahead).type == TokenType::kName && peek(ahead).text == text;
  }
  bool skip_operator(std::string_view text) {
    if (!is_operator(text)) return false;
    take();
    return true;
  }
  bool skip_name(std::string_view text) {
    if (!is_name(text)) return false;
    take();
    return true;
  }
  void expect_operator(std::string_view text) {
    if (!skip_operator(text)) fail_expected(fmt::format("'{}'", text));
  }
  void expect(TokenType type, const char* what) {
    if (peek().type != type) fail_expected(what);
    take();
  }
  std::string expect_name() {
    if (peek().type != TokenType::kName) fail_expected("a name");
    return take().text;
  }

  // --- loosest binding first ---

  ExprPtr make(Expr::Kind kind, int line, std::vector<ExprPtr> parts = {}, std::string name = {}) const {
    auto made = std::make_unique<Expr>();
    made->kind = kind;
    made->line = line;
    made->name = std::move(name);
    for (const ExprPtr& part : parts) deepen(*made, part);
    made->parts = std::move(parts);
    return made;
  }
  void deepen(Expr& parent, const ExprPtr& child) const {
    if (child) parent.depth = std::max(parent.depth, child->depth + 1);
    if (parent.depth > kMaxDepth) fail(fmt::format("an expression nested deeper than {}", kMaxDepth));
  }
  template <class... Parts>
  static std::vector<ExprPtr> list_of(Parts... parts) {
    std::vector<ExprPtr> made;
    (made.push_back(std::move(parts)), ...);
    return made;
  }

  // `a, b` is a tuple, `a` is not.
  ExprPtr expression_list() {
    const int line = peek().line;
    ExprPtr first = expression();
    if (!is_operator(",")) return first;
    std::vector<ExprPtr> parts = list_of(std::move(first));
    while (skip_operator(",") && !ends_list()) parts.push_back(expression());
    return make(Expr::Kind::kTuple, line, std::move(parts));
  }
  bool ends_list() const {
    return peek().type == TokenType::kVariableEnd || peek().type == TokenType::kBlockEnd || is_operator(")");
  }

  ExprPtr expression(bool with_condition = true) {
    const Level level(*this);
    const int line = peek().line;
    ExprPtr left = or_expression();
    while (with_condition && skip_name("if")) {
      ExprPtr condition = or_expression();
      ExprPtr otherwise = skip_name("else") ? expression() : nullptr;
      left = make(Expr::Kind::kCondition, line, list_of(std::move(left), std::move(condition), std::move(otherwise)));
    }
    return left;
  }

  // a op b op c: one node of all.
  template <class Next>
  ExprPtr chain(Expr::Kind kind, const char* name, Next next) {
    const int line = peek().line;
    ExprPtr first = next();
    if (!is_name(name)) return first;
    std::vector<ExprPtr> parts = list_of(std::move(first));
    while (skip_name(name)) parts.push_back(next());
    return make(kind, line, std::move(parts));
  }
  ExprPtr or_expression() {
    return chain(Expr::Kind::kOr, "or",
                 [&] { return chain(Expr::Kind::kAnd, "and", [&] { return not_expression(); }); });
  }

  ExprPtr not_expression() {
    const Level level(*this);
    const int line = peek().line;
    if (skip_name("not")) return make(Expr::Kind::kNot, line, list_of(not_expression()));
    return comparison();
  }

  ExprPtr comparison() {
    const int line = peek().line;
    std::vector<ExprPtr> parts = list_of(binary(0));
    std::vector<std::string> operators;
    for (;;) {
      static constexpr std::array kOperators = {"==", "!=", "<", "<=", ">", ">="};
      if (peek().type == TokenType::kOperator &&
          std::find(kOperators.begin(), kOperators.end(), peek().text) != kOperators.end()) {
        operators.push_back(take().text);
      } else if (skip_name("in")) {
        operators.emplace_back("in");
      } else if (is_name("not") && is_name("in", 1)) {
        take();
        take();
        operators.emplace_back("not in");
      } else {
        break;
      }
      parts.push_back(binary(0));
    }
    if (operators.empty()) return std::move(parts[0]);
    ExprPtr made = make(Expr::Kind::kCompare, line, std::move(parts));
    made->operators = std::move(operators);
    return made;
  }

  // + -, then ~, then * / // %: each binds tighter than the one before.
  ExprPtr binary(size_t precedence) {
    static const std::vector<std::vector<std::string_view>> kOperators = {{"+", "-"}, {"~"}, {"*", "/", "//", "%"}};
    if (precedence == kOperators.size()) return unary(true);
    const auto& mine = kOperators[precedence];
    const int line = peek().line;
    ExprPtr left = binary(precedence + 1);
    while (peek().type == TokenType::kOperator && std::find(mine.begin(), mine.end(), peek().text) != mine.end()) {
      std::string name = take().text;
      left = make(Expr::Kind::kBinary, line, list_of(std::move(left), binary(precedence + 1)), std::move(name));
    }
    if (is_operator("**")) fail("operator '**' is not supported");
    return left;
  }

  ExprPtr unary(bool with_filters) {
    const Level level(*this);
    const int line = peek().line;
    ExprPtr made;
    if (skip_operator("-"))
      made = make(Expr::Kind::kMinus, line, list_of(unary(false)));
    else if (skip_operator("+"))
      made = make(Expr::Kind::kPlus, line, list_of(unary(false)));
    else
      made = primary();
    made = postfix(std::move(made));
    return with_filters ? filters_and_tests(std::move(made)) : std::move(made);
  }

  ExprPtr constant(Value value, int line) const {
    ExprPtr made = make(Expr::Kind::kConstant, line);
    made->value = std::move(value);
    return made;
  }

  ExprPtr primary() {
    const Token token = peek();
    switch (token.type) {
      case TokenType::kName:
        take();
        if (token.text == "true" || token.text == "True") return constant(Value::of(true), token.line);
        if (token.text == "false" || token.text == "False") return constant(Value::of(false), token.line);
        if (token.text == "none" || token.text == "None") return constant(Value(), token.line);
        return make(Expr::Kind::kName, token.line, {}, token.text);
      case TokenType::kString: {
        std::string text;
        while (peek().type == TokenType::kString) text += take().text;
        return constant(Value::of(std::move(text)), token.line);
      }
      case TokenType::kInteger:
        return constant(Value::of(integer()), token.line);
      case TokenType::kFloat:
        take();
        return constant(Value::of(std::strtod(token.text.c_str(), nullptr)), token.line);
      default:
        if (is_operator("(")) return parenthesised();
        if (is_operator("[")) return list();
        if (is_operator("{")) return dict();
        fail_expected("an expression");
    }
  }

  int64_t integer() {
    int64_t value = 0;
    const std::string& text = peek().text;
    if (std::from_chars(text.data(), text.data() + text.size(), value).ec != std::errc())
      fail(fmt::format("'{}' is too large", text));
    take();
    return value;
  }

  ExprPtr parenthesised() {
    const int line = take().line;
    if (skip_operator(")")) return make(Expr::Kind::kTuple, line);
    ExprPtr made = expression_list();
    expect_operator(")");
    return made;
  }

  ExprPtr list() {
    const int line = take().line;
    std::vector<ExprPtr> parts;
    while (!is_operator("]")) {
      parts.push_back(expression());
      if (!skip_operator(",")) break;
    }
    expect_operator("]");
    return make(Expr::Kind::kList, line, std::move(parts));
  }

  ExprPtr dict() {
    const int line = take().line;
    std::vector<ExprPtr> parts;
    while (!is_operator("}")) {
      parts.push_back(expression());
      expect_operator(":");
      parts.push_back(expression());
      if (!skip_operator(",")) break;
    }
    expect_operator("}");
    return make(Expr::Kind::kDict, line, std::move(parts));
  }

  ExprPtr postfix(ExprPtr made) {
    for (;;) {
      const int line = peek().line;
      if (skip_operator(".")) {
        if (peek().type == TokenType::kInteger)
          made = make(Expr::Kind::kItem, line, list_of(std::move(made), constant(Value::of(integer()), line)));
        else
          made = make(Expr::Kind::kAttribute, line, list_of(std::move(made)), expect_name());
      } else if (is_operator("[")) {
        made = subscript(std::move(made));
      } else if (is_operator("(")) {
        made = make(Expr::Kind::kCall, line, list_of(std::move(made)));
        arguments(*made);
      } else {
        return made;
      }
    }
  }

  ExprPtr subscript(ExprPtr of) {
    const int line = take().line;
    ExprPtr index = is_operator(":") ? nullptr : expression();
    if (is_operator(":")) {
      std::vector<ExprPtr> parts = list_of(std::move(of), std::move(index));
      while (parts.size() < 4 && skip_operator(":"))
        parts.push_back(is_operator(":") || is_operator("]") ? nullptr : expression());
      parts.resize(4);
      expect_operator("]");
      return make(Expr::Kind::kSlice, line, std::move(parts));
    }
    expect_operator("]");
    return make(Expr::Kind::kItem, line, list_of(std::move(of), std::move(index)));
  }

  // (a, b, c=d): appended to what is called.
  void arguments(Expr& call) {
    expect_operator("(");
    while (!is_operator(")")) {
      if (is_operator("*") || is_operator("**")) fail("arguments given as '*' or '**' are not supported");
      const bool by_name =
          peek().type == TokenType::kName && peek(1).type == TokenType::kOperator && peek(1).text == "=";
      if (!by_name && !call.keywords.empty()) fail("an argument without a name behind one with");
      std::string name;
      if (by_name) {
        name = take().text;
        take();
      }
      if (call.parts.size() + call.keywords.size() > kMaxArguments)
        fail(fmt::format("more than {} arguments", kMaxArguments));
      ExprPtr value = expression();
      deepen(call, value);
      if (by_name)
        call.keywords.emplace_back(std::move(name), std::move(value));
      else
        call.parts.push_back(std::move(value));
      if (!skip_operator(",")) break;
    }
    expect_operator(")");
  }

  ExprPtr filters_and_tests(ExprPtr made) {
    for (;;) {
      const int line = peek().line;
      if (skip_operator("|")) {
        if (peek().type == TokenType::kName && !is_filter(peek().text))
          fail(fmt::format("filter '{}' is not supported", peek().text));
        made = make(Expr::Kind::kFilter, line, list_of(std::move(made)), expect_name());
        if (is_operator("(")) arguments(*made);
      } else if (skip_name("is")) {
        made = test(std::move(made), line);
      } else if (is_operator("(")) {
        made = make(Expr::Kind::kCall, line, list_of(std::move(made)));
        arguments(*made);
      } else {
        return made;
      }
    }
  }

  ExprPtr test(ExprPtr of, int line) {
    const bool negated = skip_name("not");
    if (peek().type == TokenType::kName && !is_test(peek().text))
      fail(fmt::format("test '{}' is not supported", peek().text));
    ExprPtr made = make(Expr::Kind::kTest, line, list_of(std::move(of)), expect_name());
    if (is_operator("(")) {
      arguments(*made);
    } else if (begins_bare_argument()) {
      ExprPtr argument = postfix(primary());
      deepen(*made, argument);
      made->parts.push_back(std::move(argument));
    }
    if (is_name("is")) fail("a test on the result of a test");
    return negated ? make(Expr::Kind::kNot, line, list_of(std::move(made))) : std::move(made);
  }
  // `x is divisibleby 3`
  bool begins_bare_argument() const {
    if (peek().type == TokenType::kName)
      return !is_name("else") && !is_name("or") && !is_name("and") && !is_name("if") && !is_name("is");
    return peek().type == TokenType::kString || peek().type == TokenType::kInteger ||
           peek().type == TokenType::kFloat || is_operator("[") || is_operator("{");
  }

 private:
  std::vector<Token> tokens_;
  size_t at_ = 0;
  int level_ = 0;
};

}  // namespace trimeter::jinja
