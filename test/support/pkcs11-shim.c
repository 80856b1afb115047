/*
 * A PKCS#11 library that passes every call on to a real one, and on demand crashes, hangs, waits, dawdles or returns an error.
 *
 * Tests put it where a vendor's library goes. DRAWBRIDGE_SHIM_LIBRARY is the real library, DRAWBRIDGE_SHIM_FOLDER a folder
 * through which a test commands every process that has loaded the shim, at any moment:
 *
 *   FUNCTION         a fault, looked for at each call of FUNCTION: `crash`, `hang`, `return NUMBER` (not having called the
 *                    real function) or `delay MILLISECONDS` (before calling it). With `once ` in front only one call, of
 *                    one process, has the fault: the one that unlinks the file.
 *                    `hold` waits before calling the real function until the file is there no more. With `at NUMBER ` in front only
 *                    the call has the fault that is the one of this number in FUNCTION.count, from 1.
 *                    `flip NUMBER`, of C_GetAttributeValue: the attribute of that type has its last bit turned over; `flip`, of
 *                    C_Sign and C_Decrypt: what comes out has; `flip`, of C_EncryptInit with CKM_AES_GCM: the IV has, where the caller has
 *                    it and before the real function reads it, as HSMs write there that make their own. `leave NUMBER`, of C_GetAttributeValue: value and length of the
 *                    attribute of that type are left as the caller has them. `unavailable NUMBER`, of C_Encrypt, C_Decrypt and
 *                    C_Sign: as `return NUMBER`, and the length of what comes out is CK_UNAVAILABLE_INFORMATION.
 *   FUNCTION.count   grows by one byte with each call of FUNCTION, if the file exists.
 *   trace            grows by a line of 32 bytes with each call of any function, its name, if the file exists.
 *   stop             a number: the call whose line of `trace` is the one of this number is never made. Its process hangs, and
 *                    the file `stopped` says so.
 *
 * One wrapper serves all functions: every argument of a PKCS#11 function is passed like a long, and none has more than
 * eight. Calling with eight where fewer are taken is harmless on the ABIs that tests run on (x86-64, AArch64).
 */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define CKR_GENERAL_ERROR 5UL
#define CKM_AES_GCM 0x1087UL

/* In the order of CK_FUNCTION_LIST, PKCS#11 2.40. */
#define FUNCTIONS(X)                                                                                                  \
  X(C_Initialize) X(C_Finalize) X(C_GetInfo) X(C_GetFunctionList) X(C_GetSlotList) X(C_GetSlotInfo) X(C_GetTokenInfo) \
  X(C_GetMechanismList) X(C_GetMechanismInfo) X(C_InitToken) X(C_InitPIN) X(C_SetPIN) X(C_OpenSession)                \
  X(C_CloseSession) X(C_CloseAllSessions) X(C_GetSessionInfo) X(C_GetOperationState) X(C_SetOperationState)           \
  X(C_Login) X(C_Logout) X(C_CreateObject) X(C_CopyObject) X(C_DestroyObject) X(C_GetObjectSize)                      \
  X(C_GetAttributeValue) X(C_SetAttributeValue) X(C_FindObjectsInit) X(C_FindObjects) X(C_FindObjectsFinal)           \
  X(C_EncryptInit) X(C_Encrypt) X(C_EncryptUpdate) X(C_EncryptFinal) X(C_DecryptInit) X(C_Decrypt)                    \
  X(C_DecryptUpdate) X(C_DecryptFinal) X(C_DigestInit) X(C_Digest) X(C_DigestUpdate) X(C_DigestKey) X(C_DigestFinal)  \
  X(C_SignInit) X(C_Sign) X(C_SignUpdate) X(C_SignFinal) X(C_SignRecoverInit) X(C_SignRecover) X(C_VerifyInit)        \
  X(C_Verify) X(C_VerifyUpdate) X(C_VerifyFinal) X(C_VerifyRecoverInit) X(C_VerifyRecover) X(C_DigestEncryptUpdate)   \
  X(C_DecryptDigestUpdate) X(C_SignEncryptUpdate) X(C_DecryptVerifyUpdate) X(C_GenerateKey) X(C_GenerateKeyPair)      \
  X(C_WrapKey) X(C_UnwrapKey) X(C_DeriveKey) X(C_SeedRandom) X(C_GenerateRandom) X(C_GetFunctionStatus)               \
  X(C_CancelFunction) X(C_WaitForSlotEvent)

