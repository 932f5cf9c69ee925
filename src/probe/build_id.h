#pragma once
#include <string>

namespace trimeter {

// Names the program that runs: its kernels' rates belong to it, and another build's may differ. Size and time of the
// executable file; "unknown" where the system does not say.
std::string build_id();

}  // namespace trimeter
