#include "base/log.h"

#include <spdlog/pattern_formatter.h>
#include <spdlog/sinks/stdout_color_sinks.h>

#include <cstdlib>
#include <memory>

#include "base/error.h"

namespace trimeter {
namespace {

// %N: the level in vLLM's capitals; spdlog's own names are lower case and fixed when it was compiled.
class UpperLevel : public spdlog::custom_flag_formatter {
 public:
  void format(const spdlog::details::log_msg& msg, const std::tm&, spdlog::memory_buf_t& dest) override {
    static constexpr const char* kNames[] = {"TRACE", "DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL", "OFF"};
    dest.append(fmt::string_view(kNames[msg.level]));
  }
  std::unique_ptr<custom_flag_formatter> clone() const override { return std::make_unique<UpperLevel>(); }
};

}  // namespace

void init_logging(const std::string& level) {
  std::string wanted = level;
  if (wanted.empty()) {
    const char* env = std::getenv("TRIMETER_LOGGING_LEVEL");
    wanted = env ? env : "info";
  }
  for (char& c : wanted) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  const auto parsed = spdlog::level::from_str(wanted);
  if (parsed == spdlog::level::off && wanted != "off")
    throw Error(Errc::kBadArgument, "log level '{}': wanted debug, info, warning, error or off", wanted);
  auto formatter = std::make_unique<spdlog::pattern_formatter>();
  formatter->add_flag<UpperLevel>('N').set_pattern("%N %m-%d %H:%M:%S [%s:%#] %v");
  auto logger = std::make_shared<spdlog::logger>("trimeter", std::make_shared<spdlog::sinks::stderr_color_sink_mt>());
  logger->set_formatter(std::move(formatter));
  logger->set_level(parsed);
  spdlog::set_default_logger(std::move(logger));
}

}  // namespace trimeter
