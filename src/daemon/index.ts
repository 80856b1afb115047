/** What the command line uses of the daemon, in one module, which it loads when a command needs it. */

export {
  assertPinIsPrivate,
  assertPrivate,
  assertSecurityOfficerPinIsPrivate,
  securityOfficerPinFile,
} from '../config/secrets.ts';
export {
  askedFor,
  domainFileText,
  isFingerprint,
  isInvitation,
  isRequest,
  isResponse,
  type JoinRequest,
  joiningKeyId,
  parseDomainFile,
  requestFingerprint,
} from '../keys/domain/invitation.ts';
export { beginJoining, finishJoining } from '../keys/domain/joining.ts';
export { listServiceKeys } from '../keys/life/service-keys.ts';
export { cloudHsmClusterIdOf } from '../kms/cluster-id.ts';
export { openBackup } from '../store/backup-file.ts';
export { acceptMetadata } from './accept-metadata.ts';
export { attachableHsms } from './attachable-hsms.ts';
export {
  libraryOf,
  memberPath,
  openConfiguredKeyStore,
  openConfiguredMember,
  tuneConfiguredKeyStore,
} from './configured-key-stores.ts';
export { startDaemon } from './daemon.ts';
export { namedKeys } from './data-folder.ts';
export { startDev } from './dev.ts';
export { assertPairIsIn, trustPublicKeys, withConfiguredToken } from './domain-joining.ts';
export { createLog } from './log.ts';
export { assertAbsent, createInstance, createInstanceWithToken } from './new-instance.ts';
export { assertLibrariesAreOurs, assertPathsAreOurs } from './own-paths.ts';
export { assertTokenIsOurs } from './own-token.ts';
export { restoreBackup, type TriedBackup, tryBackup } from './restore.ts';
export { runUntilSignal, stopSignal } from './run.ts';
