/** Whether a custom key store is connected to its HSM, and why not: AWS KMS's vocabulary. Source: API reference, `CustomKeyStoresListEntry`. */

export const connectionStates = ['CONNECTED', 'CONNECTING', 'FAILED', 'DISCONNECTED', 'DISCONNECTING'] as const;
export type ConnectionState = (typeof connectionStates)[number];

export const connectionErrorCodes = [
  'INVALID_CREDENTIALS',
  'CLUSTER_NOT_FOUND',
  'NETWORK_ERRORS',
  'INTERNAL_ERROR',
  'INSUFFICIENT_CLOUDHSM_HSMS',
  'USER_LOCKED_OUT',
  'USER_NOT_FOUND',
  'USER_LOGGED_IN',
  'SUBNET_NOT_FOUND',
  'INSUFFICIENT_FREE_ADDRESSES_IN_SUBNET',
  'XKS_PROXY_ACCESS_DENIED',
  'XKS_PROXY_NOT_REACHABLE',
  'XKS_VPC_ENDPOINT_SERVICE_NOT_FOUND',
  'XKS_PROXY_INVALID_RESPONSE',
  'XKS_PROXY_INVALID_CONFIGURATION',
  'XKS_VPC_ENDPOINT_SERVICE_INVALID_CONFIGURATION',
  'XKS_PROXY_TIMED_OUT',
  'XKS_PROXY_INVALID_TLS_CONFIGURATION',
] as const;
export type ConnectionErrorCode = (typeof connectionErrorCodes)[number];

/** The HSM has refused the password. It is not tried again before there is another one: a token locks itself after a few. */
export function isPasswordRefusal(code: ConnectionErrorCode | null): boolean {
  return code === 'INVALID_CREDENTIALS' || code === 'USER_LOCKED_OUT' || code === 'USER_NOT_FOUND';
}

/** What a disconnected store keeps of the code with which it failed: that its password was refused stays true. */
export function codeAfterDisconnect(code: ConnectionErrorCode | null): ConnectionErrorCode | null {
  return isPasswordRefusal(code) ? code : null;
}
