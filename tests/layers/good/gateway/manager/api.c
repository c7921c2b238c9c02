#include <sqlite3.h>
#include "crypto/ca.h"
