// Whatever the bytes are, the parser answers with tensors that lie inside them and cover them, or with Error.
#include "base/error.h"
#include "io/safetensors.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace trimeter;
  const std::span<const std::byte> file(reinterpret_cast<const std::byte*>(data), size);
  try {
    int64_t covered = 0;
    for (const TensorView& view : parse_safetensors(file, "fuzz")) {
      covered += static_cast<int64_t>(view.bytes.size());
      TM_CHECK(view.n_elements() * size_of(view.dtype) == static_cast<int64_t>(view.bytes.size()), "{} {}", view.name,
               view.shape_text());
      TM_CHECK(view.bytes.empty() ||
                   (view.bytes.data() >= file.data() && view.bytes.data() + view.bytes.size() <= file.data() + size),
               "{} lies outside", view.name);
    }
    TM_CHECK(covered <= static_cast<int64_t>(size), "{} of {} bytes", covered, size);
  } catch (const Error&) {
  }
  return 0;
}
