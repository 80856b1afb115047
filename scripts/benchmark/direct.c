/*
 * The yardstick of the bench: PKCS#11 in a plain loop, with nothing in between.
 *
 * One process, one session, token objects used as they are: how a program would use the token that links the vendor's
 * library itself. Or, with COPY 1, a session copy of the key, as the HSM host uses it where that is faster: what no program could
 * be faster than. Each operation makes the calls that the HSM host makes for it: for Encrypt an IV from the token's random
 * generator, then AES-256-GCM with additional data of the size that Drawbridge binds; for Sign the raw mechanism over a
 * digest that is there already; for DeriveSharedSecret a secret that is read and destroyed. Verify is the token's here.
 * UnwrapAndEncrypt unwraps a key, encrypts with it and destroys it: what the host does for a wrapped key that it has not kept, less what
 * it reads of the key to see that it is the one that its record says.
 * DescribeKey has no counterpart in PKCS#11; reading the attributes of the key object is the nearest.
 *
 *     direct LIBRARY TOKEN_LABEL
 *
 * The first line of standard input is the PIN; every further one is a measurement, `OPERATION KEY_SPEC BYTES WARMUP_MS
 * MEASURE_MS COPY`, answered by one line of JSON. At the end of the input the keys are destroyed.
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

/* PKCS#11 3.0; the headers are those of 2.40. */
#define CKM_EC_EDWARDS_KEY_PAIR_GEN 0x1055UL
#define CKM_EDDSA 0x1057UL

enum { iv_bytes = 12, tag_bytes = 16, aad_bytes = 96, data_key_bytes = 32, max_plaintext_bytes = 4096 };

static CK_FUNCTION_LIST_PTR token;
static CK_SESSION_HANDLE session;
/* The key of the operation that is measured, and the public half of a pair. */
static CK_OBJECT_HANDLE key, public_key;

static CK_BYTE aad[aad_bytes];
static CK_BYTE plaintext[max_plaintext_bytes + tag_bytes];
static CK_BYTE ciphertext[max_plaintext_bytes + tag_bytes];
static CK_ULONG ciphertext_bytes;
static CK_BYTE iv[iv_bytes];
static CK_BYTE signature[512];
static CK_ULONG signature_bytes;

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

static CK_BBOOL yes = CK_TRUE, no = CK_FALSE;
static CK_BYTE key_id[] = "drawbridge-bench";

#define COUNT_OF(array) (sizeof(array) / sizeof *(array))

static void generate_secret(CK_MECHANISM_TYPE generation, CK_KEY_TYPE type, CK_BBOOL encrypts) {
  CK_OBJECT_CLASS class = CKO_SECRET_KEY;
  CK_ULONG bytes = 32;
  CK_BBOOL signs = !encrypts;
  CK_ATTRIBUTE attributes[] = {
      {CKA_CLASS, &class, sizeof class},
      {CKA_KEY_TYPE, &type, sizeof type},
      {CKA_VALUE_LEN, &bytes, sizeof bytes},
      {CKA_ID, key_id, sizeof key_id - 1},
      {CKA_TOKEN, &yes, sizeof yes},
      {CKA_PRIVATE, &yes, sizeof yes},
      {CKA_SENSITIVE, &yes, sizeof yes},
      {CKA_EXTRACTABLE, &no, sizeof no},
      {CKA_ENCRYPT, &encrypts, sizeof encrypts},
      {CKA_DECRYPT, &encrypts, sizeof encrypts},
      {CKA_SIGN, &signs, sizeof signs},
  };
  CK_MECHANISM mechanism = {generation, NULL, 0};
  must(token->C_GenerateKey(session, &mechanism, attributes, COUNT_OF(attributes), &key), "C_GenerateKey");
}

/* `parameter` is what makes the pair's kind: the number of bits, or the curve. */
static void generate_pair(CK_MECHANISM_TYPE generation, CK_ATTRIBUTE parameter, CK_BBOOL derives) {
  CK_BYTE exponent[] = {1, 0, 1};
  CK_BBOOL signs = !derives;
  CK_ATTRIBUTE public_attributes[] = {
      {CKA_TOKEN, &yes, sizeof yes},
      {CKA_ID, key_id, sizeof key_id - 1},
      {CKA_VERIFY, &signs, sizeof signs},
      parameter,
      {CKA_PUBLIC_EXPONENT, exponent, sizeof exponent}, /* Left out for curves. */
  };
  CK_ATTRIBUTE private_attributes[] = {
      {CKA_TOKEN, &yes, sizeof yes},
      {CKA_ID, key_id, sizeof key_id - 1},
      {CKA_PRIVATE, &yes, sizeof yes},
      {CKA_SENSITIVE, &yes, sizeof yes},
      {CKA_EXTRACTABLE, &no, sizeof no},
      {CKA_SIGN, &signs, sizeof signs},
      {CKA_DERIVE, &derives, sizeof derives},
  };
  CK_MECHANISM mechanism = {generation, NULL, 0};
  CK_ULONG public_count = COUNT_OF(public_attributes) - (parameter.type == CKA_EC_PARAMS ? 1 : 0);
  must(token->C_GenerateKeyPair(session, &mechanism, public_attributes, public_count, private_attributes,
                                COUNT_OF(private_attributes), &public_key, &key),
       "C_GenerateKeyPair");
}

