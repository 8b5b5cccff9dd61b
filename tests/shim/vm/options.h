/* SPDX-License-Identifier: BSD-3-Clause */
/* Command lines of the randomised tests: --count N --seed S. */
#ifndef TEST_VM_OPTIONS_H
#define TEST_VM_OPTIONS_H

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* The number behind name, or value where the option is not given. */
static uint64_t option(int argc, char **argv, const char *name, uint64_t value)
{
	int i;

	for (i = 1; i + 1 < argc; i++)
		if (strcmp(argv[i], name) == 0)
			value = strtoull(argv[i + 1], NULL, 0);
	return value;
}

#endif /* TEST_VM_OPTIONS_H */
