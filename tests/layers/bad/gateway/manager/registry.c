#include "gateway/engine/engine.h"
