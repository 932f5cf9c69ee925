#include "text/jinja/evaluator.h"

#include <algorithm>
#include <cmath>
#include <deque>

#include "base/error.h"
#include "text/jinja/builtins.h"
#include "text/jinja/operators.h"

namespace trimeter::jinja {
namespace {

class Evaluator {
 public:
  Evaluator(Attributes variables, size_t work_limit) : budget_(work_limit) { scopes_.push_back(std::move(variables)); }

  std::string render(const Body& body) {
    try {
      std::string out;
      run(body, out);
      return out;
    } catch (const Error& e) {
      if (e.code() == Errc::kBadArgument) throw;
      throw Error(e.code(), "chat template, line {}: {}", line_, e.what());
    }
  }

 private:
  // --- statements ---

  void run(const Body& body, std::string& out) {
    for (const auto& statement : body) {
      line_ = statement->line;
      budget_.spend(1);
      run(*statement, out);
    }
  }

  void run(const Statement& s, std::string& out) {
    switch (s.kind) {
      case Statement::Kind::kText:
        append(out, s.text);
        return;
      case Statement::Kind::kOutput:
        append(out, to_text(evaluate(*s.value), budget_));
        return;
      case Statement::Kind::kIf:
        for (const Statement::Branch& branch : s.branches) {
          if (branch.condition && !evaluate(*branch.condition).truth()) continue;
          run(branch.body, out);
          return;
        }
        return;
      case Statement::Kind::kFor:
        run_for(s, out);
        return;
      case Statement::Kind::kSet:
        assign(s.targets, evaluate(*s.value));
        return;
      case Statement::Kind::kSetBlock: {
        std::string text;
        scopes_.emplace_back();
        run(s.branches[0].body, text);
        scopes_.pop_back();
        assign(s.targets, make_string(std::move(text), budget_));
        return;
      }
    }
  }

  void append(std::string& out, const std::string& text) {
    budget_.spend(text.size());
    out += text;
  }

  // Each round has a scope of its own: what it sets is gone in the next.
  void run_for(const Statement& s, std::string& out) {
    std::vector<Value> elements = elements_of(evaluate(*s.value), budget_);
    if (s.condition)
      std::erase_if(elements, [&](const Value& element) {
        scopes_.emplace_back();
        assign(s.targets, element);
        const bool kept = evaluate(*s.condition).truth();
        scopes_.pop_back();
        return !kept;
      });
    Attributes loop;
    for (size_t i = 0; i < elements.size(); ++i) {
      budget_.spend(16);
      describe_round(loop, elements, i);
      scopes_.emplace_back();
      scopes_.back()["loop"] = Value(Object{Object::Kind::kLoop, &loop});
      assign(s.targets, elements[i]);
      run(s.branches[0].body, out);
      scopes_.pop_back();
    }
    if (elements.empty() && s.branches.size() > 1) run(s.branches[1].body, out);
  }

  static void describe_round(Attributes& loop, const std::vector<Value>& elements, size_t i) {
    const auto n = static_cast<int64_t>(elements.size()), at = static_cast<int64_t>(i);
    loop["index"] = Value::of(at + 1);
    loop["index0"] = Value::of(at);
    loop["revindex"] = Value::of(n - at);
    loop["revindex0"] = Value::of(n - at - 1);
    loop["first"] = Value::of(i == 0);
    loop["last"] = Value::of(at == n - 1);
    loop["length"] = Value::of(n);
    loop.erase("previtem");
    loop.erase("nextitem");
    if (i > 0) loop["previtem"] = elements[i - 1];
    if (i + 1 < elements.size()) loop["nextitem"] = elements[i + 1];
  }

  void assign(const std::vector<Statement::Target>& targets, const Value& value) {
    if (targets.size() == 1) {
      assign(targets[0], value);
      return;
    }
    const std::vector<Value> values = elements_of(value, budget_);
    if (values.size() != targets.size()) fail(fmt::format("{} values for {} names", values.size(), targets.size()));
    for (size_t i = 0; i < targets.size(); ++i) assign(targets[i], values[i]);
  }

  void assign(const Statement::Target& target, const Value& value) {
    keep(value);
    if (target.attribute.empty()) {
      scopes_.back()[target.name] = value;
      return;
    }
    const Value name = look_up(target.name);
    const Object* object = name.as<Object>();
    if (!object || object->kind != Object::Kind::kNamespace)
      fail(fmt::format("'{}.{}' is set, but '{}' is no namespace", target.name, target.attribute, target.name));
    (*object->attributes)[target.attribute] = value;
  }

  // --- expressions ---

  Value look_up(const std::string& name) {
    for (auto scope = scopes_.rbegin(); scope != scopes_.rend(); ++scope)
      if (const auto found = scope->find(name); found != scope->end()) return found->second;
    if (is_function(name)) return Value(Function{name, nullptr});
    return Value::undefined(fmt::format("'{}' is undefined", name));
  }

