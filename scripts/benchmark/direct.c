/*
 * The yardstick of the bench: PKCS#11 in a plain loop, with nothing in between.
 *
 * One process, one session, one AES-256 token object used as it is: how a program would use the token that links the
 * vendor's library itself. Each operation makes the calls that the HSM host makes for it: an IV from the token's random
 * generator, then AES-256-GCM with additional data of the size that Drawbridge binds. DescribeKey has no counterpart in
 * PKCS#11; reading the attributes of the key object is the nearest.
 *
 *     direct LIBRARY TOKEN_LABEL
 *
 * The first line of standard input is the PIN; every further one is a measurement, `OPERATION BYTES WARMUP_MS MEASURE_MS`,
 * answered by one line of JSON. At the end of the input the key is destroyed.
 */

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CK_PTR *
#define CK_DECLARE_FUNCTION(returnType, name) returnType name
#define CK_DECLARE_FUNCTION_POINTER(returnType, name) returnType(*name)
#define CK_CALLBACK_FUNCTION(returnType, name) returnType(*name)
#ifndef NULL_PTR
#define NULL_PTR 0
#endif
#include <pkcs11.h>

#include "latencies.h"

enum { iv_bytes = 12, tag_bytes = 16, aad_bytes = 96, data_key_bytes = 32, max_plaintext_bytes = 4096 };

static CK_FUNCTION_LIST_PTR token;
static CK_SESSION_HANDLE session;
static CK_OBJECT_HANDLE key;

static CK_BYTE aad[aad_bytes];
static CK_BYTE plaintext[max_plaintext_bytes + tag_bytes];
static CK_BYTE ciphertext[max_plaintext_bytes + tag_bytes];
static CK_ULONG ciphertext_bytes;
static CK_BYTE iv[iv_bytes];

static void must(CK_RV result, const char *call) {
  if (result == CKR_OK) return;
  fprintf(stderr, "direct: %s failed with 0x%08lx\n", call, result);
  exit(1);
}

static void open_token(const char *library, const char *label, char *pin) {
  void *handle = dlopen(library, RTLD_NOW);
  if (handle == NULL) {
    fprintf(stderr, "direct: cannot load %s: %s\n", library, dlerror());
    exit(1);
  }
  CK_C_GetFunctionList get_function_list = (CK_C_GetFunctionList)dlsym(handle, "C_GetFunctionList");
  if (get_function_list == NULL) {
    fprintf(stderr, "direct: %s has no C_GetFunctionList\n", library);
    exit(1);
  }
  must(get_function_list(&token), "C_GetFunctionList");
  must(token->C_Initialize(NULL), "C_Initialize");

  char padded[sizeof((CK_TOKEN_INFO *)0)->label];
  memset(padded, ' ', sizeof padded);
  memcpy(padded, label, strnlen(label, sizeof padded));
  CK_SLOT_ID slots[64];
  CK_ULONG count = sizeof slots / sizeof *slots;
  must(token->C_GetSlotList(CK_TRUE, slots, &count), "C_GetSlotList");
  for (CK_ULONG index = 0; index < count; index++) {
    CK_TOKEN_INFO info;
    must(token->C_GetTokenInfo(slots[index], &info), "C_GetTokenInfo");
    if (memcmp(info.label, padded, sizeof padded) != 0) continue;
    must(token->C_OpenSession(slots[index], CKF_SERIAL_SESSION | CKF_RW_SESSION, NULL, NULL, &session), "C_OpenSession");
    must(token->C_Login(session, CKU_USER, (CK_UTF8CHAR_PTR)pin, strlen(pin)), "C_Login");
    return;
  }
  fprintf(stderr, "direct: no token is labelled %s\n", label);
  exit(1);
}

static void generate_key(void) {
  CK_BBOOL yes = CK_TRUE, no = CK_FALSE;
  CK_OBJECT_CLASS class = CKO_SECRET_KEY;
  CK_KEY_TYPE type = CKK_AES;
  CK_ULONG bytes = 32;
  CK_BYTE id[] = "drawbridge-bench";
  CK_ATTRIBUTE attributes[] = {
      {CKA_CLASS, &class, sizeof class},
      {CKA_KEY_TYPE, &type, sizeof type},
      {CKA_VALUE_LEN, &bytes, sizeof bytes},
      {CKA_ID, id, sizeof id - 1},
      {CKA_TOKEN, &yes, sizeof yes},
      {CKA_PRIVATE, &yes, sizeof yes},
      {CKA_SENSITIVE, &yes, sizeof yes},
      {CKA_EXTRACTABLE, &no, sizeof no},
      {CKA_ENCRYPT, &yes, sizeof yes},
      {CKA_DECRYPT, &yes, sizeof yes},
  };
  CK_MECHANISM mechanism = {CKM_AES_KEY_GEN, NULL, 0};
  must(token->C_GenerateKey(session, &mechanism, attributes, sizeof attributes / sizeof *attributes, &key),
       "C_GenerateKey");
}

