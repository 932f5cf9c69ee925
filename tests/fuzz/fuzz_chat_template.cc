// Whatever the template says, it is refused with Error or renders text, in bounded time and memory.
#include "base/error.h"
#include "text/chat_template.h"
#include "text/utf8.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace trimeter;
  try {
    const ChatTemplate chat({reinterpret_cast<const char*>(data), size});
    require_utf8(
        chat.render({{"system", "Be brief."}, {"user", " Hi \u00e9\n"}, {"assistant", ""}}, true, "<s>", "</s>"));
  } catch (const Error&) {
  }
  return 0;
}