typedef unsigned long (*function)(long, long, long, long, long, long, long, long);

#define INDEX(name) index_##name,
enum { FUNCTIONS(INDEX) function_count };

struct function_list {
  unsigned char major, minor;
  function functions[function_count];
};

static struct function_list *real;

static void path_of(char *path, size_t size, const char *name, const char *suffix) {
  const char *folder = getenv("DRAWBRIDGE_SHIM_FOLDER");
  snprintf(path, size, "%s/%s%s", folder ? folder : "/nonexistent", name, suffix);
}

/* Returns the number of this call, or 0 where none are counted. */
static long count(const char *name) {
  char path[512];
  path_of(path, sizeof path, name, ".count");
  int file = open(path, O_WRONLY | O_APPEND | O_CLOEXEC);
  if (file < 0) return 0;
  if (write(file, "x", 1) != 1) abort();
  /* Where our own byte ends, whoever else has written since. */
  long number = (long)lseek(file, 0, SEEK_CUR);
  close(file);
  return number;
}

#define TRACE_BYTES 32

/* Puts a call on the trace, and stops there for ever if that is wanted. */
static void trace(const char *name) {
  char path[512], text[32] = "", line[TRACE_BYTES];
  path_of(path, sizeof path, "trace", "");
  int file = open(path, O_WRONLY | O_APPEND | O_CLOEXEC);
  if (file < 0) return;
  memset(line, ' ', sizeof line);
  memcpy(line, name, strnlen(name, sizeof line - 1));
  line[sizeof line - 1] = '\n';
  if (write(file, line, sizeof line) != sizeof line) abort();
  /* Where our own line ends, whoever else has written since. */
  long number = (long)lseek(file, 0, SEEK_CUR) / TRACE_BYTES;
  close(file);

  path_of(path, sizeof path, "stop", "");
  file = open(path, O_RDONLY | O_CLOEXEC);
  if (file < 0) return;
  ssize_t length = read(file, text, sizeof text - 1);
  close(file);
  if (length <= 0 || strtol(text, NULL, 10) != number) return;
  path_of(path, sizeof path, "stopped", "");
  file = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
  if (file >= 0) close(file);
  for (;;) pause();
}

struct attribute {
  unsigned long type;
  unsigned char *value;
  unsigned long length;
};

/* Turns over the last bit of every attribute of that type. */
static void flip(unsigned long type, struct attribute *attributes, unsigned long length) {
  for (struct attribute *each = attributes; each < attributes + length; each++)
    if (each->type == type && each->value != NULL && each->length > 0 && each->length != ~0UL)
      each->value[each->length - 1] ^= 1;
}

/* An attribute as the caller of C_GetAttributeValue has it. */
struct kept {
  struct attribute *at;
  struct attribute was;
  unsigned char *value;
};

/* Keeps the attribute of that type, where there is one with room for its value. */
static struct kept keep(unsigned long type, struct attribute *attributes, unsigned long length) {
  struct kept kept = {NULL, {0, NULL, 0}, NULL};
  if (type == ~0UL) return kept;
  for (struct attribute *each = attributes; each < attributes + length; each++)
    if (each->type == type && each->value != NULL) kept.at = each;
  if (kept.at == NULL) return kept;
  kept.was = *kept.at;
  kept.value = malloc(kept.was.length);
  if (kept.value == NULL) abort();
  memcpy(kept.value, kept.was.value, kept.was.length);
  return kept;
}

static void give_back(struct kept *kept) {
  if (kept->at == NULL) return;
  *kept->at = kept->was;
  memcpy(kept->was.value, kept->value, kept->was.length);
  free(kept->value);
}

/* Turns over the last bit of what C_Sign or C_Decrypt put out. */
static void flip_output(unsigned char *output, const unsigned long *length) {
  if (output != NULL && length != NULL && *length > 0) output[*length - 1] ^= 1;
}

