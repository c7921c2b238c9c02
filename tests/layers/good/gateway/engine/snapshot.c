#include <urcu-qsbr.h>
#include "gateway/tables/route.h"
#include "tun/link.h"
