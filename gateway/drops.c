/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "gateway/drops.h"

#include <assert.h>

static const char *const names[DROP_COUNT] = {[DROP_NONE] = "none",
#define X(id, name, text) [DROP_##id] = (name),
                                              DROPS(X)
#undef X
};

static const char *const texts[DROP_COUNT] = {[DROP_NONE] = "delivered, or waiting",
#define X(id, name, text) [DROP_##id] = (text),
                                              DROPS(X)
#undef X
};

const char *drop_name(enum drop why)
{
	assert((unsigned)why < DROP_COUNT);
	return names[why];
}

const char *drop_text(enum drop why)
{
	assert((unsigned)why < DROP_COUNT);
	return texts[why];
}
