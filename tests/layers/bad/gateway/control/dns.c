#include "gateway/manager/api.h"
#include "gateway/privsep/message.h"
