/**
 * The commented `drawbridge.yaml` that `drawbridge init` and `drawbridge dev` write.
 *
 * Text and not a serialised object, because its comments are the documentation that an operator has at hand. A test
 * loads every form of it, so that it cannot name a member that the schema does not have.
 */

import { stringify } from 'yaml';

export interface ConfigurationChoices {
  readonly region: string;
  readonly account: string;
  readonly dataDir: string;
  readonly socket: { readonly path: string; readonly mode: string; readonly group?: string };
  readonly keyStore: {
    readonly profile: string;
    readonly library?: string;
    readonly token: { readonly label: string } | { readonly serial: string };
    readonly pinFile: string;
    readonly libraryParameters?: string;
    readonly environment: Readonly<Record<string, string>>;
  };
  readonly root: readonly (string | number)[];
}

/** What a key store is called in a configuration that was just made. */
const newKeyStoreName = 'default';

export function renderConfiguration(choices: ConfigurationChoices): string {
  const { keyStore, socket } = choices;
  return `# Configuration of Drawbridge. Relative paths are relative to this file's folder.
# A member that is not known is an error, so a typing error never goes unnoticed.

# The name space in which keys and principals live: arn:aws:kms:REGION:ACCOUNT:key/…
region: ${scalar(choices.region)}
account: ${quoted(choices.account)}

# Metadata of the keys (never key material) and the audit log. Must be readable by the daemon's user alone (mode 0700).
dataDir: ${scalar(choices.dataDir)}

socket:
  path: ${scalar(socket.path)}
  # Who may connect at all. Who may do what is decided by key policies, with the kernel's word on who is calling.
  mode: ${quoted(socket.mode)}
  ${socket.group === undefined ? '# group: drawbridge' : `group: ${scalar(socket.group)}`}
  # A folder that others than root and the daemon's user can write to is refused: they could put a socket of their own there and
  # read what programs send to it. This takes it all the same, where all who share it are trusted (the volume of a sidecar).
  # sharedFolder: true
  # Where the folder itself is missing (/run is empty after a boot) it is made, with mode 0755; none above it is.

# For programs whose SDK cannot use a Unix socket: plain HTTP on the loopback address, for requests signed with an access
# key (drawbridge access-keys) or with short-lived credentials (drawbridge credentials). Off unless this says where.
# listen:
#   tcp: 127.0.0.1:4599
#   # The same over HTTPS, on any address: for programs that insist on it, and for other machines. drawbridge tls create makes
#   # both files; SIGHUP reads them again. A key that systemd hands over is { credential: NAME }.
#   tls:
#     address: 127.0.0.1:4600
#     certificate: { file: /etc/drawbridge/tls/server.pem }
#     key: { file: /etc/drawbridge/tls/server.key }

# The HSM. Its name is yours to choose, and stands in the records of its keys: it stays as it is once there are keys.
keyStores:
  ${newKeyStoreName}:
    # What differs between vendors: a file in native-config/vendors, or the path of your own.
    profile: ${scalar(keyStore.profile)}
    ${keyStore.library === undefined ? '# library: /path/of/the/vendor/pkcs11.so   # default: where the profile finds it' : `library: ${scalar(keyStore.library)}`}
    # By label or serial, never by slot number.
    token: ${flow(keyStore.token)}
    # Where the PIN is read from, never the PIN itself: { file: PATH } (mode 0600), { env: NAME }, or
    # { credential: NAME } for a systemd credential.
    pin: ${flow({ file: keyStore.pinFile })}
    # Where new keys live: token, as objects in it, or wrapped: the token makes and uses them as well, and keeps none but the domain key
    # under which it wraps them; they are stored with the metadata, so that it needs no room for many. What the token can wrap, and what
    # it enforces, drawbridge doctor shows. Keys that there are stay where they are until drawbridge keys move moves them.
    # residency: token
    # Processes that load the library, and sessions in each. Default: what the profile says for the cores of this machine;
    # \`drawbridge doctor --tune\` measures what this token gives. Of several lanes the first one never generates keys; with a single
    # one, everything waits for those that are generated.
    # hosts: 1
    # lanes: 2
    # Several HSMs that hold the same keys, so that none is missed; drawbridge domain invite --help says how they come to. What stands
    # above of one token (profile, token, pin, hosts, deadlines …) is said of each member then, and not of the key store.
    # members: [{ name: first, profile: …, token: …, pin: … }, { name: second, … }]
    ${keyStore.libraryParameters === undefined ? '# libraryParameters: text for C_Initialize, where the library wants one' : `libraryParameters: ${quoted(keyStore.libraryParameters)}`}
    # Variables for the library; it gets nothing else of the daemon's environment.
    environment: ${flow(keyStore.environment)}
    # Have what the library prints in the log: a trace of its calls (pkcs11-spy) has the PIN in it, and the plaintexts of all callers.
    # logLibraryOutput: false
    deadlines:
      # A call that takes longer is given up and its host process replaced; one that generates a key has 120 s at least.
      callMs: 10000
      openMs: 60000
  # More HSMs, each under a name and with members as above. A request names one by CustomKeyStoreId, with Origin AWS_CLOUDHSM; while
  # it is away, its own keys are unavailable and no others. keySpecs: all has it take pairs and HMAC keys too, which AWS does not.
  # vault:
  #   profile: softhsm2
  #   token: { label: vault }
  #   pin: { file: /etc/drawbridge/vault-pin }
  #   keySpecs: all
  # An HSM for a custom key store has no pin: CreateCustomKeyStore brings it, with the certificate that is named here, and
  # drawbridge doctor shows the id that it takes (cluster-…). No two custom key stores have one certificate.
  # payments:
  #   profile: softhsm2
  #   token: { label: payments }
  #   trustAnchorCertificate: /etc/drawbridge/payments.crt
# Where there are several: the one that has the service keys, and the keys of whoever names none. It stays what it is.
# defaultKeyStore: ${newKeyStoreName}

# Further Regions of the same instance, each with a socket (and listeners, as above) of its own. Keys are of one Region; a multi-Region
# key is replicated from one to another: one id, one key material, and policies, aliases and a state of each. A Region can use the
# key stores that it names, or all.
# regions:
#   - region: eu-central-1
#     socket: { path: /run/drawbridge/eu-central-1.sock, mode: '0660' }
#     listen: { tcp: 127.0.0.1:4601 }
#     keyStores: [${newKeyStoreName}]
#     defaultKeyStore: ${newKeyStoreName}

identity:
  # Unix users (names or uids) who are the account's root principal.
  root: ${flow([...choices.root])}
  # Unix user or group → principal, a user or a role. Without a line here, user alice is arn:aws:iam::${choices.account}:user/unix/alice.
  users: {}
  groups: {}
  # kernel: somebody is in the groups that his process has, as with files. It keeps them until he logs in anew. kernelAndDatabase:
  # only in those of them in which the user database has him now.
  # groupsFrom: kernel
  # Cgroup → name of a container that has the socket: its root is arn:aws:iam::${choices.account}:user/container/NAME/root, and not
  # the machine's. One without a name here is \`unnamed\`. A * stands for anything in one part of the path in /proc/PID/cgroup.
  # containers: { /web.slice/docker-*.scope: web }
  # Identity policies, one in each *.json: {"AttachedTo": ["group:operators"], "PolicyDocument": {…}}; SIGHUP reads them again.
  # policies: /etc/drawbridge/policies

# Roles that programs assume (sts:AssumeRole): who may is said by a trust policy, a file or as it stands here; what a role may do, by key
# policies that name it and by identity policies that are attached to it. SIGHUP reads this member and the files again, and ends
# the sessions of a role that is taken out or trusts others.
# roles:
#   deploy:
#     trustPolicy: /etc/drawbridge/roles/deploy.json
#     maxSessionSeconds: 3600

# AWS managed keys: alias/aws/NAME for programs that are here what a service is in AWS. The requests of these principals have
# kms:ViaService NAME.${choices.region}.amazonaws.com and may use the key; others may look at it; nobody can change it. It is rotated
# every year. SIGHUP reads this member again. A service that is taken out keeps its key, which nobody can use then, but by grants
# that the service made: revoke those.
# managedKeys:
#   ebs: { principals: ["arn:aws:iam::${choices.account}:user/unix/qemu"] }

audit:
  # folder: another folder than dataDir/audit
  # default: a change of keys or policies is on disk before its answer, use of keys within 100 ms.
  # always: everything is on disk before its answer.
  sync: default

# What one payer may have at most, and all together: a payer is a Unix user with the subordinate uids of /etc/subuid that are
# his, on the loopback address too; a container's root; an address of the network; or a principal whose signature was verified.
# These are the defaults.
# budgets:
#   # Connections in all, of one payer, and beside them for root and the daemon's own user; and how long one lasts: a client is
#   # told to connect again, and is then whoever the kernel says, in the groups that he has then.
#   connections: { total: 2048, perPayer: 1024, reserved: 64, maxAgeMs: 900000,
#     # New ones of one payer a second; and so many refused in a second keep a user out of the socket for a while.
#     newPerSecond: 500, maxRefusedPerSecond: 256 }
#   # Requests without an answer, of a connection and a payer; bytes of a payer's requests and of answers he does not take; and how
#   # many of those that he sends without waiting begin before others have their turn.
#   exchanges:
#     unansweredPerConnection: 32
#     unansweredPerPayer: 1024
#     requestBytesPerPayer: 16777216
#     unreadBytesPerPayer: 16777216
#     beginsPerTurn: 64
#   # TLS handshakes that begin: of all, and of one payer (from a network, one address), at once and in the long run.
#   handshakes: { atOnce: 800, perSecond: 200, perPayerAtOnce: 200, perPayerPerSecond: 40 }
#   # What of the audit log's disk is kept for changes that take permissions away; and of one payer, what lines of his requests
#   # have beyond 2 KiB each, at once and in the long run.
#   audit: { reserveBytes: 16777216, extraBytes: 16777216, extraBytesPerSecond: 262144 }
#   # Refused requests of one payer, at once and in the long run: events of their own (more are counted), and looked at at all.
#   refusals: { recorded: 500, recordedPerSecond: 5, looked: 10000, lookedPerSecond: 500 }
#   # AWS's quotas: keys of a Region, aliases and grants of a key, custom key stores, bytes of a key policy. Only more than these is refused.
#   quotas: { keys: 100000, aliasesPerKey: 50, grantsPerKey: 50000, customKeyStores: 10, policyBytes: 32768 }
#   # Memory for compiled key policies; and of how many KMS keys the records are in memory: with more, they are read when asked for.
#   # What the others may take, packed, once they were read, so that they are neither read nor verified again.
#   memory: { compiledPolicyBytes: 67108864, keysInMemory: 20000, packedKeyBytes: 536870912,
#     # All records of keys, policies, aliases and grants; and what one payer may add to them until the next start.
#     recordBytes: 1073741824, recordBytesPerPayer: 536870912 }
#   # Lines of the log a minute: of one kind about one payer, of one kind about the daemon itself; and how many kinds of all payers.
#   log: { linesPerMinute: 10, ownLinesPerMinute: 200, kinds: 256 }

log:
  # debug, info, warn or error; one JSON object per line on stderr.
  level: info
`;
}

function scalar(value: string): string {
  return stringify(value, { lineWidth: 0 }).trimEnd();
}

function quoted(value: string): string {
  return JSON.stringify(value);
}

function flow(value: object): string {
  return stringify(value, { collectionStyle: 'flow', lineWidth: 0, flowCollectionPadding: true }).trimEnd();
}
