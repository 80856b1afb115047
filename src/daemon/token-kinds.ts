/** The software tokens that Drawbridge can make itself; their names are those of their vendor profiles. */

export const newTokenKinds = ['softhsm2', 'nss'] as const;
export type NewTokenKind = (typeof newTokenKinds)[number];

/** What Debian has them in. */
export const tokenPackages: Readonly<Record<NewTokenKind, string>> = {
  softhsm2: 'softhsm2',
  nss: 'libnss3 libnss3-tools',
};
