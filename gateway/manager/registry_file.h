/* SPDX-License-Identifier: GPL-3.0-or-later */
/* registry_file - the registry's SQLite file as a file: makes it, opens it, checks it, replaces it.
 *
 * Knows the schema's version and nothing of rows. Of registry_sqlite.c alone, same thread.
 */
#pragma once
#include "gateway/manager/registry.h"
#include <sqlite3.h>

struct registry_file {
	sqlite3 *db;     /* NULL: not open */
	sqlite3_vfs vfs; /* the default one, but names stay as they are */
	char vfs_name[32];
	int dir;
};

/* Opens what is there, held exclusively. f must stay where it is. As registry_open; f need not be
 * closed after an error.
 */
int registry_file_open(struct registry_file *f, int dir);
void registry_file_close(struct registry_file *f);

/* Makes it: what fill writes (within one transaction), or nothing. -EEXIST. */
int registry_file_make(int dir, const char *schema, int (*fill)(sqlite3 *db, const void *arg),
                       const void *arg);
/* After a failure: what db still reads goes to a new file, which takes the old one's place and is
 * open then. The caller's statements must be finalized by close_first, called in between.
 */
int registry_file_renew(struct registry_file *f, void (*close_first)(void *arg), void *arg);

/* -errno of a SQLite result; 0 for OK, ROW and DONE. */
int registry_file_errno(int rc);
int registry_file_run(sqlite3 *db, const char *sql);
