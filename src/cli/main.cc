// trimeter: should we quantize, and which constraint would we be buying out of?
#include <algorithm>
#include <csignal>
#include <exception>
#include <new>
#include <sstream>

#include "base/error.h"
#include "base/log.h"
#include "cli/commands.h"
#include "cli/common.h"
#include "cli/version.h"
#include "io/unfinished.h"

namespace trimeter {
namespace {

constexpr int kRefused = 2;  // bad input or bad usage: one line says what

int refuse(std::string message) {
  std::replace(message.begin(), message.end(), '\n', ' ');
  fmt::print(stderr, "trimeter: {}\n", message);
  return kRefused;
}

int run(int argc, char** argv) {
  CLI::App program(
      "Runs a language model in several formats and reads three meters: tokens per second, KV-cache blocks,\n"
      "output quality. Each is predicted first, then measured, then the two are reconciled.",
      "trimeter");
  program.set_version_flag("--version", "trimeter " TRIMETER_VERSION " (" TRIMETER_COMMIT ")");
  program.require_subcommand(0, 1);
  program.footer("trimeter COMMAND --help has examples.");
  for (const auto add :
       {add_compare, add_bench, add_quantize, add_generate, add_eval, add_hardware, add_formats, add_synth})
    add(program);
  init_logging();
  try {
    program.parse(argc, argv);
    if (program.get_subcommands().empty()) print(program.help());
  } catch (const CLI::ParseError& error) {
    if (error.get_exit_code() != 0) return refuse(error.what());
    std::ostringstream asked_for;  // --help, --version
    program.exit(error, asked_for, asked_for);
    print(asked_for.str());
  }
  return 0;
}

int run_or_refuse(int argc, char** argv) {
  remove_unfinished_on_signals();
  std::signal(SIGXFSZ, SIG_IGN);  // a file beyond the limit is an error of its write, after which we clean up
  try {
    return run(argc, argv);
  } catch (const Error& error) {
    return refuse(error.what());
  } catch (const std::bad_alloc&) {
    return refuse("out of memory");
  } catch (const std::exception& error) {  // the standard library's: a file system, a thread that can't be started
    return refuse(error.what());
  }
}

}  // namespace
}  // namespace trimeter

int main(int argc, char** argv) { return trimeter::run_or_refuse(argc, argv); }
