/*
 * A part of `direct.c`, which includes it behind `encrypt`: a wrapped key that is unwrapped, used once and destroyed.
 */

/* An AES key that is wrapped, and the key under which it is: a token object that wraps and unwraps and does nothing else, as a domain
 * key is, or, with COPY 1, a session copy of it, which there is of no domain key: those cannot be changed. */
static CK_OBJECT_HANDLE domain_key = CK_INVALID_HANDLE;
static CK_OBJECT_HANDLE wrapping_key;
static CK_BYTE wrapped[64];
static CK_ULONG wrapped_bytes;
static CK_MECHANISM key_wrap = {CKM_AES_KEY_WRAP_PAD, NULL, 0};

static CK_OBJECT_HANDLE copy_of(CK_OBJECT_HANDLE object);

/* One that wraps is a token object, the other one of the session. */
static CK_OBJECT_HANDLE generate_wrapped_or_wrapping(CK_BBOOL wraps) {
  CK_ULONG bytes = 32;
  CK_ATTRIBUTE attributes[] = {
      {CKA_VALUE_LEN, &bytes, sizeof bytes},
      {CKA_ID, key_id, sizeof key_id - 1},
      {CKA_TOKEN, &wraps, sizeof wraps},
      {CKA_PRIVATE, &yes, sizeof yes},
      {CKA_SENSITIVE, &yes, sizeof yes},
      {CKA_EXTRACTABLE, wraps ? &no : &yes, sizeof yes},
      {CKA_WRAP, &wraps, sizeof wraps},
      {CKA_UNWRAP, &wraps, sizeof wraps},
  };
  CK_MECHANISM mechanism = {CKM_AES_KEY_GEN, NULL, 0};
  CK_OBJECT_HANDLE made_key;
  must(token->C_GenerateKey(session, &mechanism, attributes, COUNT_OF(attributes), &made_key), "C_GenerateKey");
  return made_key;
}

static void wrap_one(CK_BBOOL copied) {
  if (domain_key == CK_INVALID_HANDLE) {
    domain_key = generate_wrapped_or_wrapping(CK_TRUE);
    CK_OBJECT_HANDLE content = generate_wrapped_or_wrapping(CK_FALSE);
    wrapped_bytes = sizeof wrapped;
    must(token->C_WrapKey(session, &key_wrap, domain_key, content, wrapped, &wrapped_bytes), "C_WrapKey");
    must(token->C_DestroyObject(session, content), "C_DestroyObject");
  }
  wrapping_key = copied ? copy_of(domain_key) : domain_key;
}

static void unwrap_and_encrypt(CK_ULONG bytes) {
  CK_OBJECT_CLASS class = CKO_SECRET_KEY;
  CK_KEY_TYPE type = CKK_AES;
  CK_ATTRIBUTE attributes[] = {
      {CKA_CLASS, &class, sizeof class},    {CKA_KEY_TYPE, &type, sizeof type}, {CKA_TOKEN, &no, sizeof no},
      {CKA_PRIVATE, &yes, sizeof yes},      {CKA_SENSITIVE, &yes, sizeof yes},  {CKA_EXTRACTABLE, &no, sizeof no},
      {CKA_ENCRYPT, &yes, sizeof yes},      {CKA_DECRYPT, &yes, sizeof yes},    {CKA_SIGN, &no, sizeof no},
      {CKA_VERIFY, &no, sizeof no},         {CKA_WRAP, &no, sizeof no},         {CKA_UNWRAP, &no, sizeof no},
      {CKA_DERIVE, &no, sizeof no},
  };
  must(token->C_UnwrapKey(session, &key_wrap, wrapping_key, wrapped, wrapped_bytes, attributes, COUNT_OF(attributes),
                          &key),
       "C_UnwrapKey");
  encrypt(bytes);
  must(token->C_DestroyObject(session, key), "C_DestroyObject");
}
