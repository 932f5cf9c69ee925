// Whatever the bytes are, the parser of quantization_config answers with what it says of any module, or with Error.
#include "base/error.h"
#include "containers/container.h"
#include "containers/stored_quantization.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace trimeter;
  try {
    const StoredQuantization stored =
        parse_quantization(std::string(reinterpret_cast<const char*>(data), size), "fuzz");
    const Container* container = find_container(stored.container);
    TM_CHECK(container != nullptr, "there is no {}", stored.container);
    for (const char* module : {"model.layers.0.self_attn.q_proj", "model.layers.18.mlp.down_proj", "lm_head"})
      if (const std::optional<SchemeTraits> traits = stored.traits_of(module)) {
        TM_CHECK(traits->bits == 4 || traits->bits == 8, "{} bits", traits->bits);
        TM_CHECK((traits->scales == SchemeTraits::Scales::kGroup) == (traits->group_size > 0), "{} a group",
                 traits->group_size);
        const StoredMatrix matrix{module, {256, 256}, *traits};
        if (scheme_of(*traits, "fuzz").refuses(matrix.shape).empty() && container->refuses(matrix).empty())
          for (const TensorInfo& tensor : container->tensors(matrix))
            TM_CHECK(tensor.bytes() > 0, "{} has no bytes", tensor.name);
      }
  } catch (const Error&) {
  }
  return 0;
}