struct gcm_mechanism {
  unsigned long type;
  struct {
    unsigned char *iv;
    unsigned long iv_length;
  } *parameter;
  unsigned long length;
};

static void flip_iv(struct gcm_mechanism *mechanism) {
  if (mechanism->type == CKM_AES_GCM) mechanism->parameter->iv[mechanism->parameter->iv_length - 1] ^= 1;
}

/* Carries out the fault of a function, if there is one. Returns 1 when the call has the result `*result` already. */
static int fault(const char *name, long number, unsigned long *result, unsigned long *flipped, unsigned long *left,
                 unsigned long *length_of_output) {
  char path[512], text[64] = "";
  path_of(path, sizeof path, name, "");
  int file = open(path, O_RDONLY | O_CLOEXEC);
  if (file < 0) return 0;
  ssize_t length = read(file, text, sizeof text - 1);
  close(file);
  if (length <= 0) return 0;

  char *action = text;
  if (strncmp(action, "at ", 3) == 0) {
    if (strtol(action + 3, &action, 10) != number) return 0;
    action++;
  }
  if (strncmp(action, "once ", 5) == 0) {
    if (unlink(path) != 0) return 0; /* Another call was faster. */
    action += 5;
  }
  if (strncmp(action, "crash", 5) == 0) raise(SIGSEGV);
  if (strncmp(action, "hang", 4) == 0)
    for (;;) pause();
  if (strncmp(action, "hold", 4) == 0)
    while (access(path, F_OK) == 0) usleep(1000);
  if (strncmp(action, "delay ", 6) == 0) usleep((useconds_t)strtoul(action + 6, NULL, 0) * 1000);
  if (strncmp(action, "flip", 4) == 0) *flipped = strtoul(action + 4, NULL, 0);
  if (strncmp(action, "leave ", 6) == 0) *left = strtoul(action + 6, NULL, 0);
  if (strncmp(action, "unavailable ", 12) == 0) {
    *length_of_output = ~0UL;
    *result = strtoul(action + 12, NULL, 0);
    return 1;
  }
  if (strncmp(action, "return ", 7) != 0) return 0;
  *result = strtoul(action + 7, NULL, 0);
  return 1;
}

#define WRAPPER(name)                                                                              \
  static unsigned long shim_##name(long a, long b, long c, long d, long e, long f, long g, long h) { \
    unsigned long result, flipped = ~0UL, left = ~0UL;                                             \
    long number = count(#name);                                                                    \
    trace(#name);                                                                                  \
    if (fault(#name, number, &result, &flipped, &left, (unsigned long *)e)) return result;         \
    struct kept kept = keep(left, (struct attribute *)c, (unsigned long)d);                        \
    if (flipped != ~0UL && index_##name == index_C_EncryptInit) flip_iv((struct gcm_mechanism *)b); \
    result = real->functions[index_##name](a, b, c, d, e, f, g, h);                                \
    give_back(&kept);                                                                              \
    if (flipped == ~0UL || result != 0 || index_##name == index_C_EncryptInit) return result;      \
    if (index_##name != index_C_GetAttributeValue) flip_output((unsigned char *)d, (unsigned long *)e); \
    else flip(flipped, (struct attribute *)c, (unsigned long)d);                                   \
    return result;                                                                                 \
  }
FUNCTIONS(WRAPPER)

#define ENTRY(name) shim_##name,
static struct function_list shim = {2, 40, {FUNCTIONS(ENTRY)}};

unsigned long C_GetFunctionList(struct function_list **list) {
  if (real == NULL) {
    const char *path = getenv("DRAWBRIDGE_SHIM_LIBRARY");
    void *library = dlopen(path ? path : "", RTLD_NOW | RTLD_LOCAL);
    unsigned long (*get)(struct function_list **) = NULL;
    if (library != NULL) *(void **)&get = dlsym(library, "C_GetFunctionList");
    if (get == NULL || get(&real) != 0) {
      fprintf(stderr, "pkcs11-shim: cannot load %s: %s\n", path ? path : "nothing", library ? "no list" : dlerror());
      return CKR_GENERAL_ERROR;
    }
  }
  *list = &shim;
  return 0;
}
