#include "crypto/replay.h"
#include <wolfssl/ssl.h>
