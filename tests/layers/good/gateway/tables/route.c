#include "gateway/log.h"
#include "tun/ip.h"
