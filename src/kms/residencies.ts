/**
 * Where a backing key lives: in the token (`token`), or wrapped by it under a domain key and stored with the metadata (`wrapped`).
 * A key keeps the residency that it was made with.
 */
export const residencies = ['token', 'wrapped'] as const;
export type Residency = (typeof residencies)[number];
