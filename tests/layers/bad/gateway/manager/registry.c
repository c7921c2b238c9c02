#include "gateway/engine/engine.h"
#include "gateway/tables/route.h"
