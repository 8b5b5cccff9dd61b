/* SPDX-License-Identifier: BSD-3-Clause */
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "image.h"

/* Far above what real programs have. */
#define MAX_TABLE (256u << 20)
#define MAX_HEADERS 64
#define MAX_DYNAMIC 4096

static bool
is_elf64(const Elf64_Ehdr *header)
{
	return memcmp(header->e_ident, ELFMAG, SELFMAG) == 0 && header->e_ident[EI_CLASS] == ELFCLASS64 &&
	       header->e_ident[EI_DATA] == ELFDATA2LSB;
}

bool
image_starts(const struct process *process, const struct region *region)
{
	Elf64_Ehdr header;

	return region->path[0] == '/' && region->offset == 0 && region->readable &&
	       process_read(process, region->start, &header, sizeof(header)) == 0 && is_elf64(&header);
}

void
image_free(struct image *image)
{
	free(image->symbols);
	free(image->strings);
	*image = (struct image){ 0 };
}

const char *
image_name(const struct image *image, size_t i)
{
	uint32_t at = image->symbols[i].st_name;

	return at < image->strings_size ? image->strings + at : "";
}

uint64_t
image_find(const struct image *image, const char *name)
{
	for (size_t i = 0; i < image->n_symbols; i++) {
		const Elf64_Sym *symbol = &image->symbols[i];
		unsigned char type = ELF64_ST_TYPE(symbol->st_info);

		/* An indirect function's address is that of its resolver. */
		if (symbol->st_shndx != SHN_UNDEF && (type == STT_FUNC || type == STT_OBJECT) &&
		    strcmp(image_name(image, i), name) == 0)
			return symbol->st_value + image->bias;
	}
	return 0;
}

/* ---- In memory ---------------------------------------------------------------- */

/* glibc has relocated the pointers of the dynamic section, musl has not. */
static uint64_t
relocated(const struct image *image, uint64_t pointer)
{
	return pointer < image->bias ? pointer + image->bias : pointer;
}

/*
 * The GNU hash table does not tell how many symbols there are: the last one of the
 * highest chain is the last of all.
 *
 *   | nbuckets | symoffset | bloom_size | bloom_shift |    4 x u32
 *   | bloom_size x u64 | nbuckets x u32: first symbol | chain: u32 a symbol, bit 0: last |
 */
static size_t
count_gnu_hash(const struct process *process, uint64_t table)
{
	enum { BUCKETS, OFFSET, BLOOM };
	uint32_t header[4], *buckets = NULL, highest = 0, hash;
	uint64_t at;
	size_t n = 0;

	if (process_read(process, table, header, sizeof(header)) != 0 ||
	    header[BUCKETS] > MAX_TABLE / sizeof(uint32_t) || header[BLOOM] > MAX_TABLE / sizeof(uint64_t))
		return 0;
	at = table + sizeof(header) + header[BLOOM] * sizeof(uint64_t);
	buckets = process_read_new(process, at, header[BUCKETS] * sizeof(uint32_t));
	if (buckets == NULL)
		return 0;
	for (uint32_t i = 0; i < header[BUCKETS]; i++)
		highest = buckets[i] > highest ? buckets[i] : highest;
	if (highest < header[OFFSET]) {
		n = header[OFFSET]; /* exports nothing */
		goto out;
	}
	at += header[BUCKETS] * sizeof(uint32_t);
	do {
		if (process_read(process, at + (uint64_t)(highest - header[OFFSET]) * sizeof(hash), &hash,
				 sizeof(hash)) != 0 ||
		    highest == UINT32_MAX)
			goto out;
		highest++;
	} while ((hash & 1) == 0);
	n = highest;
out:
	free(buckets);
	return n;
}

static size_t
count_sysv_hash(const struct process *process, uint64_t table)
{
	uint32_t header[2]; /* buckets, chains: one a symbol */

	return process_read(process, table, header, sizeof(header)) == 0 ? header[1] : 0;
}

/* Fill in the image from the entries of the dynamic section. */
static int
read_dynamic(struct image *image, const struct process *process, const Elf64_Dyn *dynamic, size_t n)
{
	uint64_t symbols = 0, strings = 0, strings_size = 0, gnu_hash = 0, hash = 0;

	for (size_t i = 0; i < n && dynamic[i].d_tag != DT_NULL; i++) {
		uint64_t value = dynamic[i].d_un.d_val;

		switch (dynamic[i].d_tag) {
		case DT_SYMTAB: symbols = relocated(image, value); break;
		case DT_STRTAB: strings = relocated(image, value); break;
		case DT_STRSZ: strings_size = value; break;
		case DT_GNU_HASH: gnu_hash = relocated(image, value); break;
		case DT_HASH: hash = relocated(image, value); break;
		default: break;
		}
	}
	if (symbols == 0 || strings == 0 || strings_size > MAX_TABLE)
		return -ENOEXEC;
	image->n_symbols = hash != 0 ? count_sysv_hash(process, hash)
			 : gnu_hash != 0 ? count_gnu_hash(process, gnu_hash) : 0;
	if (image->n_symbols > MAX_TABLE / sizeof(Elf64_Sym))
		return -ENOEXEC;
	image->symbols = process_read_new(process, symbols, image->n_symbols * sizeof(Elf64_Sym));
	image->strings = malloc(strings_size + 1);
	if (image->symbols == NULL || image->strings == NULL ||
	    process_read(process, strings, image->strings, strings_size) != 0)
		return -ENOEXEC;
	image->strings[strings_size] = '\0';
	image->strings_size = strings_size;
	return 0;
}

