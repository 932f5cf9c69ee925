// Whatever the bytes are, the parser answers with tensors that lie inside them and are as large as they say, or with
// Error.
#include "base/error.h"
#include "io/gguf.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace trimeter;
  const std::span<const std::byte> file(reinterpret_cast<const std::byte*>(data), size);
  try {
    int64_t covered = 0;
    for (const GgufTensor& tensor : parse_gguf(file, "fuzz").tensors) {
      int64_t bytes = tensor.shape.back() / tensor.type_info().block_elements * tensor.type_info().block_bytes;
      for (size_t i = 0; i + 1 < tensor.shape.size(); ++i) bytes *= tensor.shape[i];
      TM_CHECK(bytes == static_cast<int64_t>(tensor.bytes.size()), "{}: {} bytes", tensor.name, bytes);
      TM_CHECK(tensor.bytes.data() >= file.data() && tensor.bytes.data() + tensor.bytes.size() <= file.data() + size,
               "{} lies outside", tensor.name);
      covered += bytes;
    }
    TM_CHECK(covered <= static_cast<int64_t>(size), "{} of {} bytes", covered, size);
  } catch (const Error&) {
  }
  return 0;
}
