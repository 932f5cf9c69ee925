// Whatever the bytes are, a GGUF file is refused with an Error or gives a model whose weights are as large as the
// ledger says and a tokenizer that takes a text apart and puts it together again.
#include <sys/mman.h>
#include <unistd.h>

#include "base/error.h"
#include "model/gguf_weights.h"
#include "text/tokenizer.h"

namespace {

// A file that lies in memory, under a path.
class MemoryFile {
 public:
  MemoryFile(const uint8_t* data, size_t size) : fd_(memfd_create("fuzz", 0)) {
    TM_CHECK(fd_ >= 0 && write(fd_, data, size) == static_cast<ssize_t>(size), "memfd of {} bytes", size);
  }
  ~MemoryFile() { close(fd_); }
  MemoryFile(const MemoryFile&) = delete;
  MemoryFile& operator=(const MemoryFile&) = delete;
  std::string path() const { return fmt::format("/proc/self/fd/{}", fd_); }

 private:
  const int fd_;
};

void check_tokenizer(const trimeter::Tokenizer& tokenizer) {
  for (const char* text : {"", "The quick\tbrown fox, 1234 \n\n  it's \xC3\xA9\xE2\x96\x81 <s></s>"})
    for (const bool special : {false, true})
      for (const int32_t token : tokenizer.encode(text, special)) {
        TM_CHECK(token >= 0 && token < tokenizer.vocab_size(), "token {} of {}", token, tokenizer.vocab_size());
        tokenizer.decode({&token, 1}, special);
      }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace trimeter;
  static ThreadPool pool(1);
  const MemoryFile file(data, size);
  try {
    const GgufModel model = GgufModel::open(file.path());
    model.generation();
    check_format_fits(model.spec(), model.format());
    const int64_t bytes = load_gguf_weights(model, {}, pool).memory().weights_bytes;
    const int64_t wanted = weight_ledger(model.spec(), model.format()).weights_bytes;
    TM_CHECK(bytes == wanted, "{} bytes of weights, {} in the ledger", bytes, wanted);
  } catch (const Error&) {
  }
  try {
    check_tokenizer(Tokenizer::from_gguf(GgufModel::open(file.path()).vocabulary(), file.path()));
  } catch (const Error&) {
  }
  return 0;
}
