// Checks every CUDA kernel against double precision on the card at hand: random inputs, poisoned outputs, shapes that
// fill no tile. Exit status 1 if one is off, 77 if there is no card. Usage: check [--small | --race] [ops | draw |
// attention | matmul | int4]   (for compute-sanitizer, which takes long; --race: fewer draws, and no product of
// cuBLASLt's, as racecheck takes minutes of them)
#include <cstdio>
#include <string>

#include "check_attention.cuh"
#include "check_draw.cuh"
#include "check_matmul.cuh"
#include "check_ops.cuh"

int main(int argc, char** argv) {
  std::setvbuf(stdout, nullptr, _IOLBF, 0);
  race = argc > 1 && std::string(argv[1]) == "--race";
  small = race || (argc > 1 && std::string(argv[1]) == "--small");
  const std::string only = argc > 1 + small ? argv[1 + small] : "";
  const auto wanted = [&](const char* what) { return only.empty() || only == what; };
  int n_devices = 0;
  if (cudaGetDeviceCount(&n_devices) != cudaSuccess || n_devices == 0) {
    std::puts("no CUDA device: nothing was checked");
    return 77;
  }
  if (wanted("ops")) {
    for (int form = 0; form < 8; form++) {
      check_prepare(static_cast<InputForm>(form), 3, 256);
      if (!small) check_prepare(static_cast<InputForm>(form), 4, 14336);
    }
    check_prepare(InputForm::kE4M3Token, 36, 256, 2);
    if (!small) check_prepare(InputForm::kE4M3Token, 64, 14336, 112);
    check_norm_and_silu(3, 896);
    if (!small) check_norm_and_silu(2, 14336);
    check_argmax_and_embed();
  }
  if (wanted("draw")) check_draws();
  if (wanted("attention")) check_attentions();
  if (wanted("matmul") || wanted("int4")) check_matmuls(only == "int4");
  if (n_checks == 0) {
    std::printf("nothing is called %s\n", only.c_str());
    return 1;
  }
  std::printf("%d checks, %d failed\n", n_checks, n_failures);
  return n_failures == 0 ? 0 : 1;
}
