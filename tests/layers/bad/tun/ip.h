#include "crypto/aead.h"
#include <jansson.h>
