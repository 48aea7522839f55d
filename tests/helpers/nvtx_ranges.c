/* Writes each NVTX range that a process pushes and pops to the file $NVTX_RANGES, a line each: "push NAME" or "pop".

   cc -shared -fPIC -o libranges.so nvtx_ranges.c; NVTX_INJECTION64_PATH=$PWD/libranges.so NVTX_RANGES=ranges.txt program

   A library that has NVTX 3 in it calls InitializeInjectionNvtx2 once; tools like Nsight Systems listen in this way.
   Layouts and numbers are those of nvtxTypes.h and nvToolsExt.h of https://github.com/NVIDIA/NVTX. */

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
    uint16_t version, size;
    uint32_t category;
    int32_t color_type;
    uint32_t color;
    int32_t payload_type, reserved;
    uint64_t payload;
    int32_t message_type; /* 1: characters, 2: wide characters, 3: a string that was registered */
    const char *message;
} Attributes;

typedef void (*Function)(void);
typedef struct {
    size_t size;
    int (*functions_of)(int module, Function ***table, unsigned *count);
} Callbacks;

static FILE *file;

static int pushed(const char *name) {
    fprintf(file, "push %s\n", name);
    fflush(file);
    return 0;
}

static int popped(void) {
    fputs("pop\n", file);
    fflush(file);
    return 0;
}

static int push_attributes(const Attributes *what) { return pushed(what->message_type == 2 ? "?" : what->message); }
static int domain_push(void *domain, const Attributes *what) { (void)domain; return push_attributes(what); }
static int domain_pop(void *domain) { (void)domain; return popped(); }
static void *domain_register(void *domain, const char *text) { (void)domain; return strdup(text); }
static void *domain_create(const char *name) { return strdup(name); }

int InitializeInjectionNvtx2(const void *(*export_table)(uint32_t)) {
    const Callbacks *callbacks = export_table(1);
    Function **core, **domains;
    unsigned count;
    if (file == NULL && (file = fopen(getenv("NVTX_RANGES"), "a")) == NULL) return 0;
    if (callbacks == NULL || !callbacks->functions_of(1, &core, &count) || count <= 11) return 0;
    *core[8] = (Function)push_attributes;
    *core[9] = (Function)pushed;
    *core[11] = (Function)popped;
    if (!callbacks->functions_of(5, &domains, &count) || count <= 12) return 0;
    *domains[4] = (Function)domain_push;
    *domains[5] = (Function)domain_pop;
    *domains[10] = (Function)domain_register;
    *domains[12] = (Function)domain_create;
    return 1;
}
