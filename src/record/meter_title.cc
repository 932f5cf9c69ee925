#include "record/meter_title.h"

#include <map>

namespace trimeter {

std::string meter_title(const std::string& meter) {
  static const std::map<std::string, std::string> kTitles{{"generation_tokens_per_s", "generation tok/s"},
                                                          {"decode_tokens_per_s", "decode tok/s"},
                                                          {"prompt_tokens_per_s", "prompt tok/s"},
                                                          {"ttft_s", "TTFT"},
                                                          {"itl_s", "ITL"},
                                                          {"kv_blocks", "KV blocks"}};
  const auto found = kTitles.find(meter);
  return found == kTitles.end() ? meter : found->second;
}

}  // namespace trimeter
