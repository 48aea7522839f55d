/* For LD_PRELOAD: the driver is asked once for a GPU's two clock rates, and not each time that a refit asks.

   TensorRT's CUDA runtime finds the driver's functions by dlsym and cuGetProcAddress; both are answered here with a
   cuDeviceGetAttribute that remembers these two attributes of each device. Everything else goes to where it would. */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <stddef.h>
#include <string.h>

enum { CLOCK_RATE = 13, MEMORY_CLOCK_RATE = 36, DEVICES = 64 }; /* of cuda.h */

typedef int attribute_t(int *value, int attribute, int device);
typedef int address_t(const char *name, void **found, int version, unsigned long long flags);
typedef int address_v2_t(const char *name, void **found, int version, unsigned long long flags, int *status);

static attribute_t *driver_attribute;
static address_t *driver_address;
static address_v2_t *driver_address_v2;
static void *(*real_dlsym)(void *, const char *);
static int values[2][DEVICES], known[2][DEVICES];
static unsigned long answers;

/* How many questions were not passed on to the driver. */
unsigned long trtnet_preload_answers(void) { return __atomic_load_n(&answers, __ATOMIC_RELAXED); }

static int attribute(int *value, int which, int device)
{
    int row = which == MEMORY_CLOCK_RATE, result;
    if (!value || (which != CLOCK_RATE && !row) || device < 0 || device >= DEVICES)
        return driver_attribute(value, which, device);
    if (__atomic_load_n(&known[row][device], __ATOMIC_ACQUIRE)) {
        *value = values[row][device];
        __atomic_add_fetch(&answers, 1, __ATOMIC_RELAXED);
        return 0;
    }
    result = driver_attribute(value, which, device);
    if (result == 0) {
        values[row][device] = *value;
        __atomic_store_n(&known[row][device], 1, __ATOMIC_RELEASE);
    }
    return result;
}

static address_t address;
static address_v2_t address_v2;

/* What is given for a driver's function of this name. */
static void *replaced(const char *name, void *found, int version)
{
    if (!found)
        return found;
    if (!strcmp(name, "cuDeviceGetAttribute")) {
        driver_attribute = (attribute_t *)found;
        return (void *)attribute;
    }
    if (!strcmp(name, "cuGetProcAddress_v2") || (!strcmp(name, "cuGetProcAddress") && version >= 12000)) {
        driver_address_v2 = (address_v2_t *)found;
        return (void *)address_v2;
    }
    if (!strcmp(name, "cuGetProcAddress")) {
        driver_address = (address_t *)found;
        return (void *)address;
    }
    return found;
}

static int address(const char *name, void **found, int version, unsigned long long flags)
{
    int result = driver_address(name, found, version, flags);
    if (result == 0 && name && found)
        *found = replaced(name, *found, version);
    return result;
}

static int address_v2(const char *name, void **found, int version, unsigned long long flags, int *status)
{
    int result = driver_address_v2(name, found, version, flags, status);
    if (result == 0 && name && found)
        *found = replaced(name, *found, version);
    return result;
}

static void find_dlsym(void)
{
    static const char *const versions[] = {"GLIBC_2.34", "GLIBC_2.17", "GLIBC_2.2.5"};
    size_t i;
    for (i = 0; !real_dlsym && i < sizeof versions / sizeof *versions; i++)
        real_dlsym = (void *(*)(void *, const char *))dlvsym(RTLD_NEXT, "dlsym", versions[i]);
}

void *dlsym(void *handle, const char *name)
{
    if (!real_dlsym)
        find_dlsym();
    if (handle == RTLD_NEXT || handle == RTLD_DEFAULT || name[0] != 'c' || name[1] != 'u')
        return real_dlsym(handle, name); /* a jump under -O2: RTLD_NEXT means what follows the caller */
    return replaced(name, real_dlsym(handle, name), 0);
}
