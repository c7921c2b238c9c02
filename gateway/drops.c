/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "gateway/drops.h"

#include <assert.h>
#include <errno.h>

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

enum drop drop_of_packet(int err)
{
	switch (err) {
	case 0:
		return DROP_NONE;
	case -ENOTSUP:
		return DROP_EXTENSION;
	case -ENODATA:
		return DROP_FRAGMENT;
	default:
		return DROP_MALFORMED;
	}
}
