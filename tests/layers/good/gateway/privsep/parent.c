#include "crypto/secret.h"
#include "tun/tun.h"
