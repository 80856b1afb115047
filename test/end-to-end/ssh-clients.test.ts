/**
 * `drawbridge ssh-agent` and `drawbridge certificate --ssh` as OpenSSH and git use them, and as somebody would who means ill.
 */

import { execFileSync } from 'node:child_process';
import { chmodSync, mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { KeySpec, KMS } from '@aws-sdk/client-kms';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { LineProcess } from '../../scripts/line-process.ts';
import { SshReader, sshString, uint32 } from '../../src/cli/ssh/ssh-encoding.ts';
import { type Instance, missingForInstance, startInstance } from '../support/instance.ts';
import { program } from '../support/program.ts';
import { whyOnlyOwnUser } from '../support/readable-checkout.ts';
import { kmsOver } from './support/connect.ts';
import { bootTimeoutMs } from './support/daemon.ts';
import { type Ended, loginUser, missingOpenSsh, runWith, sshServer } from './support/openssh.ts';
import { deny, policy, rootMayAll } from './support/policies.ts';
import { runsAsRoot, unixUsers } from './support/unix-users.ts';

const onlyOwnUser = whyOnlyOwnUser();
if (onlyOwnUser !== null) process.stdout.write(`skipped: the SSH agent of another user: ${onlyOwnUser}\n`);

const missing = missingForInstance() ?? missingOpenSsh.client;
if (missing !== null) process.stdout.write(`skipped: SSH agent and certificates: ${missing}\n`);
else if (missingOpenSsh.server !== null)
  process.stdout.write(`skipped: logins with SSH keys: ${missingOpenSsh.server}\n`);

const kinds = {
  ed25519: 'ECC_NIST_EDWARDS25519',
  p256: 'ECC_NIST_P256',
  p384: 'ECC_NIST_P384',
  p521: 'ECC_NIST_P521',
  rsa: 'RSA_2048',
} as const satisfies Record<string, KeySpec>;
type Kind = keyof typeof kinds;
const kindNames = Object.keys(kinds) as Kind[]; // Safe: the object has exactly these keys.

describe.skipIf(missing !== null)('the SSH agent', () => {
  let instance: Instance;
  let kms: KMS;
  let folder: string;
  let agent: LineProcess;
  let socket: string;
  const keyIds = new Map<Kind, string>();

  beforeAll(async () => {
    instance = await startInstance();
    kms = kmsOver(instance.socket);
    folder = mkdtempSync(join(tmpdir(), 'drawbridge-ssh-'));
    chmodSync(folder, 0o755);
    for (const kind of kindNames) {
      const { KeyMetadata } = await kms.createKey({ KeySpec: kinds[kind], KeyUsage: 'SIGN_VERIFY' });
      const keyId = KeyMetadata?.KeyId ?? '';
      keyIds.set(kind, keyId);
      await kms.createAlias({ AliasName: `alias/ssh/${kind}`, TargetKeyId: keyId });
    }
    await kms.tagResource({ KeyId: keyIds.get('p384') ?? '', Tags: [{ TagKey: 'purpose', TagValue: 'ssh' }] });
    socket = join(folder, 'agent.sock');
    agent = startAgent(['--listen', socket]);
    expect(await agent.nextLine()).toBe(`SSH_AUTH_SOCK=${socket}`);
    const { stdout } = await run(['ssh-add', '-L']);
    for (const line of stdout.trim().split('\n')) {
      writeFileSync(join(folder, `${line.slice(line.lastIndexOf('/') + 1)}.pub`), `${line}\n`);
    }
    writeFileSync(join(folder, 'authorized_keys'), stdout);
  }, bootTimeoutMs);
  afterAll(async () => {
    kms?.destroy();
    await agent?.close('SIGTERM');
    await instance?.stop();
    if (folder !== undefined) rmSync(folder, { recursive: true, force: true });
  }, bootTimeoutMs);

  const startAgent = (options: readonly string[]): LineProcess =>
    new LineProcess('the agent', [process.execPath, program, 'ssh-agent', '--socket', instance.socket, ...options]);

  const run = (command: readonly string[], input = ''): Promise<Ended> =>
    runWith({ SSH_AUTH_SOCK: socket }, folder, command, input);

  const drawbridge = (...args: readonly string[]): string =>
    execFileSync(process.execPath, [program, ...args, '--socket', instance.socket], { encoding: 'utf8', cwd: folder });

  const signFile = (kind: Kind): Promise<Ended> =>
    run(['ssh-keygen', '-Y', 'sign', '-q', '-f', `${kind}.pub`, '-n', 'file'], 'a file');

  /** What it says from now on; it may come a moment after its answer. */
  function listen(): () => string {
    const before = agent.errors.length;
    return () => agent.errors.slice(before);
  }

  const keyBlob = (kind: Kind): Buffer =>
    Buffer.from(execFileSync('cut', ['-d', ' ', '-f2', `${kind}.pub`], { cwd: folder, encoding: 'utf8' }), 'base64');

  test('lists the keys of the aliases under alias/ssh, once each, as ssh-add shows them', async () => {
    const { stdout } = await run(['ssh-add', '-l']);
    const rows = stdout
      .trim()
      .split('\n')
      .map((line) => line.split(' '));
    expect(rows.map(([bits, , comment, kind]) => `${bits} ${comment} ${kind}`).sort()).toEqual([
      '2048 alias/ssh/rsa (RSA)',
      '256 alias/ssh/ed25519 (ED25519)',
      '256 alias/ssh/p256 (ECDSA)',
      '384 alias/ssh/p384 (ECDSA)',
      '521 alias/ssh/p521 (ECDSA)',
    ]);
  });

  test.each(kindNames)('signs files with a key of %s, as ssh-keygen verifies', async (kind) => {
    const { stdout: signature, stderr } = await signFile(kind);
    expect(stderr).toBe('');
    writeFileSync(join(folder, `${kind}.sig`), signature);
    writeFileSync(
      join(folder, `${kind}.allowed`),
      execFileSync('sed', ['s/^/me@example.org /', `${kind}.pub`], { cwd: folder }),
    );
    const verification = ['ssh-keygen', '-Y', 'verify', '-f', `${kind}.allowed`, '-I', 'me@example.org', '-n', 'file'];
    expect(await run([...verification, '-s', `${kind}.sig`], 'a file')).toMatchObject({ code: 0 });
    expect(await run([...verification, '-s', `${kind}.sig`], 'another file')).toMatchObject({ code: 255 });
  });

  test('signs commits for git, which verifies them', async () => {
    writeFileSync(join(folder, 'signers'), `me@example.org ${execFileSync('cat', ['ed25519.pub'], { cwd: folder })}`);
    const settings = {
      'user.name': 'Me',
      'user.email': 'me@example.org',
      'gpg.format': 'ssh',
      'user.signingKey': join(folder, 'ed25519.pub'),
      'gpg.ssh.allowedSignersFile': join(folder, 'signers'),
    };
    const git = [
      'git',
      '-C',
      'repository',
      ...Object.entries(settings).flatMap(([name, value]) => ['-c', `${name}=${value}`]),
    ];
    expect(await run(['git', 'init', '--quiet', 'repository'])).toMatchObject({ code: 0 });
    expect(await run([...git, 'commit', '-S', '--allow-empty', '-m', 'signed'])).toMatchObject({ code: 0 });
    const { stderr } = await run([...git, 'verify-commit', 'HEAD']);
    expect(stderr).toContain('Good "git" signature for me@example.org with ED25519 key');
  });

  test('offers the keys with a tag, and a named one, and no others', async () => {
    const own = join(folder, 'tagged.sock');
    const tagged = startAgent(['--listen', own, '--tag', 'purpose=ssh', '--key', 'alias/ssh/p256']);
    try {
      await tagged.nextLine();
      const { stdout } = await runWith({ SSH_AUTH_SOCK: own }, folder, ['ssh-add', '-L']);
      const comments = stdout
        .trim()
        .split('\n')
        .map((line) => line.split(' ')[2]);
      expect(comments).toEqual(['alias/ssh/p256', keyIds.get('p384')]);
    } finally {
      await tagged.close('SIGTERM');
    }
    expect(() => statSync(own)).toThrow('ENOENT');
  });

  test('shows nothing and signs nothing while it is locked', async () => {
    const answer = await ask([lockMessage(22, 'swordfish')]);
    expect(answer).toEqual([Buffer.of(6)]);
    expect(await run(['ssh-add', '-l'])).toMatchObject({ code: 1, stdout: 'The agent has no identities.\n' });
    const said = listen();
    expect(await signFile('p256')).toMatchObject({ code: 255 });
    expect(await ask([signRequest(Buffer.from('data'))])).toEqual([Buffer.of(5)]);
    await expect.poll(said).toContain('the agent is locked; `ssh-add -X` unlocks it');
    expect(await ask([lockMessage(22, 'again'), lockMessage(23, 'catfish')])).toEqual([Buffer.of(5), Buffer.of(5)]);
    expect(await ask([lockMessage(23, 'swordfish')])).toEqual([Buffer.of(6)]);
    expect(await signFile('p256')).toMatchObject({ code: 0 });
  });

  test('says in its log why a key policy does not let it sign', async () => {
    const KeyId = keyIds.get('p521') ?? '';
    await kms.putKeyPolicy({ KeyId, Policy: policy(rootMayAll, deny('*', 'kms:Sign')) });
    try {
      const said = listen();
      const { code, stderr } = await signFile('p521');
      expect([code, stderr]).toEqual([255, expect.stringContaining('agent refused operation')]);
      await expect
        .poll(said)
        .toMatch(/^drawbridge ssh-agent: alias\/ssh\/p521: AccessDeniedException: User: \S+ is not authorized/);
    } finally {
      await kms.putKeyPolicy({ KeyId, Policy: policy(rootMayAll) });
    }
  });

  test('leaves out a key that may not be looked at, says so once, and has it again afterwards', async () => {
    const KeyId = keyIds.get('p384') ?? '';
    const list = async (): Promise<string> => (await run(['ssh-add', '-l'])).stdout;
    const said = listen();
    await kms.putKeyPolicy({ KeyId, Policy: policy(rootMayAll, deny('*', 'kms:GetPublicKey')) });
    try {
      expect([await list(), await list()].filter((text) => text.includes('p384'))).toEqual([]);
    } finally {
      await kms.putKeyPolicy({ KeyId, Policy: policy(rootMayAll) });
    }
    expect(await list()).toContain('p384');
    await expect.poll(said).toContain('alias/ssh/p384: AccessDeniedException');
    expect(said().match(/alias\/ssh\/p384/g)).toHaveLength(1);
  });

  test('answers what it does not do with a failure, and stays', async () => {
    const extension = (name: string, ...contents: Buffer[]): Buffer =>
      Buffer.concat([Buffer.of(27), sshString(name), ...contents]);
    const [add, unknown, query, truncated, empty] = await ask([
      Buffer.concat([Buffer.of(17), sshString('ssh-ed25519')]),
      extension('nobody@example.org'),
      extension('query'),
      Buffer.concat([Buffer.of(13), uint32(9000)]),
      Buffer.of(0),
    ]);
    expect([add, unknown, truncated, empty]).toEqual(Array(4).fill(Buffer.of(5)));
    expect(query?.subarray(1)).toEqual(Buffer.concat(['query', 'query', 'session-bind@openssh.com'].map(sshString)));
    expect(query?.[0]).toBe(29);
  });

  test('refuses RSA with SHA-1, and a session that no host has signed', async () => {
    const said = listen();
    const data = sshString('session');
    const signature = Buffer.concat([sshString('ssh-ed25519'), sshString(Buffer.alloc(64))]);
    const bind = [sshString(keyBlob('ed25519')), data, sshString(signature), Buffer.of(0)];
    const [sha1, forged] = await ask([
      Buffer.concat([Buffer.of(13), sshString(keyBlob('rsa')), data, uint32(0)]),
      Buffer.concat([Buffer.of(27), sshString('session-bind@openssh.com'), ...bind]),
    ]);
    expect([sha1, forged]).toEqual([Buffer.of(5), Buffer.of(28)]);
    await expect.poll(said).toContain('a session was not bound: the host did not sign this session');
    expect(said()).toContain('alias/ssh/rsa: RSA with SHA-1 was asked for, which is not secure any more');
  });

  test('signs for no other session on a connection that is bound for logging in', async () => {
    const session = Buffer.from('the identifier of a session');
    // The host is one whose key the agent has as well: it signs the session, as a host does in its key exchange.
    const [reply] = await ask([signRequest(session)]);
    const signed = new SshReader(reply ?? Buffer.alloc(0));
    expect(signed.byte()).toBe(14);
    const fields = [sshString(keyBlob('ed25519')), sshString(session), sshString(signed.string()), Buffer.of(0)];
    const bind = Buffer.concat([Buffer.of(27), sshString('session-bind@openssh.com'), ...fields]);
    const login = Buffer.concat([sshString(session), Buffer.of(50)]);
    const other = Buffer.concat([sshString('another session'), Buffer.of(50)]);
    const answers = await ask([bind, signRequest(login), signRequest(other), signRequest(session), bind]);
    expect(answers.map((answer) => answer[0])).toEqual([6, 14, 5, 5, 28]);
  });

  test('ends a connection that announces more than a message can be', async () => {
    const said = listen();
    expect(await ask([], uint32(0x7fff_ffff))).toEqual([]);
    await expect.poll(said).toContain('a connection was ended: a message of 2147483647 bytes');
  });

  test.skipIf(onlyOwnUser !== null)('lets no other user connect', () => {
    expect(statSync(socket).mode & 0o777).toBe(0o600);
    const { uid, gid } = unixUsers.nobody;
    const other = `require('node:net').connect(${JSON.stringify(socket)}).on('error', (e) => process.stdout.write(e.code))`;
    expect(execFileSync(process.execPath, ['-e', other], { uid, gid, cwd: '/', encoding: 'utf8' })).toBe('EACCES');
  });

  function lockMessage(type: number, passphrase: string): Buffer {
    return Buffer.concat([Buffer.of(type), sshString(passphrase)]);
  }

  function signRequest(data: Buffer): Buffer {
    return Buffer.concat([Buffer.of(13), sshString(keyBlob('ed25519')), sshString(data), uint32(0)]);
  }

  /** The answers to some messages over one connection; fewer when the agent ends it. */
  function ask(messages: readonly Buffer[], raw: Buffer = Buffer.alloc(0)): Promise<Buffer[]> {
    return new Promise((resolve, reject) => {
      const answers: Buffer[] = [];
      let received = Buffer.alloc(0);
      const connection = connect(socket);
      connection.on('error', reject).once('close', () => resolve(answers));
      connection.on('data', (chunk) => {
        received = Buffer.concat([received, chunk]);
        while (received.length >= 4 && received.length >= 4 + received.readUInt32BE()) {
          const end = 4 + received.readUInt32BE();
          answers.push(Buffer.from(received.subarray(4, end)));
          received = received.subarray(end);
        }
        if (answers.length === messages.length) connection.destroy();
      });
      connection.write(Buffer.concat([...messages.map(sshString), raw]));
    });
  }

  describe.skipIf(missingOpenSsh.server !== null)('with a server', () => {
    /** `ssh` to the server that is started for it, by SFTP. */
    function logIn(server: string, options: Readonly<Record<string, string>>): Promise<Ended> {
      const settings = {
        BatchMode: 'yes',
        IdentitiesOnly: 'yes',
        GlobalKnownHostsFile: '/dev/null',
        StrictHostKeyChecking: 'yes',
        ProxyCommand: server,
        ...options,
      };
      const words = Object.entries(settings).flatMap(([name, value]) => ['-o', `${name}=${value}`]);
      return run(['sftp', '-F', 'none', '-b', '-', ...words, `${loginUser}@web1`], 'pwd\n');
    }

    beforeAll(() => {
      for (const name of ['host', 'user'])
        execFileSync('ssh-keygen', ['-q', '-t', 'ed25519', '-N', '', '-f', name], { cwd: folder });
      writeFileSync(join(folder, 'known_hosts'), `web1 ${execFileSync('cat', ['host.pub'], { cwd: folder })}`);
      // The server runs as somebody else, and may read its key and use the agent as if it were its user's.
      if (runsAsRoot) execFileSync('chown', ['nobody', 'host'], { cwd: folder });
    });

    test('logs in with a key of each kind, and with none that the server does not know', async () => {
      const server = sshServer(folder, 'plain', [
        `HostKey ${folder}/host`,
        `AuthorizedKeysFile ${folder}/authorized_keys`,
      ]);
      const known = { UserKnownHostsFile: join(folder, 'known_hosts') };
      const said = listen();
      const logins = await Promise.all(
        kindNames.map((kind) => logIn(server, { ...known, IdentityFile: join(folder, `${kind}.pub`) })),
      );
      for (const { code, stdout, stderr } of logins) {
        expect([code, stdout, stderr]).toEqual([0, expect.stringContaining('Remote working'), '']);
      }
      expect(said()).toBe('');
      const stranger = await logIn(server, { ...known, IdentityFile: join(folder, 'user') });
      expect(stranger.stderr).toContain('Permission denied');
    });

    test('serves a host key from the HSM, and logs in with certificates under an authority in the HSM', async () => {
      const authority = drawbridge('public-key', 'alias/ssh/p384', '--format', 'ssh');
      writeFileSync(join(folder, 'ca.pub'), authority);
      writeFileSync(join(folder, 'authorities'), `@cert-authority web1 ${authority}`);
      const issue = (kind: string, out: string, ...options: string[]): string =>
        drawbridge('certificate', '--ssh', kind, '--issuer-key', 'alias/ssh/p384', '--out', out, ...options);
      issue('host', 'hsm-host-cert.pub', '--key', 'alias/ssh/p256', '--principal', 'web1');
      issue('user', 'user-cert.pub', '--request', 'user.pub', '--principal', loginUser, '--hours', '1');
      issue('user', 'other-cert.pub', '--request', 'user.pub', '--principal', 'somebody-else');
      issue(
        'user',
        'late-cert.pub',
        '--request',
        'user.pub',
        '--principal',
        loginUser,
        '--not-before',
        '2099-01-01T00:00:00Z',
      );
      issue(
        'user',
        'bound-cert.pub',
        '--key',
        'alias/ssh/rsa',
        '--principal',
        loginUser,
        '--option',
        'source-address=192.0.2.1',
      );
      issue('user', 'hsm-cert.pub', '--key', 'alias/ssh/rsa', '--principal', loginUser);
      const server = sshServer(folder, 'certified', [
        `HostKeyAgent ${socket}`,
        `HostKey ${folder}/p256.pub`,
        `HostCertificate ${folder}/hsm-host-cert.pub`,
        `TrustedUserCAKeys ${folder}/ca.pub`,
      ]);
      chmodSync(socket, 0o666);
      const user = (certificate: string, identity: string): Promise<Ended> =>
        logIn(server, {
          UserKnownHostsFile: join(folder, 'authorities'),
          IdentityFile: join(folder, identity),
          CertificateFile: join(folder, certificate),
        });
      try {
        expect(await user('user-cert.pub', 'user')).toMatchObject({ code: 0 });
        // The user's key is in the HSM, too: no secret of SSH is on any disk.
        expect(await user('hsm-cert.pub', 'rsa.pub')).toMatchObject({ code: 0 });
        for (const refused of ['other-cert.pub', 'late-cert.pub']) {
          expect((await user(refused, 'user')).stderr).toContain('Permission denied');
        }
        expect((await user('bound-cert.pub', 'rsa.pub')).code).not.toBe(0);
      } finally {
        chmodSync(socket, 0o600);
      }
    });
  });
});
