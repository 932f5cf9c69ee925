// The part of Jinja2 that chat templates of Qwen2.5 and Llama 3 use, as transformers runs it (trim_blocks,
// lstrip_blocks).
#pragma once
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace trimeter {

struct ChatMessage {
  std::string role, content;
};

class ChatTemplate {
 public:
  // Throws Error(kBadFile) with line and construct for what does not parse or what we lack.
  explicit ChatTemplate(std::string_view source);
  ~ChatTemplate();
  // An empty token is undefined to the template. Throws Error(kBadArgument) with the template's own words when it calls
  // raise_exception, Error(kBadFile) with the line for what goes wrong in it or is more work than any chat needs.
  std::string render(const std::vector<ChatMessage>& messages, bool add_generation_prompt, const std::string& bos_token,
                     const std::string& eos_token) const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace trimeter