  Value evaluate(const Expr& e) {
    budget_.spend(1);
    line_ = e.line;
    switch (e.kind) {
      case Expr::Kind::kConstant:
        return e.value;
      case Expr::Kind::kName:
        return look_up(e.name);
      case Expr::Kind::kList:
      case Expr::Kind::kTuple:
        return Value::list(evaluate_all(e.parts, 0), e.kind == Expr::Kind::kTuple);
      case Expr::Kind::kDict:
        return dict(e);
      case Expr::Kind::kAttribute:
        return attribute_of(evaluate(*e.parts[0]), e.name, budget_);
      case Expr::Kind::kItem: {
        const Value subject = evaluate(*e.parts[0]);
        return item_of(subject, evaluate(*e.parts[1]), budget_);
      }
      case Expr::Kind::kSlice:
        return slice_of(e);
      case Expr::Kind::kCall:
        return call(e);
      case Expr::Kind::kFilter: {
        const Value subject = evaluate(*e.parts[0]);
        return apply_filter(e.name, subject, arguments(e), budget_);
      }
      case Expr::Kind::kTest: {
        const Value subject = evaluate(*e.parts[0]);
        return Value::of(apply_test(e.name, subject, arguments(e), budget_));
      }
      case Expr::Kind::kNot:
        return Value::of(!evaluate(*e.parts[0]).truth());
      case Expr::Kind::kMinus:
      case Expr::Kind::kPlus:
        return binary_operation(e.kind == Expr::Kind::kMinus ? "-" : "+", Value::of(int64_t{0}), evaluate(*e.parts[0]),
                                budget_);
      case Expr::Kind::kBinary: {
        const Value left = evaluate(*e.parts[0]);
        return binary_operation(e.name, left, evaluate(*e.parts[1]), budget_);
      }
      case Expr::Kind::kCompare:
        return compare(e);
      case Expr::Kind::kAnd:
      case Expr::Kind::kOr:
        return first_that_decides(e);
      case Expr::Kind::kCondition:
        if (evaluate(*e.parts[1]).truth()) return evaluate(*e.parts[0]);
        return e.parts[2] ? evaluate(*e.parts[2]) : Value::undefined("an inline 'if' without 'else' was false");
    }
    return {};
  }

  // A loop's own record does not outlive it, so nothing may hold it.
  static Value keep(Value value) {
    if (const Object* object = value.as<Object>(); object && object->kind == Object::Kind::kLoop)
      fail("'loop' itself as a value is not supported");
    return value;
  }

  std::vector<Value> evaluate_all(const std::vector<ExprPtr>& parts, size_t from) {
    std::vector<Value> values;
    budget_.spend_elements(parts.size() - from);
    for (size_t i = from; i < parts.size(); ++i) {
      values.push_back(keep(evaluate(*parts[i])));
    }
    return values;
  }

  Arguments arguments(const Expr& e) {
    std::vector<std::pair<std::string, Value>> named;
    for (const auto& [name, value] : e.keywords) named.emplace_back(name, keep(evaluate(*value)));
    return {evaluate_all(e.parts, 1), std::move(named)};
  }

  Value dict(const Expr& e) {
    std::vector<std::pair<std::string, Value>> entries;
    const std::vector<Value> values = evaluate_all(e.parts, 0);
    for (size_t i = 0; i < values.size(); i += 2) {
      if (!values[i].string()) fail(fmt::format("a dict key of type {} is not supported", values[i].type_name()));
      budget_.spend(entries.size());
      const auto same = std::find_if(entries.begin(), entries.end(),
                                     [&](const auto& entry) { return entry.first == *values[i].string(); });
      if (same != entries.end())
        same->second = values[i + 1];
      else
        entries.emplace_back(*values[i].string(), values[i + 1]);
    }
    return Value::dict(std::move(entries));
  }

  Value slice_of(const Expr& e) {
    const Value subject = evaluate(*e.parts[0]);
    Value bounds[3];
    for (size_t i = 0; i < 3; ++i)
      if (e.parts[i + 1]) bounds[i] = evaluate(*e.parts[i + 1]);
    return slice(subject, bounds[0], bounds[1], bounds[2], budget_);
  }

  Value call(const Expr& e) {
    const Value callee = evaluate(*e.parts[0]);
    Arguments given = arguments(e);
    line_ = e.line;
    if (const Undefined* undefined = callee.as<Undefined>()) fail(*undefined->why);
    const Function* function = callee.as<Function>();
    if (!function) fail(fmt::format("a value of type {} is called", callee.type_name()));
    if (function->self) return call_method(*function->self, function->name, std::move(given), budget_);
    if (function->name == "namespace") return new_namespace(given);
    return call_function(function->name, std::move(given), budget_);
  }

  Value new_namespace(Arguments& given) {
    budget_.spend_elements(8);
    Attributes& attributes = namespaces_.emplace_back();
    if (const Value* from = given.take("")) {
      if (!from->dict()) fail("namespace() of a value that is no dict");
      for (const auto& [name, value] : from->dict()->entries) attributes[name] = value;
    }
    for (const auto& [name, value] : given.named()) attributes[name] = value;
    return Value(Object{Object::Kind::kNamespace, &attributes});
  }

  Value compare(const Expr& e) {
    Value left = evaluate(*e.parts[0]);
    for (size_t i = 0; i < e.operators.size(); ++i) {
      Value right = evaluate(*e.parts[i + 1]);
      if (!holds(e.operators[i], left, right, budget_)) return Value::of(false);
      left = std::move(right);
    }
    return Value::of(true);
  }

  Value first_that_decides(const Expr& e) {
    Value value;
    for (const ExprPtr& part : e.parts) {
      value = evaluate(*part);
      if (value.truth() == (e.kind == Expr::Kind::kOr)) break;
    }
    return value;
  }

  Budget budget_;
  std::deque<Attributes> namespaces_;
  std::vector<Attributes> scopes_;  // innermost last
  int line_ = 1;
};

}  // namespace

std::string render(const Body& body, Attributes variables, size_t work_limit) {
  return Evaluator(std::move(variables), work_limit).render(body);
}

}  // namespace trimeter::jinja