int
image_of_memory(struct image *image, const struct process *process, const struct region *first)
{
	Elf64_Phdr headers[MAX_HEADERS];
	Elf64_Dyn *dynamic;
	Elf64_Ehdr header;
	uint64_t lowest = UINT64_MAX, at = 0, size = 0;
	int err;

	*image = (struct image){ 0 };
	if (process_read(process, first->start, &header, sizeof(header)) != 0 || !is_elf64(&header) ||
	    header.e_phnum > MAX_HEADERS || header.e_phentsize != sizeof(headers[0]) ||
	    process_read(process, first->start + header.e_phoff, headers, header.e_phnum * sizeof(headers[0])) != 0)
		return -ENOEXEC;
	for (unsigned int i = 0; i < header.e_phnum; i++) {
		if (headers[i].p_type == PT_LOAD && headers[i].p_vaddr < lowest)
			lowest = headers[i].p_vaddr;
		if (headers[i].p_type == PT_DYNAMIC) {
			at = headers[i].p_vaddr;
			size = headers[i].p_memsz;
		}
	}
	if (lowest == UINT64_MAX || size == 0 || size > MAX_DYNAMIC * sizeof(*dynamic))
		return -ENOEXEC;
	image->bias = first->start - (lowest & ~(uint64_t)0xfff);
	dynamic = process_read_new(process, at + image->bias, size);
	if (dynamic == NULL)
		return -ENOEXEC;
	err = read_dynamic(image, process, dynamic, size / sizeof(*dynamic));
	free(dynamic);
	return err;
}

/* ---- In a file ---------------------------------------------------------------- */

/* The section headers of a file, NULL when they do not lie inside it. */
static const Elf64_Shdr *
sections(const void *bytes, size_t size, unsigned int *n)
{
	const Elf64_Ehdr *header = bytes;

	if (size < sizeof(*header) || !is_elf64(header) || header->e_shentsize != sizeof(Elf64_Shdr) ||
	    header->e_shoff > size || header->e_shoff % _Alignof(Elf64_Shdr) != 0 ||
	    header->e_shnum > (size - header->e_shoff) / sizeof(Elf64_Shdr))
		return NULL;
	*n = header->e_shnum;
	return (const void *)((const char *)bytes + header->e_shoff);
}

static bool
lies_inside(const Elf64_Shdr *section, size_t size)
{
	return section->sh_type != SHT_NOBITS && section->sh_offset <= size &&
	       section->sh_size <= size - section->sh_offset;
}

size_t
elf_section(const void *bytes, size_t size, const char *name, size_t *section_size)
{
	unsigned int n, names;
	const Elf64_Shdr *section = sections(bytes, size, &n);

	names = section != NULL ? ((const Elf64_Ehdr *)bytes)->e_shstrndx : 0;
	if (section == NULL || names >= n || !lies_inside(&section[names], size))
		return 0;
	for (unsigned int i = 0; i < n; i++) {
		const char *at = (const char *)bytes + section[names].sh_offset;
		size_t left = section[names].sh_size;

		if (section[i].sh_name >= left || !lies_inside(&section[i], size))
			continue;
		left -= section[i].sh_name;
		if (strnlen(at + section[i].sh_name, left) < left && strcmp(at + section[i].sh_name, name) == 0) {
			*section_size = section[i].sh_size;
			return section[i].sh_offset;
		}
	}
	return 0;
}

int
image_of_bytes(struct image *image, const void *bytes, size_t size, uint32_t section_type)
{
	unsigned int n = 0;
	const Elf64_Shdr *section = sections(bytes, size, &n);

	*image = (struct image){ 0 };
	for (unsigned int i = 0; i < n; i++) {
		const Elf64_Shdr *strings;

		if (section[i].sh_type != section_type || section[i].sh_link >= n)
			continue;
		strings = &section[section[i].sh_link];
		if (!lies_inside(&section[i], size) || !lies_inside(strings, size))
			return -ENOEXEC;
		image->n_symbols = section[i].sh_size / sizeof(Elf64_Sym);
		image->symbols = malloc(section[i].sh_size + 1);
		image->strings = malloc(strings->sh_size + 1);
		if (image->symbols == NULL || image->strings == NULL)
			return -ENOMEM;
		memcpy(image->symbols, (const char *)bytes + section[i].sh_offset,
		       image->n_symbols * sizeof(Elf64_Sym));
		memcpy(image->strings, (const char *)bytes + strings->sh_offset, strings->sh_size);
		image->strings[strings->sh_size] = '\0';
		image->strings_size = strings->sh_size;
		return 0;
	}
	return -ENOENT;
}

int
image_of_file(struct image *image, int fd, uint64_t bias)
{
	struct stat info;
	void *bytes;
	int err;

	*image = (struct image){ 0 };
	if (fstat(fd, &info) != 0 || info.st_size <= 0)
		return -ENOEXEC;
	bytes = mmap(NULL, (size_t)info.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
	if (bytes == MAP_FAILED)
		return -errno;
	err = image_of_bytes(image, bytes, (size_t)info.st_size, SHT_SYMTAB);
	image->bias = bias;
	munmap(bytes, (size_t)info.st_size);
	return err;
}
