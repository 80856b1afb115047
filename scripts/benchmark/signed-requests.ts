/**
 * Requests as programs send them that sign: over the loopback listener, each with a signature of its own.
 *
 * They are signed before a measurement, so that signing is no part of it. All of them are equally long, and each differs from
 * the others in its invocation id, as an SDK's do. A measurement may take more than there are: equal ones are taken for some
 * seconds (`src/identity/replay-memory.ts`).
 */

import { createHmac, hash } from 'node:crypto';
import { request } from 'node:http';

/** `signed`: with a lasting access key; `short-lived`: with the session token of `drawbridge credentials`. */
export const signedBurdens = ['signed', 'short-lived'] as const;
export type SignedBurden = (typeof signedBurdens)[number];

export function isSigned(burden: string | undefined): burden is SignedBurden {
  return burden !== undefined && (signedBurdens as readonly string[]).includes(burden);
}

export interface SigningCredentials {
  readonly accessKeyId: string;
  readonly secretAccessKey: string;
  readonly sessionToken?: string;
}

/** Of whoever runs the bench. */
export function shortLivedCredentials(socketPath: string): Promise<SigningCredentials> {
  return new Promise((resolve, reject) => {
    const headers = { 'content-type': 'application/json' };
    const call = request({ socketPath, method: 'POST', path: '/credentials', headers }, (response) => {
      let answer = '';
      response.setEncoding('utf8').on('data', (chunk: string) => {
        answer += chunk;
      });
      response.on('end', () => {
        const given = JSON.parse(answer) as Partial<Record<'AccessKeyId' | 'SecretAccessKey' | 'SessionToken', string>>;
        const { AccessKeyId: accessKeyId, SecretAccessKey: secretAccessKey, SessionToken: sessionToken } = given;
        if (accessKeyId === undefined || secretAccessKey === undefined || sessionToken === undefined)
          reject(new Error(`/credentials: ${answer}`));
        else resolve({ accessKeyId, secretAccessKey, sessionToken });
      });
    });
    call.on('error', reject);
    call.end('{}');
  });
}

interface ToSign {
  readonly region: string;
  /** Of the listener. */
  readonly port: string;
  readonly operation: string;
  readonly body: string;
}

/** @returns So many requests, one behind the other. */
export function signedRequests(
  { accessKeyId, secretAccessKey, sessionToken }: SigningCredentials,
  { region, port, operation, body }: ToSign,
  count: number,
): string {
  const time = new Date().toISOString().replaceAll(/[-:]|\.\d{3}/g, '');
  const scope = [time.slice(0, 8), region, 'kms', 'aws4_request'];
  const hmac = (key: string | Buffer, text: string): Buffer => createHmac('sha256', key).update(text).digest();
  const key = scope.reduce<string | Buffer>(hmac, `AWS4${secretAccessKey}`);
  const bodyHash = hash('sha256', body);
  const signed: Record<string, string> = {
    'amz-sdk-invocation-id': '',
    'amz-sdk-request': 'attempt=1; max=3',
    'content-type': 'application/x-amz-json-1.1',
    host: `127.0.0.1:${port}`,
    'x-amz-content-sha256': bodyHash,
    'x-amz-date': time,
    ...(sessionToken === undefined ? {} : { 'x-amz-security-token': sessionToken }),
    'x-amz-target': `TrentService.${operation}`,
    'x-amz-user-agent': 'aws-sdk-js/3.0.0',
  };
  const names = Object.keys(signed).join(';');
  return Array.from({ length: count }, (_, index) => {
    signed['amz-sdk-invocation-id'] = `00000000-0000-4000-8000-${String(index).padStart(12, '0')}`;
    const lines = Object.entries(signed).map(([name, value]) => `${name}:${value}\n`);
    const canonical = `POST\n/\n\n${lines.join('')}\n${names}\n${bodyHash}`;
    const signature = hmac(key, `AWS4-HMAC-SHA256\n${time}\n${scope.join('/')}\n${hash('sha256', canonical)}`);
    const credential = `Credential=${accessKeyId}/${scope.join('/')}`;
    return [
      'POST / HTTP/1.1',
      ...Object.entries(signed).map(([name, value]) => `${name}: ${value}`),
      'user-agent: aws-sdk-js/3.0.0 os/linux#6.1 lang/js md/nodejs#24.0.0 api/kms#3.0.0',
      `content-length: ${Buffer.byteLength(body)}`,
      `Authorization: AWS4-HMAC-SHA256 ${credential}, SignedHeaders=${names}, Signature=${signature.toString('hex')}`,
      'connection: keep-alive',
      '',
      body,
    ].join('\r\n');
  }).join('');
}
