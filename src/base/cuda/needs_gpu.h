// For tests: the first line of each test that runs something on a card.
#pragma once
#include <gtest/gtest.h>

#include "base/gpu.h"

#define TM_NEEDS_GPU() \
  if (const ::trimeter::GpuProbe probe = ::trimeter::probe_gpus(); probe.devices.empty()) GTEST_SKIP() << probe.why_none
