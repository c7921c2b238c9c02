#include "tun/ip.h"
#include "gateway/log.h"
#include <sqlite3.h>
