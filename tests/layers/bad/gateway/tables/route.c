#include "gateway/engine/peer.h"
#include "tun/link.h"
#include <urcu.h>
