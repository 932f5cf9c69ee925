#include "text/chat_template.h"

#include "base/error.h"
#include "text/jinja/evaluator.h"
#include "text/jinja/parser.h"
#include "text/utf8.h"

namespace trimeter {
namespace {

// A real template takes some thousand steps a message and handles each of its bytes about ten times.
constexpr size_t kBaseWork = size_t{1} << 22, kWorkPerMessage = 10'000, kWorkPerByte = 64;

}  // namespace

struct ChatTemplate::Impl {
  jinja::Body body;
};

ChatTemplate::ChatTemplate(std::string_view source) : impl_(std::make_unique<Impl>()) {
  if (replace_invalid_utf8(source) != source) throw Error(Errc::kBadFile, "chat template: not valid UTF-8");
  impl_->body = jinja::parse(source);
}

ChatTemplate::~ChatTemplate() = default;

std::string ChatTemplate::render(const std::vector<ChatMessage>& messages, bool add_generation_prompt,
                                 const std::string& bos_token, const std::string& eos_token) const {
  using jinja::Value;
  std::vector<Value> list;
  size_t work = kBaseWork + messages.size() * kWorkPerMessage;
  for (const ChatMessage& message : messages) {
    require_utf8(message.role);
    require_utf8(message.content);
    work += (message.role.size() + message.content.size()) * kWorkPerByte;
    list.push_back(Value::dict({{"role", Value::of(message.role)}, {"content", Value::of(message.content)}}));
  }
  // What transformers passes to a template for a conversation without tools.
  jinja::Attributes variables;
  variables["messages"] = Value::list(std::move(list));
  variables["tools"] = Value();
  variables["documents"] = Value();
  variables["add_generation_prompt"] = Value::of(add_generation_prompt);
  if (!bos_token.empty()) variables["bos_token"] = Value::of(bos_token);
  if (!eos_token.empty()) variables["eos_token"] = Value::of(eos_token);
  return jinja::render(impl_->body, std::move(variables), work);
}

}  // namespace trimeter
