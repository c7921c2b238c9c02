#include <event2/http.h>
#include "gateway/control/control.h"
