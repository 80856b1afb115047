/** What the attributes of every backing key have to say, whatever its kind: it is in the token, and cannot leave it. */

export const protectedKey = {
  token: true,
  private: true,
  sensitive: true,
  alwaysSensitive: true,
  extractable: false,
  neverExtractable: true,
} as const;
