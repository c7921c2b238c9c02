#include <wolfssl/ssl.h>
