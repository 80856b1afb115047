/** What the operations on multi-Region keys ask of the key and the Region that a request names. */

import type { KeyView } from '../../keys/key-view.ts';
import type { KmsKey } from '../../keys/kms-key.ts';
import { multiRegionKeyType } from '../../keys/multi-region.ts';
import { KmsError } from '../../kms/errors.ts';

/** @throws KmsError `UnsupportedOperationException` for anything but a primary key. */
export function assertPrimary({ arn, record }: KmsKey): void {
  if (multiRegionKeyType(record) === 'PRIMARY') return;
  throw new KmsError('UnsupportedOperationException', `${arn} is not a multi-region primary key.`);
}

/** @throws KmsError `ValidationException` for a Region in which this instance has no keys. */
export function regionOf({ regions }: KeyView, region: string): KeyView {
  const there = regions.get(region);
  if (there !== undefined) return there;
  const served = [...regions.keys()].sort().join(', ');
  throw new KmsError('ValidationException', `The Region ${region} is not served here; these are: ${served}.`);
}
