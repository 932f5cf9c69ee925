// Log lines to stderr in vLLM's form, `INFO 05-21 15:48:02 [engine.cc:462] message`, so that tools which read vLLM's
// log read ours. Libraries log, they never print.
#pragma once
#include <spdlog/spdlog.h>

namespace trimeter {

// Sets the form and the level: "debug", "info", "warning", "error" or "off" (TRIMETER_LOGGING_LEVEL if empty; default info).
void init_logging(const std::string& level = "");

}  // namespace trimeter

#define TM_INFO(...) SPDLOG_LOGGER_INFO(::spdlog::default_logger_raw(), __VA_ARGS__)
#define TM_WARN(...) SPDLOG_LOGGER_WARN(::spdlog::default_logger_raw(), __VA_ARGS__)
#define TM_DEBUG(...) SPDLOG_LOGGER_CALL(::spdlog::default_logger_raw(), ::spdlog::level::debug, __VA_ARGS__)
