// Files and directories that are being written: a signal that ends the program (SIGINT, SIGTERM, SIGHUP) removes them
// first. A thread of its own waits for the signals, as nothing that removes a directory may run in a handler; the
// program then ends by the signal, as its parent expects.
#pragma once
#include <filesystem>
#include <mutex>

namespace trimeter {

// Between the two `path` and all below it goes when such a signal comes, if it is there.
void begin_unfinished(const std::filesystem::path& path);
void end_unfinished(const std::filesystem::path& path);

// Signals wait while it is held: for steps that belong together. Nothing may begin or end meanwhile.
std::unique_lock<std::mutex> hold_signals();

// To be called once, before there is another thread: those that are started later leave the signals alone, too. One
// that the parent wants ignored (nohup) stays so.
void remove_unfinished_on_signals();

}  // namespace trimeter
