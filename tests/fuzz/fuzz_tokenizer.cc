// Whatever tokenizer.json says, it is refused with Error or makes a tokenizer that encodes and decodes any text.
#include "base/error.h"
#include "text/tokenizer.h"
#include "text/utf8.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace trimeter;
  const std::string_view file(reinterpret_cast<const char*>(data), size);
  try {
    const Tokenizer tokenizer = Tokenizer::parse(file, "", "fuzz");
    // Its own file is a text that has its tokens in it.
    for (const std::string& text :
         {std::string("It's 12  <|im_end|>\n caf\u00e9 \u4f60\U0001F600"), replace_invalid_utf8(file)}) {
      const std::vector<int32_t> ids = tokenizer.encode(text, true);
      for (const int32_t id : ids)
        TM_CHECK(id >= 0 && id < tokenizer.vocab_size(), "id {} of {}", id, tokenizer.vocab_size());
      require_utf8(tokenizer.decode(ids, true));
    }
  } catch (const Error&) {
  }
  return 0;
}
