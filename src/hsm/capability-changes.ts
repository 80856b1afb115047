/** What an operator ought to know after a reconnection: in which way a token is another than it was. */

import type { KeyStoreCapabilities } from './key-store.ts';

/** One line for each fact that is different, or there only before or only now. */
export function capabilityChanges(former: KeyStoreCapabilities, now: KeyStoreCapabilities): readonly string[] {
  const facts = ({
    library,
    token,
    mechanisms,
    capabilities,
    imports,
    wrapping,
    protection,
  }: KeyStoreCapabilities): ReadonlyMap<string, string> =>
    new Map([
      ...Object.entries(library).map(([name, value]) => [`library.${name}`, value] as const),
      ...Object.entries(token).map(([name, value]) => [`token.${name}`, value] as const),
      ...mechanisms.map((mechanism) => [mechanism, 'there'] as const),
      ...capabilities.map(
        ({ keySpec, keyUsage, algorithm, works }) =>
          [`${keySpec} ${keyUsage} ${algorithm}`, works ? 'works' : 'does not work'] as const,
      ),
      ...imports.map(({ subject, works }) => [`import of ${subject}`, works ? 'works' : 'does not work'] as const),
      ...wrapping.map(({ keySpec, works }) => [`wrapping of ${keySpec}`, works ? 'works' : 'does not work'] as const),
      ...protection.map(({ attempt, isHeld }) => [`to ${attempt}`, isHeld ? 'refused' : 'done'] as const),
    ]);
  const before = facts(former);
  const after = facts(now);
  return [...new Set([...before.keys(), ...after.keys()])]
    .filter((name) => before.get(name) !== after.get(name))
    .map((name) => `${name}: ${before.get(name) ?? 'not there'} → ${after.get(name) ?? 'not there'}`);
}
