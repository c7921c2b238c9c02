#include "crypto/session.h"
#include <sqlite3.h>
#include "gateway/engine/engine.h"
