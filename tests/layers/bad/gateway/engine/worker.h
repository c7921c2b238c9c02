#include <urcu-qsbr.h>
#include "gateway/control/status.h"
