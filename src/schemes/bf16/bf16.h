#pragma once
#include "schemes/kernel_table.h"

TM_SCHEME_KERNELS(bf16)
