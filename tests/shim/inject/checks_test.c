/* SPDX-License-Identifier: BSD-3-Clause */
/* What cannot be tried on any machine: Yama, shadow stacks, and ELF files that lie. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../check.h"
#include "checks.h"
#include "image.h"

static void
test_permission_texts(void)
{
	struct check check = { 0 };

	checks_permission_text(&check, -1, 1000, 1001);
	CHECK_EQ(check.verdict, REFUSED);
	CHECK(strcmp(check.text, "not permitted: the process is of user id 1000") == 0);
	CHECK(strcmp(check.way, "run dpcap as root") == 0);
	checks_permission_text(&check, 1, 1000, 1000);
	CHECK(strstr(check.text, "ptrace_scope is 1") != NULL);
	CHECK(strcmp(check.way, "run dpcap as root") == 0);
	checks_permission_text(&check, 3, 0, 0);
	CHECK(strstr(check.text, "ptrace_scope is 3") != NULL);
	CHECK(strstr(check.way, "dpcap shim path") != NULL);
	checks_permission_text(&check, 0, 1000, 1000);
	CHECK(strstr(check.text, "not dumpable") != NULL);
}

static void
test_thread_states(void)
{
	static const struct {
		const char *status, *reason; /* NULL: passes */
	} cases[] = {
		{ "Name:\tx\nState:\tS (sleeping)\nTracerPid:\t0\nSeccomp:\t0\nx86_Thread_features:\t\n", NULL },
		{ "Name:\tx\nState:\tR (running)\nTgid:\t7\n", NULL },
		{ "Name:\tx\nState:\tS (sleeping)\nPid:\t8\nTracerPid:\t9\n", "thread 8 is traced by process 9" },
		{ "Name:\tx\nState:\tt (tracing stop)\nTgid:\t7\n", "stopped" },
		{ "Name:\tx\nState:\tZ (zombie)\n", "ended" },
		{ "Name:\tx\nState:\tS (sleeping)\nSeccomp:\t2\n", "seccomp" },
		{ "Name:\tx\nx86_Thread_features:\tshstk wrss \nx86_Thread_features_locked:\t\n", "shadow stack" },
		{ "Name:\tx\nx86_Thread_features:\t\nx86_Thread_features_locked:\tshstk\n", NULL },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct check check = { 0 };

		checks_thread_status(&check, cases[i].status);
		CHECK_EQ(check.verdict, cases[i].reason == NULL ? PASSED : REFUSED);
		CHECK(cases[i].reason == NULL || strstr(check.text, cases[i].reason) != NULL);
	}
}

static char *
read_self(size_t *size)
{
	FILE *file = fopen("/proc/self/exe", "rb");
	char *bytes;

	REQUIRE(file != NULL && fseek(file, 0, SEEK_END) == 0);
	*size = (size_t)ftell(file);
	rewind(file);
	bytes = malloc(*size);
	REQUIRE(bytes != NULL && fread(bytes, 1, *size, file) == *size);
	fclose(file);
	return bytes;
}

/* Parse it in memory of exactly that size, where the sanitizer sees every byte too far. */
static int
parse(const char *bytes, size_t size)
{
	char *copy = malloc(size == 0 ? 1 : size);
	struct image image;
	size_t section;
	int err;

	REQUIRE(copy != NULL);
	memcpy(copy, bytes, size);
	err = image_of_bytes(&image, copy, size, SHT_SYMTAB);
	if (err == 0)
		for (size_t i = 0; i < image.n_symbols; i++)
			CHECK(strlen(image_name(&image, i)) <= image.strings_size);
	image_free(&image);
	elf_section(copy, size, ".text", &section);
	free(copy);
	return err;
}

static void
test_files_that_are_cut_or_changed(void)
{
	size_t size, i;
	char *bytes = read_self(&size);

	CHECK_EQ(parse(bytes, size), 0);
	for (i = 0; i < size; i += 1 + size / 500)
		CHECK(parse(bytes, i) != 0);
	srand(1);
	for (i = 0; i < 2000; i++) {
		/* The header and the section headers, which end the file. */
		size_t at = i % 2 == 0 ? (size_t)rand() % 64 : size - 1 - (size_t)rand() % 2048;
		char before = bytes[at];

		bytes[at] = (char)rand();
		parse(bytes, size);
		bytes[at] = before;
	}
	free(bytes);
}

int main(void);

static void
test_symbols_of_this_process(void)
{
	struct process process;
	struct libc libc;

	REQUIRE(process_open(&process, getpid()) == 0);
	REQUIRE(process_read_regions(&process) == 0);
	CHECK_EQ(libc_find(&libc, &process), 0);
	CHECK_EQ(libc.syscall, (uintptr_t)syscall);
	CHECK(libc_has_code(&libc, &process, libc.sigreturn));
	CHECK(!libc_has_code(&libc, &process, (uintptr_t)main));
	libc_free(&libc);
	process_close(&process);
}

int
main(void)
{
	test_permission_texts();
	test_thread_states();
	test_files_that_are_cut_or_changed();
	test_symbols_of_this_process();
	return CHECK_RESULT();
}
