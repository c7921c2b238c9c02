#include <nghttp2/nghttp2.h>
#include "crypto/replay.h"
