#include <event2/event.h>
#include "gateway/engine/engine.h"
