#include "text/jinja/parser.h"

#include "text/jinja/expression_parser.h"

namespace trimeter::jinja {
namespace {

class Parser : ExpressionParser {
 public:
  explicit Parser(std::string_view source) : ExpressionParser(source) {}

  Body template_body() {
    Body body = statements({});
    if (peek().type != TokenType::kEnd) fail(fmt::format("'{}' closes nothing", peek().text));
    return body;
  }

 private:
  // Up to a block tag that begins with one of `ends` (left to be read, its {% taken) or the end of the template.
  Body statements(const std::vector<std::string_view>& ends) {
    const Level level(*this);
    Body body;
    while (peek().type != TokenType::kEnd) {
      if (peek().type == TokenType::kData) {
        body.push_back(statement(Statement::Kind::kText));
        body.back()->text = take().text;
      } else if (peek().type == TokenType::kVariableBegin) {
        take();
        body.push_back(statement(Statement::Kind::kOutput));
        body.back()->value = expression_list();
        expect(TokenType::kVariableEnd, "'}}'");
      } else {
        take();  // {%
        if (std::any_of(ends.begin(), ends.end(), [&](std::string_view end) { return is_name(end); })) return body;
        body.push_back(block());
        expect(TokenType::kBlockEnd, "'%}'");
      }
    }
    if (!ends.empty()) fail_expected(fmt::format("'{}'", ends.back()));
    return body;
  }

  std::unique_ptr<Statement> statement(Statement::Kind kind) const {
    auto made = std::make_unique<Statement>();
    made->kind = kind;
    made->line = peek().line;
    return made;
  }

  std::unique_ptr<Statement> block() {
    if (skip_name("if")) return if_block();
    if (skip_name("for")) return for_block();
    if (skip_name("set")) return set_block();
    if (peek().type != TokenType::kName) fail_expected("a statement");
    static constexpr std::array kEnds = {"else", "elif", "endif", "endfor", "endset"};
    if (std::find(kEnds.begin(), kEnds.end(), peek().text) != kEnds.end())
      fail(fmt::format("'{}' closes nothing", peek().text));
    fail(fmt::format("statement '{}' is not supported", peek().text));
  }

  std::unique_ptr<Statement> if_block() {
    auto made = statement(Statement::Kind::kIf);
    for (;;) {
      ExprPtr condition = expression();
      expect(TokenType::kBlockEnd, "'%}'");
      Body body = statements({"elif", "else", "endif"});
      made->branches.push_back({std::move(condition), std::move(body)});
      if (!skip_name("elif")) break;
    }
    if (skip_name("else")) {
      expect(TokenType::kBlockEnd, "'%}'");
      made->branches.push_back({nullptr, statements({"endif"})});
    }
    take();  // endif
    return made;
  }

  std::unique_ptr<Statement> for_block() {
    auto made = statement(Statement::Kind::kFor);
    made->targets = targets(false);
    if (!skip_name("in")) fail_expected("'in'");
    made->value = expression(false);
    if (skip_name("if")) made->condition = expression();
    if (is_name("recursive")) fail("a recursive loop is not supported");
    expect(TokenType::kBlockEnd, "'%}'");
    made->branches.push_back({nullptr, statements({"else", "endfor"})});
    if (skip_name("else")) {
      expect(TokenType::kBlockEnd, "'%}'");
      made->branches.push_back({nullptr, statements({"endfor"})});
    }
    take();  // endfor
    return made;
  }

  std::unique_ptr<Statement> set_block() {
    auto made = statement(Statement::Kind::kSet);
    made->targets = targets(true);
    if (skip_operator("=")) {
      made->value = expression_list();
      return made;
    }
    made->kind = Statement::Kind::kSetBlock;
    if (made->targets.size() != 1) fail_expected("'='");
    if (is_operator("|")) fail("a filter on a set block is not supported");
    expect(TokenType::kBlockEnd, "'=' or '%}'");
    made->branches.push_back({nullptr, statements({"endset"})});
    take();  // endset
    return made;
  }

  std::vector<Statement::Target> targets(bool with_attributes) {
    std::vector<Statement::Target> made;
    const bool in_parentheses = skip_operator("(");
    do {
      Statement::Target target{expect_name(), ""};
      static constexpr std::array kReserved = {"true", "false", "none", "True", "False", "None", "loop"};
      if (std::find(kReserved.begin(), kReserved.end(), target.name) != kReserved.end())
        fail(fmt::format("'{}' cannot be assigned to", target.name));
      if (with_attributes && skip_operator(".")) target.attribute = expect_name();
      made.push_back(std::move(target));
    } while (skip_operator(","));
    if (in_parentheses) expect_operator(")");
    return made;
  }
};

}  // namespace

Body parse(std::string_view source) { return Parser(source).template_body(); }

}  // namespace trimeter::jinja
