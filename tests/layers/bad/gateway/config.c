#include "tun/tun.h"
#include "gateway/tables/route.h"
#include <wolfssl/ssl.h>
#include "log.h"
#include <gateway/log.h>
#include CONFIG_H
# include <nghttp2/nghttp2.h>
