/** What people read about a key's times and material, alike in every command that shows them. */

import type { Members } from '../../requests/kms-client.ts';
import { type facts, table, timeText } from '../../terminal/output.ts';

/** What whoever may not know it reads instead. */
export const notShown = 'not shown to you';

/** The day alone, for lists; in UTC. @param seconds A time of the API, if there is one. */
export function dayText(seconds: unknown): string {
  return seconds === undefined ? '-' : timeText(seconds).slice(0, 'YYYY-MM-DD'.length);
}

/** Of an answer of `GetKeyRotationStatus`. */
export function rotationText(rotation: Members | null): string {
  if (rotation === null) return notShown;
  if (rotation['KeyRotationEnabled'] !== true) return 'not by itself';
  return `every ${rotation['RotationPeriodInDays']} days, next on ${timeText(rotation['NextRotationDate'])}`;
}

/** Of an answer of `GetKeyLastUsage`. */
export function lastUsageText(usage: Members | null): string {
  if (usage === null) return notShown;
  const { Operation, Timestamp, KmsRequestId } = (usage['KeyLastUsage'] ?? {}) as Members;
  if (Timestamp === undefined) return `none since ${timeText(usage['TrackingStartDate'])}`;
  return `${timeText(Timestamp)}, ${Operation} (request ${KmsRequestId})`;
}

/** Of `KeyMetadata`: `null` for a key whose material was not imported. */
export function expiryText(key: Members): string | null {
  if (key['Origin'] !== 'EXTERNAL') return null;
  return key['ValidTo'] === undefined ? '-' : timeText(key['ValidTo']);
}

/** Entries of `ListKeyRotations`, the oldest first. The columns about imports are there for imported material alone. */
export function materialTable(materials: readonly Members[]): string {
  const isImported = materials.some((material) => material['ImportState'] !== undefined);
  const time = (seconds: unknown): string => (seconds === undefined ? '-' : timeText(seconds));
  const rows = materials.map((material) => [
    String(material['KeyMaterialId']),
    String(material['KeyMaterialState']),
    time(material['RotationDate']),
    String(material['RotationType'] ?? '-'),
    ...(isImported
      ? [
          String(material['ImportState'] ?? '-'),
          time(material['ValidTo']),
          String(material['KeyMaterialDescription'] ?? ''),
        ]
      : []),
  ]);
  const imported = isImported ? ['IMPORT', 'EXPIRES', 'DESCRIPTION'] : [];
  return table(['KEY MATERIAL ID', 'STATE', 'CURRENT SINCE', 'ROTATION', ...imported], rows);
}

/** Of `KeyMetadata`: nothing of a key of one Region. */
export function multiRegionFacts({ MultiRegionConfiguration }: Members): Parameters<typeof facts>[0] {
  if (MultiRegionConfiguration === undefined) return [];
  const { PrimaryKey, ReplicaKeys } = MultiRegionConfiguration as {
    readonly PrimaryKey: { readonly Region: string };
    readonly ReplicaKeys: readonly { readonly Region: string }[];
  };
  return [
    ['primary key', PrimaryKey.Region],
    ['replicas', ReplicaKeys.map(({ Region }) => Region).join(' ') || '-'],
  ];
}
