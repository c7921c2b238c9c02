/* SPDX-License-Identifier: GPL-3.0-or-later */
/* confine - what each process may still reach once its uid and capabilities are given up (isolate).
 *
 * | parent      | files: the program and its libraries, its folders, the config's, sysctls of the network,
 * |             | the device. Signals: to those it started. No filter.
 * | engine      | files: its folder. TCP out, to managers and peers. System calls: its list.
 * | manager, ca | files: their folder. No TCP but what is handed over. System calls: their lists.
 *
 * Landlock holds for one thread, so it comes before there are others; the filter holds for all of them.
 */
#pragma once
#include "gateway/message.h"

/* -1 and NULL: there is none. */
struct confine_places {
	int state, run;       /* descriptors of the folders */
	const char *config;   /* folder of the config */
	const char *files[3]; /* of one's own PKI */
	const char *exe;      /* what is exec'ed for the others; NULL: this very binary */
};

/* The parent. Those that it starts may reach no more than this, so that it holds what they all need. */
int confine_parent(const struct confine_places *p);

/* engine, manager, ca: dir is the process's own folder. */
int confine_files(enum process p, int dir);

/* After it no call but those of filter.h's list: what else has to be set up is set up before. */
int confine_calls(enum process p);
