/*
 * A part of `direct.c`, which includes it behind `encrypt`: a wrapped key that is unwrapped, used once and destroyed.
 */

/* An AES key that is wrapped, and the session object under which it is. */
static CK_OBJECT_HANDLE wrapping_key = CK_INVALID_HANDLE;
static CK_BYTE wrapped[64];
static CK_ULONG wrapped_bytes;
static CK_MECHANISM key_wrap = {CKM_AES_KEY_WRAP_PAD, NULL, 0};

static CK_OBJECT_HANDLE generate_session_key(CK_BBOOL wraps) {
  CK_ULONG bytes = 32;
  CK_ATTRIBUTE attributes[] = {
      {CKA_VALUE_LEN, &bytes, sizeof bytes},
      {CKA_TOKEN, &no, sizeof no},
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

static void wrap_one(void) {
  if (wrapping_key != CK_INVALID_HANDLE) return;
  wrapping_key = generate_session_key(CK_TRUE);
  CK_OBJECT_HANDLE content = generate_session_key(CK_FALSE);
  wrapped_bytes = sizeof wrapped;
  must(token->C_WrapKey(session, &key_wrap, wrapping_key, content, wrapped, &wrapped_bytes), "C_WrapKey");
  must(token->C_DestroyObject(session, content), "C_DestroyObject");
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
