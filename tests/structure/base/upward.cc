#include "engine/engine.h"
#include <engine/engine.h>
#include "../cli/common.h"
