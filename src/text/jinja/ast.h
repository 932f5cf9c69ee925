// The tree that the parser makes of a template.
#pragma once
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "text/jinja/value.h"

namespace trimeter::jinja {

struct Expr;
using ExprPtr = std::unique_ptr<Expr>;

struct Expr {
  enum class Kind {
    kConstant,   // value
    kName,       // name
    kList,       // parts
    kTuple,      // parts
    kDict,       // parts: key, value, key, value, ...
    kAttribute,  // parts[0].name
    kItem,       // parts[0][parts[1]]
    kSlice,      // parts[0][parts[1] : parts[2] : parts[3]]; a bound left out is null
    kCall,       // parts[0](parts[1..], keywords)
    kFilter,     // parts[0] | name(parts[1..], keywords)
    kTest,       // parts[0] is name(parts[1..], keywords)
    kNot,        // parts[0]
    kMinus,      // parts[0]
    kPlus,       // parts[0]
    kBinary,     // parts[0] name parts[1], name one of + - * / // % ~
    kCompare,    // parts[0] operators[0] parts[1] operators[1] parts[2] ...
    kAnd,        // parts
    kOr,         // parts
    kCondition,  // parts[0] if parts[1] else parts[2]; parts[2] may be null
  } kind;
  int line = 0;
  int depth = 1;  // of the tree below, itself included
  std::string name;
  Value value;
  std::vector<ExprPtr> parts;
  std::vector<std::pair<std::string, ExprPtr>> keywords;
  std::vector<std::string> operators;
};

struct Statement;
using Body = std::vector<std::unique_ptr<Statement>>;

struct Statement {
  enum class Kind {
    kText,      // text
    kOutput,    // value
    kIf,        // branches in order; a null condition is the else
    kFor,       // targets in value (if condition): branches[0], else branches[1]
    kSet,       // targets = value
    kSetBlock,  // targets[0] = what branches[0] renders
  } kind;
  struct Branch {
    ExprPtr condition;
    Body body;
  };
  struct Target {
    std::string name;
    std::string attribute;  // of the namespace `name`; empty: the variable itself
  };
  int line = 0;
  std::string text;
  ExprPtr value;
  ExprPtr condition;
  std::vector<Target> targets;
  std::vector<Branch> branches;
};

}  // namespace trimeter::jinja
