/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Where functions are in another process: from the symbol tables of the ELF objects
 * in its memory, or of the files that it mapped. Nothing of what is read is trusted:
 * every offset and size is checked.
 */
#ifndef DPCAP_INJECT_IMAGE_H
#define DPCAP_INJECT_IMAGE_H

#include <elf.h>
#include <stddef.h>
#include <stdint.h>

#include "process.h"

/* One table of symbols. */
struct image {
	uint64_t bias; /* what is added to the addresses of the file */
	Elf64_Sym *symbols;
	size_t n_symbols;
	char *strings; /* NUL-terminated */
	size_t strings_size;
};

/*
 * The dynamic symbols of the object whose first page is at this region. Returns 0, or
 * -ENOEXEC when it is no 64-bit ELF object with such a table. To be freed in either case.
 */
int image_of_memory(struct image *image, const struct process *process, const struct region *first);

/*
 * The full symbol table (.symtab) of a file, -ENOENT when it was stripped. bias is that
 * of the object in memory.
 */
int image_of_file(struct image *image, int fd, uint64_t bias);

/* What the bytes of a file are: dynamic symbols with SHT_DYNSYM, all with SHT_SYMTAB. */
int image_of_bytes(struct image *image, const void *bytes, size_t size, uint32_t section_type);

void image_free(struct image *image);

/* The name of a symbol, "" when it has none. */
const char *image_name(const struct image *image, size_t i);

/* The address in the process of a function or variable that the object defines, or 0. */
uint64_t image_find(const struct image *image, const char *name);

/* Whether the region is the first of an ELF object. */
bool image_starts(const struct process *process, const struct region *region);

/*
 * Find a section by its name in the bytes of a file. Returns its offset and sets
 * *section_size, or returns 0.
 */
size_t elf_section(const void *bytes, size_t size, const char *name, size_t *section_size);

#endif /* DPCAP_INJECT_IMAGE_H */
