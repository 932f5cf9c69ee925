// What is counted and printed of a check.
#pragma once
#include <cstdio>
#include <string>

namespace {

int n_failures = 0, n_checks = 0;
bool small = false, race = false;

void report(const std::string& what, double error, double bound) {
  ++n_checks;
  const bool ok = error <= bound;  // false for NaN
  if (!ok) ++n_failures;
  std::printf("%-4s %-72s error %.2e bound %.2e\n", ok ? "ok" : "FAIL", what.c_str(), error, bound);
}

}  // namespace