static CK_MECHANISM gcm(CK_GCM_PARAMS *parameters) {
  *parameters = (CK_GCM_PARAMS){iv, iv_bytes, iv_bytes * 8, aad, aad_bytes, tag_bytes * 8};
  return (CK_MECHANISM){CKM_AES_GCM, parameters, sizeof *parameters};
}

static void encrypt(CK_ULONG bytes) {
  CK_GCM_PARAMS parameters;
  must(token->C_GenerateRandom(session, iv, iv_bytes), "C_GenerateRandom");
  CK_MECHANISM mechanism = gcm(&parameters);
  must(token->C_EncryptInit(session, &mechanism, key), "C_EncryptInit");
  ciphertext_bytes = sizeof ciphertext;
  must(token->C_Encrypt(session, plaintext, bytes, ciphertext, &ciphertext_bytes), "C_Encrypt");
}

static void decrypt(CK_ULONG bytes) {
  (void)bytes;
  CK_GCM_PARAMS parameters;
  CK_MECHANISM mechanism = gcm(&parameters);
  must(token->C_DecryptInit(session, &mechanism, key), "C_DecryptInit");
  CK_ULONG plaintext_bytes = sizeof plaintext;
  must(token->C_Decrypt(session, ciphertext, ciphertext_bytes, plaintext, &plaintext_bytes), "C_Decrypt");
}

static void generate_data_key(CK_ULONG bytes) {
  must(token->C_GenerateRandom(session, plaintext, bytes), "C_GenerateRandom");
  encrypt(bytes);
}

static void generate_random(CK_ULONG bytes) {
  must(token->C_GenerateRandom(session, plaintext, bytes), "C_GenerateRandom");
}

static void describe_key(CK_ULONG bytes) {
  (void)bytes;
  CK_BBOOL is_token, is_private, sensitive, extractable, can_encrypt, can_decrypt;
  CK_KEY_TYPE type;
  CK_ATTRIBUTE attributes[] = {
      {CKA_KEY_TYPE, &type, sizeof type},
      {CKA_TOKEN, &is_token, sizeof is_token},
      {CKA_PRIVATE, &is_private, sizeof is_private},
      {CKA_SENSITIVE, &sensitive, sizeof sensitive},
      {CKA_EXTRACTABLE, &extractable, sizeof extractable},
      {CKA_ENCRYPT, &can_encrypt, sizeof can_encrypt},
      {CKA_DECRYPT, &can_decrypt, sizeof can_decrypt},
  };
  must(token->C_GetAttributeValue(session, key, attributes, sizeof attributes / sizeof *attributes),
       "C_GetAttributeValue");
}

static const struct {
  const char *name;
  void (*run)(CK_ULONG bytes);
} operations[] = {
    {"Encrypt", encrypt},
    {"Decrypt", decrypt},
    {"GenerateDataKey", generate_data_key},
    {"GenerateRandom", generate_random},
    {"DescribeKey", describe_key},
};

static void measure(void (*run)(CK_ULONG), CK_ULONG bytes, long warmup_millis, long measure_millis) {
  static struct latencies all;
  encrypt(bytes); /* What Decrypt decrypts. */
  uint64_t begin = now_nanos(), until = begin + (uint64_t)warmup_millis * 1000000u;
  while (now_nanos() < until) run(bytes);
  begin = now_nanos();
  until = begin + (uint64_t)measure_millis * 1000000u;
  uint64_t before = begin;
  while (before < until) {
    run(bytes);
    uint64_t after = now_nanos();
    add_latency(&all, after - before);
    before = after;
  }
  print_result(&all, (double)(before - begin) / 1e9);
}

int main(int count, char **arguments) {
  if (count != 3) {
    fprintf(stderr, "usage: direct LIBRARY TOKEN_LABEL\n");
    return 2;
  }
  char line[256];
  if (fgets(line, sizeof line, stdin) == NULL) return 2;
  line[strcspn(line, "\n")] = '\0';
  open_token(arguments[1], arguments[2], line);
  memset(line, 0, sizeof line);
  generate_key();

  while (fgets(line, sizeof line, stdin) != NULL) {
    char name[32];
    unsigned long bytes;
    long warmup_millis, measure_millis;
    if (sscanf(line, "%31s %lu %ld %ld", name, &bytes, &warmup_millis, &measure_millis) != 4 ||
        bytes > max_plaintext_bytes) {
      fprintf(stderr, "direct: cannot read: %s", line);
      return 2;
    }
    size_t index = 0;
    while (index < sizeof operations / sizeof *operations && strcmp(operations[index].name, name) != 0) index++;
    if (index == sizeof operations / sizeof *operations) {
      fprintf(stderr, "direct: unknown operation %s\n", name);
      return 2;
    }
    measure(operations[index].run, bytes, warmup_millis, measure_millis);
  }
  must(token->C_DestroyObject(session, key), "C_DestroyObject");
  must(token->C_Finalize(NULL), "C_Finalize");
  return 0;
}
