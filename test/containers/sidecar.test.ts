/**
 * The sidecar: the daemon in one container, a legacy program in another, and one volume with the socket between them.
 *
 * The daemon's image is built from what `npm pack` makes, by `native-config/container/Containerfile`. Needs a container
 * engine and the two base images (or the means to pull them); DRAWBRIDGE_TEST_NODE_IMAGE and DRAWBRIDGE_TEST_BASE_IMAGE
 * name others that are at hand. Whatever is missing, the test is skipped with a line that says so.
 */

import { randomBytes } from 'node:crypto';
import { copyFileSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  GenericContainer,
  getContainerRuntimeClient,
  ImageName,
  type StartedTestContainer,
  Wait,
} from 'testcontainers';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { root, run } from '../scripts/run-script.ts';

const nodeImage = process.env['DRAWBRIDGE_TEST_NODE_IMAGE'] ?? 'docker.io/library/node:24-bookworm-slim';
const baseImage = process.env['DRAWBRIDGE_TEST_BASE_IMAGE'] ?? 'docker.io/library/debian:bookworm-slim';

const daemonGroup = 10001;
/** Users that neither container has a name for. */
const appUser = 20001;
const otherUser = 20002;

const buildTimeoutMs = 600_000;

const missing = await whatIsMissing();
if (missing !== null) process.stdout.write(`skipped: the daemon and a program as two containers: ${missing}\n`);

async function whatIsMissing(): Promise<string | null> {
  try {
    const { image } = await getContainerRuntimeClient();
    for (const name of [nodeImage, baseImage]) {
      const parsed = ImageName.fromString(name);
      if (!(await image.exists(parsed))) await image.pull(parsed);
    }
    return null;
  } catch (error) {
    const [line] = (error instanceof Error ? error.message : String(error)).split('\n');
    return `no container engine that answers and has (or can pull) ${nodeImage} and ${baseImage}: ${line}`;
  }
}

describe.skipIf(missing !== null)('the daemon and a program as two containers', () => {
  const suffix = randomBytes(4).toString('hex');
  const volume = `drawbridge-test-${suffix}`;
  let context: string;
  let daemon: StartedTestContainer;
  let app: StartedTestContainer;

  beforeAll(async () => {
    context = mkdtempSync(join(tmpdir(), 'containers-'));
    const packed = await run('npm', ['pack', '--pack-destination', context, '--loglevel=error'], { cwd: root });
    expect(packed).toMatchObject({ code: 0 });
    for (const name of ['Containerfile', 'entrypoint']) {
      copyFileSync(join(root, 'native-config', 'container', name), join(context, name));
    }
    copyFileSync(join(root, 'test', 'containers', 'app.Containerfile'), join(context, 'app.Containerfile'));

    const daemonImage = await GenericContainer.fromDockerfile(context, 'Containerfile')
      .withBuildArgs({ NODE_IMAGE: nodeImage })
      .build(`localhost/drawbridge-test:${suffix}`, { deleteOnExit: false });
    const appImage = await GenericContainer.fromDockerfile(context, 'app.Containerfile')
      .withBuildArgs({ BASE_IMAGE: baseImage })
      .build(`localhost/drawbridge-test-app:${suffix}`, { deleteOnExit: false });
    const socketVolume = [{ source: volume, target: '/run/drawbridge', mode: 'rw' as const }];
    daemon = await daemonImage
      .withBindMounts(socketVolume)
      .withWaitStrategy(Wait.forLogMessage('"msg":"ready"'))
      .start();
    app = await appImage.withBindMounts(socketVolume).start();
  }, buildTimeoutMs);

  afterAll(async () => {
    await app?.stop();
    await daemon?.stop();
    rmSync(context, { recursive: true, force: true });
    const { container } = await getContainerRuntimeClient();
    await container.dockerode.getVolume(volume).remove();
    for (const name of [`localhost/drawbridge-test:${suffix}`, `localhost/drawbridge-test-app:${suffix}`]) {
      await container.dockerode.getImage(name).remove({ force: true });
    }
  }, buildTimeoutMs);

  /** What curl prints in the program's container, asked as this user with the group that may connect. */
  async function curl(user: number, operation: string, members: object): Promise<Record<string, string>> {
    const command = ['curl', '--silent', '--unix-socket', '/run/drawbridge/kms.sock'];
    const { output } = await app.exec([...command, `http://kms/v1/${operation}`, '--data', JSON.stringify(members)], {
      user: `${user}:${daemonGroup}`,
    });
    return JSON.parse(output) as Record<string, string>;
  }

  test('a program in another container encrypts and decrypts, and one whom the policy does not name is refused', async () => {
    const account = 'arn:aws:iam::000000000000';
    const policy = JSON.stringify({
      Version: '2012-10-17',
      Statement: [
        { Effect: 'Allow', Principal: { AWS: `${account}:root` }, Action: 'kms:*', Resource: '*' },
        {
          Effect: 'Allow',
          Principal: { AWS: `${account}:user/unix/uid=${appUser}` },
          Action: ['kms:Encrypt', 'kms:Decrypt'],
          Resource: '*',
        },
      ],
    });
    await daemon.copyContentToContainer([{ content: policy, target: '/tmp/policy.json' }]);
    const created = await daemon.exec([
      'drawbridge',
      'keys',
      'create',
      '--alias',
      'alias/app',
      '--policy',
      '/tmp/policy.json',
    ]);
    expect(created).toMatchObject({ exitCode: 0 });

    const Plaintext = Buffer.from('from another container').toString('base64');
    const encrypted = await curl(appUser, 'Encrypt', { KeyId: 'alias/app', Plaintext });
    expect(encrypted).toMatchObject({ CiphertextBlob: expect.any(String) });
    const { CiphertextBlob } = encrypted;
    expect(await curl(appUser, 'Decrypt', { CiphertextBlob })).toMatchObject({ Plaintext });
    expect(await curl(otherUser, 'Decrypt', { CiphertextBlob })).toMatchObject({
      __type: 'AccessDeniedException',
      message: expect.stringContaining(
        `User: ${account}:user/unix/uid=${otherUser} is not authorized to perform: kms:Decrypt`,
      ),
    });
  });

  test('the program sees the socket and nothing of the token', async () => {
    const { output } = await app.exec(['ls', '-A', '/run/drawbridge', '/var/lib/drawbridge'], { user: 'root' });
    expect(output).toContain('kms.sock');
    expect(output).toMatch(/cannot access '\/var\/lib\/drawbridge'/);
  });
});