/* The object identifiers 1.2.840.10045.3.1.7 and 1.3.101.112. */
static CK_BYTE p256[] = {0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07};
static CK_BYTE edwards25519[] = {0x06, 0x03, 0x2b, 0x65, 0x70};

static void generate_key(const char *key_spec, CK_BBOOL derives) {
  static CK_ULONG modulus_bits = 2048;
  public_key = CK_INVALID_HANDLE;
  if (strcmp(key_spec, "SYMMETRIC_DEFAULT") == 0) {
    generate_secret(CKM_AES_KEY_GEN, CKK_AES, CK_TRUE);
  } else if (strcmp(key_spec, "HMAC_256") == 0) {
    generate_secret(CKM_GENERIC_SECRET_KEY_GEN, CKK_GENERIC_SECRET, CK_FALSE);
  } else if (strcmp(key_spec, "RSA_2048") == 0) {
    generate_pair(CKM_RSA_PKCS_KEY_PAIR_GEN, (CK_ATTRIBUTE){CKA_MODULUS_BITS, &modulus_bits, sizeof modulus_bits},
                  derives);
  } else if (strcmp(key_spec, "ECC_NIST_P256") == 0) {
    generate_pair(CKM_EC_KEY_PAIR_GEN, (CK_ATTRIBUTE){CKA_EC_PARAMS, p256, sizeof p256}, derives);
  } else if (strcmp(key_spec, "ECC_NIST_EDWARDS25519") == 0) {
    generate_pair(CKM_EC_EDWARDS_KEY_PAIR_GEN, (CK_ATTRIBUTE){CKA_EC_PARAMS, edwards25519, sizeof edwards25519},
                  derives);
  } else {
    fprintf(stderr, "direct: unknown key spec %s\n", key_spec);
    exit(2);
  }
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

#include "unwrapping.h"

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

/* Of the key that is measured. */
static CK_MECHANISM_TYPE signing;

static void sign(CK_ULONG bytes) {
  CK_MECHANISM mechanism = {signing, NULL, 0};
  must(token->C_SignInit(session, &mechanism, key), "C_SignInit");
  signature_bytes = sizeof signature;
  must(token->C_Sign(session, plaintext, bytes, signature, &signature_bytes), "C_Sign");
}

static void verify(CK_ULONG bytes) {
  CK_MECHANISM mechanism = {signing, NULL, 0};
  must(token->C_VerifyInit(session, &mechanism, public_key), "C_VerifyInit");
  must(token->C_Verify(session, plaintext, bytes, signature, signature_bytes), "C_Verify");
}

static CK_BYTE peer_point[65];

static void derive(CK_ULONG bytes) {
  CK_OBJECT_CLASS class = CKO_SECRET_KEY;
  CK_KEY_TYPE type = CKK_GENERIC_SECRET;
  CK_ATTRIBUTE attributes[] = {
      {CKA_CLASS, &class, sizeof class},     {CKA_KEY_TYPE, &type, sizeof type},
      {CKA_VALUE_LEN, &bytes, sizeof bytes}, {CKA_TOKEN, &no, sizeof no},
      {CKA_SENSITIVE, &no, sizeof no},       {CKA_EXTRACTABLE, &yes, sizeof yes},
  };
  CK_ECDH1_DERIVE_PARAMS parameters = {CKD_NULL, 0, NULL, sizeof peer_point, peer_point};
  CK_MECHANISM mechanism = {CKM_ECDH1_DERIVE, &parameters, sizeof parameters};
  CK_OBJECT_HANDLE secret;
  must(token->C_DeriveKey(session, &mechanism, key, attributes, COUNT_OF(attributes), &secret), "C_DeriveKey");
  CK_ATTRIBUTE value = {CKA_VALUE, ciphertext, sizeof ciphertext};
  must(token->C_GetAttributeValue(session, secret, &value, 1), "C_GetAttributeValue");
  must(token->C_DestroyObject(session, secret), "C_DestroyObject");
}

static const struct {
  const char *name;
  void (*run)(CK_ULONG bytes);
  CK_BBOOL derives;
} operations[] = {
    {"Encrypt", encrypt, CK_FALSE},
    {"Decrypt", decrypt, CK_FALSE},
    {"UnwrapAndEncrypt", unwrap_and_encrypt, CK_FALSE},
    {"GenerateDataKey", generate_data_key, CK_FALSE},
    {"GenerateRandom", generate_random, CK_FALSE},
    {"DescribeKey", describe_key, CK_FALSE},
    {"Sign", sign, CK_FALSE},
    {"Verify", verify, CK_FALSE},
    {"GenerateMac", sign, CK_FALSE},
    {"DeriveSharedSecret", derive, CK_TRUE},
};

/* Keys are made when they are first needed, and stay until the end. */
static struct {
  char key_spec[32];
  CK_BBOOL derives;
  CK_OBJECT_HANDLE key, public_key;
  CK_OBJECT_HANDLE copy, public_copy; /* CK_INVALID_HANDLE until they are needed; they go with the session. */
} made[16];
static size_t made_count;

static CK_OBJECT_HANDLE copy_of(CK_OBJECT_HANDLE object) {
  CK_ATTRIBUTE attributes[] = {{CKA_TOKEN, &no, sizeof no}};
  CK_OBJECT_HANDLE copy;
  must(token->C_CopyObject(session, object, attributes, COUNT_OF(attributes), &copy), "C_CopyObject");
  return copy;
}

static void use_key(const char *key_spec, CK_BBOOL derives, CK_BBOOL copied) {
  size_t index = 0;
  while (index < made_count && (strcmp(made[index].key_spec, key_spec) != 0 || made[index].derives != derives)) index++;
  if (index == made_count) {
    if (made_count == COUNT_OF(made)) exit(2);
    generate_key(key_spec, derives);
    strcpy(made[index].key_spec, key_spec);
    made[index].derives = derives;
    made[index].key = key;
    made[index].public_key = public_key;
    made_count++;
  }
  if (copied && made[index].copy == CK_INVALID_HANDLE) {
    made[index].copy = copy_of(made[index].key);
    made[index].public_copy = made[index].public_key;
    if (made[index].public_key != CK_INVALID_HANDLE) made[index].public_copy = copy_of(made[index].public_key);
  }
  key = copied ? made[index].copy : made[index].key;
  public_key = copied ? made[index].public_copy : made[index].public_key;
  signing = strcmp(key_spec, "RSA_2048") == 0                ? CKM_RSA_PKCS
            : strcmp(key_spec, "ECC_NIST_P256") == 0         ? CKM_ECDSA
            : strcmp(key_spec, "ECC_NIST_EDWARDS25519") == 0 ? CKM_EDDSA
                                                             : CKM_SHA256_HMAC;
}

/* What the operation needs beforehand: what Decrypt decrypts, what Verify verifies, whom DeriveSharedSecret meets. */
static void prepare(const char *name, const char *key_spec, CK_ULONG bytes, CK_BBOOL copied) {
  if (strcmp(key_spec, "SYMMETRIC_DEFAULT") == 0) encrypt(bytes);
  if (strcmp(name, "Verify") == 0) sign(bytes);
  if (strcmp(name, "UnwrapAndEncrypt") == 0) wrap_one(copied);
  if (strcmp(name, "DeriveSharedSecret") == 0) {
    CK_BYTE point[2 + sizeof peer_point]; /* A DER octet string. */
    CK_ATTRIBUTE attribute = {CKA_EC_POINT, point, sizeof point};
    must(token->C_GetAttributeValue(session, public_key, &attribute, 1), "C_GetAttributeValue");
    memcpy(peer_point, point + 2, sizeof peer_point);
  }
}

static void measure(void (*run)(CK_ULONG), CK_ULONG bytes, long warmup_millis, long measure_millis) {
  static struct latencies all;
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

  while (fgets(line, sizeof line, stdin) != NULL) {
    char name[32], key_spec[32];
    unsigned long bytes;
    long warmup_millis, measure_millis;
    int copied;
    if (sscanf(line, "%31s %31s %lu %ld %ld %d", name, key_spec, &bytes, &warmup_millis, &measure_millis, &copied) != 6 ||
        bytes > max_plaintext_bytes) {
      fprintf(stderr, "direct: cannot read: %s", line);
      return 2;
    }
    size_t index = 0;
    while (index < COUNT_OF(operations) && strcmp(operations[index].name, name) != 0) index++;
    if (index == COUNT_OF(operations)) {
      fprintf(stderr, "direct: unknown operation %s\n", name);
      return 2;
    }
    use_key(key_spec, operations[index].derives, copied ? CK_TRUE : CK_FALSE);
    prepare(name, key_spec, bytes, copied ? CK_TRUE : CK_FALSE);
    measure(operations[index].run, bytes, warmup_millis, measure_millis);
  }
  for (size_t index = 0; index < made_count; index++) {
    must(token->C_DestroyObject(session, made[index].key), "C_DestroyObject");
    if (made[index].public_key == CK_INVALID_HANDLE) continue;
    must(token->C_DestroyObject(session, made[index].public_key), "C_DestroyObject");
  }
  if (domain_key != CK_INVALID_HANDLE) must(token->C_DestroyObject(session, domain_key), "C_DestroyObject");
  must(token->C_Finalize(NULL), "C_Finalize");
  return 0;
}
