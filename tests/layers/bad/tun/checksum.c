#include <stdint.h>
#include "tun/checksum.h"
