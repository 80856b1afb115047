/** What of an error is on the wire. */

import { expect, test } from 'vitest';
import { toWireError } from '../../src/http/wire-errors.ts';
import { KmsError, type KmsErrorName } from '../../src/kms/errors.ts';

test.each<[KmsErrorName, string, Record<string, string>]>([
  ['NotFoundException', 'Alias is not found.', { message: 'Alias is not found.' }],
  ['KMSInvalidMacException', 'It is not valid.', { explanation: 'It is not valid.' }],
  ['UnsupportedOperationException', '', {}],
])('%s with the message "%s" is sent with the members that AWS sends', (name, message, members) => {
  const { statusCode, body } = toWireError(new KmsError(name, message));
  expect(statusCode).toBe(400);
  expect(JSON.parse(body)).toEqual({ __type: name, ...members });
});
