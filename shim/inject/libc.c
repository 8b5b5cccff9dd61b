/* SPDX-License-Identifier: BSD-3-Clause */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "libc.h"

#define MAX_CODE (64u << 20)

static const char *
base_name(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash == NULL ? path : slash + 1;
}

static bool
starts_with(const char *text, const char *start)
{
	return strncmp(text, start, strlen(start)) == 0;
}

/*
 * What sa_restorer of signal handlers points to:
 *
 *	48 c7 c0 0f 00 00 00	mov $15, %rax	glibc, musl
 *	b8 0f 00 00 00		mov $15, %eax	musl, by another assembler
 *	0f 05			syscall
 */
static uint64_t
find_sigreturn(const struct libc *libc, const struct process *process)
{
	static const unsigned char codes[][9] = {
		{ 0x48, 0xc7, 0xc0, 0x0f, 0, 0, 0, 0x0f, 0x05 },
		{ 0xb8, 0x0f, 0, 0, 0, 0x0f, 0x05 },
	};
	static const size_t sizes[] = { 9, 7 };
	uint64_t found = 0;

	for (size_t i = 0; i < process->n_regions && found == 0; i++) {
		const struct region *region = &process->regions[i];
		size_t size = region->end - region->start;
		const char *code, *match = NULL;

		if (!region->executable || !region->readable || size > MAX_CODE ||
		    strcmp(region->path, libc->path) != 0)
			continue;
		code = process_read_new(process, region->start, size);
		for (size_t c = 0; code != NULL && match == NULL && c < sizeof(sizes) / sizeof(sizes[0]); c++)
			match = memmem(code, size, codes[c], sizes[c]);
		if (match != NULL)
			found = region->start + (uint64_t)(match - code);
		free((void *)(uintptr_t)code);
	}
	return found;
}

/* Up to glibc 2.33 dlopen() was in a library of its own. */
static uint64_t
find_in_libdl(const struct process *process)
{
	uint64_t found = 0;

	for (size_t i = 0; i < process->n_regions && found == 0; i++) {
		struct image image;

		if (!starts_with(base_name(process->regions[i].path), "libdl") ||
		    !image_starts(process, &process->regions[i]))
			continue;
		if (image_of_memory(&image, process, &process->regions[i]) == 0)
			found = image_find(&image, "dlopen");
		image_free(&image);
	}
	return found;
}

int
libc_find(struct libc *libc, const struct process *process)
{
	struct stat program = { 0 };

	*libc = (struct libc){ 0 };
	if (fstatat(process->proc, "exe", &program, 0) != 0)
		return -errno;
	for (size_t i = 0; i < process->n_regions; i++) {
		const struct region *region = &process->regions[i];
		struct image image;

		/* What a static program exports of its C library is of no use. */
		if (region->inode == program.st_ino || !image_starts(process, region))
			continue;
		if (image_of_memory(&image, process, region) != 0 || image_find(&image, "syscall") == 0 ||
		    image_find(&image, "__libc_start_main") == 0) {
			image_free(&image);
			continue;
		}
		if (libc->image.symbols != NULL) {
			image_free(&image);
			return -EEXIST;
		}
		libc->image = image;
		memcpy(libc->path, region->path, sizeof(libc->path));
	}
	if (libc->image.symbols == NULL)
		return -ENOENT;
	libc->syscall = image_find(&libc->image, "syscall");
	libc->dlopen = image_find(&libc->image, "dlopen");
	if (libc->dlopen == 0)
		libc->dlopen = find_in_libdl(process);
	libc->sigreturn = find_sigreturn(libc, process);
	return libc->dlopen != 0 && libc->sigreturn != 0 ? 0 : -ENOSYS;
}

void
libc_free(struct libc *libc)
{
	image_free(&libc->image);
}

bool
libc_has_code(const struct libc *libc, const struct process *process, uint64_t address)
{
	const struct region *region = process_region(process, address);

	return region != NULL && region->executable &&
	       (strcmp(region->path, libc->path) == 0 ||
		starts_with(base_name(region->path), "libpthread")); /* up to glibc 2.33 */
}

/* Whether glibc knows the version, "GLIBC_2.34": its definitions are symbols of that name. */
static bool
has_string(const struct image *image, const char *text)
{
	for (size_t at = 0; at < image->strings_size; at += strlen(image->strings + at) + 1)
		if (strcmp(image->strings + at, text) == 0)
			return true;
	return false;
}

static bool
defines(const struct image *image, const char *name)
{
	for (size_t i = 0; i < image->n_symbols; i++)
		if (image->symbols[i].st_shndx != SHN_UNDEF && strcmp(image_name(image, i), name) == 0)
			return true;
	return false;
}

char *
libc_lacks(const struct libc *libc, const void *bytes, size_t size)
{
	struct image needs;
	char *lacking = NULL;

	if (image_of_bytes(&needs, bytes, size, SHT_DYNSYM) == 0) {
		for (size_t i = 0; i < needs.n_symbols && lacking == NULL; i++)
			if (needs.symbols[i].st_shndx == SHN_UNDEF && image_name(&needs, i)[0] != '\0' &&
			    ELF64_ST_BIND(needs.symbols[i].st_info) == STB_GLOBAL &&
			    !defines(&libc->image, image_name(&needs, i)))
				lacking = strdup(image_name(&needs, i));
		/* musl has no versions, and asks for none. */
		for (size_t at = 0; has_string(&libc->image, "GLIBC_2.2.5") && at < needs.strings_size &&
				    lacking == NULL;
		     at += strlen(needs.strings + at) + 1)
			if (starts_with(needs.strings + at, "GLIBC_") &&
			    !has_string(&libc->image, needs.strings + at))
				lacking = strdup(needs.strings + at);
	}
	image_free(&needs);
	return lacking;
}
